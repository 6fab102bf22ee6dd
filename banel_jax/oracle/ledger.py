"""Every evaluation on disk before the algorithm sees it: an SQLite file, one row each."""

from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

import numpy as np

from banel_jax.oracle.counted import Counted, one_at_a_time
from banel_jax.oracle.database import LedgerError
from banel_jax.oracle.hand import Hand, Result
from banel_jax.oracle.kept import Entry, Kept
from banel_jax.oracle.known import Known
from banel_jax.oracle.rows import outcome_checksum
from banel_jax.oracle.store import Store
from banel_jax.oracle.values import as_text


class Ledger(Counted):
    """The durable record of a run's evaluations.

    A row is proposed, started and recorded: its states are pending, running, then done or
    failed; what was running when the run was stopped is abandoned, as nobody knows what became
    of it. Every row is checked once, on opening; from then on the counts are in memory. Beside
    the file stands its `Mark`, and after a trouble the `Kept` answers that it could not take.

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
        if must_exist and file and not (file.exists() and file.stat().st_size):
            raise LedgerError(
                f"the ledger {file} of this run is missing or empty, so what was paid is not "
                "known; put it back from a copy, or start anew in another folder"
            )
        super().__init__(Store(file, run, patience))
        self._database = self._store.database
        try:
            self._hand = Hand(self._store, Kept(file))
        except BaseException:
            self.close()
            raise

    @one_at_a_time
    def states_of(self, round: int) -> list[str]:
        """Of a round's rows, k of them; each one of `rows.STATES`."""
        self._hand.take_up()
        tally = self._store.tally
        rows = range(tally.first_row(round), tally.first_row(round + 1))
        return [tally.open[row].state if row in tally.open else "done" for row in rows]

    @one_at_a_time
    def rewards(self, round: int) -> np.ndarray:
        """Of a round's rows, as the file has them: float64 [k], NaN where there is none."""
        self._hand.take_up()
        tally = self._store.tally
        query = "SELECT reward FROM evaluations WHERE row >= ? AND row < ? ORDER BY row"
        rows = self._database.read(query, tally.first_row(round), tally.first_row(round + 1))
        return np.array([reward for (reward,) in rows], np.float64)

    @one_at_a_time
    def propose(self, round: int, tokens: np.ndarray, mask: np.ndarray) -> int:
        """Writes all rows of a round as pending, before any of them is paid; durable on return.

        A round that is there already must be the same, but for rows that were never asked for:
        these are proposed anew.

        Args:
          round: after all others, or one that is there.
          tokens, mask: integers and bools [m, length].

        Returns:
          The number of the round's first row.

        Raises:
          LedgerError: if other sequences of this round were paid for.
          ValueError: for a new round before the latest.
        """
        self._hand.take_up()
        tally = self._store.tally
        first, end = tally.first_row(round), tally.first_row(round + 1)
        if first == end and round < tally.last_round:
            raise ValueError(f"round {round} is out of order: rounds come one after another")
        tokens = np.ascontiguousarray(tokens, "<i4")
        mask = np.ascontiguousarray(mask, np.bool_)
        rows = [
            (first + i, round, i, t.tobytes(), m.tobytes())
            for i, (t, m) in enumerate(zip(tokens, mask, strict=True))
        ]
        there = self._database.read(
            "SELECT tokens, mask, attempts > 0 OR state <> 'pending' FROM evaluations "
            "WHERE row >= ? AND row < ? ORDER BY row",
            first,
            end,
        )
        grows = round == tally.last_round or first == end
        for i, (t, m, fixed) in enumerate(there):
            same = i < len(rows) and rows[i][3:] == (t, m)
            if not same and (fixed or (i >= len(rows) and not grows)):
                self._refuse(round, i)
        if len(rows) > len(there) and not grows:
            self._refuse(round, len(there))
        changed = [r for i, r in enumerate(rows) if i >= len(there) or r[3:] != there[i][:2]]
        withdrawn = range(first + len(rows), end)
        if changed or withdrawn:
            self._ask(lambda: self._store.propose(round, changed, withdrawn))
        return first

    def _refuse(self, round: int, index: int) -> NoReturn:
        raise LedgerError(
            f"the ledger {self.path} holds another sequence for round {round}, index {index}: it "
            "is another run's (another prior, seed, version or kind of device); use another folder"
        )

    @one_at_a_time
    def start(self, rows: Iterable[int], worker: str | None = None) -> None:
        """Notes that the oracle is about to be asked for these rows; durable on return.

        Raises:
          ValueError: for a row that was not proposed, or is done.
          LedgerError: if the ledger could not be written.
        """
        rows = [int(row) for row in rows]
        self._store.fresh()
        for row in rows:
            if row not in self._store.tally.open:
                raise ValueError(f"row {row} is done, or was not proposed")
        self._ask(lambda: self._store.write((), rows, as_text(worker)))

    @one_at_a_time
    def undo_start(self, rows: Iterable[int]) -> None:
        """Notes that the oracle was not asked for rows that were started last; durable on return.

        They are what they were before. Others stay as they are.

        Raises:
          LedgerError: if the ledger could not be written.
        """
        self._store.fresh()
        self._store.undo_start(map(int, rows))

    def _ask(self, change) -> None:
        try:
            change()
        except LedgerError as error:
            raise LedgerError(f"{error}. The oracle was not asked") from error

    @one_at_a_time
    def record(self, results: Iterable[Result | tuple], starting: Iterable[int] = ()) -> None:
        """Writes what came of rows, in one transaction; durable on return.

        Other rows may be started in the same one, see `start`.

        Whatever hinders that, it is kept in a file beside the ledger or in the temporary folder,
        and taken up when the run goes on. A row that is done stays as it is. One that failed may
        be started again, and an answer that comes late is taken.

        Raises:
          LedgerError: if the ledger could not take them; it says where they are.
        """
        entries = self._hand.entries(Result(*result) for result in results)
        self._hand.write(entries, [int(row) for row in starting])

    @one_at_a_time
    def answer_from(
        self, source: str, results: Iterable[Result | tuple], counted: bool = False
    ) -> None:
        """Answers rows without asking the oracle.

        Args:
          source: of the answers: memo (an earlier row) or known.
          results: as in `record`.
          counted: whether they count as paid.
        """
        made = self._hand.entries((Result(*one) for one in results), int(counted), source)
        self._ask(lambda: self._store.write(made))

    @one_at_a_time
    def give(self, known: Known) -> int:
        """Keeps what is known already and costs nothing; the same may be given again.

        Returns:
          How many of the sequences are new.

        Raises:
          ValueError: where a sequence was given with the other reward.
        """
        new = self._store.give(known)
        self._memory.forget_given()
        return new

    @one_at_a_time
    def abandon(self, rows: Iterable[int], reason: str | None = None) -> None:
        """Notes that nobody waits for these rows any more; they may be started again."""
        self._set(rows, "abandoned", reason)

    @one_at_a_time
    def postpone(self, rows: Iterable[int], awaited: str | None = None) -> None:
        """Notes that the answers of rows that were asked for come later.

        They are pending again, and to start them does not count as another attempt.
        """
        self._set(rows, "pending", awaited)

    def _set(self, rows: Iterable[int], state: str, reason: str | None) -> None:
        reason, entries = as_text(reason), []
        for row in map(int, rows):
            was = self._store.tally.open[row]
            checksum = outcome_checksum(was.base, None, False, None, was.cost, reason)
            told = (None, was.cost, reason, None, None, was.attempts)
            entries.append(Entry(row, None, checksum, state, *told))
        self._store.write(entries)

    @one_at_a_time
    def close(self) -> None:
        self._store.close()
