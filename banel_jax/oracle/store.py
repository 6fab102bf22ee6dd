"""The ledger's file, its counts in memory and its mark, which change together."""

import sqlite3
import struct
import time
import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from banel_jax.checks import one_line
from banel_jax.oracle import known, loading, schema, seals
from banel_jax.oracle.database import Database, LedgerError
from banel_jax.oracle.kept import Entry
from banel_jax.oracle.mark import Mark
from banel_jax.oracle.rows import Counts, outcome_checksum, row_checksum
from banel_jax.oracle.tally import Open, Tally

Place = tuple[int, int, int, bytes, bytes]  # row, round, index in the round, tokens, mask


class Store:
    """Checks a ledger on opening, and makes each change in one transaction.

    Args:
      path: of the file; None for one in memory.
      run: whose it is.
      patience: seconds to wait for another program that has locked the file.

    Raises:
      LedgerError: as `Ledger` does.
    """

    def __init__(self, path: Path | None, run: str, patience: float):
        self.path, self.run = path, run
        self.tally, self.mark = Tally(), Mark(path)
        self._seed = zlib.crc32(run.encode())
        self._stale = False
        self._before: dict[int, tuple] = {}  # what rows that were started were before
        self.database = Database(path, patience)
        try:
            self.tally = self.database.transaction(lambda db: self._load(db, abandon=True))
            self._check_mark()
        except BaseException:
            self.close()
            raise

    def _load(self, database: sqlite3.Connection, abandon: bool) -> Tally:
        """The counts of the file, every row of which is checked."""
        about = schema.describe(database, self.run)
        self._check_run(about)
        try:
            self.salt = schema.salt(about)
            return loading.tally(database, self._seed, abandon)
        except (ValueError, TypeError, struct.error) as error:
            raise sqlite3.DatabaseError(f"it was changed or damaged: {one_line(error)}") from error

    def _check_run(self, about: dict[str, str]) -> None:
        if about.get("run") != self.run:
            raise LedgerError(
                f"the ledger {self.path} belongs to a run of another configuration "
                f"({about.get('run')}, this one is {self.run}); use another folder"
            )
        if about.get("format") != schema.FORMAT:
            raise LedgerError(
                f"the ledger {self.path} has format {about.get('format')}, not {schema.FORMAT}: "
                "another version wrote it; go on with that one, or start anew in another folder"
            )

    def _check_mark(self) -> None:
        now = self.tally.now
        marked = self.mark.contradicted_by(now, self.tally.repeated)
        if marked:
            raise LedgerError(
                f"the ledger {self.path} holds {now.answers} answers for {now.rows} rows, and is "
                f"not the one that had {marked.answers} for {marked.rows}: its -wal file was lost, "
                "or a changed or older copy is in its place. Put the newest back with its -wal; "
                f"or delete {self.mark.path} to go on from this one, and what it lacks is paid "
                "for again"
            )
        self.mark.write(now, self.tally.repeated)

    def fresh(self) -> None:
        """After a change that may or may not have been made, looks at the file again."""
        if self._stale:
            self.tally = self.database.transaction(lambda db: self._load(db, abandon=False))
            self._stale = False

    def propose(self, round: int, rows: Sequence[Place], withdrawn: Sequence[int]) -> None:
        """Writes rows, new or never asked for, as pending; deletes the last ones."""
        tally = self.tally
        bases = [row_checksum(self._seed, *row) for row in rows]
        new = [(*row, outcome_checksum(base, None)) for row, base in zip(rows, bases, strict=True)]
        more = sum(row >= tally.proposed for row, *_ in rows)
        end = tally.first_row(round + 1) + more - len(withdrawn)

        def change(database):
            gone = [(row,) for row in withdrawn]
            database.executemany("DELETE FROM evaluations WHERE row = ?", gone)
            database.executemany(schema.PROPOSE, new)

        def update():
            if round > tally.last_round:
                tally.begin(round)
            for row in sorted(withdrawn, reverse=True):
                tally.withdraw(row)
            for (row, *_), base in zip(rows, bases, strict=True):
                tally.propose(round, row, base)

        left = tally.unfinished[round] + more - len(withdrawn)
        self._change({round: left}, change, update, end=end)

    def write(
        self,
        entries: Sequence[Entry],
        starting: Sequence[int] = (),
        worker: str | None = None,
        patience: float | None = None,
    ) -> None:
        """Writes what became of rows that are not done, each once, and that others start."""
        now = time.time()
        opened = {row: self.tally.open[row] for row in starting}
        ended = [entry.parameters() for entry in entries]
        begun = [
            (worker, now, outcome_checksum(was.base, None, cost=was.cost), row)
            for row, was in opened.items()
        ]
        before = {row: self._before_start(row, was) for row, was in opened.items()}

        def change(database):
            for query, rows in ((schema.ENTER, ended), (schema.START, begun)):
                if rows:
                    database.executemany(query, rows)

        def update():
            self.tally.enter(entries)
            self.tally.start(starting)
            for entry in entries:
                self._before.pop(entry.row, None)
            self._before |= before

        moves = [(entry.row, entry.state) for entry in entries]
        moves += [(row, "running") for row in starting]
        if moves:
            self._change(self._left(moves), change, update, patience)

    def _before_start(self, row: int, was: Open) -> tuple:
        if was.attempts or was.state != "pending":
            return self.database.read(schema.BEFORE_START, row)[0]
        return (*schema.NEVER_STARTED, outcome_checksum(was.base, None))

    def undo_start(self, rows: Iterable[int]) -> None:
        """Makes rows that were started, by this object, what they were before.

        The mark comes first and lastingly: it would else tell of rows that the file has lost.
        """
        running = lambda row: row in self.tally.open and self.tally.open[row].state == "running"
        before = {row: self._before[row] for row in rows if row in self._before and running(row)}
        never = sum(attempts == 0 for _, attempts, *_ in before.values())
        again = sum(attempts > 0 and state != "pending" for state, attempts, *_ in before.values())
        now = self.tally.now.plus(Counts(rows=-never, paid=-never))
        if not self.mark.write(now, self.tally.repeated - again, lasting=True) or not before:
            return
        told = [(*columns, row) for row, columns in before.items()]
        self._change(
            self._left((row, state) for row, (state, *_) in before.items()),
            lambda database: database.executemany(schema.UNDO_START, told),
            lambda: self._undone(before),
        )

    def _undone(self, before: dict[int, tuple]) -> None:
        self.tally.undo_start((row, *columns[:2]) for row, columns in before.items())
        for row in before:
            del self._before[row]

    def give(self, given: known.Known) -> int:
        """Adds what is known and was not given yet; returns how many sequences these are."""
        return self.database.transaction(lambda db: known.write(db, self._seed, given))

    def given(self) -> known.Known:
        """What was given as known."""
        return known.gathered(self.database.look(lambda db: known.stored(db, self._seed)))

    def _left(self, moves: Iterable[tuple[int, str]]) -> dict[int, int]:
        """By round, how many rows are neither done nor failed once these are in their states."""
        left: dict[int, int] = {}
        for row, state in moves:
            was = self.tally.open[row]
            left.setdefault(was.round, self.tally.unfinished[was.round])
            left[was.round] += (was.state == "failed") - (state in ("done", "failed"))
        return left

    def _change(
        self,
        left: dict[int, int],
        change: Callable[[sqlite3.Connection], object],
        update: Callable[[], object],
        patience: float | None = None,
        end: int | None = None,
    ) -> None:
        """Changes rows of rounds that then have so many unfinished ones; durable on return.

        Args:
          left: by round.
          change: of the file.
          update: of the tally, after it.
          patience: in place of the file's.
          end: the row after the round's last, where that changes.
        """
        tally, was_stale = self.tally, self._stale

        def whole(database):
            self._stale = True  # until it is known what the file holds
            database.executemany(seals.BREAK, [(round,) for round in left if round in tally.sealed])
            change(database)
            for round in (round for round, number in left.items() if not number):
                last = tally.first_row(round + 1) if end is None else end
                seals.seal(database, self._seed, round, tally.first_row(round), last)

        for round in tally.sealed.intersection(left):
            self._costs_by_row(round)
        self.database.transaction(whole, patience)
        update()
        tally.sealed.difference_update(left)
        tally.sealed.update(round for round, number in left.items() if not number)
        self._stale = was_stale
        self.mark.write(tally.now, tally.repeated)

    def _costs_by_row(self, round: int) -> None:
        query = "SELECT row, cost FROM evaluations WHERE row >= ? AND row < ? AND cost NOT NULL"
        at = (self.tally.first_row(round), self.tally.first_row(round + 1))
        self.tally.costs[round] = dict(self.database.read(query, *at))

    def close(self) -> None:
        self.mark.close()
        self.database.close()
