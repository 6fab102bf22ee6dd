"""When a run ends before its rounds do."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from banel_jax import checks
from banel_jax.runs.rounds import COUNTS


@dataclass(frozen=True)
class Stop:
    """What ends a run early; by default nothing does.

    A run that was stopped goes on, with another `Stop`, as if it had been asked for at once.
    All but the rate are looked at after each answer, so the rest of the round is not paid for.

    Attributes:
      successes: end when so many rows succeeded, copies included.
      distinct_successes: end when so many different sequences did.
      success_rate: end when this share of the rows of the last `over_rounds` rounds succeeded.
      over_rounds: for `success_rate`.
      seconds: of the run in all, time between its starts not counted.
      cost: what the answers cost in all, in the unit of `OracleConfig.cost_per_row`.

    Raises:
      ValueError: in one line, for a field of another type or outside its range.
    """

    successes: int | None = None
    distinct_successes: int | None = None
    success_rate: float | None = None
    over_rounds: int = 3
    seconds: float | None = None
    cost: float | None = None

    def __post_init__(self):
        checks.integers(self, "successes", "distinct_successes", at_least=1, none=True)
        checks.integers(self, "over_rounds", at_least=1)
        checks.reals(self, "success_rate", above=0, at_most=1, none=True)
        checks.reals(self, "seconds", "cost", at_least=0, none=True)


LIMITS = {  # of `Stop` that are looked at after each answer, and what is counted
    "successes": "successes",
    "distinct_successes": "distinct successes",
    "seconds": "seconds",
    "cost": "of cost",
}


def within_a_round(stop: Stop, reached: Mapping[str, Callable[[], float]]) -> str | None:
    """Why a run ends with the answer that just came; None where it goes on.

    Args:
      stop: the rules.
      reached: how far the run has come, by the names of `LIMITS`; called for those that are set.
    """
    for name, words in LIMITS.items():
        limit = getattr(stop, name)
        if limit is not None and (now := reached[name]()) >= limit:
            return f"{now:.6g} {words} reached stop.{name}={limit:g}"
    return None


def after_a_round(stop: Stop, metrics: Sequence[Mapping[str, float]]) -> str | None:
    """The same of the rate.

    Args:
      stop: the rules.
      metrics: the records of the rounds so far.
    """
    n = stop.over_rounds
    if stop.success_rate is None or len(metrics) < n:
        return None
    zero = dict.fromkeys(COUNTS, 0.0)
    first = metrics[-n - 1] if len(metrics) > n else zero
    rows, successes = (metrics[-1][name] - first[name] for name in COUNTS)
    if not rows or successes / rows < stop.success_rate:
        return None
    return (
        f"{successes:g} of the {rows:g} rows of the last {n} rounds succeeded, and "
        f"stop.success_rate={stop.success_rate:g}"
    )
