"""Every evaluation on disk before the algorithm sees it: an SQLite file, one row each."""

import logging
import sqlite3
import struct
import zlib
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np

from banel_jax.oracle import interrupts, schema
from banel_jax.oracle.answers import one_line
from banel_jax.oracle.database import Database, LedgerError, LedgerLocked
from banel_jax.oracle.kept import Answer, Kept
from banel_jax.oracle.mark import Mark
from banel_jax.oracle.tally import Counts, Tally, row_checksum, with_reward

logger = logging.getLogger(__name__)


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

    Every row is checked once, on opening; from then on the counts are in memory. Beside the
    file stands its `Mark`, and after a trouble the `Kept` answers that it could not take.

    Args:
      path: the SQLite file, made where it is missing; None for a record in memory.
      run: names the run (a hash of its configuration); a file of another run is refused.
      must_exist: refuse a file that is missing or empty, where one is known to have been.
      patience: seconds to wait for another program that has locked the file.

    Raises:
      LedgerError: for a file that is no ledger, is damaged or changed, lacks what was paid, is
        another run's, or cannot be read or written.
    """

    def __init__(
        self,
        path: Path | str | None = None,
        run: str = "",
        must_exist: bool = False,
        patience: float = 30.0,
    ):
        self.path = file = None if path is None else Path(path)
        self._seed = zlib.crc32(run.encode())
        if must_exist and file and not (file.exists() and file.stat().st_size):
            raise LedgerError(
                f"the ledger {file} of this run is missing or empty, so what was paid is not "
                "known; put it back from a copy, or start anew in another folder"
            )
        self._kept, self._mark, self._tally = Kept(file), Mark(file), Tally()
        self._database = Database(file, patience)
        try:
            self._check_run(self._database.transaction(lambda db: schema.describe(db, run)), run)
            self._database.do(self._read)
            self._check_mark()
            self._take_up()
        except BaseException:
            self.close()
            raise

    def _check_run(self, about: dict[str, str], run: str) -> None:
        if about.get("format") != schema.FORMAT:
            raise LedgerError(
                f"the ledger {self.path} has format {about.get('format')}, not {schema.FORMAT}: "
                "another version wrote it; go on with that one, or start anew in another folder"
            )
        if about.get("run") != run:
            raise LedgerError(
                f"the ledger {self.path} belongs to a run of another configuration "
                f"({about.get('run')}, this one is {run}); use another folder"
            )

    def _read(self) -> None:
        self._tally = Tally()
        rows = self._database.stream(
            "SELECT row, round, index_in_round, tokens, mask, reward, attempts, checksum "
            "FROM evaluations ORDER BY row"
        )
        try:
            self._tally.read(rows, self._seed)
        except (ValueError, TypeError, struct.error) as error:
            raise sqlite3.DatabaseError(f"it was changed or damaged: {one_line(error)}") from error

    def _check_mark(self) -> None:
        now = self._tally.now
        marked = self._mark.contradicted_by(now)
        if marked:
            raise LedgerError(
                f"the ledger {self.path} holds {now.answers} answers for {now.rows} rows, and is "
                f"not the one that had {marked.answers} for {marked.rows}: its -wal file was lost, "
                "or a changed or older copy is in its place. Put the newest back with its -wal; "
                f"or delete {self._mark.path} to go on from this one, and what it lacks is paid "
                "for again"
            )
        self._mark.write(now)

    def _take_up(self) -> None:
        """Records the answers that the ledger could not take before."""
        try:
            kept = self._kept.read()
        except (ValueError, OSError) as error:
            raise LedgerError(one_line(error)) from error
        new: dict[int, Answer] = {}
        for place, answer in kept:
            base = self._tally.in_flight.get(answer.row)
            if base is not None and with_reward(base, answer.reward) == answer.checksum:
                new[answer.row] = answer
                continue
            query = "SELECT checksum FROM evaluations WHERE row = ?"
            if self._database.read(query, answer.row) != [(answer.checksum,)]:
                raise LedgerError(
                    f"{place} holds an answer for row {answer.row} of another run than the ledger "
                    f"{self.path}; put the ledger that it belongs to back, or move it away"
                )
        if new:
            self._write(list(new.values()))
            logger.warning(
                "%d answers that the ledger %s could not take before are in it now",
                len(new),
                self.path,
            )
        if kept:
            self._kept.remove()

    def recorded(self, round: int) -> Recorded:
        """What is known of a round."""
        self._take_up()
        rows = self._database.read(
            "SELECT index_in_round, tokens, mask, reward FROM evaluations "
            "WHERE row >= ? AND row < ? ORDER BY row",
            self._tally.before(round).rows,
            self._tally.before(round + 1).rows,
        )
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
        bases = [row_checksum(self._seed, *row) for row in rows]
        try:
            new = [(*row, with_reward(base, None)) for row, base in zip(rows, bases, strict=True)]
            self._database.transaction(lambda db: db.executemany(schema.START, new))
        except LedgerError as error:
            raise LedgerError(f"{error}. The oracle was not asked") from error
        for row, base in zip(rows, bases, strict=True):
            self._tally.start(row[0], round, base)
        self._mark.write(self._tally.now)

    def record(self, round: int, indices, rewards) -> None:
        """Writes the answers of rows that were started; durable on return.

        Whatever hinders that, the answers are kept in a file beside the ledger or in the
        temporary folder, and are taken up when the run goes on.

        Raises:
          LedgerError: if the ledger could not take them; it says where they are.
        """
        first, in_flight = self._tally.before(round).rows, self._tally.in_flight
        answers = []
        for index, reward in zip(indices, map(float, rewards), strict=True):
            row = first + int(index)
            answers.append(Answer(row, reward, with_reward(in_flight[row], reward)))
        try:
            self._write(answers, patience=0)
            return
        except BaseException as failure:
            error = failure
        place = self._kept.keep(answers)  # before any waiting, which may be ended by a kill
        if isinstance(error, LedgerLocked):
            try:
                self._take_up() if place else self._write(answers)
                return
            except BaseException as failure:
                error = failure
        self._give_up(answers, place, error)

    def _write(self, answers: list[Answer], patience: float | None = None) -> None:
        rows = [(answer.reward, answer.checksum, answer.row) for answer in answers]
        if rows:
            self._database.transaction(lambda db: db.executemany(schema.ANSWER, rows), patience)
            for answer in answers:
                self._tally.answer(answer.row, answer.reward)
            self._mark.write(self._tally.now)

    def _give_up(self, answers: list[Answer], place: Path | None, error: BaseException) -> NoReturn:
        if place:
            said = f"the {len(answers)} answers in hand are kept in {place} and will be taken up"
        else:
            told = ", ".join(f"{answer.row}: {answer.reward:g}" for answer in answers)
            said = f"no file could keep the answers in hand, which are, by row, {told}"
        if interrupts.pending() or not isinstance(error, LedgerError):  # said here or not at all
            logger.warning("writing the ledger %s was interrupted; %s", self.path, said)
        if isinstance(error, LedgerError):
            raise LedgerError(f"{error}; {said}") from error
        raise error

    def totals(self, rounds: int | None = None) -> tuple[int, int]:
        """(rows, successes) of the first `rounds` rounds, or of all; unanswered rows count."""
        counts = self.counts(rounds)
        return counts.rows, counts.successes

    def counts(self, rounds: int | None = None) -> Counts:
        """What was paid and met in the first `rounds` rounds, or in all."""
        return self._tally.now if rounds is None else self._tally.before(rounds)

    def first_success(self) -> int | None:
        """How many rows were paid up to the first success, that one included; None if none."""
        row = self._tally.first_success
        return None if row is None else row + 1

    def unanswered(self, rounds: int | None = None) -> int:
        """Rows that were started and have no answer: in flight when the run was stopped."""
        end = self.counts(rounds).rows
        return sum(row < end for row in self._tally.in_flight)

    def repeated_attempts(self) -> int:
        """How often the oracle was asked again for a row that was in flight at a stop."""
        return self._tally.repeated

    def last_round(self) -> int:
        """The latest round with a row, -1 where there is none."""
        return self._tally.last_round

    def close(self) -> None:
        self._mark.close()
        self._database.close()
