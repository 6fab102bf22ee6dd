"""A progress bar with rate and remaining time, on a terminal only."""

import sys
from collections.abc import Iterable

from tqdm import tqdm


def on_terminal() -> bool:
    """Whether somebody sees stderr; it may be no terminal, closed, or none at all."""
    try:
        return sys.stderr is not None and sys.stderr.isatty()
    except ValueError:  # closed
        return False


def progress(iterable: Iterable, total: int, description: str = "", initial: int = 0):
    """Iterates with a bar on stderr; silent where stderr is no terminal.

    Args:
      iterable: what to iterate over.
      total: items in all, those done before included.
      description: stands before the bar.
      initial: items done before.
    """
    # tqdm takes hold of stderr even where it is told to be silent.
    where = {} if on_terminal() else {"file": _Nowhere(), "disable": True}
    return tqdm(iterable, desc=description, total=total, initial=initial, leave=False, **where)


class _Nowhere:
    def write(self, text: str) -> None: ...

    def flush(self) -> None: ...
