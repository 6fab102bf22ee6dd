"""The memory of distinct sequences, against lists in Python."""

import jax
import jax.numpy as jnp
import numpy as np
from tiny_run import LENGTH, MODEL, PRIOR, V

from banel_jax import replay
from banel_jax.types import Sequences

CAPACITY = 7
ADD = jax.jit(lambda memory, x, kept: memory.add(x, kept))


def shortened(rng, n):
    """Sequences of several lengths, what comes after the last token being noise that counts not."""
    tokens = rng.integers(0, V, (n, LENGTH)).astype(np.int32)
    lengths = rng.integers(1, LENGTH + 1, n)
    return tokens, np.arange(LENGTH) < lengths[:, None]


def test_the_latest_distinct_ones_are_kept_the_newest_first():
    rng, memory, expected = np.random.default_rng(0), replay.empty(MODEL, PRIOR, CAPACITY), []
    assert not memory.there().any()
    for _ in range(12):
        tokens, mask = shortened(rng, 5)
        kept = rng.integers(0, 2, 5).astype(np.float32)
        memory = ADD(memory, Sequences(jnp.asarray(tokens), jnp.asarray(mask)), jnp.asarray(kept))
        read = lambda tokens, mask: tuple(t if m else -1 for t, m in zip(tokens, mask, strict=True))
        new = [read(t, m) for t, m, k in zip(tokens, mask, kept, strict=True) if k]
        expected = list(dict.fromkeys(new + expected))[:CAPACITY]
        rows = zip(
            np.asarray(memory.sequences.tokens), np.asarray(memory.sequences.mask), strict=True
        )
        found = [read(t, m) for t, m in rows]
        assert found == expected + [(-1,) * LENGTH] * (CAPACITY - len(expected))
        np.testing.assert_array_equal(memory.there(), np.arange(CAPACITY) < len(expected))
    assert len(expected) == CAPACITY


def test_all_of_them_are_drawn_evenly_and_nothing_from_nothing():
    tokens = np.array([[0, 0, 0, 1], [0, 0, 1, 0], [0, 1, 0, 0]], np.int32)
    x = Sequences(jnp.asarray(tokens), jnp.ones(tokens.shape, bool))
    memory = replay.empty(MODEL, PRIOR, CAPACITY)
    assert not memory.draw(jax.random.key(0), 4).mask.any()
    memory = ADD(memory, x, jnp.ones(3))
    drawn = memory.draw(jax.random.key(0), 3000)
    assert drawn.mask.all()
    counts = [(np.asarray(drawn.tokens) == row).all(axis=1).sum() for row in tokens]
    assert sum(counts) == 3000 and np.abs(np.array(counts) - 1000).max() < 4.5 * (2000 / 3) ** 0.5
