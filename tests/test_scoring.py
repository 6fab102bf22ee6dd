"""The scorer: by hand, in chunks, and inside other JAX code."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from banel_jax import scoring
from banel_jax.models.transformer import TransformerConfig, transformer
from banel_jax.types import SequenceModel, Sequences

MODEL = transformer(TransformerConfig(4, 6, 1, 2, 8))


@pytest.fixture(scope="module")
def params():
    return jax.tree.map(lambda x: 6 * x, MODEL.init(jax.random.key(0)))


@pytest.fixture(scope="module")
def sequences():
    tokens = jax.random.randint(jax.random.key(1), (11, 6), 0, 4)
    return Sequences(tokens, jnp.arange(6) < jnp.arange(11)[:, None] % 7)


def by_hand(weights):
    """A model of independent tokens, whose likelihood is a sum one can write down."""
    log_p = jnp.log(jnp.asarray(weights) / sum(weights))

    def log_prob(params, sequence, *, temperature=1.0, dropout_key=None):
        return jnp.sum(jnp.where(sequence.mask, log_p[sequence.tokens], 0.0))

    return SequenceModel(lambda key: None, log_prob, lambda key, params: None)


HAND = Sequences(
    jnp.asarray([[0, 1, 1], [1, 1, 1], [0, 0, 0]]),
    jnp.asarray([[True, True, True], [True, False, False], [False, False, False]]),
)


def test_likelihoods_by_hand():
    found = scoring.log_likelihood(by_hand([1.0, 3.0]), None, HAND)
    expected = [np.log(0.25 * 0.75 * 0.75), np.log(0.75), 0.0]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert found.dtype == jnp.float32


def test_length_normalisation_by_hand():
    """Divided by 3 tokens, by 1, and by 1 where there is none to divide by."""
    found = scoring.log_likelihood(by_hand([1.0, 3.0]), None, HAND, length_normalised=True)
    expected = [np.log(0.25 * 0.75 * 0.75) / 3, np.log(0.75), 0.0]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_log_ratio_by_hand():
    """log(1/8) - 2 log(1/4) = log 2 and log(1/2) - 2 log(1/3) = log(9/2)."""
    prior, failure = jnp.log(jnp.asarray([1 / 8, 1 / 2])), jnp.log(jnp.asarray([1 / 4, 1 / 3]))
    found = scoring.log_ratio(prior, failure, kappa=2.0)
    np.testing.assert_allclose(found, np.log([2, 4.5]), rtol=1e-5)
    np.testing.assert_array_equal(scoring.log_ratio(prior, failure, kappa=0.0), prior)


@pytest.mark.parametrize("chunk_size", [1, 2, 5, 11, 64, None])
def test_the_chunk_changes_nothing(params, sequences, chunk_size):
    each = [MODEL.log_prob(params, jax.tree.map(lambda x, i=i: x[i], sequences)) for i in range(11)]
    found = scoring.log_likelihood(MODEL, params, sequences, chunk_size)
    np.testing.assert_allclose(found, each, rtol=1e-5, atol=1e-5)


def test_default_chunks_hold_at_least_one_sequence():
    assert scoring.default_chunk_size(10**9) == 1
    assert scoring.default_chunk_size(32) >= scoring.default_chunk_size(196) > 1


def test_weights_beyond_the_caches_are_read_for_more_sequences_closed_over_or_not():
    rows = Sequences(jnp.zeros((500, 64), jnp.int32), jnp.ones((500, 64), bool))
    kernel = jnp.zeros((2100, 2100))

    def size(params, weights=lambda params: params):
        log_prob = lambda params, sequence: weights(params).sum() * sequence.tokens.sum()
        model = SequenceModel(None, log_prob, None)
        traced = jax.jit(lambda *args: jnp.int32(scoring.chunk_size_of(model, *args)))
        return int(traced(params, rows))

    small, many = scoring.default_chunk_size(64), scoring.default_chunk_size(64, True)
    assert many > small or jax.default_backend() != "cpu"
    assert size(kernel[:2]) == small
    assert size(kernel) == size(kernel[:2], lambda params: kernel) == many


def test_scores_inside_jit_grad_and_vmap(params, sequences):
    total = lambda p: jnp.sum(scoring.log_likelihood(MODEL, p, sequences, 4))
    plain = lambda p: sum(
        MODEL.log_prob(p, jax.tree.map(lambda x, i=i: x[i], sequences)) for i in range(11)
    )
    assert jax.jit(total)(params) == pytest.approx(float(plain(params)), rel=1e-5)
    for found, expected in zip(
        jax.tree.leaves(jax.jit(jax.grad(total))(params)),
        jax.tree.leaves(jax.jit(jax.grad(plain))(params)),
        strict=True,
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)
    scales = jnp.asarray([0.5, 1.0, 2.0])
    scaled = lambda scale: total(jax.tree.map(lambda x: x * scale, params))
    np.testing.assert_allclose(
        jax.vmap(scaled)(scales), [scaled(scale) for scale in scales], rtol=1e-5
    )


def test_a_second_call_compiles_nothing(sequences):
    traces = []

    def log_prob(params, sequence, *, temperature=1.0, dropout_key=None):
        traces.append(None)
        return params * jnp.sum(sequence.tokens)

    model = SequenceModel(lambda key: None, log_prob, lambda key, params: None)
    scoring.log_likelihood(model, jnp.float32(1), sequences)
    first = len(traces)
    scoring.log_likelihood(model, jnp.float32(2), sequences)
    assert len(traces) == first > 0


def test_without_weight_the_failure_model_may_be_impossible():
    prior, failure = jnp.array([-1.0, -2.0]), jnp.array([-jnp.inf, -3.0])
    np.testing.assert_array_equal(scoring.log_ratio(prior, failure, 0.0), [-1.0, -2.0])
    np.testing.assert_array_equal(scoring.log_ratio(prior, failure, 1.0), [np.inf, 1.0])
