"""Both algorithms against exact enumeration: vocabulary 3, length 4, all 81 sequences."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from banel_jax import sampling, scoring, training
from banel_jax.algorithms.banel import BanelConfig, banel
from banel_jax.algorithms.sequential_filtering import (
    SequentialFilteringConfig,
    sequential_filtering,
)
from banel_jax.models import table
from banel_jax.models.transformer import TransformerConfig, transformer
from banel_jax.success_rate import exact_evaluation, posterior_success_rate
from banel_jax.training import TrainingConfig
from banel_jax.types import Sequences

TOKENS = np.array(list(itertools.product(range(3), repeat=4)), np.int32)
EVERY = Sequences(jnp.asarray(TOKENS), jnp.ones(TOKENS.shape, bool))
WEIGHTS = 3 ** np.arange(4)[::-1]
MODEL = transformer(TransformerConfig(vocab_size=3, length=4, num_layers=1, num_heads=2, width=8))
FIT = TrainingConfig(epochs=3, learning_rate=3e-3)
EVEN = TOKENS.sum(1) % 2 == 0  # 41 of 81


@pytest.fixture(scope="module")
def prior():
    return jax.tree.map(lambda x: 6 * x, MODEL.init(jax.random.key(4)))


def density(params, model=MODEL):
    return np.exp(np.asarray(scoring.log_likelihood(model, params, EVERY), np.float64))


def frequencies(sequences):
    rows = np.asarray(sequences.tokens) @ WEIGHTS
    return np.bincount(rows, minlength=81) / len(rows)


def reward(sequences):
    return jnp.asarray(jnp.sum(sequences.tokens, axis=1) >= 7, jnp.float32)


def rounds(algorithm, params, count, seed=0):
    """States after ask and after tell of each round, with what was evaluated."""
    state = jax.jit(algorithm.init)(jax.random.key(seed), params)
    ask, tell = jax.jit(algorithm.ask), jax.jit(algorithm.tell)
    for index in range(count):
        ask_key, tell_key = jax.random.split(jax.random.fold_in(jax.random.key(seed), index))
        before = state
        candidates, asked = ask(ask_key, before)
        rewards = reward(candidates)
        state, info = tell(tell_key, asked, candidates, rewards)
        yield before, asked, candidates, rewards, state, info


def test_the_model_is_a_distribution_far_from_uniform(prior):
    p = density(prior)
    np.testing.assert_allclose(p.sum(), 1, atol=1e-5)
    assert p.max() > 20 * np.median(p)


def test_algorithm_1_draws_from_the_prior_outside_every_rejection_region(prior):
    config = SequentialFilteringConfig(
        num_candidates=4000, kappa=1.3, failure_training=FIT, max_filters=4
    )
    algorithm = sequential_filtering(MODEL, config)
    p, allowed = density(prior), np.ones(81, bool)
    for before, asked, candidates, _, state, info in rounds(algorithm, prior, 4):
        if int(before.round):
            ratio = np.log(p) - 1.3 * np.log(density(before.failure_model))
            allowed &= ratio >= float(asked.threshold)
        expected = np.where(allowed, p, 0) / p[allowed].sum()
        claimed = np.exp(np.asarray(algorithm.candidate_log_prob(asked, EVERY)))
        np.testing.assert_array_equal(claimed > 0, allowed)
        # 8,000 proposals a filter: the normaliser is known to a few percent.
        np.testing.assert_allclose(claimed, expected, rtol=0.05)
        np.testing.assert_allclose(float(info["acceptance"]), p[allowed].sum(), rtol=0.05)
        np.testing.assert_array_equal(frequencies(candidates)[~allowed], 0)
        after = np.exp(np.asarray(algorithm.log_prob(state, EVERY)))
        np.testing.assert_allclose(after, expected, rtol=0.05)
        drawn = frequencies(
            jax.jit(algorithm.sample, static_argnums=2)(jax.random.key(9), state, 4000)
        )
        assert np.abs(drawn - expected).sum() / 2 < 0.07
    assert 0 < allowed.sum() < 60


def test_algorithm_2_draws_from_the_generator_outside_the_rejection_region(prior):
    config = BanelConfig(
        num_candidates=1000,
        num_distilled=2000,
        kappa=1.3,
        generator_training=FIT,
        failure_training=FIT,
    )
    algorithm = banel(MODEL, config)
    base = density(prior)
    for before, asked, candidates, _, state, _ in rounds(algorithm, prior, 3):
        generator = density(before.generator)
        allowed = np.ones(81, bool)
        if int(before.round):
            ratio = np.log(base) - 1.3 * np.log(density(before.failure_model))
            allowed = ratio >= float(asked.threshold)
        expected = np.where(allowed, generator, 0) / generator[allowed].sum()
        claimed = np.exp(np.asarray(algorithm.candidate_log_prob(asked, EVERY)))
        np.testing.assert_array_equal(claimed > 0, allowed)
        np.testing.assert_allclose(claimed, expected, rtol=0.06)
        np.testing.assert_array_equal(frequencies(candidates)[~allowed], 0)
        np.testing.assert_allclose(
            np.exp(np.asarray(algorithm.log_prob(state, EVERY))),
            density(state.generator),
            rtol=1e-5,
        )


def test_a_fixed_threshold_rejects_exactly_what_lies_below_it(prior):
    settings = dict(num_candidates=500, rejection="threshold", threshold=0.2, failure_training=FIT)
    for algorithm in (
        sequential_filtering(
            MODEL, SequentialFilteringConfig(filter_factor=8, max_filters=2, **settings)
        ),
        banel(MODEL, BanelConfig(generator_training=FIT, acceptance_floor=0.01, **settings)),
    ):
        for before, asked, candidates, *_ in rounds(algorithm, prior, 2):
            if not int(before.round):
                continue
            ratio = np.log(density(prior)) - np.log(density(before.failure_model))
            allowed = ratio >= 0.2
            drawn = frequencies(candidates)
            assert (drawn[allowed] > 0).any()
            np.testing.assert_array_equal(drawn[~allowed], 0)
            claimed = np.exp(np.asarray(algorithm.candidate_log_prob(asked, EVERY)))
            np.testing.assert_allclose(claimed.sum(), 1, rtol=0.15)
            assert np.asarray(candidates.mask).all()


@pytest.mark.slow
def test_importance_resampling_follows_the_ratio(prior):
    config = BanelConfig(
        num_candidates=1000,
        filter_factor=4,
        rejection="importance",
        kappa=0.5,
        failure_training=FIT,
        generator_training=TrainingConfig(epochs=0),
    )
    algorithm = banel(MODEL, config)
    *_, (before, asked, candidates, *_) = rounds(algorithm, prior, 2)
    p = density(prior)
    weighted = p * p / density(before.failure_model) ** 0.5
    weighted /= weighted.sum()
    ask, more = jax.jit(algorithm.ask), jax.random.split(jax.random.key(2), 3)
    # Four thousand; in one batch they would take four times as much work.
    drawn = [candidates, *(ask(key, before)[0] for key in more)]
    assert np.abs(np.mean([*map(frequencies, drawn)], axis=0) - weighted).sum() / 2 < 0.05
    claimed = np.exp(np.asarray(algorithm.candidate_log_prob(asked, EVERY)))
    np.testing.assert_allclose(claimed, weighted, rtol=0.05)


@pytest.mark.slow
def test_algorithm_1_without_a_filter_samples_the_prior(prior):
    config = SequentialFilteringConfig(
        num_candidates=50, filter_factor=1, failure_training=FIT, max_filters=2
    )
    algorithm = sequential_filtering(MODEL, config)
    state = algorithm.init(jax.random.key(0), prior)
    for index in range(3):
        key = jax.random.fold_in(jax.random.key(1), index)
        candidates, asked = jax.jit(algorithm.ask)(key, state)
        plain, _ = sampling.sample(MODEL, key, prior, 50)
        np.testing.assert_array_equal(candidates.tokens, plain.tokens)
        np.testing.assert_allclose(
            algorithm.log_prob(asked, EVERY), np.log(density(prior)), rtol=1e-5
        )
        state, _ = jax.jit(algorithm.tell)(key, asked, candidates, reward(candidates))


@pytest.mark.slow
def test_algorithm_2_without_a_filter_is_self_distillation(prior):
    config = BanelConfig(num_candidates=40, filter_factor=1, generator_training=FIT)
    generator = prior
    for index, (_, _, candidates, _, state, _) in enumerate(rounds(banel(MODEL, config), prior, 3)):
        ask_key, tell_key = jax.random.split(jax.random.fold_in(jax.random.key(0), index))
        plain, _ = sampling.sample(MODEL, jax.random.split(ask_key)[0], generator, 40)
        np.testing.assert_array_equal(candidates.tokens, plain.tokens)
        if index:
            fit = jax.jit(partial(training.fit, MODEL, FIT))
            generator, _ = fit(jax.random.split(tell_key, 3)[2], prior, plain, jnp.ones(40))
        # As distributions: a key's bias has no gradient but rounding, which Adam follows.
        mine, theirs = density(generator), density(state.generator)
        np.testing.assert_allclose(mine, theirs, rtol=1e-4)


@pytest.mark.slow
def test_the_two_algorithms_agree_where_distillation_is_exact():
    """On tables, with samples enough that a histogram is the filtered distribution itself."""
    logits = jax.random.normal(jax.random.key(3), (3,) * 4)
    model, m = table.table(3, 4), 20_000
    fit_failures = table.smoothed_histogram(3, 4, 0.8, 0.05)
    # A fixed threshold: keeping exactly half would split a sequence at the edge in Algorithm 2.
    memory = dict(num_candidates=m, failure_rounds=3, rejection="threshold", threshold=-0.3)
    first = sequential_filtering(
        model,
        SequentialFilteringConfig(filter_factor=4.0, **memory),
        fit_failure_model=fit_failures,
    )
    second = banel(
        model,
        BanelConfig(num_distilled=4 * m, **memory),
        fit_generator=table.smoothed_histogram(3, 4, 1e-3, 0.0),
        fit_failure_model=fit_failures,
    )
    for one, two in zip(rounds(first, logits, 3), rounds(second, logits, 3, seed=1), strict=True):
        posteriors = [
            np.exp(np.asarray(algorithm.log_prob(step[4], EVERY)))
            for algorithm, step in ((first, one), (second, two))
        ]
        assert np.abs(posteriors[0] - posteriors[1]).sum() / 2 < 0.08
    assert np.abs(posteriors[0] - density(logits, model)).sum() / 2 > 0.15


@pytest.mark.slow
@pytest.mark.parametrize("kappa", [0.0, 1.0])
def test_the_gain_of_a_filter_is_bounded_and_as_enumerated(prior, kappa):
    """Section 4.1, with R found independently of the algorithm's own bookkeeping."""
    targets = jax.tree.map(lambda x: x[np.flatnonzero(EVEN)], EVERY)
    config = SequentialFilteringConfig(num_candidates=3000, kappa=kappa, failure_training=FIT)
    algorithm = sequential_filtering(MODEL, config)
    evaluate = exact_evaluation(algorithm, targets)
    before, asked, _, _, state, _ = list(rounds(algorithm, prior, 2))[1]
    p = density(prior)
    ratio = np.log(p) - kappa * np.log(density(before.failure_model))
    rejected = ratio < float(asked.threshold)
    inside = p[rejected & EVEN].sum() / p[rejected].sum()
    expected = posterior_success_rate(p[EVEN].sum(), p[rejected].sum(), inside)
    assert expected > 0
    found = {name: float(value) for name, value in evaluate(asked, state).items()}
    np.testing.assert_allclose(
        10 ** found["log10_filter_gain"], expected / p[EVEN].sum(), rtol=0.05
    )
    assert found["log10_filter_gain"] <= np.log10(2) + 0.02
    np.testing.assert_allclose(10 ** found["log10_success_rate"], expected, rtol=0.05)
    np.testing.assert_allclose(found["targets_accepted"], (~rejected)[EVEN].mean())
