"""What a comparison says: a gain is claimed where the numbers carry it, and nowhere else."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from experiments.common import report

# Successes that a gain must rest on: their number is then known to a third (1 / sqrt(10)), where
# that of one or two may be off by any factor; and a run that has met none has learned nothing
# that it would not have learned about any other goal.
FEWEST = 10
MARGIN = 1.1  # times the best control; what is within a tenth of it is no gain


class Result(NamedTuple):
    """How a method ends.

    Attributes:
      title: its name.
      finals: success rates, or times a base, by seed; one of a control that costs nothing.
      met: successes among the evaluations of all seeds; None where there are none or they are
        kept from it.
      intervals: the 95% interval of each final value; None where those are exact.
    """

    title: str
    finals: Sequence[float]
    met: int | None = None
    intervals: Sequence[tuple[float, float]] | None = None

    @property
    def median(self) -> float:
        return float(np.median(self.finals))

    @property
    def interval(self) -> tuple[float, float]:
        """Of the seed in the middle, of two the lower one."""
        if self.intervals is None:
            return self.median, self.median
        order = np.argsort(self.finals, kind="stable")
        return tuple(self.intervals[order[(len(order) - 1) // 2]])


class Verdict(NamedTuple):
    """The best of what learns beside the best control.

    Attributes:
      best, control: each by its median final value.
      factor: the former over the latter; None where no control has any success.
      gain: whether one is claimed.
      words: such as "3 times the best control (prior), above it on 4 of 5 seeds".
    """

    best: Result
    control: Result
    factor: float | None
    gain: bool
    words: str


def verdict(learners: Sequence[Result], controls: Sequence[Result]) -> Verdict | None:
    """What the best learner has beyond the best control; None without either.

    A control that was chosen by looking at its success rate, such as the best temperature,
    counts as any other.
    """
    if not learners or not controls:
        return None
    best, control = (max(of, key=lambda result: result.median) for of in (learners, controls))
    factor = best.median / control.median if control.median else None
    lacking = _lacking(best, control, factor)
    if factor is None:
        words = "no control has any success"
    elif factor < 1:
        words = f"below the best control, at {report.format_value(factor)} of it ({control.title})"
    else:
        words = f"{report.format_value(factor)} times the best control ({control.title})"
    if lacking:
        words += f"; no gain is claimed, for {lacking}"
    elif factor is not None and factor > 1 and len(best.finals) > 1:
        above = sum(final > control.median for final in best.finals)
        words += f", above it on {above} of {len(best.finals)} seeds"
    gain = not lacking and (factor is None or factor > 1)
    return Verdict(best, control, factor, gain, words)


def _lacking(best: Result, control: Result, factor: float | None) -> str:
    """What a gain lacks to be claimed; nothing where it lacks nothing, or is none."""
    if factor is not None and factor < 1:
        return ""
    if factor is not None and factor <= MARGIN:
        return "that is within a tenth of it"
    if best.met is not None and best.met < FEWEST:
        successes = "success" if best.met == 1 else "successes"
        return f"its runs met {best.met} {successes} in all, and one must rest on {FEWEST} or more"
    if best.intervals is not None and best.interval[0] <= control.interval[1]:
        return "the 95% intervals overlap"
    return ""
