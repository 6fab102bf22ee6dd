"""What was known before a run: its failures are filtered from the first round on."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_run import LENGTH, MODEL, V

from banel_jax.algorithms.banel import BanelConfig, banel
from banel_jax.algorithms.sequential_filtering import (
    SequentialFilteringConfig,
    sequential_filtering,
)
from banel_jax.training import TrainingConfig
from banel_jax.types import Sequences

M = 8
FIT = TrainingConfig(epochs=30, batch_size=8, learning_rate=0.1)
EVERY = np.array(list(itertools.product(range(V), repeat=LENGTH)), np.int32)
PRIOR = jnp.zeros((LENGTH, V))
# All that begins with 0 is known to fail but for one, which succeeds.
KNOWN = EVERY[EVERY[:, 0] == 0]
REWARDS = jnp.zeros(len(KNOWN)).at[0].set(1.0)

MAKE = {
    "banel": lambda: banel(
        MODEL, BanelConfig(M, filter_factor=4, failure_training=FIT, failure_rounds=2)
    ),
    "filtering": lambda: sequential_filtering(
        MODEL, SequentialFilteringConfig(M, filter_factor=4, failure_training=FIT)
    ),
}


def sequences(tokens) -> Sequences:
    return Sequences(jnp.asarray(tokens), jnp.ones(tokens.shape, bool))


@pytest.mark.parametrize("name", MAKE)
def test_known_failures_are_filtered_from_the_first_round_and_never_forgotten(name):
    algorithm = MAKE[name]()
    ask, tell = jax.jit(algorithm.ask), jax.jit(algorithm.tell)
    start = algorithm.init(jax.random.key(0), PRIOR)
    state = algorithm.know(jax.random.key(1), start, sequences(KNOWN), REWARDS)
    ignorant, _ = ask(jax.random.key(2), start)
    assert np.mean(ignorant.tokens[:, 0] == 0) > 0  # the prior is uniform
    for round in range(4):  # more than the ring holds
        candidates, asked = ask(jax.random.key(3 + round), state)
        assert not np.any(candidates.tokens[:, 0] == 0), round
        state, info = tell(jax.random.key(9 + round), asked, candidates, jnp.zeros(M))
        assert np.isfinite(info["failure_train_loss"])
        first = jax.tree.map(lambda x: x[: len(KNOWN)], state.failures)
        np.testing.assert_array_equal(first.sequences.tokens, KNOWN)
        np.testing.assert_array_equal(first.weights, 1 - REWARDS)
    rows = min(4, 2 if name == "banel" else 1) * M
    assert state.failures.weights.shape == (len(KNOWN) + rows,)
    assert float(state.failures.weights.sum()) == len(KNOWN) - 1 + rows
    latest = state.failures.sequences.tokens[-rows:]
    assert any(np.array_equal(candidates.tokens, part) for part in latest.reshape(-1, M, LENGTH))
