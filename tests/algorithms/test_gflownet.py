"""The losses against numpy, and what training on them ends in, on all 81 sequences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from enumeration import (
    ALL,
    EVERY,
    TABLE,
    TRANSFORMER,
    N,
    index,
    sequences,
    table_params,
    table_probabilities,
    transformer_params,
)

from banel_jax import scoring
from banel_jax.algorithms.gflownet import GFlowNetConfig, balance_loss, batch_log_z, gflownet
from banel_jax.training import TrainingConfig

EPSILON = 0.05
PRIOR = table_params(3)
REWARDS = jnp.asarray(EVERY.sum(axis=1) / 8, jnp.float32)  # dense, in [0, 1]


def algorithm(model=TABLE, **settings):
    fit = dict(epochs=1, batch_size=10**6, learning_rate=0.1) | settings.pop("training", {})
    settings = dict(num_candidates=20, epsilon=EPSILON) | settings
    return gflownet(model, GFlowNetConfig(training=TrainingConfig(**fit), **settings))


def target(relative):
    """The unnormalised target over all sequences, float64."""
    weights = np.asarray(REWARDS, np.float64) + EPSILON
    return weights * table_probabilities(PRIOR) if relative else weights


def test_the_losses_equal_numpy_and_rows_of_weight_0_count_nothing():
    log_ratios = np.random.default_rng(0).normal(5, 2, size=7)
    x, ones = jnp.asarray(log_ratios, jnp.float32), jnp.ones(7)
    expected = np.mean((log_ratios - 3.0) ** 2)
    np.testing.assert_allclose(balance_loss(x, ones, jnp.float32(-3.0)), expected, rtol=1e-5)
    np.testing.assert_allclose(balance_loss(x, ones), np.var(log_ratios), rtol=1e-5)
    np.testing.assert_allclose(batch_log_z(x, ones), -np.mean(log_ratios), rtol=1e-5)

    some = ones.at[jnp.array([0, 4])].set(0)  # the first too, which the mean is taken from
    kept = np.delete(log_ratios, [0, 4])
    expected = np.mean((kept - 3.0) ** 2)
    np.testing.assert_allclose(balance_loss(x, some, jnp.float32(-3.0)), expected, rtol=1e-5)
    np.testing.assert_allclose(balance_loss(x, some), np.var(kept), rtol=1e-5)


def test_vargrads_gradient_is_that_of_trajectory_balance_at_the_batchs_best_log_z():
    drawn = np.random.default_rng(1).choice(N, size=12)  # with repeats
    rewards = REWARDS[drawn]
    p = table_probabilities(PRIOR)
    log_ratios = np.log(p[drawn]) - np.log(np.asarray(rewards, np.float64) + EPSILON)
    # Of a table's log p(x), the gradient in the logits is onehot(x) - p.
    residuals = log_ratios - log_ratios.mean()
    expected = 2 * np.mean(residuals[:, None] * (np.eye(N)[drawn] - p), axis=0)

    def loss(params, log_z):
        scores = scoring.log_likelihood(TABLE, params, sequences(EVERY[drawn]))
        return balance_loss(scores - jnp.log(rewards + EPSILON), jnp.ones(12), log_z)

    for log_z in (None, jnp.float32(-log_ratios.mean())):
        found = jax.grad(loss)(PRIOR, log_z)
        np.testing.assert_allclose(np.ravel(found), expected, atol=1e-6)


@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize("objective", ["trajectory_balance", "vargrad"])
def test_the_target_is_where_the_loss_is_zero_and_where_training_ends(objective, relative):
    """The target is r + epsilon, or the posterior prior (r + epsilon), over its total."""
    algo = algorithm(objective=objective, relative_to_prior=relative, training=dict(epochs=200))
    weights = target(relative)
    total = np.log(weights.sum())
    tell = jax.jit(algo.tell)
    state = algo.init(jax.random.key(0), PRIOR)

    logits = jnp.asarray(np.log(weights).reshape(PRIOR.shape) + 1.7, jnp.float32)
    there = state.replace(policy=logits, log_z=jnp.float32(total), round=jnp.int32(1))
    stayed, info = tell(jax.random.key(1), there, ALL, REWARDS)
    assert float(info["gflownet_loss"]) < 1e-10
    np.testing.assert_allclose(
        table_probabilities(stayed.policy), weights / weights.sum(), atol=1e-4
    )

    for i in range(2):
        state, info = tell(jax.random.key(i), state, ALL, REWARDS)
    np.testing.assert_allclose(
        table_probabilities(state.policy), weights / weights.sum(), atol=1e-4
    )
    np.testing.assert_allclose(info["log_z"], total, atol=1e-3)


@pytest.mark.parametrize(
    ("objective", "model", "prior"),
    [
        ("trajectory_balance", TABLE, PRIOR),
        ("vargrad", TRANSFORMER, transformer_params(0, scale=5.0)),
    ],
)
def test_relative_to_the_prior_failures_alone_leave_the_prior_exactly(objective, model, prior):
    """Adam would make whole steps of a gradient that is 0 but for rounding."""
    fit = dict(epochs=2, batch_size=8)  # the last minibatch is filled up
    algo = algorithm(model, objective=objective, relative_to_prior=True, training=fit)
    ask, tell = jax.jit(algo.ask), jax.jit(algo.tell)
    state = algo.init(jax.random.key(0), prior)
    for i in range(2):
        candidates, state = ask(jax.random.key(i), state)
        state, info = tell(jax.random.key(i), state, candidates, jnp.zeros(20))
        jax.tree.map(np.testing.assert_array_equal, state.policy, prior)
        assert float(info["gflownet_loss"]) == float(info["kl_to_base"]) == 0
        np.testing.assert_allclose(info["log_z"], np.log(EPSILON), rtol=1e-6)


def test_failures_alone_flatten_log_p_over_the_batch():
    """Section 3.3: the loss is then the variance of log p over the batch."""
    algo = algorithm(objective="vargrad", training=dict(epochs=100, learning_rate=0.03))
    state = algo.init(jax.random.key(0), PRIOR)
    candidates, state = jax.jit(algo.ask)(jax.random.key(5), state)
    rows = index(candidates)
    log_p = np.log(table_probabilities(PRIOR)[rows])
    before = np.var(log_p)
    state, info = jax.jit(algo.tell)(jax.random.key(0), state, candidates, jnp.zeros(20))
    np.testing.assert_allclose(info["gflownet_loss"], before, rtol=1e-4)
    np.testing.assert_allclose(info["log_z"], np.log(EPSILON) - log_p.mean(), rtol=1e-4)
    after = np.var(np.log(table_probabilities(state.policy)[rows]))
    assert before > 0.3 and after < 0.01 * before


def test_log_z_starts_at_the_first_batchs_own_and_then_has_its_own_rate():
    rates = dict(log_z_learning_rate=0.5, training=dict(learning_rate=1e-3))
    algo = algorithm(objective="trajectory_balance", **rates)
    state = algo.init(jax.random.key(0), PRIOR)
    tell = jax.jit(algo.tell)
    first, info = tell(jax.random.key(0), state, ALL, REWARDS)
    log_ratios = np.log(table_probabilities(PRIOR)) - np.log(target(relative=False))
    # There log Z's gradient is 0, but for rounding that Adam may make a step of.
    np.testing.assert_allclose(info["gflownet_loss"], np.var(log_ratios), rtol=1e-4)
    np.testing.assert_allclose(first.log_z, -log_ratios.mean(), atol=0.51)

    far = state.replace(log_z=jnp.float32(50.0), round=jnp.int32(1))
    second, _ = tell(jax.random.key(0), far, ALL, REWARDS)
    np.testing.assert_allclose(second.log_z, 49.5, atol=1e-4)  # Adam's first step is the rate
    moved = np.abs(second.policy - PRIOR).max()
    np.testing.assert_allclose(moved, 1e-3, rtol=1e-2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(num_candidates=0), "num_candidates=0"),
        (dict(objective="tb"), "objective='tb' is not one of trajectory_balance, vargrad"),
        (dict(epsilon=0.0), "epsilon=0.0 must be positive"),
        (dict(log_z_learning_rate=float("nan")), "log_z_learning_rate=nan must be a finite number"),
    ],
)
def test_settings_that_make_no_sense_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        GFlowNetConfig(**settings)
