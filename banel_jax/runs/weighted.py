"""The success rate of one distribution from rows that were drawn from another."""

from typing import NamedTuple

import numpy as np

from banel_jax.success_rate import clopper_pearson

FEWEST = 10  # effective rows that an estimate must rest on


class Estimate(NamedTuple):
    """Of a success rate, without bias where the rows reach all that can succeed.

    Attributes:
      rate: the mean of weight times reward.
      low, high: a 95% interval.
      effective: Kish's effective number of rows, (sum w)^2 / sum w^2.
      rows: that were weighted.
    """

    rate: float
    low: float
    high: float
    effective: float
    rows: int


def weighted(log_weights: np.ndarray, rewards: np.ndarray) -> Estimate:
    """The estimate from rows of these log-weights, log c(x) - log q(x).

    The interval is Clopper and Pearson's of effective counts (Korn and Graubard). What the weights
    say that the rows do not reach may all succeed, and so may rows without an answer, or none.

    Args:
      log_weights: float64 [k], nats; NaN for rows that cannot be weighted, which are left out.
      rewards: float64 [k] in {0, 1}, NaN where there is no answer.
    """
    usable = ~np.isnan(log_weights)
    log_weights, rewards = log_weights[usable], rewards[usable]
    answered, k = ~np.isnan(rewards), len(log_weights)
    weights = np.exp(np.minimum(log_weights, 300.0))
    if not weights[answered].any():
        return Estimate(0.0, 0.0, 1.0, 0.0, int(answered.sum()))
    mine = weights[answered] / weights[answered].max()
    effective = float(mine.sum() ** 2 / (mine**2).sum())
    rate = float(np.mean(weights[answered] * rewards[answered]))
    low = _interval(weights * np.nan_to_num(rewards, nan=0.0), effective)[0]
    high = _interval(weights * np.nan_to_num(rewards, nan=1.0), effective)[1]
    missed = 1 - np.mean(weights) - 1.96 * np.std(weights) / np.sqrt(k)
    high = min(1.0, high + max(0.0, float(missed)))
    return Estimate(rate, low, max(high, min(rate, 1.0)), effective, int(answered.sum()))


def _interval(values: np.ndarray, effective: float) -> tuple[float, float]:
    rate, variance = float(np.mean(values)), float(np.var(values)) / len(values)
    number = max(effective, 1.0)
    if 0 < rate < 1 and variance > 0:
        number = max(min(number, rate * (1 - rate) / variance), 1.0)
    return clopper_pearson(min(rate, 1.0) * number, number)
