"""Algorithms 1 and 2 with the best half kept, against regions found in plain numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from enumeration import ALL, TABLE, V, assert_frequencies, index, table_params, table_probabilities

from banel_jax.algorithms.banel import BanelConfig, banel
from banel_jax.algorithms.sequential_filtering import (
    SequentialFilteringConfig,
    sequential_filtering,
)
from banel_jax.training import FitInfo, TrainingConfig

M, ROUNDS, KAPPA = 8000, 3, 0.8
PRIOR = table_params(682, scale=1.2)
INFO = FitInfo(jnp.zeros(1), jnp.zeros(1), jnp.float32(1))


def next_failure_model(key, start, *_):
    """A fixed sequence of failure models, whatever the failures."""
    return jnp.sin(3 * jnp.roll(start.ravel(), 1) + 1).reshape(start.shape), INFO


def restrict(key, start, sequences, *_):
    """Exact distillation: the start, restricted to the sequences that passed."""
    place = tuple(sequences.tokens.T)
    seen = jnp.zeros(start.shape, bool).at[place].set(True)
    return jnp.where(seen, start, -jnp.inf), INFO


def posteriors():
    """p restricted, round after round, to the best half of its mass by the ratio (Eq. 6)."""
    p, failure = table_probabilities(PRIOR), PRIOR
    base = np.log(p)
    yield p
    for _ in range(1, ROUNDS):
        failure = next_failure_model(None, failure)[0]
        order = np.argsort(-(base - KAPPA * np.log(table_probabilities(failure))))
        mass = np.cumsum(p[order])
        last = np.searchsorted(mass, 0.5)
        # The half must end well inside one sequence, so that samples find the same region:
        # 4.5 standard deviations of a share of 2 M draws.
        error = 4.5 * 0.5 / np.sqrt(2 * M)
        assert mass[last - 1] + error < 0.5 < mass[last] - error
        p = np.where(np.isin(np.arange(len(p)), order[: last + 1]), p, 0.0)
        p /= p.sum()
        yield p


def play(algorithm):
    state = algorithm.init(jax.random.key(0), PRIOR)
    ask, tell = jax.jit(algorithm.ask), jax.jit(algorithm.tell)
    for i in range(ROUNDS):
        candidates, asked = ask(jax.random.key(i), state)
        state, _ = tell(jax.random.key(100 + i), asked, candidates, jnp.zeros(M))
        yield candidates, asked, state


SHARED = dict(num_candidates=M, kappa=KAPPA, failure_start="carry")
ONE = sequential_filtering(
    TABLE,
    SequentialFilteringConfig(max_filters=ROUNDS, **SHARED),
    fit_failure_model=next_failure_model,
)
TWO = {
    reset: banel(
        TABLE,
        BanelConfig(reset_generator=reset, **SHARED),
        fit_generator=restrict,
        fit_failure_model=next_failure_model,
    )
    for reset in (True, False)
}


@pytest.mark.parametrize("algorithm", [ONE, *TWO.values()], ids=["1", "2, reset", "2, carried on"])
def test_where_distillation_is_exact_both_end_in_the_product_of_all_filters(algorithm):
    for expected, (candidates, asked, state) in zip(posteriors(), play(algorithm), strict=True):
        assert (expected[index(candidates)] > 0).all()
        found = np.exp(np.asarray(algorithm.log_prob(state, ALL), np.float64))
        np.testing.assert_array_equal(found > 0, expected > 0)
        # Algorithm 1 estimates the normaliser from 2 M draws a filter, Algorithm 2 needs none.
        np.testing.assert_allclose(found, expected, rtol=0.04 if algorithm is ONE else 1e-4)
        asked_for = np.exp(np.asarray(algorithm.candidate_log_prob(asked, ALL), np.float64))
        np.testing.assert_allclose(asked_for, expected, rtol=0.04)


def test_samples_have_the_enumerated_frequencies():
    *_, (_, _, state) = play(ONE)
    *_, expected = posteriors()
    assert_frequencies(ONE.sample(jax.random.key(5), state, 4000), expected)


@pytest.mark.parametrize(
    ("make", "config"),
    [(banel, BanelConfig), (sequential_filtering, SequentialFilteringConfig)],
)
def test_a_failure_model_without_epochs_is_where_it_started(make, config):
    settings = config(num_candidates=V, failure_training=TrainingConfig(epochs=0))
    algorithm = make(TABLE, settings)
    candidates, state = algorithm.ask(jax.random.key(0), algorithm.init(jax.random.key(0), PRIOR))
    state, info = algorithm.tell(jax.random.key(1), state, candidates, jnp.zeros(V))
    np.testing.assert_array_equal(state.failure_model, PRIOR)
    assert float(info["failure_epochs"]) == 0
    loss = -np.log(table_probabilities(PRIOR)[index(candidates)]).mean()
    np.testing.assert_allclose(info["failure_train_loss"], loss, rtol=1e-5)
    assert np.isnan(info["failure_validation_loss"]) and np.isnan(info["failure_gap"])


@pytest.mark.slow
def test_the_gap_of_the_failure_model_is_that_of_its_final_parameters():
    """Losses over what it was fitted to and over what was held out, without the package."""
    settings = BanelConfig(num_candidates=40, failure_holdout=0.25)
    algorithm = banel(TABLE, settings, fit_failure_model=next_failure_model)
    candidates, state = algorithm.ask(jax.random.key(0), algorithm.init(jax.random.key(0), PRIOR))
    rewards = (np.arange(40) % 7 == 0).astype(np.float32)
    state, info = algorithm.tell(jax.random.key(1), state, candidates, jnp.asarray(rewards))
    losses = -np.log(table_probabilities(state.failure_model)[index(candidates)])
    drawn = index(candidates).tolist()
    first = np.array([drawn.index(x) for x in drawn])  # copies stay together
    held_out = first % 4 == 3  # one in four, evenly spread
    train, validation = (losses[(rewards == 0) & rows].mean() for rows in (~held_out, held_out))
    np.testing.assert_allclose(info["failure_train_loss"], train, rtol=1e-5)
    np.testing.assert_allclose(info["failure_validation_loss"], validation, rtol=1e-5)
    np.testing.assert_allclose(info["failure_gap"], validation - train, rtol=1e-4, atol=1e-5)


def test_beyond_its_capacity_the_posterior_still_sums_to_one():
    """Dropping a filter changes what the others meet, so their acceptance is counted anew."""
    settings = SequentialFilteringConfig(max_filters=1, **SHARED)
    algorithm = sequential_filtering(TABLE, settings, fit_failure_model=next_failure_model)
    for _, asked, state in play(algorithm):
        assert int(state.filters.count) <= 1
        for log_probs in (
            algorithm.log_prob(state, ALL),
            algorithm.candidate_log_prob(asked, ALL),
        ):
            # 4.5 standard deviations of a share of one half among 2 M draws are 0.036.
            np.testing.assert_allclose(np.exp(np.asarray(log_probs)).sum(), 1, atol=0.07)


@pytest.mark.slow
def test_between_its_filters_it_draws_from_the_same_posterior():
    """With a filter in rounds 2 and 3 alone: fitted after round 1 and round 2, none before."""
    settings = SequentialFilteringConfig(filter_rounds=(2, 3), max_filters=ROUNDS, **SHARED)
    algorithm = sequential_filtering(TABLE, settings, fit_failure_model=next_failure_model)
    prior, half, quarter = posteriors()
    state = algorithm.init(jax.random.key(0), PRIOR)
    for i, expected in enumerate((prior, prior, half, quarter, quarter)):
        candidates, asked = jax.jit(algorithm.ask)(jax.random.key(i), state)
        assert (expected[index(candidates)] > 0).all()
        if i not in settings.filter_rounds:  # where the best are chosen, a tie is cut in two
            assert_frequencies(jax.tree.map(lambda x: x[:4000], candidates), expected)
        asked_for = np.exp(np.asarray(algorithm.candidate_log_prob(asked, ALL), np.float64))
        np.testing.assert_allclose(asked_for, expected, rtol=0.04)
        before = state.failure_model
        state, info = jax.jit(algorithm.tell)(
            jax.random.key(100 + i), asked, candidates, jnp.zeros(M)
        )
        fitted = i + 1 in settings.filter_rounds
        wanted = next_failure_model(None, before)[0] if fitted else before
        np.testing.assert_allclose(state.failure_model, wanted, rtol=1e-5)
        assert float(info["failure_epochs"]) == fitted
        assert int(state.filters.count) == sum(i >= r for r in settings.filter_rounds)


@pytest.mark.parametrize("rounds", [(0, 1), (3, 2), (2, 2), (-1,)])
def test_rounds_of_filters_rise_from_one(rounds):
    with pytest.raises(ValueError, match="filter_rounds="):
        SequentialFilteringConfig(filter_rounds=rounds)
