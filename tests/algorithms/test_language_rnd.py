"""The bonus for language models, against its network in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_run import LENGTH, MODEL, PRIOR, M, V

from banel_jax.algorithms.language_rnd import (
    POLICY,
    LanguageRndConfig,
    Network,
    language_rnd,
    language_rnd_reward,
)
from banel_jax.types import Sequences

CONFIG = LanguageRndConfig(vocab_size=V, embedding=3, widths=(5, 4), half_life=10.0)


def drawn(seed, n=M):
    rng = np.random.default_rng(seed)
    tokens = rng.integers(0, V, size=(n, LENGTH))
    mask = np.arange(LENGTH) < rng.integers(1, LENGTH + 1, size=n)[:, None]
    return Sequences(jnp.asarray(tokens, jnp.int32), jnp.asarray(mask))


def by_numpy(params, sequences):
    p = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
    tokens = np.where(sequences.mask, sequences.tokens, 0)
    x = p["Embed_0"]["embedding"][tokens].reshape(len(tokens), -1)
    x = (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5)
    x = x * p["BatchNorm_0"]["scale"] + p["BatchNorm_0"]["bias"]
    for i in range(3):
        x = x @ p[f"Dense_{i}"]["kernel"] + p[f"Dense_{i}"]["bias"]
        x = np.where(x > 0, x, 0.01 * x) if i < 2 else 1 / (1 + np.exp(-x))
    return x[:, 0]


def test_the_bonus_is_the_error_scaled_within_the_batch_and_fades():
    reward = language_rnd_reward(MODEL, CONFIG)
    state = reward.init(jax.random.key(0), jnp.asarray(PRIOR))
    for number in range(3):
        batch = drawn(number, 20)
        errors = (by_numpy(state.predictor, batch) - by_numpy(state.target, batch)) ** 2
        expected = 0.5 * (errors - errors.min()) / np.ptp(errors) * 10 / (10 + number)
        target = state.target
        bonus, state, info = jax.jit(reward.update)(jax.random.key(1), state, batch)
        np.testing.assert_allclose(bonus, expected, atol=2e-4)
        assert float(info["prediction_error"]) == pytest.approx(errors.mean(), rel=1e-3)
        jax.tree.map(np.testing.assert_array_equal, state.target, target)


def test_what_is_not_scored_is_not_seen():
    batch = drawn(0)
    other = batch.replace(tokens=jnp.where(batch.mask, batch.tokens, V - 1))
    assert (other.tokens != batch.tokens).any()
    params = Network(CONFIG).init(jax.random.key(0), batch)["params"]
    np.testing.assert_allclose(by_numpy(params, batch), by_numpy(params, other))
    reward = language_rnd_reward(MODEL, CONFIG)
    state = reward.init(jax.random.key(0), jnp.asarray(PRIOR))
    one, two = (reward.update(jax.random.key(1), state, x)[0] for x in (batch, other))
    np.testing.assert_array_equal(one, two)


def test_the_predictor_learns_what_it_sees_by_one_step_a_batch():
    reward = language_rnd_reward(MODEL, CONFIG)
    state = reward.init(jax.random.key(0), jnp.asarray(PRIOR))
    batch = drawn(0)
    update = jax.jit(reward.update)
    _, after, info = update(jax.random.key(1), state, batch)
    # AdamW's first step: the learning rate in each weight, up to its decay.
    moved = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), after.predictor, state.predictor)
    assert 0.9e-3 < max(jax.tree.leaves(moved)) < 1.1e-3
    first = float(info["prediction_error"])
    for _ in range(300):
        _, state, info = update(jax.random.key(1), state, batch)
    assert float(info["prediction_error"]) < first / 3


def test_a_success_earns_no_bonus():
    algorithm = language_rnd(MODEL, POLICY, CONFIG)
    state = algorithm.init(jax.random.key(0), jnp.asarray(PRIOR))
    batch = drawn(0)
    tell = jax.jit(algorithm.tell)
    rewards = jnp.zeros(M).at[:2].set(1.0)
    bonus, _, _ = language_rnd_reward(MODEL, CONFIG).update(
        jax.random.key(1), state.intrinsic, batch
    )
    _, info = tell(jax.random.key(1), state, batch, rewards)
    # The policy is the base still, so that there is no penalty; advantages are centred.
    advantages = np.asarray(rewards + bonus * (1 - rewards))
    scores = np.log(np.exp(PRIOR) / np.exp(PRIOR).sum(1, keepdims=True))
    taken = np.where(batch.mask, scores[np.arange(LENGTH), batch.tokens], 0).sum(1)
    expected = -np.mean((advantages - advantages.mean()) * taken)
    assert float(info["policy_loss"]) == pytest.approx(expected, rel=1e-3, abs=1e-5)


@pytest.mark.parametrize(
    ("field", "value"),
    [("vocab_size", 0), ("embedding", 0), ("half_life", 0.0), ("learning_rate", 0.0),
     ("highest", -0.1), ("epochs", -1)],
)  # fmt: skip
def test_settings_that_make_no_sense_are_named(field, value):
    with pytest.raises(ValueError, match=f"{field}={value}"):
        LanguageRndConfig(**{"vocab_size": V, field: value})
