"""A space small enough to write down: 3 tokens, length 4, all 81 sequences."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from banel_jax import scoring
from banel_jax.models.table import table
from banel_jax.models.transformer import TransformerConfig, transformer
from banel_jax.types import Sequences

V, LENGTH = 3, 4
EVERY = np.array(list(itertools.product(range(V), repeat=LENGTH)), np.int32)
N = len(EVERY)  # 81


def sequences(tokens) -> Sequences:
    tokens = jnp.asarray(tokens, jnp.int32)
    return Sequences(tokens, jnp.ones(tokens.shape, bool))


ALL = sequences(EVERY)
TABLE = table(V, LENGTH)
TRANSFORMER = transformer(
    TransformerConfig(vocab_size=V, length=LENGTH, num_layers=1, num_heads=2, width=8)
)


def table_params(seed: int, scale: float = 1.0):
    """Logits of a distribution that is far from uniform."""
    logits = np.random.default_rng(seed).normal(size=(V,) * LENGTH) * scale
    return jnp.asarray(logits, jnp.float32)


def transformer_params(seed: int, scale: float = 25.0):
    """Initial weights are near uniform; scaled up they are not."""
    return jax.tree.map(lambda p: p * scale, TRANSFORMER.init(jax.random.key(seed)))


def index(drawn: Sequences) -> np.ndarray:
    """The row of `EVERY` that each sequence is."""
    return np.asarray(drawn.tokens) @ V ** np.arange(LENGTH)[::-1]


def counts(drawn: Sequences) -> np.ndarray:
    return np.bincount(index(drawn), minlength=N)


def probabilities(model, params) -> np.ndarray:
    """p of all 81, float64."""
    return np.exp(np.asarray(scoring.log_likelihood(model, params, ALL), np.float64))


def table_probabilities(params) -> np.ndarray:
    """The same of a table, without the package."""
    logits = np.asarray(params, np.float64).ravel()
    weights = np.exp(logits - logits.max())
    return weights / weights.sum()


def assert_frequencies(drawn: Sequences, expected: np.ndarray, limit: float = 4.5) -> None:
    """The counts of independent draws lie within `limit` standard deviations of n p.

    What is impossible must not occur. A rare sequence (n p below 5) is pooled with the others,
    since its count is not near normal.
    """
    seen, n = counts(drawn), len(drawn.tokens)
    assert expected.sum() == np.float64(1) or abs(expected.sum() - 1) < 1e-4
    assert not seen[expected == 0].any()
    rare = n * expected < 5
    seen = np.append(seen[~rare], seen[rare].sum())
    expected = np.append(expected[~rare], expected[rare].sum())
    keep = expected > 0
    deviation = np.sqrt(n * expected * np.maximum(1 - expected, 1e-3))[keep]
    z = (seen - n * expected)[keep] / deviation
    assert np.abs(z).max() < limit, z
