"""What is used where nothing says better: its parts, its promise, and what it is judged by."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_run import LENGTH, MODEL, V

from banel_jax.algorithms.auto import BOTH_SIDES, AutoConfig, auto
from banel_jax.training import TrainingConfig

M = 10
FIT = TrainingConfig(epochs=2, batch_size=50, learning_rate=0.1)
PRIOR = jnp.asarray(np.random.default_rng(0).normal(size=(LENGTH, V)), jnp.float32)
LEARNER = dataclasses.replace(
    BOTH_SIDES, num_candidates=M, num_distilled=20, generator_training=FIT, failure_training=FIT,
    success_training=FIT, successes_needed=1,
)  # fmt: skip
ALGORITHM = auto(MODEL, AutoConfig(M, LEARNER))
ASK, TELL = jax.jit(ALGORITHM.ask), jax.jit(ALGORITHM.tell)


def rounds(number, reward):
    state = ALGORITHM.init(jax.random.key(0), PRIOR)
    for i in range(number):
        candidates, state = ASK(jax.random.key(i), state)
        rewards = jnp.asarray(reward(state), jnp.float32)
        state, _ = TELL(jax.random.key(50 + i), state, candidates, rewards)
        yield state


def of_the_learner(state):
    """1 for the candidates that the learner proposed: the last arm's, so the last of them."""
    return np.arange(M) >= M - int(state.taken[-1])


def test_without_a_success_each_of_five_has_a_fifth_and_the_learner_hears_of_all_failures():
    state = list(rounds(3, lambda state: np.zeros(M)))[-1]
    assert set(state.arms) == {"prior", "ladder", "likeliest", "least_likely", "both_sides"}
    np.testing.assert_allclose(state.shares, np.full(5, 0.2))
    assert list(np.asarray(state.taken)) == [2] * 5
    assert int(jnp.sum(state.arms["both_sides"].failures.weights > 0)) == 3 * M


def test_shares_follow_the_successes_and_what_is_sampled_is_the_best_part():
    state = list(rounds(4, of_the_learner))[-1]
    assert float(state.shares[-1]) > 0.9 and float(state.shares.min()) >= 0.01 - 1e-6
    x = ALGORITHM.sample(jax.random.key(1), state, 50)
    learner = state.arms["both_sides"].generator
    np.testing.assert_allclose(
        jax.jit(ALGORITHM.log_prob)(state, x),
        np.take_along_axis(jax.nn.log_softmax(learner), np.asarray(x.tokens).T, 1).sum(0),
        rtol=1e-4,
    )
    assert jnp.any(learner != PRIOR)


def test_the_number_of_candidates_is_that_of_all_parts():
    with pytest.raises(ValueError, match="num_candidates=4 must be at least 5"):
        AutoConfig(4)
    with pytest.raises(ValueError, match="num_distilled=20 is below num_candidates=30"):
        auto(MODEL, AutoConfig(30, LEARNER))
