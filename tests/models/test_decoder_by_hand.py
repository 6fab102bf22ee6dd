"""Qwen2 head by head in NumPy, which needs neither PyTorch nor the code that it checks."""

import jax
import jax.numpy as jnp
import numpy as np

from banel_jax.models.language import responses
from banel_jax.models.language.decoder import Decoder
from banel_jax.models.language.decoder_config import DecoderConfig
from banel_jax.types import Sequences

# Two layers: what a prompt's tokens attend to shows in the second one's keys and values alone.
C = DecoderConfig(11, 16, 2, num_heads=4, num_kv_heads=2, mlp_width=20, rope_theta=50.0)
PROMPTS, RESPONSE = [(4, 1, 7, 2), (6, 3)], (5, 0, 9)


def parameters():
    start = jnp.zeros(1, jnp.int32)
    shapes = jax.eval_shape(Decoder(C).init, jax.random.key(0), start)["params"]
    rng = np.random.default_rng(0)
    return jax.tree.map(
        lambda x: (rng.standard_normal(x.shape) * (0.3 if len(x.shape) > 1 else 0.7)).astype("f4"),
        shapes,
    )


def softmax(x):
    weights = np.exp(x - x.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


def norm(x, scale):
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + C.norm_eps) * scale


def turned(x):  # the halves of a head are the parts of complex numbers, turned by their positions
    half = x.shape[1] // 2
    angles = np.arange(len(x))[:, None] * C.rope_theta ** -(np.arange(half) / half)
    z = (x[:, :half] + 1j * x[:, half:]) * np.exp(1j * angles)
    return np.concatenate([z.real, z.imag], axis=1)


def logits(params, tokens):
    params = jax.tree.map(lambda x: x.astype(np.float64), params)
    x, later = params["embedding"][list(tokens)], np.triu_indices(len(tokens), 1)
    for i in range(C.num_layers):
        p = params[f"layer_{i}"]
        h = norm(x, p["attention_norm"]["scale"])
        q, k, v = (h @ p[name]["kernel"] + p[name]["bias"] for name in "qkv")
        attended = []
        for head in range(C.num_heads):
            own = np.s_[:, head * C.head_width : (head + 1) * C.head_width]
            group = head // (C.num_heads // C.num_kv_heads)
            of = np.s_[:, group * C.head_width : (group + 1) * C.head_width]
            scores = turned(q[own]) @ turned(k[of]).T / C.head_width**0.5
            scores[later] = -np.inf
            attended.append(softmax(scores) @ v[of])
        x = x + np.concatenate(attended, axis=1) @ p["attention_out"]["kernel"]
        h = norm(x, p["mlp_norm"]["scale"])
        gate, up = (h @ p[name]["kernel"] for name in ("gate", "up"))
        x = x + (gate / (1 + np.exp(-gate)) * up) @ p["down"]["kernel"]
    return norm(x, params["final_norm"]["scale"]) @ params["embedding"].T


def test_logits():
    tokens = (*PROMPTS[0], *RESPONSE)
    found = jax.jit(Decoder(C).apply)({"params": parameters()}, jnp.asarray(tokens))
    np.testing.assert_allclose(found, logits(parameters(), tokens), atol=1e-4)


def test_responses_to_prompts_padded_on_either_side():
    params = parameters()
    left = responses.pad_prompts(PROMPTS, 5)
    right = np.full((2, 5), 8, np.int32), np.zeros((2, 5), bool)  # padding may be any token
    for tokens, mask, prompt in zip(*right, PROMPTS, strict=True):
        tokens[: len(prompt)], mask[: len(prompt)] = prompt, True
    both = jax.tree.map(lambda *x: jnp.concatenate(x), left, responses.Prompt(*right))
    response = Sequences(jnp.asarray(RESPONSE), jnp.ones(len(RESPONSE), bool))
    score = lambda params, prompt: responses.log_prob(C, params, prompt, response)
    expected = []
    for prompt in PROMPTS:
        after = softmax(logits(params, (*prompt, *RESPONSE)))[len(prompt) - 1 : -1]
        expected.append(np.log(after[np.arange(len(RESPONSE)), RESPONSE]).sum())
    found = jax.jit(jax.vmap(score, (None, 0)))(params, both)
    np.testing.assert_allclose(found, expected * 2, atol=1e-4)


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
