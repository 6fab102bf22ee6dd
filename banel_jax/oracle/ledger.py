"""Every evaluation on disk before the algorithm sees it: an SQLite file, one row each."""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from banel_jax.oracle.answers import one_line

SCHEMA = """
CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS evaluations (
  row INTEGER PRIMARY KEY,          -- counted over the whole run, from 0
  round INTEGER NOT NULL,
  index_in_round INTEGER NOT NULL,
  tokens BLOB NOT NULL,             -- int32, little-endian
  mask BLOB NOT NULL,               -- one byte a token, 0 or 1
  reward REAL,                      -- NULL from before the oracle is asked until it answered
  attempts INTEGER NOT NULL,        -- how often it was asked; above 1 after an interruption
  UNIQUE (round, index_in_round)
);
"""
FORMAT = "1"


class LedgerError(ValueError):
    """The ledger cannot be read or belongs to another run; the message names the file."""


class Recorded(NamedTuple):
    """The rows of a round that the oracle was asked for so far, k of them.

    Attributes:
      indices: int64 [k], places in the round, ascending.
      tokens: int32 [k, length].
      mask: bool [k, length].
      rewards: float64 [k], NaN where the oracle has not answered.
    """

    indices: np.ndarray
    tokens: list[bytes]
    mask: list[bytes]
    rewards: np.ndarray


class Ledger:
    """The durable record of a run's evaluations.

    Args:
      path: the SQLite file, made where it is missing; None for a record in memory.
      run: names the run (a hash of its configuration); a file of another run is refused.
      must_exist: refuse a file that is missing or empty, where one is known to have been.

    Raises:
      LedgerError: for a file that is no ledger, is damaged, or is another run's.
    """

    def __init__(self, path: Path | str | None = None, run: str = "", must_exist: bool = False):
        self.path = path
        if (
            must_exist
            and path is not None
            and not (Path(path).exists() and Path(path).stat().st_size)
        ):
            raise LedgerError(
                f"the ledger {path} of this run is missing or empty, so what was paid is not "
                "known; put it back from a copy, or start anew in another folder"
            )
        with self._explain():
            self._db = sqlite3.connect(":memory:" if path is None else path)
        try:
            with self._explain():
                self._open(run)
        except BaseException:
            self._db.close()
            raise

    def _open(self, run: str) -> None:
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        damage = self._db.execute("PRAGMA quick_check(1)").fetchone()[0]
        if damage != "ok":
            raise sqlite3.DatabaseError(damage)
        tables = {name for (name,) in self._db.execute("SELECT name FROM sqlite_master")}
        if tables and "about" not in tables:
            raise sqlite3.DatabaseError("it is another program's database")
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            for statement in SCHEMA.strip().split(";\n"):
                self._db.execute(statement)
            about = dict(self._db.execute("SELECT name, value FROM about"))
            if not about:
                about = {"format": FORMAT, "run": run}
                self._db.executemany("INSERT INTO about VALUES (?, ?)", about.items())
        if about.get("format") != FORMAT:
            raise sqlite3.DatabaseError(f"format {about.get('format')}, not {FORMAT}")
        if about.get("run") != run:
            raise LedgerError(
                f"the ledger {self.path} belongs to a run of another configuration "
                f"({about.get('run')}, this one is {run}); use another folder"
            )

    @contextlib.contextmanager
    def _explain(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise LedgerError(
                f"the ledger {self.path} cannot be used: {one_line(error)}; put it back from "
                "a copy, or start anew in another folder"
            ) from error

    def recorded(self, round: int) -> Recorded:
        """What is known of a round."""
        with self._explain():
            rows = self._db.execute(
                "SELECT index_in_round, tokens, mask, reward FROM evaluations "
                "WHERE round = ? ORDER BY index_in_round",
                (round,),
            ).fetchall()
        indices, tokens, mask, rewards = zip(*rows, strict=True) if rows else ((), (), (), ())
        return Recorded(
            np.array(indices, np.int64), list(tokens), list(mask), np.array(rewards, np.float64)
        )

    def start(self, round: int, first_row: int, indices, tokens, mask) -> None:
        """Notes that the oracle is about to be asked for these rows; durable on return."""
        rows = [
            (first_row + int(i), round, int(i), t.tobytes(), m.tobytes())
            for i, t, m in zip(indices, tokens, mask, strict=True)
        ]
        with self._explain(), self._db:
            self._db.executemany(
                "INSERT INTO evaluations VALUES (?, ?, ?, ?, ?, NULL, 1) "
                "ON CONFLICT (row) DO UPDATE SET attempts = attempts + 1",
                rows,
            )

    def record(self, round: int, indices, rewards) -> None:
        """Writes the answers of rows that were started; durable on return."""
        rows = [(float(r), round, int(i)) for i, r in zip(indices, rewards, strict=True)]
        with self._explain(), self._db:
            self._db.executemany(
                "UPDATE evaluations SET reward = ? "
                "WHERE round = ? AND index_in_round = ? AND reward IS NULL",
                rows,
            )

    def totals(self, rounds: int | None = None) -> tuple[int, int]:
        """(rows, successes) of the first `rounds` rounds, or of all; unanswered rows count."""
        return self._one(
            "SELECT count(*), coalesce(sum(reward = 1), 0) FROM evaluations WHERE round < ?",
            2**62 if rounds is None else rounds,
        )

    def first_success(self) -> int | None:
        """How many rows were paid up to the first success, that one included; None if none."""
        return self._one("SELECT min(row) + 1 FROM evaluations WHERE reward = 1")[0]

    def unanswered(self, rounds: int | None = None) -> int:
        """Rows that were started and have no answer: in flight when the run was stopped."""
        return self._one(
            "SELECT count(*) FROM evaluations WHERE reward IS NULL AND round < ?",
            2**62 if rounds is None else rounds,
        )[0]

    def repeated_attempts(self) -> int:
        """How often the oracle was asked again for a row that was in flight at a stop."""
        return self._one("SELECT coalesce(sum(attempts - 1), 0) FROM evaluations")[0]

    def last_round(self) -> int:
        """The latest round with a row, -1 where there is none."""
        return self._one("SELECT coalesce(max(round), -1) FROM evaluations")[0]

    def _one(self, query: str, *parameters) -> tuple:
        with self._explain():
            return self._db.execute(query, parameters).fetchone()

    def close(self) -> None:
        self._db.close()
