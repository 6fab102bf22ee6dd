"""A progress bar with rate and remaining time, on a terminal only."""

import sys
from collections.abc import Iterable

from tqdm import tqdm

from banel_jax.runs.report.facts import Facts
from banel_jax.runs.report.numbers import count, duration, format_value


def on_terminal() -> bool:
    """Whether somebody sees stderr; it may be no terminal, closed, or none at all."""
    try:
        return sys.stderr is not None and sys.stderr.isatty()
    except ValueError:  # closed
        return False


def progress(iterable: Iterable, total: int | None, description: str = "", initial: int = 0):
    """Iterates with a bar on stderr; silent where stderr is no terminal.

    Args:
      iterable: what to iterate over.
      total: items in all, those done before included; None where nobody knows.
      description: stands before the bar.
      initial: items done before.
    """
    # tqdm takes hold of stderr even where it is told to be silent.
    where = {} if on_terminal() else {"file": _Nowhere(), "disable": True}
    return tqdm(iterable, desc=description, total=total, initial=initial, leave=False, **where)


def note(line: str) -> None:
    """A line on stderr, above a bar if there is one; silent where stderr is no terminal."""
    if on_terminal():
        tqdm.write(line, file=sys.stderr)


class _Nowhere:
    def write(self, text: str) -> None: ...

    def flush(self) -> None: ...


class Bar:
    """How a run gets on, by rows, in one line on stderr; silent where it is no terminal."""

    def __init__(self, description: str = ""):
        self._description = description
        self._bar: tqdm | None = None

    def show(self, known: Facts) -> None:
        """Draws the line anew; from whichever thread."""
        if not on_terminal():
            return
        if self._bar is None:
            self._bar = tqdm(
                total=known.rows_in_all, desc=self._description or "rows", leave=False,
                bar_format="{desc} {percentage:3.0f}%|{bar:12}| {postfix}",
            )  # fmt: skip
        self._bar.n = min(known.rows, known.rows_in_all or known.rows)
        self._bar.set_postfix_str(line(known))

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


def line(known: Facts) -> str:
    """Rows paid, successes, failures, pace, oracle seconds a row and time left, in one line."""
    of = "" if known.rows_in_all is None else f"/{known.rows_in_all:,}"
    parts = [f"{known.rows:,}{of} rows paid", count(known.successes, "success")]
    if known.failed:
        parts.append(f"{known.failed:,} failed")
    if known.rows_per_second:
        parts.append(f"{format_value(known.rows_per_second)} rows/s")
    if known.seconds_per_row is not None:
        parts.append(f"{duration(known.seconds_per_row)} a row")
    if known.seconds_left is not None:
        parts.append(f"{duration(known.seconds_left)} left")
    return ", ".join(parts)
