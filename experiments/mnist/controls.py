"""Controls that cost no evaluation: what the prior's own likelihood has to give."""

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from banel_jax import sampling, scoring, success_rate
from banel_jax.success_rate import LN10
from banel_jax.types import Task
from experiments.common.rates import FreeControl, best_of

TEMPERATURES = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.1, 1.2, 1.5, 2.0, 2.5, 3.0)
FACTORS = (2, 4, 8, 16, 32, 64, 128, 256)


class Rates(NamedTuple):
    """Success rates in decades, over all targets and without the likeliest of them."""

    log10_rate: float
    log10_rate_without_top: float


def tempering(task: Task, without_top: int) -> dict[float, Rates]:
    """Rates of the prior at single temperatures."""
    assert task.targets is not None
    score = partial(scoring.log_likelihood, task.prior, task.prior_params, task.targets)
    return {t: _rates(np.asarray(score(temperature=t)), without_top) for t in TEMPERATURES}


def cutting(task: Task, without_top: int, factor: float, num_samples: int) -> dict[float, Rates]:
    """Rates of the prior restricted to the likeliest 1 in f of its samples.

    A filter without a failure model: what it gains, likelihood alone gains.

    Args:
      task: whose prior it is.
      without_top: leave so many targets out of the second rate.
      factor: f, beside those of `FACTORS`.
      num_samples: of the prior, from which a cut takes its threshold.
    """
    assert task.targets is not None
    key = jax.random.key(5)
    samples = np.asarray(sampling.sample(task.prior, key, task.prior_params, num_samples)[1])
    targets = np.asarray(scoring.log_likelihood(task.prior, task.prior_params, task.targets))

    def cut(f):
        # A little below, as the same sequence drawn and scored may differ by rounding.
        threshold = np.quantile(samples, 1 - 1 / f) - 1e-3
        passed = np.where(targets >= threshold, targets, -np.inf)
        return _rates(passed - np.log(np.mean(samples >= threshold)), without_top)

    return {f: cut(f) for f in sorted({*FACTORS, factor})}


def _rates(scores, without_top: int) -> Rates:
    decades = lambda scores: float(success_rate.log_success_rate(jnp.asarray(scores))) / LN10
    return Rates(decades(scores), decades(scores[without_top:]))


def shown(
    temperatures: Mapping[float, Rates], cuts: Mapping[float, Rates], factor: float
) -> list[FreeControl[Rates]]:
    """Those that stand in every table: the best of each kind, and the cut at `factor`.

    The latter is no choice by looking where it is as sharp as Algorithm 1's filters together.
    """
    size = lambda rates: rates.log10_rate
    return [
        best_of("best T", temperatures, size),
        FreeControl(f"likeliest 1 in {factor:g} of the prior", None, cuts[factor]),
        best_of("likeliest 1 in f", cuts, size),
    ]
