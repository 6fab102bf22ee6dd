"""A ledger read by whoever wants to see it, while a run writes it or after: nothing is changed."""

import contextlib
import math
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from banel_jax import files
from banel_jax.oracle.database import LedgerError, can_lock, explained
from banel_jax.oracle.evaluations import COLUMNS, Evaluations, gathered
from banel_jax.oracle.met import key
from banel_jax.oracle.rows import STATES
from banel_jax.types import Sequences


def read(
    folder: Path | str,
    *,
    rounds: int | Collection[int] | None = None,
    states: str | Collection[str] | None = None,
    reward: float | None = None,
    last: int | None = None,
    render: Callable[[Sequences], Any] | None = None,
) -> Evaluations:
    """The evaluations of a run.

    Args:
      folder: of the run, or the ledger itself.
      rounds: one or several; None for all.
      states: one or several of `rows.STATES`; None for all.
      reward: rows of this reward alone.
      last: so many rows from the end.
      render: `render(sequences [k]) -> k texts`, what a person sees.

    Raises:
      LedgerError: for a file that is missing, no ledger, damaged or locked.
      ValueError: for a state that there is not.
    """
    conditions = ["1"]
    if rounds is not None:
        rounds = [rounds] if isinstance(rounds, int | np.integer) else rounds
        conditions.append(f"round IN ({', '.join(str(int(round)) for round in rounds)})")
    if states is not None:
        states = [states] if isinstance(states, str) else states
        for state in states:
            if state not in STATES:
                raise ValueError(f"states={state!r} is not one of {', '.join(STATES)}")
        conditions.append(f"state IN ({', '.join(map(repr, states))})")
    if reward is not None:
        conditions.append(f"reward = {float(reward)!r}")
    with opened(folder) as (database, form):
        columns = (f'{of[form == "2"]} AS "{name}"' for name, of in COLUMNS.items())
        query = (
            f"SELECT * FROM (SELECT {', '.join(columns)} FROM evaluations) "
            f"WHERE {' AND '.join(conditions)} ORDER BY row"
        )
        if last is not None:
            query = f"SELECT * FROM ({query} DESC LIMIT {int(last)}) ORDER BY row"
        rows = database.execute(query).fetchall()
    evaluations = gathered(rows)
    if render is None or not len(evaluations):
        return evaluations
    text = [str(one) for one in render(evaluations.sequences)]
    return Evaluations(**{**vars(evaluations), "text": text})


def successes(folder: Path | str, **filters) -> Evaluations:
    """The rows of reward 1, as `read` gives them."""
    return read(folder, **{"reward": 1.0, **filters})


def answers(folder: Path | str) -> dict[bytes, float]:
    """The rewards that are known by sequence, named as by `met.key`: of rows, and what was given.

    Where rows of one sequence differ it is that of the first, as a memo answers.

    Raises:
      LedgerError: as `read` does.
    """
    found: dict[bytes, float] = {}
    columns = "SELECT tokens, mask, reward FROM"
    with opened(folder) as (database, form):
        queries = [f"{columns} evaluations WHERE reward IS NOT NULL ORDER BY row"]
        if form != "2":
            queries.append(f"{columns} known WHERE reward IS NOT NULL ORDER BY number")
        for query in queries:
            for tokens, mask, reward in database.execute(query):
                found.setdefault(key(tokens, mask), reward)
    return found


class Status(NamedTuple):
    """How far a run is.

    Attributes:
      states: the number of rows in each of `rows.STATES`.
      paid: rows that the oracle was asked for.
      successes: rows of reward 1.
      cost: of all rows, as far as the oracle told.
      last_round: the latest round with a row, -1 where there is none.
      complete: rounds whose rows are all done or failed.
    """

    states: dict[str, int]
    paid: int
    successes: int
    cost: float
    last_round: int
    complete: int


def status(folder: Path | str) -> Status:
    """How far a run is, from the sums of complete rounds and the rows of the others.

    Raises:
      LedgerError: as `read` does.
    """
    states = dict.fromkeys(STATES, 0)
    paid = successes = complete = begin = 0
    costs, last_round = [], -1
    with opened(folder) as (database, form):
        old = form == "2"
        query = (
            "SELECT round, first_row, proposed, paid, answers, successes, failed, cost FROM rounds"
        )
        for seal in () if old else database.execute(f"{query} ORDER BY round"):
            last_round, first, proposed, *sums = seal
            paid, successes, complete = paid + sums[0], successes + sums[2], complete + 1
            states["done"] += sums[1]
            states["failed"] += sums[3]
            costs.append(sums[4])
            begin = first + proposed if begin == first else begin  # to the first gap
        state, cost = (COLUMNS[name][old] for name in ("state", "cost"))
        outside = "" if old else "AND round NOT IN (SELECT round FROM rounds)"
        query = (
            f"SELECT {state}, count(*), total(attempts > 0), total(reward = 1), total({cost}), "
            f"max(round) FROM evaluations WHERE row >= ? {outside} GROUP BY 1"
        )
        for state, number, some_paid, some_successes, some_cost, latest in database.execute(
            query, (begin,)
        ):
            states[state] += number
            paid, successes = paid + int(some_paid), successes + int(some_successes)
            costs.append(some_cost)
            last_round = max(last_round, latest)
    return Status(states, paid, successes, math.fsum(costs), last_round, complete)


@contextlib.contextmanager
def opened(folder: Path | str) -> Iterator[tuple[sqlite3.Connection, str]]:
    """A ledger to read from, in one snapshot, and its format.

    Raises:
      LedgerError: in one line.
    """
    path = files.expand(folder)
    if path.is_dir():
        path = path / "oracle.sqlite"
    if not path.exists():
        raise LedgerError(f"there is no ledger {path}; name the folder of a run")
    try:
        with _connection(path) as database:
            database.execute("BEGIN")
            about = dict(database.execute("SELECT name, value FROM about"))
            if about.get("format") not in ("2", "3"):
                raise LedgerError(
                    f"the ledger {path} has format {about.get('format')}, neither 2 nor 3: another "
                    "version wrote it; read it with that one"
                )
            yield database, about["format"]
    except sqlite3.Error as error:
        raise LedgerError(explained(path, error)) from error


@contextlib.contextmanager
def _connection(path: Path) -> Iterator[sqlite3.Connection]:
    """Read-only; of a copy where the file's folder lets nobody read a ledger in place."""
    with contextlib.ExitStack() as stack:
        try:
            place = path if can_lock(path.parent) else _copied(path, stack)
            database = stack.enter_context(_connect(place))
        except sqlite3.OperationalError as error:
            if "unable to open" not in str(error) and "readonly" not in str(error):
                raise
            database = stack.enter_context(_connect(_copied(path, stack)))
        yield database


def _copied(path: Path, stack: contextlib.ExitStack) -> Path:
    folder = stack.enter_context(tempfile.TemporaryDirectory())
    copy = Path(folder) / path.name
    for name in (path.name, f"{path.name}-wal"):
        with contextlib.suppress(FileNotFoundError):
            shutil.copyfile(path.with_name(name), copy.with_name(name))
    return copy


@contextlib.contextmanager
def _connect(path: Path) -> Iterator[sqlite3.Connection]:
    uri = f"{path.absolute().as_uri()}?mode=ro"
    with contextlib.closing(sqlite3.connect(uri, timeout=30.0, uri=True)) as database:
        database.text_factory = lambda text: text.decode("utf-8", "backslashreplace")
        database.execute("SELECT 1 FROM sqlite_master").fetchone()
        yield database
