"""Tempering by enumeration: vocabulary 3, length 3, all 27 sequences."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from banel_jax import sampling, scoring
from banel_jax.models import autoregressive, tempering
from banel_jax.models.table import table
from banel_jax.models.transformer import TransformerConfig, transformer
from banel_jax.training import TrainingConfig, broaden
from banel_jax.types import Sequences

TOKENS = np.array(list(itertools.product(range(3), repeat=3)))
EVERY = Sequences(jnp.asarray(TOKENS), jnp.ones(TOKENS.shape, bool))
MODEL = transformer(TransformerConfig(vocab_size=3, length=3, num_layers=1, num_heads=2, width=8))


@pytest.fixture(scope="module")
def params():
    return jax.tree.map(lambda x: 6 * x, MODEL.init(jax.random.key(1)))


def density(model, params):
    return np.exp(np.asarray(scoring.log_likelihood(model, params, EVERY), np.float64))


def by_hand(p, temperature):
    """Token-wise p^(1/T) from the joint table alone."""
    p = p.reshape(3, 3, 3)
    joint = np.ones((3, 3, 3))
    for axis in range(3):
        later = tuple(range(axis + 1, 3))
        conditional = p.sum(later, keepdims=True) ** (1 / temperature)
        joint = joint * conditional / conditional.sum(axis, keepdims=True)
    return joint.ravel()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_each_conditional_is_tempered(params, temperature):
    expected = by_hand(density(MODEL, params), temperature)
    model = tempering.tempered(MODEL, temperature)
    np.testing.assert_allclose(density(model, params), expected, rtol=1e-4)
    drawn, log_probs = sampling.sample(model, jax.random.key(2), params, 20_000)
    counts = np.bincount(np.asarray(drawn.tokens) @ [9, 3, 1], minlength=27) / 20_000
    assert np.abs(counts - expected).sum() / 2 < 0.03
    np.testing.assert_allclose(
        log_probs[:50], scoring.log_likelihood(model, params, drawn)[:50], atol=1e-5
    )


def test_the_ladder_is_the_even_mixture(params):
    rungs = (0.5, 1.0, 3.0)
    model = tempering.ladder(MODEL, rungs)
    expected = np.mean([by_hand(density(MODEL, params), t) for t in rungs], axis=0)
    np.testing.assert_allclose(density(model, params), expected, rtol=1e-4)
    drawn, log_probs = sampling.sample(model, jax.random.key(3), params, 20_000)
    counts = np.bincount(np.asarray(drawn.tokens) @ [9, 3, 1], minlength=27) / 20_000
    assert np.abs(counts - expected).sum() / 2 < 0.03
    scores = scoring.log_likelihood(model, params, drawn)
    np.testing.assert_allclose(log_probs, scores, atol=1e-5)


def test_a_ladder_of_the_one_temperature_1_is_the_model_itself(params):
    model = tempering.ladder(MODEL, (1.0,))
    for one, other in zip(
        sampling.sample(model, jax.random.key(4), params, 50),
        sampling.sample(MODEL, jax.random.key(4), params, 50),
        strict=True,
    ):
        jax.tree.map(np.testing.assert_array_equal, one, other)
    np.testing.assert_array_equal(density(model, params), density(MODEL, params))


def test_a_ladder_over_what_is_impossible_has_a_gradient():
    params = jnp.zeros((3, 3, 3)).at[2].set(-jnp.inf)
    model = tempering.ladder(table(3, 3))
    score = lambda params, x: model.log_prob(params, x)
    scores, gradients = jax.vmap(jax.value_and_grad(score), (None, 0))(params, EVERY)
    np.testing.assert_array_equal(scores == -np.inf, TOKENS[:, 0] == 2)
    assert np.isfinite(gradients).all()


def test_the_ladder_runs_the_network_once_for_all_temperatures():
    sizes = []

    def logits(params, tokens, dropout_key):
        jax.debug.callback(lambda x: sizes.append(x.shape), params)
        return jnp.zeros((3, 3)) + params

    network = autoregressive.Network(lambda key: jnp.zeros(3), logits, None, None)
    model = tempering.ladder(autoregressive.sequence_model(network, 3, 3), (0.5, 1.0, 2.0))
    one = jax.tree.map(lambda x: x[5], EVERY)
    jax.jit(model.log_prob)(jnp.arange(3.0), one).block_until_ready()
    jax.effects_barrier()
    assert sizes == [(3,)]


@pytest.mark.parametrize("temperatures", [(), (0.0,), (1.0, -2.0)])
def test_temperatures_must_be_positive(temperatures):
    with pytest.raises(ValueError, match="temperatures="):
        tempering.ladder(MODEL, temperatures)


def test_a_ladder_is_not_tempered_itself(params):
    model = tempering.tempered(tempering.ladder(MODEL), 2.0)
    with pytest.raises(ValueError, match="not itself tempered"):
        scoring.log_likelihood(model, params, EVERY)


def test_broadening_moves_the_model_towards_its_ladder(params):
    wide = tempering.ladder(MODEL, (1.0, 4.0))
    config = TrainingConfig(epochs=15, learning_rate=3e-3)
    broadened, info = broaden(wide, MODEL, config, jax.random.key(5), params, 3000)
    goal = density(wide, params)
    divergence = lambda q: float(np.sum(goal * np.log(goal / q)))
    before, after = divergence(density(MODEL, params)), divergence(density(MODEL, broadened))
    assert after < before / 4
    assert np.isfinite(info.validation_loss).all()
