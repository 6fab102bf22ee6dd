"""Expert iteration against fits by hand, plain sampling where nothing succeeds, and its memory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_run import LENGTH, MODEL, V

from banel_jax import training
from banel_jax.algorithms.expert_iteration import (
    ExpertIterationConfig,
    expert_iteration,
    success_weights,
)
from banel_jax.algorithms.prior_sampling import prior_sampling
from banel_jax.training import TrainingConfig
from banel_jax.types import Sequences

M = 6
FIT = TrainingConfig(epochs=3, batch_size=50, learning_rate=0.2)
ALGORITHM = expert_iteration(MODEL, ExpertIterationConfig(M, success_rounds=2, training=FIT))
PRIOR = jnp.asarray(np.random.default_rng(0).normal(size=(LENGTH, V)), jnp.float32)
INIT, ASK, TELL = (jax.jit(getattr(ALGORITHM, name)) for name in ("init", "ask", "tell"))


def rounds(rewards):
    """(candidates, state, info) of each round."""
    state = INIT(jax.random.key(0), PRIOR)
    for r, reward in enumerate(rewards):
        candidates, state = ASK(jax.random.key(10 + r), state)
        state, info = TELL(jax.random.key(20 + r), state, candidates, jnp.float32(reward))
        yield candidates, state, info


def by_hand(r, successes):
    """The prior fitted to these rows alone; all fit into one batch, so that no order matters."""
    x = Sequences(jnp.asarray(successes), jnp.ones((len(successes), LENGTH), bool))
    fit = jax.jit(lambda key: training.fit(MODEL, FIT, key, PRIOR, x, jnp.ones(len(successes))))
    return fit(jax.random.key(r))[0]


def test_the_prior_is_fitted_to_the_successes_of_the_rounds_that_are_kept():
    rewards = [[0, 1, 0, 0, 1, 0], [0] * 6, [1, 0, 0, 0, 0, 0], [0] * 6]
    done = list(rounds(rewards))
    met = [
        np.asarray(c.tokens)[np.asarray(r) == 1] for (c, _, _), r in zip(done, rewards, strict=True)
    ]
    close = lambda state, rows: np.testing.assert_allclose(
        state.generator, by_hand(0, rows), atol=1e-5
    )
    close(done[0][1], met[0])
    close(done[1][1], met[0])  # kept for two rounds
    close(done[2][1], met[2])  # the first round's are forgotten
    assert [float(info["successes_kept"]) for _, _, info in done] == [2, 2, 1, 1]
    assert [float(info["generator_epochs"]) for _, _, info in done] == [3, 3, 3, 3]


def test_without_a_success_it_is_plain_sampling():
    plain = prior_sampling(MODEL, M)
    state = plain.init(jax.random.key(0), PRIOR)
    for r, (candidates, mine, info) in enumerate(rounds([[0] * M] * 3)):
        expected, _ = plain.ask(jax.random.key(10 + r), state)
        np.testing.assert_array_equal(candidates.tokens, expected.tokens)
        np.testing.assert_array_equal(mine.generator, PRIOR)
        assert float(info["generator_epochs"]) == 0


def test_known_successes_come_first_and_are_not_forgotten():
    known = Sequences(
        jnp.asarray([[0] * LENGTH, [1] * LENGTH], jnp.int32), jnp.ones((2, LENGTH), bool)
    )
    state = INIT(jax.random.key(0), PRIOR)
    told = jax.jit(ALGORITHM.know)(jax.random.key(1), state, known, jnp.float32([0, 1]))
    np.testing.assert_allclose(told.generator, by_hand(0, [[1] * LENGTH]), atol=1e-5)
    for r in range(3):
        candidates, told = ASK(jax.random.key(r), told)
        told, info = TELL(jax.random.key(r), told, candidates, jnp.zeros(M))
    assert float(info["successes_kept"]) == 1
    np.testing.assert_allclose(told.generator, by_hand(0, [[1] * LENGTH]), atol=1e-5)


def test_cbas_weighs_each_success_by_the_prior_over_what_drew_it():
    """Against the model's densities, of which two lie far apart, and 1 where the prior drew all."""
    algorithm = expert_iteration(MODEL, ExpertIterationConfig(M, 2, importance=1.0, training=FIT))
    away = jnp.asarray(np.random.default_rng(1).normal(size=(LENGTH, V)), jnp.float32)
    ask, tell = jax.jit(algorithm.ask), jax.jit(algorithm.tell)
    state = algorithm.init(jax.random.key(0), PRIOR)
    rewards = np.float32([1, 1, 0, 1, 0, 1])
    first, state = ask(jax.random.key(1), state)
    state, _ = tell(jax.random.key(2), state, first, jnp.asarray(rewards))
    np.testing.assert_allclose(state.successes.weights[:M], rewards, rtol=1e-5)

    second, state = ask(jax.random.key(3), state.replace(generator=away))
    state, info = tell(jax.random.key(4), state, second, jnp.asarray(rewards))
    density = lambda logits: np.array([
        np.prod([np.exp(logits[t, v]) / np.exp(logits[t]).sum() for t, v in enumerate(x)])
        for x in np.asarray(second.tokens)
    ])  # fmt: skip
    ratios = rewards * density(np.float64(PRIOR)) / density(np.float64(away))
    assert ratios.max() > 3 * ratios[rewards > 0].min()
    expected = ratios * ratios.sum() / (ratios**2).sum()
    np.testing.assert_allclose(state.successes.weights[M:], expected, rtol=1e-4)
    assert expected.sum() < 4 and float(info["successes_kept"]) == 8


def test_a_round_counts_for_the_effective_number_of_its_successes():
    weights = lambda rewards, ratios: np.asarray(
        success_weights(jnp.float32(rewards), jnp.float32(ratios))
    )
    np.testing.assert_allclose(weights([1, 0, 1], [-300, 0, -300]), [1, 0, 1], rtol=1e-5)
    np.testing.assert_allclose(weights([1, 1], [0, -100]), [1, 0], atol=1e-6)
    np.testing.assert_array_equal(weights([0, 0], [3, 4]), [0, 0])
    np.testing.assert_array_equal(weights([1, 0], [-np.inf, 0]), [0, 0])
    with pytest.raises(ValueError, match=r"importance=-1\.0 must not be negative"):
        ExpertIterationConfig(importance=-1.0)
