"""The few numbers of a run that everybody asks for: paid, met, how fast, how long yet."""

from dataclasses import dataclass
from typing import NamedTuple

from banel_jax.runs.report.view import Record, RunView
from banel_jax.success_rate import clopper_pearson

NEWEST = 10  # rounds that the pace is taken of
BINS = 50  # of neighbouring rounds, whose rows are counted together


@dataclass(frozen=True)
class Facts:
    """Counts of rows, and seconds; None for what is not known.

    Attributes:
      told: rounds that are complete.
      rounds: that the run is to have.
      rows: paid for.
      rows_in_all: that the rounds ask for.
      answered: rows with a reward.
      successes, distinct: rows of reward 1, and how many different sequences those are.
      in_flight, pending, failed, abandoned: rows in these states.
      rows_per_second: over the newest rounds, training included.
      seconds_per_row: of the oracle.
      seconds_left: until the last round.
    """

    told: int
    rounds: int | None
    rows: int
    rows_in_all: int | None
    answered: int
    successes: int
    distinct: int | None
    in_flight: int
    pending: int
    failed: int
    abandoned: int
    rows_per_second: float | None
    seconds_per_row: float | None
    seconds_left: float | None


class Since(NamedTuple):
    """When a process took the run up, and how many rows had been answered then."""

    time: float
    answered: int


def facts(view: RunView, since: Since | None = None) -> Facts:
    """The numbers of a view; `since` gives a pace before the first round is told."""
    paid, newest = view.paid, view.records[-1] if view.records else {}
    told_of = _counts(newest)
    rows = paid.rows if paid else told_of[1]
    successes = paid.num_successes if paid else told_of[0]
    total = paid.total if paid else lambda state: 0
    answered = total("done") if paid else rows
    size, told = view.setting("num_candidates"), len(view.records)
    in_all = size * view.rounds if isinstance(size, int) and view.rounds is not None else None
    seconds = [sum(v for k, v in t.items() if k != "round") for t in view.timings[-NEWEST:]]
    a_round = sum(seconds) / len(seconds) if seconds else None
    pace = None
    if a_round and isinstance(size, int):
        pace = size / a_round
    elif since is not None and view.time > since.time and answered > since.answered:
        pace = (answered - since.answered) / (view.time - since.time)
    left = None
    if view.standing.state == "running" and view.rounds is not None:
        if a_round is not None:
            begun = view.time - view.told if view.told else 0.0
            left = (view.rounds - told) * a_round - min(max(begun, 0.0), a_round)
        elif pace and in_all is not None:
            left = (in_all - answered) / pace
    return Facts(
        told, view.rounds, rows, in_all, answered, successes, paid.num_distinct if paid else None,
        total("running"), total("pending"), total("failed"), total("abandoned"),
        pace, _seconds_per_row(view), None if left is None else max(left, 0.0),
    )  # fmt: skip


def _seconds_per_row(view: RunView) -> float | None:
    if view.paid and view.paid.seconds is not None:
        return view.paid.seconds
    size = view.setting("num_candidates")
    oracle = [t["oracle"] for t in view.timings[-NEWEST:] if "oracle" in t]
    return sum(oracle) / len(oracle) / size if oracle and isinstance(size, int) and size else None


class Rate(NamedTuple):
    """A success rate that was counted.

    Attributes:
      first, last: rounds.
      successes, answered: rows of reward 1, among those with a reward.
      low, high: its exact 95% interval.
    """

    first: int
    last: int
    successes: int
    answered: int
    low: float
    high: float

    @property
    def value(self) -> float:
        return self.successes / self.answered


def rates(view: RunView, bins: int = BINS) -> list[Rate]:
    """By round; neighbours together where there are more rounds than bins."""
    counts = by_round(view)
    size = -(-len(counts) // bins)
    found = []
    for start in range(0, len(counts), size or 1):
        part = counts[start : start + size]
        successes, answered = (sum(column) for column in list(zip(*part, strict=True))[1:])
        if answered:
            interval = clopper_pearson(successes, answered)
            found.append(Rate(part[0][0], part[-1][0], successes, answered, *interval))
    return found


def by_round(view: RunView) -> list[tuple[int, int, int]]:
    """(round, successes, rows with a reward); from the metrics where there is no ledger."""
    if view.paid:
        return [(k, v.successes, v.done) for k, v in view.paid.rounds.items()]
    found, before = list[tuple[int, int, int]](), (0, 0)
    for record in view.records:
        now = _counts(record)
        found.append((len(found), max(now[0] - before[0], 0), max(now[1] - before[1], 0)))
        before = now
    return [(round, min(successes, rows), rows) for round, successes, rows in found]


def _counts(record: Record) -> tuple[int, int]:
    """(successes, rows) up to a record's round."""
    successes, rows = (
        record.get(name, 0.0) for name in ("num_successes", "num_reward_evaluations")
    )
    whole = lambda number: int(number) if 0 <= number < 2**53 else 0
    return whole(successes), whole(rows)
