"""Adapters beside their kernels: the numbers of merged ones, and no gradient of a kernel's size."""

import dataclasses

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import pytest
from equations import equations

from banel_jax import sampling, scoring
from banel_jax.models.language import responses
from banel_jax.models.language.decoder import Decoder
from banel_jax.models.language.decoder_config import DecoderConfig
from banel_jax.models.language.responses import ResponseConfig
from banel_jax.models.lora import LoraConfig, lora, merge

DECODER = DecoderConfig(7, 16, 2, 2, 1, 24, context=64, qkv_bias=True)
RESPONSE, PROMPT = ResponseConfig(6, (3,)), (1, 3, 4)
CONFIG = LoraConfig(rank=3, alpha=6.0)
CLOSE = dict(rtol=2e-5, atol=2e-5)


def model_of(config=DECODER):
    return responses.conditioned(config, RESPONSE, PROMPT)


def random_like(tree, seed, size=0.4):
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape) * size, x.dtype), tree)


def base_of(config=DECODER):
    shapes = jax.eval_shape(Decoder(config).init, jax.random.key(0), jnp.zeros(1, jnp.int32))
    return random_like(shapes["params"], 0)


def adapters_of(base, config=CONFIG, seed=1):
    return random_like(lora(model_of(), base, config).init(jax.random.key(0)), seed)


def mean_log_prob(model, drawn):
    return lambda params: jnp.mean(jax.vmap(lambda x: model.log_prob(params, x))(drawn))


def kernel_products(function, *args):
    """Matrix products of a kernel's shape, in the jaxpr and all that it calls."""
    base = base_of()
    shapes = {x.shape[1:] for x in jax.tree.leaves(base["layers"]) if x.ndim == 3}
    every = equations(jax.make_jaxpr(function)(*args).jaxpr)
    found = [v.aval.shape for e in every if e.primitive.name == "dot_general" for v in e.outvars]
    return [shape for shape in found if shape in shapes]


@pytest.mark.parametrize("remat", [False, True])
def test_scores_and_gradients_are_those_of_merged_adapters(remat):
    config = dataclasses.replace(DECODER, remat=remat)
    model, base = model_of(config), base_of()
    adapters, adapted = adapters_of(base), lora(model, base, CONFIG)
    drawn, log_probs = sampling.sample(adapted, jax.random.key(2), adapters, 20)
    np.testing.assert_allclose(scoring.log_likelihood(adapted, adapters, drawn), log_probs, **CLOSE)
    merged = lambda a: mean_log_prob(model, drawn)(merge(base, a, CONFIG))
    expected, expected_gradient = jax.value_and_grad(merged)(adapters)
    found, gradient = jax.value_and_grad(mean_log_prob(adapted, drawn))(adapters)
    np.testing.assert_allclose(found, expected, **CLOSE)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5), gradient,
                 expected_gradient)  # fmt: skip
    assert max(np.abs(x).max() for x in jax.tree.leaves(gradient)) > 0.01


def test_no_gradient_is_as_large_as_a_kernel():
    model, base = model_of(), base_of()
    adapters, drawn = adapters_of(base), sampling.sample(model, jax.random.key(2), base, 4)[0]
    plain = model._replace(takes_low_rank=False)
    of = lambda model: jax.grad(mean_log_prob(lora(model, base, CONFIG), drawn))
    assert kernel_products(of(plain), adapters)
    assert not kernel_products(of(model), adapters)


def test_what_the_type_of_a_kernel_rounds_is_scored_as_it_is_sampled():
    base = jax.tree.map(lambda x: x.astype(jnp.bfloat16), base_of())
    tiny = jax.tree.map(lambda x: 0.01 * x, adapters_of(base))
    adapted = lora(model_of(), base, CONFIG)
    drawn, log_probs = sampling.sample(adapted, jax.random.key(2), tiny, 20)
    np.testing.assert_allclose(scoring.log_likelihood(adapted, tiny, drawn), log_probs, **CLOSE)


def test_tables_are_adapted_by_merging():
    config = LoraConfig(rank=2, targets="embedding|kernel", exclude="")
    model, base = model_of(), base_of()
    adapted = lora(model, base, config)
    adapters = random_like(adapted.init(jax.random.key(0)), 1)
    drawn, log_probs = sampling.sample(adapted, jax.random.key(2), adapters, 20)
    assert "embedding" in adapters
    np.testing.assert_allclose(scoring.log_likelihood(adapted, adapters, drawn), log_probs, **CLOSE)
