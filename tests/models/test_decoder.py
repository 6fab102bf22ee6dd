"""Qwen2 against `transformers`, and responses to a prompt: likelihoods, samples, padding."""

import dataclasses
import itertools
from functools import partial

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import pytest
from equations import equations
from scipy import stats
from transformers_twin import twin

from banel_jax import sampling, scoring
from banel_jax.models import tempering
from banel_jax.models.language import huggingface, responses
from banel_jax.models.language.attention import frequencies, rotate
from banel_jax.models.language.decoder import Decoder, Layer, unstacked
from banel_jax.models.language.decoder_config import QWEN2_5_0_5B, DecoderConfig
from banel_jax.models.language.responses import Prompt, ResponseConfig
from banel_jax.types import Sequences

SMALL = dict(width=16, num_layers=2, num_heads=4, num_kv_heads=2, mlp_width=20)
FLAT = SMALL | dict(num_layers=1)  # where compiling takes the time
PROMPT = (4, 1, 7, 7, 2)


def random_params(config, seed=0):
    """Weights of a size that shows; those of `init` are near nothing."""
    init = jax.eval_shape(Decoder(config).init, jax.random.key(0), jnp.zeros(1, jnp.int32))
    leaves, tree = jax.tree.flatten(init["params"])
    rng = np.random.default_rng(seed)
    noisy = [
        jnp.asarray(rng.standard_normal(x.shape) * (0.3 if x.ndim > 1 else 0.5), x.dtype)
        for x in leaves
    ]
    return jax.tree.unflatten(tree, noisy)


def parity(tmp_path, **settings):
    torch = pytest.importorskip("torch")
    model = twin(**settings)
    model.save_pretrained(tmp_path)
    config, params = huggingface.load(tmp_path)
    tokens = np.random.default_rng(1).integers(model.config.vocab_size, size=50)
    with torch.inference_mode():
        expected = model(torch.tensor(tokens)[None], output_hidden_states=True)
    return model, config, params, jnp.asarray(tokens, jnp.int32), expected


@pytest.mark.parametrize("tied", [True, False])
def test_layers_and_logits_equal_those_of_transformers(tmp_path, tied):
    _, config, params, tokens, expected = parity(tmp_path, tie_word_embeddings=tied)
    assert config.tied == tied and config.num_kv_heads < config.num_heads
    x, places = params["embedding"][tokens], jnp.arange(len(tokens))
    layer = jax.jit(lambda p, x: Layer(config).apply({"params": p}, x, places, seen, []))
    seen = places[:, None] >= places
    # transformers norms its last hidden state; so the last layer shows in the final norm.
    for p, hidden in zip(unstacked(params["layers"])[:2], expected.hidden_states[1:3], strict=True):
        x, _ = layer(p, x)
        np.testing.assert_allclose(x, hidden[0].numpy(), atol=2e-5)
    whole = jax.jit(partial(Decoder(config).apply, method=Decoder.features))
    final, _ = whole({"params": params}, tokens, places, seen)
    np.testing.assert_allclose(final, expected.hidden_states[3][0].numpy(), atol=2e-5)
    logits = jax.jit(Decoder(dataclasses.replace(config, remat=False)).apply)(
        {"params": params}, tokens
    )
    assert np.abs(expected.logits.numpy()).max() > 1
    np.testing.assert_allclose(logits, expected.logits[0].numpy(), atol=1e-4)
    plain = jax.jit(Decoder(config).apply)({"params": params}, tokens)
    np.testing.assert_allclose(plain, logits, atol=1e-5)


def test_greedy_continuation_equals_that_of_transformers(tmp_path):
    torch = pytest.importorskip("torch")
    model, config, params, tokens, _ = parity(tmp_path, tie_word_embeddings=False)
    prompt = np.asarray(tokens[:9])
    expected = model.generate(
        torch.tensor(prompt)[None], max_new_tokens=64, min_new_tokens=64, do_sample=False
    )[0, 9:].numpy()
    assert len(set(expected.tolist())) > 8
    padded = responses.pad_prompts([prompt], 13)
    complete = jax.jit(partial(responses.complete_greedily, config, ResponseConfig(64)))
    found = complete(params, jax.tree.map(lambda x: x[0], padded))
    np.testing.assert_array_equal(found.tokens, expected)
    assert found.mask.all()


def test_one_layer_of_the_real_shape(tmp_path):
    real = dataclasses.replace(QWEN2_5_0_5B, num_layers=1, vocab_size=1000)
    _, config, params, tokens, expected = parity(
        tmp_path,
        theta=1e6,
        vocab_size=1000,
        hidden_size=896,
        intermediate_size=4864,
        num_hidden_layers=1,
        num_attention_heads=14,
        num_key_value_heads=2,
        max_position_embeddings=32768,
        tie_word_embeddings=True,
    )
    assert config == real and config.head_width == 64
    logits = jax.jit(Decoder(config).apply)({"params": params}, tokens)
    np.testing.assert_allclose(logits, expected.logits[0].numpy(), atol=1e-4)


def test_likelihoods_equal_those_of_transformers(tmp_path):
    _, config, params, tokens, expected = parity(tmp_path)
    logits = expected.logits[0].double().numpy()
    each = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    mask = np.random.default_rng(2).random(39) < 0.8
    wanted = sum(each[10 + t, tokens[11 + t]] for t in range(39) if mask[t])
    model = responses.conditioned(config, ResponseConfig(39), np.asarray(tokens[:11]))
    found = jax.jit(model.log_prob)(params, Sequences(tokens[11:], jnp.asarray(mask)))
    assert float(found) == pytest.approx(wanted, abs=1e-3)


def test_rotary_positions_are_relative():
    rng = np.random.default_rng(0)
    q, k = jnp.asarray(rng.standard_normal((2, 1, 1, 8)), jnp.float32)
    at = lambda x, position: rotate(x, jnp.asarray([position]), frequencies(8, 100.0))[0, 0]
    dot = lambda i, j: float(at(q, i) @ at(k, j))
    assert dot(9, 4) == pytest.approx(dot(105, 100), abs=1e-4)
    assert abs(dot(9, 4) - dot(9, 5)) > 1e-3
    # Pair (1, 5) of position 3 by hand: an angle of 3 / 100^(1/4).
    turn = np.exp(3j * 100**-0.25) * complex(q[0, 0, 1], q[0, 0, 5])
    np.testing.assert_allclose(at(q, 3)[jnp.asarray([1, 5])], [turn.real, turn.imag], atol=1e-5)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_the_samplers_likelihoods_equal_the_scorers(temperature):
    length = 21  # neither a multiple of the cache's segment nor of the block of logits
    config = DecoderConfig(11, **SMALL, head_block=4)
    params = random_params(config)
    base = responses.conditioned(config, ResponseConfig(length, (3, 9)), PROMPT)
    model = tempering.tempered(base, temperature)
    drawn, log_probs = sampling.sample(model, jax.random.key(2), params, 12, 5)
    scores = scoring.log_likelihood(model, params, drawn)
    np.testing.assert_allclose(log_probs, scores, rtol=1e-5, atol=1e-4)
    ended = 0
    for tokens, mask in zip(np.asarray(drawn.tokens), np.asarray(drawn.mask), strict=True):
        ends = np.flatnonzero(np.isin(tokens, (3, 9)) & mask)
        size = ends[0] + 1 if len(ends) else length
        assert mask[:size].all() and not mask[size:].any() and not tokens[size:].any()
        ended += len(ends)
    assert ended > 0


@pytest.mark.parametrize("eos_tokens,count", [((), 27), ((2,), 15), ((0, 2), 7)])
def test_all_outcomes_sum_to_one_and_are_drawn_as_often(eos_tokens, count):
    config = DecoderConfig(3, **FLAT)
    params = random_params(config, 3)
    model = responses.conditioned(config, ResponseConfig(3, eos_tokens), (1, 0, 2))
    outcomes = set()
    for tokens in itertools.product(range(3), repeat=3):
        size = next((i + 1 for i, t in enumerate(tokens) if t in eos_tokens), 3)
        outcomes.add((tokens[:size] + (0,) * (3 - size), (True,) * size + (False,) * (3 - size)))
    assert len(outcomes) == count
    tokens, mask = zip(*sorted(outcomes), strict=True)
    every = Sequences(jnp.asarray(tokens, jnp.int32), jnp.asarray(mask))
    p = np.exp(np.asarray(scoring.log_likelihood(model, params, every), np.float64))
    assert p.sum() == pytest.approx(1, abs=1e-5)
    draws = 20000
    drawn, _ = sampling.sample(model, jax.random.key(0), params, draws, 5000)
    name = lambda x: np.asarray(x.tokens) @ (64, 16, 4) + np.asarray(x.mask).sum(-1)
    observed = (name(drawn)[:, None] == name(every)).sum(0)
    assert observed.sum() == draws
    rare = p * draws < 5
    cells = lambda x: np.append(x[~rare], x[rare].sum())[: None if rare.any() else -1]
    assert (p > 0.01).sum() > 2
    # Errs once in 10,000 seeds.
    assert stats.chisquare(cells(observed), cells(p / p.sum() * draws)).pvalue > 1e-4


def test_neither_padding_nor_the_batch_changes_anything():
    config, response = DecoderConfig(11, **FLAT), ResponseConfig(8, (3,))
    params, key = random_params(config), jax.random.key(5)
    prompts = [PROMPT, (6,), (9, 8, 10, 1, 2, 3, 0), (5, 5)]
    model = [responses.conditioned(config, response, prompt) for prompt in prompts[:2]]
    alone = [jax.jit(m.sample)(jax.random.fold_in(key, i), params) for i, m in enumerate(model)]
    order = jnp.asarray([2, 0, 2, 2])
    left = responses.pad_prompts(prompts)
    likeliest = []
    right = Prompt(*(jnp.asarray(x) for x in right_padded(prompts, 12)))
    keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(4))
    many = lambda fn: jax.jit(jax.vmap(fn))
    draw = many(lambda k, p: responses.sample(config, response, k, params, p))
    score = many(lambda p, x: responses.log_prob(config, response, params, p, x))
    greedy = many(lambda p: responses.complete_greedily(config, response, params, p))
    for batch in (left, right):
        drawn, log_probs = draw(keys, batch)
        for i, (sequence, log_prob) in enumerate(alone):
            np.testing.assert_array_equal(drawn.tokens[i], sequence.tokens)
            np.testing.assert_array_equal(drawn.mask[i], sequence.mask)
            np.testing.assert_allclose(log_probs[i], log_prob, rtol=1e-5)
        np.testing.assert_allclose(score(batch, drawn), log_probs, rtol=1e-5)
        others, _ = draw(keys[order], Prompt(batch.tokens[order], batch.mask[order]))
        np.testing.assert_array_equal(others.tokens, drawn.tokens[order])
        likeliest.append(greedy(batch))
    np.testing.assert_array_equal(likeliest[0].tokens, likeliest[1].tokens)
    np.testing.assert_array_equal(likeliest[0].mask, likeliest[1].mask)


def right_padded(prompts, length):
    tokens = np.full((len(prompts), length), 7, np.int32)  # padding may be any token
    for row, prompt in zip(tokens, prompts, strict=True):
        row[: len(prompt)] = prompt
    return tokens, np.arange(length) < np.asarray([len(p) for p in prompts])[:, None]


def test_the_prompts_tokens_order_and_length_count():
    config = DecoderConfig(11, **SMALL)
    params = random_params(config)
    response, length = Sequences(jnp.arange(6) % 11, jnp.ones(6, bool)), ResponseConfig(6)
    score = jax.jit(jax.vmap(lambda p: responses.log_prob(config, length, params, p, response)))
    scores = score(responses.pad_prompts([(4, 1, 7), (1, 4, 7), (4, 4, 1, 7), (4, 1, 8)]))
    assert (jnp.diff(jnp.sort(scores)) > 1e-3).all()


@pytest.mark.parametrize("which", ["sample", "log_prob", "gradient"])
def test_the_prompt_is_read_once_for_all_responses(which):
    n, size, length, mlp, vocab = 37, 53, 19, 44, 101
    config = DecoderConfig(vocab, **(SMALL | dict(mlp_width=mlp)), head_block=4)
    model = responses.conditioned(config, ResponseConfig(length), range(size))
    params = random_params(config)
    keys = jax.random.split(jax.random.key(0), n)
    batch = Sequences(jnp.zeros((n, length), jnp.int32), jnp.ones((n, length), bool))
    score = lambda params: jnp.sum(jax.vmap(lambda x: model.log_prob(params, x))(batch))
    traced = {
        "sample": lambda params: jax.vmap(lambda k: model.sample(k, params))(keys),
        "log_prob": score,
        "gradient": jax.grad(score),
    }[which]
    every = equations(jax.make_jaxpr(traced)(params).jaxpr)
    found = {out.aval.shape for equation in every for out in equation.outvars}
    assert (size, mlp) in found, "the prompt's pass through the MLP"
    assert any(n in shape and mlp in shape for shape in found), "the responses' passes"
    # Only attention has the prompt's positions beside the responses.
    both = [shape for shape in found if n in shape and size in shape]
    assert both and not any({mlp, config.width} & set(shape) for shape in both)
    # The logits of no more than a block of positions are there at a time.
    logits = [shape for shape in found if vocab in shape and n in shape]
    assert logits and max(map(np.prod, logits)) <= n * vocab * config.head_block


def test_logits_by_blocks_have_the_gradient_of_the_whole():
    config = DecoderConfig(11, **SMALL, head_block=3)
    params = random_params(config)
    response = Sequences(jnp.arange(8) % 11, jnp.arange(8) < 6)
    prompt = jax.tree.map(lambda x: x[0], responses.pad_prompts([PROMPT]))

    def plain(params):
        net = responses.network(dataclasses.replace(config, remat=False), ResponseConfig(8), prompt)
        log_probs = jax.nn.log_softmax(net.logits(net.prepare(params), response.tokens))
        return jnp.sum(log_probs[jnp.arange(6), response.tokens[:6]])

    blocks = lambda params: responses.log_prob(config, ResponseConfig(8), params, prompt, response)
    expected, found = (jax.jit(jax.value_and_grad(f))(params) for f in (plain, blocks))
    assert float(found[0]) == pytest.approx(float(expected[0]), abs=1e-5)
    paths = jax.tree_util.tree_leaves_with_path(found[1])
    for (path, a), b in zip(paths, jax.tree.leaves(expected[1]), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
        # A bias of the keys adds the same to each score of a query, but for the rotation.
        assert jnp.abs(a).max() > 1e-5, path


@pytest.mark.parametrize("param_dtype", [jnp.float32, jnp.bfloat16])
def test_bfloat16_gives_float32_likelihoods(param_dtype):
    full = DecoderConfig(11, **FLAT)
    half = dataclasses.replace(full, dtype=jnp.bfloat16, param_dtype=param_dtype)
    model = lambda c: responses.conditioned(c, ResponseConfig(12), PROMPT)
    params = random_params(half)
    made = jax.eval_shape(model(half).init, jax.random.key(0))
    assert {x.dtype for x in jax.tree.leaves(made)} == {jnp.dtype(param_dtype)}
    drawn, log_prob = jax.jit(model(half).sample)(jax.random.key(1), params)
    rough = jax.jit(model(half).log_prob)(params, drawn)
    wide = jax.tree.map(lambda x: x.astype(jnp.float32), params)
    exact = jax.jit(model(full).log_prob)(wide, drawn)
    assert log_prob.dtype == rough.dtype == jnp.float32
    assert float(rough) == pytest.approx(float(log_prob), abs=0.3)
    assert float(rough) == pytest.approx(float(exact), rel=3e-2)


@pytest.mark.parametrize(
    "wrong,field",
    [
        (dict(vocab_size=0), "vocab_size"),
        (dict(head_block=0), "head_block"),
        (dict(width=20), "width"),
        (dict(num_kv_heads=3), "num_kv_heads"),
        (dict(rope_theta=0), "rope_theta"),
    ],
)
def test_bad_settings_name_the_field(wrong, field):
    with pytest.raises(ValueError, match=field):
        DecoderConfig(**(dict(vocab_size=4) | SMALL | wrong))


@pytest.mark.parametrize(
    "response,prompt,message",
    [
        (dict(max_new_tokens=0), PROMPT, "max_new_tokens"),
        (dict(max_new_tokens=5, eos_tokens=3), PROMPT, "eos_tokens"),
        (dict(max_new_tokens=5, eos_tokens=(11,)), PROMPT, "token 11"),
        (dict(max_new_tokens=5), (1, -1), "token -1"),
        (dict(max_new_tokens=5), (), "prompt 0"),
        (dict(max_new_tokens=26), PROMPT, "context=30"),
    ],
)
def test_what_cannot_be_answered_is_refused(response, prompt, message):
    config = DecoderConfig(11, **SMALL, context=30)
    with pytest.raises(ValueError, match=message):
        model = responses.conditioned(config, ResponseConfig(**response), prompt)
        model.sample(jax.random.key(0), random_params(config))
