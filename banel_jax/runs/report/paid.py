"""What was asked of the oracle, in sums; of a ledger that grows, no row is summed twice."""

from collections import Counter
from collections.abc import Container
from dataclasses import dataclass, field, replace
from pathlib import Path

from banel_jax.oracle.reading import opened
from banel_jax.runs.report.ledger_table import LACKING, SHOWN, Row, Table

REASONS = 1000  # that are told apart; a sandbox may give each row its own


@dataclass
class OfRound:
    """Counts of a round's rows.

    Attributes:
      states: rows by state.
      paid: rows that the oracle was asked for; what was known already is not.
      successes: rows of reward 1.
      distinct: those of them whose sequence no earlier row had.
    """

    states: Counter = field(default_factory=Counter)
    paid: int = 0
    successes: int = 0
    distinct: int = 0

    @property
    def rows(self) -> int:
        return sum(self.states.values())

    @property
    def done(self) -> int:
        return self.states["done"]


@dataclass(frozen=True)
class Paid:
    """What was asked of the oracle.

    Attributes:
      rounds: OfRound by round.
      latest: the first rows of the newest round that has an answer, successes before others.
      open: the first rows that are in flight or waited for.
      failures: (reason, rows, newest row) of the commonest, and how many rows those are in all.
      successes: the newest rows of reward 1.
      seconds: median of the seconds that one of the newest rows took, None where not known.
    """

    rounds: dict[int, OfRound] = field(default_factory=dict)
    latest: tuple[Row, ...] = ()
    open: tuple[Row, ...] = ()
    failures: tuple[tuple[str, int, int], ...] = ()
    successes: tuple[Row, ...] = ()
    seconds: float | None = None

    def total(self, state: str) -> int:
        return sum(counts.states[state] for counts in self.rounds.values())

    @property
    def rows(self) -> int:
        """That were paid for."""
        return sum(counts.paid for counts in self.rounds.values())

    @property
    def num_successes(self) -> int:
        return sum(counts.successes for counts in self.rounds.values())

    @property
    def num_distinct(self) -> int:
        return sum(counts.distinct for counts in self.rounds.values())


class LedgerReader:
    """Reads a ledger again and again, each time but what may have changed since the last.

    Rows before the first that has no answer, and those of rounds that are told, are read once.
    """

    def __init__(self, path: Path):
        self.path = path
        self._at: tuple[int, int] | None = None
        self._begin()

    def _begin(self) -> None:
        self._next = 0  # the first row that may still change
        self._sums = _Sums({}, set(), [], {})

    def read(self, told: int) -> Paid | None:
        """What the ledger holds; None where there is none.

        Args:
          told: rounds whose rows change no more.

        Raises:
          LedgerError: where it cannot be read now; one line that names it.
          OSError: where the file cannot be looked at.
        """
        try:
            there = self.path.stat()
        except FileNotFoundError:
            return None
        if (there.st_dev, there.st_ino) != self._at:  # another file was put in its place
            self._at = there.st_dev, there.st_ino
            self._begin()
        with opened(self.path) as (database, form):
            return self._read(Table(database, LACKING if form == "2" else {}), told)

    def _read(self, table: Table, told: int) -> Paid:
        end = table.first_open(self._next, told)
        self._sums.add(table, self._next, end)
        self._next = end
        sums = self._sums.beside()
        sums.add(table, end, None)
        commonest = sorted(sums.failures.items(), key=lambda item: -item[1][0])[:SHOWN]
        newest = _newest_answered(sums.rounds)
        return Paid(
            dict(sorted(sums.rounds.items())),
            table.latest(*newest),
            table.open(end),
            tuple((reason, *counts) for reason, counts in commonest),
            table.named(sums.newest),
            table.seconds(newest[1]),
        )


def _newest_answered(rounds: dict[int, OfRound]) -> tuple[int, int]:
    """The rows, from and to, of the newest round that has an answer."""
    round = max((k for k, v in rounds.items() if v.done), default=-1)
    first = sum(v.rows for k, v in rounds.items() if k < round)
    return first, first + (rounds[round].rows if round >= 0 else 0)


class _Beside:
    """A set that grows beside another, which stays as it is."""

    def __init__(self, other: Container[int]):
        self.other, self.own = other, set[int]()

    def __contains__(self, mark: object) -> bool:
        return mark in self.own or mark in self.other

    def add(self, mark: int) -> None:
        self.own.add(mark)


@dataclass
class _Sums:
    """Over the rows so far.

    Attributes:
      rounds: counts by round.
      seen: hashes of the sequences that succeeded.
      newest: the last rows that did.
      failures: rows and newest row by reason.
    """

    rounds: dict[int, OfRound]
    seen: set[int] | _Beside
    newest: list[int]
    failures: dict[str, tuple[int, int]]

    def beside(self) -> "_Sums":
        """These sums to add to, which leaves them as they are."""
        return _Sums(dict(self.rounds), _Beside(self.seen), list(self.newest), dict(self.failures))

    def add(self, table: Table, start: int, end: int | None) -> None:
        for round, state, reason, successes, paid, rows, last in table.sums(start, end):
            of = self._changed(round)
            of.states[state] += rows
            of.paid += paid
            of.successes += int(successes or 0)
            if state == "failed":
                self._fail(str(reason or "no reason was given"), rows, last)
        for row, round, tokens, mask in table.successes(start, end):
            mark = hash((tokens, mask))
            if mark not in self.seen:
                self._changed(round).distinct += 1
            self.seen.add(mark)
            self.newest = [*self.newest[1 - SHOWN :], row]

    def _fail(self, reason: str, rows: int, last: int) -> None:
        if reason not in self.failures and len(self.failures) >= REASONS:
            reason = "other reasons"
        before = self.failures.get(reason, (0, -1))
        self.failures[reason] = before[0] + rows, max(before[1], last)

    def _changed(self, round: int) -> OfRound:
        """The counts of a round, apart from those that a view holds."""
        of = self.rounds.get(round, OfRound())
        self.rounds[round] = replace(of, states=Counter(of.states))
        return self.rounds[round]
