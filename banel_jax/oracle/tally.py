"""A ledger's counts, in memory: one look at the file, then nothing that grows with it."""

import bisect
import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from banel_jax.oracle.kept import Entry
from banel_jax.oracle.rows import Counts, Stored


class Open(NamedTuple):
    """A row that may still get an answer: any that is not done.

    Attributes:
      round: from 0.
      base: its checksum without what the oracle said.
      state: pending, running, failed or abandoned.
      attempts: how often the oracle was asked.
      cost: of these, where it told.
    """

    round: int
    base: int
    state: str = "pending"
    attempts: int = 0
    cost: float | None = None

    @property
    def unanswered(self) -> bool:
        """Whether it was paid for, and nothing came of it yet."""
        return self.attempts > 0 and self.state != "failed"

    @property
    def in_doubt(self) -> bool:
        """Whether nobody knows what became of it; what is pending is awaited."""
        return self.unanswered and self.state != "pending"


class _Changes(defaultdict[int, list[Counts]]):
    """By round, what its rows that changed count for."""

    def __init__(self):
        super().__init__(list)


class Tally:
    """The counts of the rows so far, in all and before each round.

    Rows come in their order, and rounds one after another; answers come in any order, and a
    round may begin before the one before has all of its answers.

    Attributes:
      now: Counts of all rows.
      proposed: the number of rows, whatever their state.
      open: the rows that are not done, by row.
      unfinished: by round, how many rows are neither done nor failed; none where it is 0.
      sealed: the rounds whose sums are in the file.
      first_success: the first row of reward 1, or None.
      repeated: how often the oracle was asked again for a row.
      news: rows that got their reward since, in that order.
      costs: by round and row, as far as the oracle told; of a sealed round the sum, at row -1.
    """

    def __init__(self):
        self.now = Counts()
        self.proposed = 0
        self.open: dict[int, Open] = {}
        self.unfinished: Counter[int] = Counter()
        self.sealed: set[int] = set()
        self.first_success: int | None = None
        self.repeated = 0
        self.news: list[int] = []
        self._rounds: list[int] = []
        self._first_rows: list[int] = []
        self._before: list[Counts] = []
        self.costs: dict[int, dict[int, float]] = {}

    @property
    def last_round(self) -> int:
        return self._rounds[-1] if self._rounds else -1

    @property
    def rounds(self) -> list[int]:
        return list(self._rounds)

    def before(self, round: int) -> Counts:
        """Of the rounds before this one."""
        i = bisect.bisect_left(self._rounds, round)
        return self._before[i] if i < len(self._rounds) else self.now

    def first_row(self, round: int) -> int:
        """The number of rows of the rounds before this one."""
        i = bisect.bisect_left(self._rounds, round)
        return self._first_rows[i] if i < len(self._rounds) else self.proposed

    def cost(self, rounds: int | None) -> float:
        """What the first rounds cost, as far as the oracle told; the same in whatever order."""
        return math.fsum(
            math.fsum(costs.values())
            for round, costs in self.costs.items()
            if rounds is None or round < rounds
        )

    def begin(self, round: int) -> None:
        """A round's rows are next.

        Raises:
          ValueError: for one that is not after all others.
        """
        if round <= self.last_round:
            raise ValueError(f"round {round} stands after a later round")
        self._rounds.append(round)
        self._first_rows.append(self.proposed)
        self._before.append(self.now)

    def add(self, round: int, counts: Counts, proposed: int, first_success: int | None) -> None:
        """Adds what a row, or a round, of the file counts for."""
        self.proposed += proposed
        self._count(round, counts)
        self._succeeded(first_success)

    def take(self, stored: Stored, base: int) -> None:
        """The next row of the file."""
        row, round = stored.row, stored.round
        self.add(round, stored.counts(), 1, row if stored.reward == 1 else None)
        self.repeated += max(stored.attempts - 1, 0)
        self.paid(round, row, stored.cost)
        if stored.state != "done":
            self.reopen(stored, base)
            self.unfinished[round] += stored.state != "failed"

    def reopen(self, stored: Stored, base: int) -> None:
        """A row of the file that is not done, and counted already."""
        self.open[stored.row] = Open(stored.round, base, stored.state, stored.attempts, stored.cost)

    def propose(self, round: int, row: int, base: int) -> None:
        """A row was written; it is the next, or pending as it was."""
        if row == self.proposed:
            self.proposed += 1
            self.unfinished[round] += 1
        self.open[row] = Open(round, base)

    def withdraw(self, row: int) -> None:
        """The last row, never asked for, was deleted."""
        self.unfinished[self.open.pop(row).round] -= 1
        self.proposed -= 1

    def start(self, rows: Iterable[int]) -> None:
        """The oracle is about to be asked for rows that are not done."""
        changes = _Changes()
        for row in rows:
            was = self.open[row]
            awaited = was.state == "pending" and was.attempts > 0
            self.repeated += was.attempts > 0 and not awaited
            attempts = was.attempts + (not awaited)
            changes[was.round] += [self._move(row, was, "running", attempts, was.cost)]
        self._count_all(changes)

    def undo_start(self, rows: Iterable[tuple[int, str, int]]) -> None:
        """Rows that were started are in their state, and have the attempts, of before."""
        changes = _Changes()
        for row, state, attempts in rows:
            was = self.open[row]
            self.repeated -= attempts > 0 and state != "pending"
            changes[was.round] += [self._move(row, was, state, attempts, was.cost)]
        self._count_all(changes)

    def enter(self, entries: Iterable[Entry]) -> None:
        """What became of rows that are not done was written."""
        changes = _Changes()
        for entry in entries:
            row, was = entry.row, self.open[entry.row]
            attempts = max(was.attempts, entry.attempts)
            changes[was.round] += [self._move(row, was, entry.state, attempts, entry.cost)]
            self.paid(was.round, row, entry.cost)
            if entry.state == "done":
                del self.open[row]
                self.news.append(row)
                success = entry.reward == 1
                changes[was.round] += [Counts(not attempts, 1, success, entry.checksum)]
                self._succeeded(row if success else None)
        self._count_all(changes)

    def abandon(self) -> None:
        for row, was in self.open.items():
            if was.state == "running":
                self.open[row] = was._replace(state="abandoned")

    def paid(self, round: int, row: int, cost: float | None) -> None:
        if cost is not None:
            self.costs.setdefault(round, {})[row] = cost

    def _move(self, row: int, was: Open, state: str, attempts: int, cost: float | None) -> Counts:
        """What the change counts for."""
        self.open[row] = Open(was.round, was.base, state, attempts, cost)
        finished = ("done", "failed")
        self.unfinished[was.round] += (was.state in finished) - (state in finished)
        failed = (state == "failed") - (was.state == "failed")
        paid = (attempts > 0) - (was.attempts > 0)
        return Counts(rows=paid, failed=failed, paid=paid)

    def _count_all(self, changes: "_Changes") -> None:
        for round, counts in changes.items():
            self._count(round, Counts(*map(sum, zip(*counts, strict=True))))

    def _count(self, round: int, counts: Counts) -> None:
        self.now = self.now.plus(counts)
        for i in range(bisect.bisect_right(self._rounds, round), len(self._rounds)):
            self._before[i] = self._before[i].plus(counts)

    def _succeeded(self, row: int | None) -> None:
        if row is not None and (self.first_success is None or row < self.first_success):
            self.first_success = row
