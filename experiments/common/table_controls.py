"""Controls of the toys whose prior is a table: exact, and without an evaluation."""

import numpy as np

from banel_jax.models import table, tempering
from banel_jax.types import Task


def rewarded(task: Task) -> np.ndarray:
    """bool, of the shape of the table, where the reward is 1."""
    region = np.zeros(task.prior_params.shape, bool)
    assert task.targets is not None
    region[tuple(np.asarray(task.targets.tokens).T)] = True
    return region


def rate(log_density: np.ndarray, task: Task) -> float:
    """The success rate of a density over the table."""
    return float(np.exp(log_density[rewarded(task)]).sum())


def controls(task: Task) -> dict[str, np.ndarray]:
    """Log densities of what never learns: the prior, the ladder, and the best single rung."""
    at = lambda t: np.asarray(table.joint_log_prob(task.prior_params, t), np.float64)
    rungs = {t: at(t) for t in tempering.LADDER}
    best = max(rungs, key=lambda t: rate(rungs[t], task))
    ladder = np.logaddexp.reduce(list(rungs.values())) - np.log(len(rungs))
    return {
        "prior": at(1.0),
        "tempered ladder": ladder,
        f"T = {best:g} (chosen by looking)": rungs[best],
    }
