"""When a run ends before its rounds do."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from banel_jax import checks
from banel_jax.runs.rounds import COUNTS


@dataclass(frozen=True)
class Stop:
    """What ends a run early; by default nothing does.

    A run that was stopped goes on, with another `Stop`, as if it had been asked for at once.
    All but the rate and the distance are looked at after each answer, so the rest of the round is
    not paid for.

    Attributes:
      successes: end when so many rows succeeded, copies included.
      distinct_successes: end when so many different sequences did.
      success_rate: end when this share of the rows of the last `over_rounds` rounds succeeded.
      over_rounds: for `success_rate`.
      kl_to_base: end, while nothing has succeeded, when the generator's proposals are so many nats
        from the prior, KL(generator, prior) a sequence; 1 to 2 did best in experiments/stopping.
        Never, of an algorithm that does not tell it.
      seconds: of the run in all, time between its starts not counted.
      cost: what the answers cost in all, in the unit of `OracleConfig.cost_per_row`.

    Raises:
      ValueError: in one line, for a field of another type or outside its range.
    """

    successes: int | None = None
    distinct_successes: int | None = None
    success_rate: float | None = None
    over_rounds: int = 3
    kl_to_base: float | None = None
    seconds: float | None = None
    cost: float | None = None

    def __post_init__(self):
        checks.integers(self, "successes", "distinct_successes", at_least=1, none=True)
        checks.integers(self, "over_rounds", at_least=1)
        checks.reals(self, "success_rate", above=0, at_most=1, none=True)
        checks.reals(self, "kl_to_base", above=0, none=True)
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
    """The same of the rate, and of what can be seen without a success.

    Args:
      stop: the rules.
      metrics: the records of the rounds so far.
    """
    return _by_rate(stop, metrics) or _by_distance(stop, metrics)


def _by_rate(stop: Stop, metrics: Sequence[Mapping[str, float]]) -> str | None:
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


def _by_distance(stop: Stop, metrics: Sequence[Mapping[str, float]]) -> str | None:
    if stop.kl_to_base is None or not metrics or metrics[-1][COUNTS[1]]:
        return None
    # Of a hedge each arm has its own, under its name.
    told = [value for name, value in metrics[-1].items() if name.endswith("kl_to_base")]
    farthest = max(told, default=0.0)
    if not farthest >= stop.kl_to_base:
        return None
    return (
        f"nothing has succeeded and the proposals are {farthest:.3g} nats from the prior, and "
        f"stop.kl_to_base={stop.kl_to_base:g}"
    )
