"""Responses: sampler and scorer agree, whatever the padding, the ends and what is forbidden."""

import itertools

import jax
import jax.extend
import jax.numpy as jnp
import nightly
import numpy as np
import pytest
from equations import equations

from banel_jax import sampling, scoring
from banel_jax.models.language import responses
from banel_jax.models.language.decoder import Decoder
from banel_jax.models.language.decoder_config import DecoderConfig
from banel_jax.models.language.prompts import Prompt, bucket, pad_prompts
from banel_jax.models.language.responses import ResponseConfig
from banel_jax.models.lora import LoraConfig, lora
from banel_jax.types import Sequences

CONFIG = DecoderConfig(7, 8, 2, 2, 1, 6, context=64, head_block=3)
END, OTHER_END = 3, 5
PROMPTS = [(1, END, 4), (2,), (6, OTHER_END, END, 1, 4, 2, 2), (END,)]  # ends end no prompt
RESPONSE = ResponseConfig(6, (END, OTHER_END), (0, 4))


def random_params(config, seed=0):
    init = jax.eval_shape(Decoder(config).init, jax.random.key(0), jnp.zeros(1, jnp.int32))
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape) * 0.6, x.dtype), init)[
        "params"
    ]


def right_padded(prompts, length):
    tokens, mask = np.zeros((2, len(prompts), length), np.int32)
    for row, prompt in enumerate(prompts):
        tokens[row, : len(prompt)], mask[row, : len(prompt)] = prompt, 1
    return Prompt(jnp.asarray(tokens), jnp.asarray(mask, bool))


def test_neither_the_bucket_nor_the_side_of_the_padding_changes_a_sample_or_its_score():
    params, n = random_params(CONFIG), 40
    rows = [p for p in PROMPTS for _ in range(n // len(PROMPTS))]
    keys = jax.random.split(jax.random.key(3), n)
    draw = jax.jit(
        jax.vmap(lambda key, prompt: responses.sample(CONFIG, RESPONSE, key, params, prompt))
    )
    score = jax.jit(
        jax.vmap(lambda prompt, x: responses.log_prob(CONFIG, RESPONSE, params, prompt, x))
    )
    longest = max(map(len, PROMPTS))
    sizes = longest, bucket(longest, 50)
    assert sizes == (7, 32)
    found = []
    for batch in (*(pad_prompts(rows, size) for size in sizes), right_padded(rows, sizes[1])):
        drawn, log_probs = draw(keys, batch)
        found.append((drawn, log_probs))
        np.testing.assert_array_equal(drawn.tokens, found[0][0].tokens)
        np.testing.assert_array_equal(drawn.mask, found[0][0].mask)
        np.testing.assert_allclose(log_probs, found[0][1], rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(score(batch, drawn), log_probs, rtol=1e-5, atol=1e-5)
    tokens, mask = np.asarray(drawn.tokens), np.asarray(drawn.mask)
    lengths, ends = mask.sum(1), np.isin(tokens, (END, OTHER_END)) & mask
    assert not np.isin(tokens[mask], RESPONSE.forbidden_tokens).any()
    assert lengths.min() == 1 and lengths.max() == 6 and set(tokens[ends]) == {END, OTHER_END}
    for row in range(n):  # an end is the last, and only what has none is as long as can be
        assert list(np.flatnonzero(ends[row])) in (
            [lengths[row] - 1],
            [] if lengths[row] == 6 else None,
        )


@pytest.mark.parametrize("forbidden", nightly.params([(), (0,), (1, 2)], [(0,)]))
def test_what_is_forbidden_has_no_probability_and_the_rest_has_all_of_it(forbidden):
    config = DecoderConfig(5, 8, 1, 2, 1, 6, context=64)
    params = random_params(config)
    model = responses.conditioned(config, ResponseConfig(3, (3,), forbidden), (1, 2))
    outcomes = set()
    for tokens in itertools.product(range(5), repeat=3):
        size = tokens.index(3) + 1 if 3 in tokens else 3
        outcomes.add((tokens[:size] + (0,) * (3 - size), (True,) * size + (False,) * (3 - size)))
    tokens, mask = (np.asarray(x) for x in zip(*sorted(outcomes), strict=True))
    every = Sequences(jnp.asarray(tokens, jnp.int32), jnp.asarray(mask))
    scores = np.asarray(scoring.log_likelihood(model, params, every), np.float64)
    assert np.exp(scores).sum() == pytest.approx(1, abs=1e-5)
    never = (np.isin(tokens, forbidden) & mask).any(1)
    np.testing.assert_array_equal(np.isneginf(scores), never)
    drawn, log_probs = sampling.sample(model, jax.random.key(0), params, 50)
    found = scoring.log_likelihood(model, params, drawn)
    np.testing.assert_allclose(found, log_probs, rtol=1e-5, atol=1e-5)
    # Padding after the end is token 0, which may be forbidden: it spoils no gradient.
    short = Sequences(jnp.asarray([4, 3, 0]), jnp.asarray([True, True, False]))
    grads = jax.jit(jax.grad(model.log_prob))(params, short)
    assert all(jnp.isfinite(x).all() for x in jax.tree.leaves(grads))


def test_prompts_of_many_lengths_share_few_programs():
    params, response, traced = random_params(CONFIG), ResponseConfig(6), []

    @jax.jit
    def draw(key, prompt):
        traced.append(prompt.tokens.shape)
        return responses.sample(CONFIG, response, key, params, prompt)

    for size in (1, 3, 20, 32, 33, 40, 48, 58):
        draw(
            jax.random.key(0),
            jax.tree.map(lambda x: x[0], pad_prompts([[1] * size], bucket(size, 58))),
        )
    assert traced == [(32,), (48,), (58,)]  # the last is what the context has room for


def test_the_length_of_a_bucket_is_near_that_of_the_prompt():
    lengths = [bucket(size, 10**6) for size in range(1, 3000)]
    assert len(set(lengths)) == 14 and sorted(lengths) == lengths
    for size, length in enumerate(lengths, 1):
        assert size <= length <= max(32, 1.5 * size)
    assert bucket(5, 7) == 7 and bucket(9, 7) == 9


def products(jaxpr):
    """How many matrix products there are, those within loops included."""
    return sum(e.primitive.name == "dot_general" for e in equations(jaxpr))


def test_more_layers_make_no_larger_program_to_score_and_train():
    def size(num_layers):
        config = DecoderConfig(7, 8, num_layers, 2, 1, 6, context=64)
        model = responses.conditioned(config, ResponseConfig(6), (1, 2))
        short = Sequences(jnp.ones(6, jnp.int32), jnp.ones(6, bool))
        loss = lambda params: model.log_prob(params, short)
        return products(jax.make_jaxpr(jax.grad(loss))(random_params(config)).jaxpr)

    assert size(9) == size(2) > 9


@pytest.mark.parametrize(
    "wrong,message",
    [
        (dict(eos_tokens=(3,), forbidden_tokens=(2, 3)), "token 3 is in eos_tokens and in"),
        (dict(forbidden_tokens=(7,)), "token 7 is outside the vocabulary of 7"),
        (dict(forbidden_tokens=tuple(range(7))), "forbidden_tokens are the whole vocabulary"),
    ],
)
def test_what_cannot_be_forbidden_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        responses.conditioned(CONFIG, ResponseConfig(6, **wrong), (1,))


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="it is the CPU's compiler that is held")
def test_merged_weights_are_gone_before_the_caches_of_all_responses_are_made():
    """Or adapters would take a copy of the weights more than the full model does."""
    layers, n, length = 17, 64, 24  # of so many layers the cache is made at once, for all tokens
    config = DecoderConfig(32, 64, layers, 4, 2, 256, context=128)
    model = responses.conditioned(config, ResponseConfig(length), [1, 2, 3])
    params = jax.eval_shape(model.init, jax.random.key(0))
    weights = sum(x.size * 4 for x in jax.tree.leaves(params["layers"]))
    caches = layers * 2 * n * length * 2 * 16 * 4  # keys and values, 2 heads of 16 float32
    assert weights < caches < 2 * weights

    def draw(key, params, adapters=None):
        adapted = model if adapters is None else lora(model, params, LoraConfig(rank=1))
        return sampling.sample_indices(adapted, key, adapters or params, jnp.arange(n), n)

    def temporaries(*args):
        key = jax.eval_shape(jax.random.key, 0)
        return jax.jit(draw).lower(key, *args).compile().memory_analysis().temp_size_in_bytes

    adapters = jax.eval_shape(
        lambda key, base: lora(model, base, LoraConfig(rank=1)).init(key), jax.random.key(0), params
    )
    assert temporaries(params, adapters) - temporaries(params) < 0.3 * weights
