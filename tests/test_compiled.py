"""What is compiled computes what its operations compute one by one, at sizes above 32,768 rows.

A compiler has been wrong there alone (jax-ml/jax#39103); `test_compiler.py` has its pattern.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from banel_jax import sampling, scoring, training
from banel_jax.algorithms import rnd
from banel_jax.models.table import table
from banel_jax.models.transformer import TransformerConfig, transformer
from banel_jax.types import Sequences

pytestmark = pytest.mark.slow
N = 33_000
MODELS = {
    "table": (table(4, 3), 4, 3),
    "transformer": (
        transformer(TransformerConfig(vocab_size=5, length=3, num_layers=1, num_heads=2, width=8)),
        5,
        3,
    ),
}


@pytest.fixture(scope="module", params=MODELS)
def case(request):
    model, vocab_size, length = MODELS[request.param]
    tokens = np.random.default_rng(0).integers(vocab_size, size=(N, length)).astype(np.int32)
    params = jax.tree.map(lambda x: x + 0.1, model.init(jax.random.key(0)))
    return model, params, Sequences(jnp.asarray(tokens), jnp.ones((N, length), bool))


def assert_same_one_by_one(function, *arguments):
    compiled = jax.jit(function)(*arguments)
    with jax.disable_jit():
        expected = function(*arguments)
    for found, wanted in zip(jax.tree.leaves(compiled), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_log_likelihoods(case):
    model, params, sequences = case
    assert_same_one_by_one(
        lambda p, s: scoring.log_likelihood(model, p, s, chunk_size=N), params, sequences
    )


def test_samples(case):
    model, params, _ = case
    assert_same_one_by_one(
        lambda k, p: sampling.sample(model, k, p, N, chunk_size=N), jax.random.key(1), params
    )


def test_gradients_of_a_batch(case):
    model, params, sequences = case
    weights = jnp.where(jnp.arange(N) % 3 == 0, 0.5, 1.0) / N
    assert_same_one_by_one(
        lambda k, p, s, w: training.weighted_gradient(model, p, s, w, k, 0),
        jax.random.key(2), params, sequences, weights,
    )  # fmt: skip


def test_errors_of_random_network_distillation():
    network = rnd.Mlp((8, 8))
    seen = jnp.asarray(np.random.default_rng(1).normal(size=(N, 12)), jnp.float32)
    params = network.init(jax.random.key(3), seen[:1])
    assert_same_one_by_one(
        lambda p, x: jnp.mean((network.apply(p, x) - 1.0) ** 2, axis=-1), params, seen
    )
