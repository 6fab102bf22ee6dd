"""The decoder of each family head by head in NumPy, without PyTorch or the code that it checks."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import erf

from banel_jax.models.language import responses
from banel_jax.models.language.decoder import Decoder
from banel_jax.models.language.decoder_config import DecoderConfig, RopeScaling
from banel_jax.types import Sequences

# Two layers: what a prompt's tokens attend to shows in the second one's keys and values alone.
C = DecoderConfig(11, 16, 2, num_heads=4, num_kv_heads=2, mlp_width=20, rope_theta=50.0)
PROMPTS, RESPONSE = [(4, 1, 7, 2), (6, 3)], (5, 0, 9)
CONFIGS = {
    "qwen2": C,
    "qwen3": dataclasses.replace(C, qkv_bias=False, qk_norm=True, head_dim=6),
    "llama, all biases": dataclasses.replace(C, out_bias=True, mlp_bias=True, tied=False),
    "llama3": dataclasses.replace(
        C, qkv_bias=False, head_dim=12, rope_scaling=RopeScaling("llama3", 8.0, 1.0, 4.0, 60)
    ),
    "linear": dataclasses.replace(C, qkv_bias=False, rope_scaling=RopeScaling("linear", 3.0)),
    "gpt2": dataclasses.replace(
        C, num_kv_heads=4, norm="layer", norm_eps=1e-5, positions="learned", gated=False,
        activation="gelu_tanh", out_bias=True, mlp_bias=True, context=9,
    ),
    "gpt2, exact": dataclasses.replace(
        C, num_kv_heads=4, norm="layer", positions="learned", gated=False, activation="gelu",
        out_bias=True, mlp_bias=True, context=9,
    ),
}  # fmt: skip


def parameters(c=C):
    start = jnp.zeros(1, jnp.int32)
    shapes = jax.eval_shape(Decoder(c).init, jax.random.key(0), start)["params"]
    rng = np.random.default_rng(0)
    return jax.tree.map(
        lambda x: (rng.standard_normal(x.shape) * (0.3 if len(x.shape) > 1 else 0.7)).astype("f4"),
        shapes,
    )


def softmax(x):
    weights = np.exp(x - x.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


def norm(x, p, c):
    if "bias" in p:
        x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + c.norm_eps) * p["scale"] + p.get("bias", 0)


def wavelengths(c):
    """Tokens that a whole turn takes, pair by pair, stretched by the definition of each kind."""
    for i in range(c.head_width // 2):
        length, scaling = 2 * np.pi * c.rope_theta ** (2 * i / c.head_width), c.rope_scaling
        if scaling is None:
            yield length
        elif scaling.kind == "linear" or length > scaling.original_context / 1.0:
            yield length * scaling.factor
        elif length < scaling.original_context / 4.0:
            yield length
        else:
            share = (scaling.original_context / length - 1.0) / (4.0 - 1.0)
            yield 1 / ((1 - share) / (scaling.factor * length) + share / length)


def turned(
    x, c
):  # the halves of a head are the parts of complex numbers, turned by their positions
    if c.positions == "learned":
        return x
    half = x.shape[1] // 2
    angles = 2 * np.pi * np.arange(len(x))[:, None] / list(wavelengths(c))
    z = (x[:, :half] + 1j * x[:, half:]) * np.exp(1j * angles)
    return np.concatenate([z.real, z.imag], axis=1)


def activated(x, c):
    if c.activation == "silu":
        return x / (1 + np.exp(-x))
    if c.activation == "gelu":
        return x * (1 + erf(x / np.sqrt(2))) / 2
    return x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))) / 2


def logits(params, tokens, c=C):
    params = jax.tree.map(lambda x: x.astype(np.float64), params)
    x, later = params["embedding"][list(tokens)], np.triu_indices(len(tokens), 1)
    if c.positions == "learned":
        x = x + params["position_table"][: len(tokens)]
    dense = lambda p, x: x @ p["kernel"] + p.get("bias", 0)
    for i in range(c.num_layers):
        p = jax.tree.map(lambda x, i=i: x[i], params["layers"])
        h = norm(x, p["attention_norm"], c)
        q, k, v = (dense(p[name], h) for name in "qkv")
        attended = []
        for head in range(c.num_heads):
            own = np.s_[:, head * c.head_width : (head + 1) * c.head_width]
            group = head // (c.num_heads // c.num_kv_heads)
            of = np.s_[:, group * c.head_width : (group + 1) * c.head_width]
            normed = lambda x, name: norm(x, p[name], c) if c.qk_norm else x  # noqa: B023
            queries, keys = turned(normed(q[own], "q_norm"), c), turned(normed(k[of], "k_norm"), c)
            scores = queries @ keys.T / c.head_width**0.5
            scores[later] = -np.inf
            attended.append(softmax(scores) @ v[of])
        x = x + dense(p["attention_out"], np.concatenate(attended, axis=1))
        h = norm(x, p["mlp_norm"], c)
        up = dense(p["up"], h)
        x = x + dense(
            p["down"], activated(dense(p["gate"], h), c) * up if c.gated else activated(up, c)
        )
    return norm(x, params["final_norm"], c) @ params["embedding" if c.tied else "head"].T


@pytest.mark.parametrize("name", CONFIGS)
def test_logits(name):
    c, tokens = CONFIGS[name], (*PROMPTS[0], *RESPONSE)
    params = parameters(c)
    assert set(params["layers"]) == {
        "attention_norm",
        "q",
        "k",
        "v",
        "attention_out",
        "mlp_norm",
    } | (
        {"up", "down"}
        | ({"gate"} if c.gated else set())
        | ({"q_norm", "k_norm"} if c.qk_norm else set())
    )
    found = jax.jit(Decoder(c).apply)({"params": params}, jnp.asarray(tokens))
    np.testing.assert_allclose(found, logits(params, tokens, c), atol=1e-4)


def test_there_is_no_place_beyond_a_learned_table():
    c = CONFIGS["gpt2"]
    with pytest.raises(ValueError, match="context=9 has no room for 10 tokens"):
        jax.eval_shape(Decoder(c).apply, {"params": parameters(c)}, jnp.zeros(10, jnp.int32))


@pytest.mark.parametrize("name", ["qwen2", "gpt2"])
def test_responses_to_prompts_padded_on_either_side(name):
    c = CONFIGS[name]
    params = parameters(c)
    left = responses.pad_prompts(PROMPTS, 5)
    right = np.full((2, 5), 8, np.int32), np.zeros((2, 5), bool)  # padding may be any token
    for tokens, mask, prompt in zip(*right, PROMPTS, strict=True):
        tokens[: len(prompt)], mask[: len(prompt)] = prompt, True
    both = jax.tree.map(lambda *x: jnp.concatenate(x), left, responses.Prompt(*right))
    response = Sequences(jnp.asarray(RESPONSE), jnp.ones(len(RESPONSE), bool))
    score = lambda params, prompt: responses.log_prob(
        c, responses.ResponseConfig(len(RESPONSE)), params, prompt, response
    )
    expected = []
    for prompt in PROMPTS:
        after = softmax(logits(params, (*prompt, *RESPONSE), c))[len(prompt) - 1 : -1]
        expected.append(np.log(after[np.arange(len(RESPONSE)), RESPONSE]).sum())
    found = jax.jit(jax.vmap(score, (None, 0)))(params, both)
    np.testing.assert_allclose(found, expected * 2, atol=1e-4)


@pytest.mark.parametrize("name", ["qwen3", "llama3", "gpt2"])
def test_the_samplers_likelihoods_are_those_by_hand(name):
    c = CONFIGS[name]
    params = parameters(c)
    config, prompts = responses.ResponseConfig(5, (3, 8)), responses.pad_prompts(PROMPTS)
    draw = lambda params, key, prompt: responses.sample(c, config, key, params, prompt)
    keys = jax.random.split(jax.random.key(0), (8, 2))
    each = jax.vmap(jax.vmap(draw, (None, 0, 0)), (None, 0, None))
    drawn, log_probs = jax.jit(each)(params, keys, prompts)
    for i, j in np.ndindex(8, 2):
        tokens = np.asarray(drawn.tokens[i, j])[np.asarray(drawn.mask[i, j])]
        after = softmax(logits(params, (*PROMPTS[j], *tokens), c))[len(PROMPTS[j]) - 1 : -1]
        expected = np.log(after[np.arange(len(tokens)), tokens]).sum()
        np.testing.assert_allclose(log_probs[i, j], expected, atol=1e-4)
    assert len(set(np.asarray(drawn.mask.sum(-1)).ravel().tolist())) > 1


def test_the_likeliest_response_ends_with_its_end():
    params, tokens = parameters(), list(PROMPTS[0])
    for _ in range(5):
        tokens.append(int(np.argmax(logits(params, tokens)[-1])))
    likeliest = tokens[len(PROMPTS[0]) :]
    size = 1 + likeliest.index(likeliest[2])
    config = responses.ResponseConfig(5, (likeliest[2],))
    prompt = jax.tree.map(lambda x: x[0], responses.pad_prompts(PROMPTS[:1]))
    complete = jax.jit(lambda params: responses.complete_greedily(C, config, params, prompt))
    found = complete(params)
    np.testing.assert_array_equal(found.tokens, likeliest[:size] + [0] * (5 - size))
    np.testing.assert_array_equal(found.mask, np.arange(5) < size)
