"""Rules that say after which round to stop, from what can be seen, and what each of them keeps.

A rule looks at a number a round. It stops a run at the first round at which that is at or above a
limit. Limits are chosen on other tasks than the one they are judged on.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

Line = Mapping[str, Any]
NEVER = float("inf")


class Rule(NamedTuple):
    """What a rule looks at.

    Attributes:
      title: in tables.
      of: `of(recorded run) -> [rounds]`; nan, where there is nothing to see, never stops.
      limits: that are tried, beside never.
    """

    title: str
    of: Callable[[Line], np.ndarray]
    limits: tuple[float, ...]


def _seen(name: str) -> Callable[[Line], np.ndarray]:
    return lambda line: np.array(line["seen"].get(name, [None] * len(line["rates"])), float)


def _entropy_lost(line: Line) -> np.ndarray:
    entropy = _seen("entropy")(line)
    return 1 - entropy / entropy[0]


def _weights_unlike(line: Line) -> np.ndarray:
    """1 - the effective sample size as a share of its first filtered round's."""
    size = _seen("effective_sample_size")(line)
    first = size[min(1, len(size) - 1)]
    return 1 - size / first


_SHARES = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9)
RULES: dict[str, Rule] = {
    "last": Rule("never before the last round", lambda line: np.zeros(len(line["rates"])), ()),
    "rounds": Rule(
        "rounds", lambda line: np.arange(1.0, len(line["rates"]) + 1),
        (1, 2, 3, 4, 5, 6, 8, 10, 12, 15),
    ),
    "kl_to_base": Rule(
        "KL(generator, base), nats a sequence", _seen("kl_to_base"),
        (0.1, 0.2, 0.5, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0),
    ),
    "entropy_lost": Rule("entropy lost, share of the first round's", _entropy_lost, _SHARES),
    "duplicate_rate": Rule("copies among the proposals", _seen("duplicate_rate"), _SHARES),
    "repeats": Rule("candidates that were paid for before", _seen("repeats"), _SHARES),
    "effective_sample_size": Rule(
        "effective sample size lost, share of the second round's", _weights_unlike, _SHARES
    ),
    "failure_gap": Rule(
        "held-out gap of the failure model, nats a sequence", _seen("failure_gap"),
        (0.1, 0.2, 0.5, 1.0, 2.0, 3.0, 5.0),
    ),
}  # fmt: skip


def stops_at(rule: Rule, limit: float, line: Line) -> int:
    """The index of the round after which the rule stops; the last one where it never does."""
    reached = np.flatnonzero(rule.of(line) >= limit)
    return int(reached[0]) if len(reached) else len(line["rates"]) - 1


def kept(line: Line, at: int) -> float:
    """The success rate after that round as a share of the best of all rounds and of the base.

    To have stopped before the first round is to keep the base, which is always possible.
    """
    return line["rates"][at] / max([line["base_rate"], *line["rates"]])


def keeps(rule: Rule, limit: float, lines: Sequence[Line]) -> float:
    """The mean over runs of what is kept."""
    return float(np.mean([kept(line, stops_at(rule, limit, line)) for line in lines]))


def chosen(rule: Rule, by_task: Mapping[str, Sequence[Line]]) -> float:
    """The limit that keeps the most, each task counted alike; the loosest one among equals."""
    of = lambda limit: np.mean([keeps(rule, limit, lines) for lines in by_task.values()])
    return max((NEVER, *sorted(rule.limits, reverse=True)), key=of)


def elsewhere(rule: Rule, by_task: Mapping[str, Sequence[Line]]) -> dict[str, dict[str, float]]:
    """By task, what the rule keeps there with the limit that was chosen on the others."""
    found = {}
    for task, lines in by_task.items():
        others = {name: of for name, of in by_task.items() if name != task}
        limit = chosen(rule, others) if others else NEVER
        found[task] = {"limit": limit, "kept": keeps(rule, limit, lines)}
    return found
