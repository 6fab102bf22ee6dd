"""How often a function's chain and its prior reach a value, by samples of the chain.

The chain draws millions of sequences in a minute, the transformer thousands. A success is feasible,
so that the chain can draw it, and the prior's rate is the mean over the chain's draws of
p_prior / p_chain where they succeed, and 0 elsewhere: the prior scores the successes alone.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from banel_jax import sampling, scoring
from banel_jax.prior_cache import Prior
from banel_jax.runs.progress import progress
from banel_jax.success_rate import clopper_pearson
from banel_jax.tasks.ehrlich import Ehrlich, chain
from banel_jax.tasks.ehrlich.function import ROUNDING
from banel_jax.types import Key, Sequences
from experiments.common.batches import over
from experiments.common.rate_table import Rate

AT_ONCE = 2000  # draws in work at a time on a device
SCORED = 2000  # successes that a rate is estimated from, where there are so many
PIECE = 1000  # sequences that the prior scores or draws in a compiled call


class Draws(NamedTuple):
    """Sequences of the chain [n, L], their log-likelihoods, and their values."""

    sequences: Sequences
    log_probs: Any  # arrays of NumPy or JAX
    values: Any

    def reach(self, threshold: float) -> np.ndarray:
        """Which of them succeed, as the reward has it."""
        return self.values >= np.float32(threshold * (1 - ROUNDING))


class Weighted(NamedTuple):
    """A rate from weighted draws, with an interval of 95% from effective numbers."""

    value: float
    interval: tuple[float, float]
    draws: int
    successes: int


def drawing(function: Ehrlich, batch: int) -> Callable[[Key, int], Iterator[Draws]]:
    """`draws(key, number)`: so many sequences of the chain, or a few more, in whole batches."""
    model, params = chain(function)

    @jax.jit
    def draw(key):
        sequences, log_probs = sampling.sample(model, key, params, batch, chunk_size=AT_ONCE)
        return Draws(sequences, log_probs, function.value(sequences))

    def draws(key, number):
        pieces = -(-number // batch)
        for i in progress(range(pieces), pieces, "draws of the chain"):
            yield jax.tree.map(np.asarray, draw(jax.random.fold_in(key, i)))

    return draws


def counted(draws: Iterable[Draws]) -> dict[float, int]:
    """How many sequences have each value."""
    counts: dict[float, int] = {}
    for each in draws:
        for value, number in zip(*np.unique(each.values, return_counts=True), strict=True):
            counts[float(value)] = counts.get(float(value), 0) + int(number)
    return counts


def reaching(counts: Mapping[float, int], threshold: float) -> Rate:
    """The rate of a threshold by such counts."""
    met = sum(number for value, number in counts.items() if value >= threshold * (1 - ROUNDING))
    return Rate(met, sum(counts.values()))


def of_prior(
    prior: Prior, draws: Iterator[Draws], expected: Mapping[float, float], batch: int
) -> tuple[dict[float, int], dict[float, Weighted]]:
    """The counts of the draws, and the prior's rate at each threshold.

    Args:
      prior: whose rates are estimated.
      draws: of the chain, in batches of `batch`.
      expected: the chain's rate at each threshold, from other draws: it says how many batches
        are enough.
    """
    enough = {t: -(-SCORED // max(1, round(rate * batch))) for t, rate in expected.items()}
    successes: dict[float, list[Draws]] = {t: [] for t in expected}

    def collected():
        for i, each in enumerate(draws):
            for t in expected:
                if i < enough[t]:
                    met = each.reach(t)
                    successes[t].append(jax.tree.map(lambda x, met=met: x[met], each))
            yield each

    counts = counted(collected())
    return counts, {t: _weighted(prior, found, batch) for t, found in successes.items()}


def _weighted(prior: Prior, found: list[Draws], batch: int) -> Weighted:
    met = jax.tree.map(lambda *x: np.concatenate(x), *found)
    n, number = len(found) * batch, len(met.values)
    if not number:
        return Weighted(0.0, clopper_pearson(0, n), n, 0)
    score = jax.jit(partial(scoring.log_likelihood, prior.model, prior.params))
    weights = np.exp(
        over(score, met.sequences, PIECE, "scores of the prior") - met.log_probs, dtype=float
    )
    rate = weights.sum() / n
    effective = weights.sum() ** 2 / (weights**2).sum()
    return Weighted(rate, clopper_pearson(effective, effective / rate), n, number)


class Sampled(NamedTuple):
    """Samples of the prior itself: how many have each value, and the share that is feasible."""

    counts: dict[float, int]
    feasible: float


def sampled(prior: Prior, function: Ehrlich, key: Key, number: int) -> Sampled:
    """`number` samples, or a few more."""

    @jax.jit
    def draw(key):
        sequences, log_probs = sampling.sample(prior.model, key, prior.params, PIECE)
        draws = Draws(sequences, log_probs, function.value(sequences))
        return draws, jnp.mean(function.feasible(sequences), dtype=jnp.float32)

    pieces = -(-number // PIECE)
    found = [
        jax.tree.map(np.asarray, draw(jax.random.fold_in(key, i)))
        for i in progress(range(pieces), pieces, "samples of the prior")
    ]
    feasible = float(np.mean([share for _, share in found]))
    return Sampled(counted(draws for draws, _ in found), feasible)


def as_told(rate: Weighted) -> dict[str, Any]:
    """The entry of a rate in a file."""
    return {
        "success_rate": rate.value, "interval": rate.interval, "draws": rate.draws,
        "successes": rate.successes,
    }  # fmt: skip
