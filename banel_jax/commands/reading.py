"""Commands that look at a run and change nothing of it: status, show, export, verify."""

import os
from pathlib import Path

from banel_jax.commands import fields, named, priors, settings
from banel_jax.commands.settings import Values
from banel_jax.oracle import export as files_of
from banel_jax.oracle import reading
from banel_jax.oracle.evaluations import Evaluations
from banel_jax.runs import report

FILTERS = {
    "rounds": "of these rounds alone, such as 3 or 2,5,7",
    "states": "of these states: pending, running, done, failed, abandoned",
    "reward": "of this reward alone, 0 or 1",
    "last": "so many rows from the end",
    "text": "whether to say what rows mean as text, for which the prior is loaded",
}


def status(folder: Path, given: Values) -> int:
    """How far a run is, on a screen."""
    print(report.status(folder), end="")
    return 0


def show(folder: Path, given: Values) -> int:
    """The rows of a run as a table, its page drawn anew."""
    rows = _rows(folder, {"last": "50", **given})
    columns = os.get_terminal_size().columns if os.isatty(1) else 1000
    for line in files_of.table(rows, max(columns, 60)):
        print(line)
    print(f"page: {report.show(folder)}")
    return 0


def export(folder: Path, given: Values, path: str) -> int:
    """Writes rows as CSV, JSONL or Parquet, by the ending of the file's name."""
    rows = _rows(folder, given)
    files_of.write(rows, path)
    print(f"{path}: {len(rows)} rows")
    return 0


def verify(folder: Path, given: Values) -> int:
    """Checks every row of a run's ledger."""
    troubles = files_of.verify(folder)
    for line in troubles:
        print(line)
    if not troubles:
        counted = reading.status(folder)
        print(f"{folder}: sound; {counted.paid} paid, {counted.successes} successes")
    return 1 if troubles else 0


def _rows(folder: Path, given: Values) -> Evaluations:
    """Raises: ValueError: in one line that names the flag."""

    value = lambda name, kind: fields.flag(name, kind, given[name]) if name in given else None
    render = None
    if value("text", bool):
        what, _ = settings.built(settings.merged(settings.kept(folder)))
        named.look_in(what.workdir)
        render = priors.prior(what).text
    return reading.read(
        folder,
        rounds=value("rounds", tuple[int, ...]),
        states=value("states", tuple[str, ...]),
        reward=value("reward", float),
        last=value("last", int),
        render=render,
    )
