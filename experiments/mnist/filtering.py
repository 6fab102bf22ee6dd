"""A row of filters on samples of a base: what share passes, and what share of the targets."""

from dataclasses import dataclass
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np

from banel_jax import sampling, scoring, training
from banel_jax.models.ensemble import ensemble, fit_ensemble, members
from banel_jax.success_rate import LN10
from banel_jax.types import Params, SequenceModel, Sequences
from experiments.common.batches import over
from experiments.common.methods import network
from experiments.mnist import prepare as mnist
from experiments.mnist.filters_config import Config, Variant

PIECE = 1000  # sequences scored in a call


def acceptance(ratios: np.ndarray, threshold: float, softness: float | None) -> np.ndarray:
    """Probability that each is let through: a cut, or a logistic curve around it."""
    if softness is None:
        return (ratios >= threshold).astype(float)
    return 1 / (1 + np.exp(-np.clip((ratios - threshold) / softness, -50, 50)))


def threshold_of(ratios: np.ndarray, share: float, softness: float | None) -> float:
    """Where `share` of the samples is let through, by bisection."""
    low, high = float(ratios.min()) - 50, float(ratios.max()) + 50
    for _ in range(60):
        middle = (low + high) / 2
        if acceptance(ratios, middle, softness).mean() > share:
            low = middle
        else:
            high = middle
    return low


@dataclass(frozen=True)
class Base:
    """What is filtered, by every variant that starts from it.

    Attributes:
      model, params: what is filtered.
      targets: its likeliest targets, in order, and then as many at random.
      target_scores: their log-likelihoods in nats, float64.
      without_top: leave so many out of the second figure.
    """

    model: SequenceModel
    params: Params
    targets: Sequences
    target_scores: np.ndarray
    without_top: int


def base_of(config: Config, prepared: mnist.Prepared, name: str) -> Base:
    model, params = network(config.experiment.task.transformer), prepared.bases[name]
    assert prepared.task.targets is not None
    scores = np.asarray(scoring.log_likelihood(model, params, prepared.task.targets), np.float64)
    number = min(config.num_targets, len(scores))
    rows = np.argsort(-scores, kind="stable")[:number]
    rows = np.append(rows, np.random.default_rng(0).choice(len(scores), number, replace=False))
    targets = jax.tree.map(lambda x: x[rows], prepared.task.targets)
    return Base(model, params, targets, scores[rows], config.experiment.without_top)


def draw(config: Config, base: Base, seed: int) -> tuple[Sequences, np.ndarray]:
    """The base's samples and their log-likelihoods, those that all variants filter."""
    key = jax.random.fold_in(jax.random.key(seed), 0)
    samples, scores = sampling.sample(base.model, key, base.params, config.num_samples)
    return samples, np.asarray(scores)


def run_variant(
    config: Config,
    base: Base,
    variant: Variant,
    member: SequenceModel,
    seed: int,
    samples: Sequences,
    sample_scores: np.ndarray,
) -> np.ndarray:
    """[filters, 4]: share of samples, gain in decades, the same without top, share of targets."""
    failure_model, fit = _failure_model(member, variant.members, variant.training)
    rng = np.random.default_rng([seed, 1])
    key = jax.random.fold_in(jax.random.key(seed), 1)
    half = len(base.target_scores) // 2
    weights = base.target_scores[:half]
    log_passed = np.zeros(2 * half)  # log of the probability that a target passes
    softness = config.softness if variant.soft else None
    share, rows = 1.0, []
    start = members(base.params, variant.members)
    for number in range(config.filters):
        failures = jax.tree.map(lambda x: x[: config.num_failures], samples)
        fit_key, init_key = jax.random.split(jax.random.fold_in(key, number))
        params, _ = fit(fit_key, failure_model.init(init_key) if variant.fresh else start, failures)
        ratio = partial(_ratio, failure_model, params, variant.kappa)
        fresh = jax.tree.map(lambda x: x[config.num_failures :], samples)
        sample_scores = sample_scores[config.num_failures :]
        ratios = ratio(fresh, sample_scores)
        cut = threshold_of(ratios, 0.5, softness)
        passed = rng.random(len(ratios)) < acceptance(ratios, cut, softness)
        share *= passed.mean()
        kept = np.flatnonzero(passed)
        samples = jax.tree.map(lambda x, kept=kept: x[kept], fresh)
        sample_scores = sample_scores[kept]
        with np.errstate(divide="ignore"):
            target_ratios = ratio(base.targets, base.target_scores)
            log_passed += np.log(acceptance(target_ratios, cut, softness))
        row = [share]
        for first in (0, base.without_top):
            before = np.logaddexp.reduce(weights[first:])
            after = np.logaddexp.reduce((weights + log_passed[:half])[first:])
            row.append((after - before - np.log(share)) / LN10)
        rows.append([*row, np.mean(np.exp(log_passed[half:]))])
    return np.array(rows)


@cache
def _failure_model(member, size, config):
    """(model, compiled fit) of an ensemble, the same object each time."""
    fit = fit_ensemble(member, config) if size > 1 else _fit_single(member, config)
    every = lambda key, params, x: fit(key, params, x, jnp.ones(x.tokens.shape[0]), None)
    return ensemble(member, size), jax.jit(every)


def _fit_single(member, config):
    """One member, fitted to the failures as they are."""

    def fit(key, params, sequences, weights, _):
        first = jax.tree.map(lambda x: x[0], params)
        fitted, info = training.fit(member, config, key, first, sequences, weights)
        return members(fitted, 1), info

    return fit


def _ratio(failure_model, params, kappa, sequences, scores) -> np.ndarray:
    """The ranking of Eq. 5 in nats, float64 [n]."""
    scores = np.asarray(scores, np.float64)
    if not kappa:
        return scores
    found = over(
        partial(scoring.log_likelihood, failure_model, params), sequences, PIECE, "scoring"
    )
    return scores - kappa * found.astype(np.float64)
