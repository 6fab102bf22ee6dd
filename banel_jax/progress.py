"""A progress bar with rate and remaining time, on a terminal only."""

from collections.abc import Iterable

from tqdm import tqdm


def progress(iterable: Iterable, total: int, description: str = "", initial: int = 0):
    """Iterates with a bar on stderr; silent where stderr is no terminal.

    Args:
      iterable: what to iterate over.
      total: items in all, those done before included.
      description: stands before the bar.
      initial: items done before.
    """
    return tqdm(iterable, desc=description, total=total, initial=initial, disable=None, leave=False)
