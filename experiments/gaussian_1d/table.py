"""The table of the lost mode: what is kept, the signs that something is lost, and what it says."""

import textwrap
from collections.abc import Mapping
from typing import Any

import numpy as np

from banel_jax.tasks.gaussian_1d import Gaussian1DConfig, mode_bins
from banel_jax.types import Task
from experiments.common import claims, report, table_controls
from experiments.common.toys import Run, ToyConfig

PUBLISHED = "best half, latest failures"
ALL_FAILURES = "best half, all failures"
THRESHOLD = "threshold, all failures"
COLUMNS = (
    "method", "final", "modes", "all kept", "coverage", "alarm", "alarm if lost",
    "alarm if kept", "tau", "KL", "NRE", "seconds",
)  # fmt: skip
ALARM = 0.5  # of the coverage
LEGEND = (
    "final: success rate, median over seeds [lowest, highest]; modes: mean number kept;\n"
    f"alarm: runs that end with a coverage below {ALARM}; tau: median threshold of the last\n"
    "round in nats, above 0 against the evidence; KL(generator, prior) in nats."
)


def coverage(prior, generator, failures, bandwidth: float):
    """How much of the prior's untried mass a generator still holds, in [0, 1].

    A bin is untried if the failures met so far, each spread by a Gaussian kernel of height 1,
    add up to less than half a failure there. Of the prior's mass on untried bins, the share
    that the generator holds (at most its prior probability counted for each bin) is 1 for the
    posterior of Eq. 6. No reward is used but the failures that were paid for.

    Args:
      prior: probabilities [V].
      generator: probabilities [..., V].
      failures: number of failures in each bin [..., V].
      bandwidth: of the kernel, in bins.
    """
    bins = np.arange(prior.shape[0])
    kernel = np.exp(-(((bins[:, None] - bins) / bandwidth) ** 2) / 2)
    untried = failures @ kernel < 0.5
    left = np.sum(np.minimum(prior, generator) * untried, axis=-1)
    return left / np.maximum(np.sum(prior * untried, axis=-1), 1e-12)


def analyse(
    config: ToyConfig, toy: Gaussian1DConfig, metrics: Mapping[str, np.ndarray], task: Task
) -> dict[str, np.ndarray]:
    """[seeds, rounds]: success rate, modes kept, coverage, threshold, KL(generator, prior).

    A mode counts as kept while it has at least a fifth of an even share of the success rate.
    """
    prior = np.exp(np.asarray(task.prior_params, np.float64))
    generator = np.exp(metrics["generator"].astype(np.float64))
    modes = toy.modes
    masses = np.stack([generator[..., mode_bins(toy, m)].sum(-1) for m in modes], -1)
    even = masses.sum(-1, keepdims=True) / len(modes)
    return {
        "success_rate": 10.0 ** metrics["log10_success_rate"],
        "modes_kept": np.sum(masses >= np.maximum(even / 5, 1e-3), axis=-1),
        "coverage": coverage(prior, generator, metrics["failures"], config.failure_bandwidth),
        "threshold": metrics["threshold"],
        "kl_to_prior": np.sum(generator * (metrics["generator"] - np.log(prior)), axis=-1),
    }


def row(
    name: str, config: ToyConfig, a: Mapping[str, np.ndarray], num_modes: int, seconds: float
) -> dict[str, Any]:
    lost = a["modes_kept"][:, -1] < num_modes
    alarm = a["coverage"][:, -1] < ALARM
    return {
        "method": name,
        "final": report.format_spread(a["success_rate"][:, -1]),
        "modes": float(np.mean(a["modes_kept"][:, -1])),
        "all kept": f"{np.sum(~lost)} of {len(lost)}",
        "coverage": float(np.median(a["coverage"][:, -1])),
        "alarm": f"{np.sum(alarm)} of {len(lost)}",
        "alarm if lost": f"{np.sum(alarm & lost)} of {np.sum(lost)}",
        "alarm if kept": f"{np.sum(alarm & ~lost)} of {np.sum(~lost)}",
        "tau": float(np.median(a["threshold"][:, -1])),
        "KL": float(np.median(a["kl_to_prior"][:, -1])),
        "NRE": config.evaluations,
        "seconds": seconds,
    }


def in_words(
    task: Task, runs: Mapping[str, Run], analyses: Mapping[str, Mapping[str, np.ndarray]]
) -> str:
    """What the evidence adds beyond the controls, whatever the result is."""
    learners = [
        claims.Result(
            name,
            analysis["success_rate"][:, -1].tolist(),
            int(runs[name].metrics["num_successes"][:, -1].sum()),
        )
        for name, analysis in analyses.items()
    ]
    free = [
        claims.Result(name, [table_controls.rate(density, task)])
        for name, density in table_controls.controls(task).items()
    ]
    verdict = claims.verdict(learners, free)
    assert verdict is not None
    return textwrap.fill(
        f"By the final value {verdict.best.title} does best, at {verdict.best.median:.3g} in the "
        f"median: {verdict.words}. How many modes are left is no part of that.",
        95,
    )
