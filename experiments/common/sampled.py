"""Gains over a prior whose success rate is known by samples, as its table (`rate_table`) has it."""

from typing import Any

import numpy as np

from experiments.common.rate_table import log10_gain
from experiments.common.seed_runs import SeedRuns


def gains(config: Any, prepared: Any, result: SeedRuns) -> tuple[np.ndarray, np.ndarray]:
    """Decades over the prior, by round [seeds, rounds] and final [seeds]."""
    by_round = result.metrics["success_rate"].astype(float)
    final = result.final["successes"].astype(int) / config.num_final
    return (
        log10_gain(by_round, _base(prepared), config.num_evaluated),
        log10_gain(final, _base(prepared), config.num_final),
    )


def free_gains(config: Any, prepared: Any) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The same of each control that costs no evaluation, by its kind; best and final are one
    rate."""
    over = lambda rate, samples: log10_gain([rate.value], _base(prepared), samples)
    return {
        control.kind: (
            over(control.rate, config.num_evaluated), over(control.rate, config.num_final),
        )
        for control in prepared.free_controls
    }  # fmt: skip


def _base(prepared: Any) -> float:
    """None among so many samples counts as half of one, as in the rates that are compared."""
    return max(prepared.prior.value, 0.5 / prepared.prior.samples)
