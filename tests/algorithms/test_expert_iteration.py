"""Expert iteration against fits by hand, plain sampling where nothing succeeds, and its memory."""

import jax
import jax.numpy as jnp
import numpy as np
from tiny_run import LENGTH, MODEL, V

from banel_jax import training
from banel_jax.algorithms.expert_iteration import ExpertIterationConfig, expert_iteration
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
