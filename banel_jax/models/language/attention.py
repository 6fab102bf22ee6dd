"""Attention of grouped queries, and rotary positions.

Letters: L positions, S those attended to, H heads of keys and values, G query heads for each of
them, K the width of a head.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from banel_jax.models.language.decoder_config import RopeScaling
from banel_jax.models.transformer import row_blocks


def frequencies(width: int, theta: float, scaling: RopeScaling | None = None) -> np.ndarray:
    """The angles float32 [K / 2] by which a position turns the pairs of a head of width K."""
    half = width // 2
    found = theta ** (-np.arange(half) / half)
    if scaling is not None and scaling.kind == "linear":
        found = found / scaling.factor
    elif scaling is not None:
        turns = scaling.original_context * found / (2 * np.pi)  # within the first context
        low, high = scaling.low_freq_factor, scaling.high_freq_factor
        kept = np.clip((turns - low) / (high - low), 0, 1)
        found = found * (kept + (1 - kept) / scaling.factor)
    return np.asarray(found, np.float32)


def rotate(
    x: Float[Array, "L heads K"], positions: Int[Array, " L"], frequencies: np.ndarray
) -> Float[Array, "L heads K"]:
    """Rotary positions: the pair (i, i + K/2) of a head is turned by position * frequencies[i]."""
    angles = positions[:, None, None].astype(jnp.float32) * frequencies
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    turned = jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
    return turned.astype(x.dtype)


def attention(q, parts, precision):
    """Attention of q [H, G, L, K] over several parts at once, each (keys, values, seen).

    Keys and values are [H, S, K], seen [L, S] or [S]. Parts stay apart so that one which all
    sequences share, a prompt's, is neither copied nor written for each of them.
    """
    product = lambda form, *xs: jnp.einsum(
        form, *xs, precision=precision, preferred_element_type=jnp.float32
    )
    scores = [
        jnp.where(seen, product("hglk,hsk->hgls", q, keys) / q.shape[-1] ** 0.5, -jnp.inf)
        for keys, _, seen in parts
    ]
    weights = jax.nn.softmax(jnp.concatenate(scores, axis=-1)).astype(q.dtype)
    ends, end = [], 0
    for keys, _, _ in parts:
        end += keys.shape[1]
        ends.append(end)
    shares = jnp.split(weights, ends[:-1], axis=-1)
    attended = [
        product("hgls,hsk->hglk", share, values)
        for share, (_, values, _) in zip(shares, parts, strict=True)
    ]
    return sum(attended[1:], attended[0]).astype(q.dtype)


def attention_in_blocks(q, keys, values, seen, prefix, precision):
    """Causal attention to a sequence's own L positions, where seen [L, L], and to a prefix.

    In four blocks of rows, each against the keys up to its last row alone.
    """
    blocks = []
    for start, end in row_blocks(q.shape[2]):
        own = (keys[:, :end], values[:, :end], seen[start:end, :end])
        blocks.append(attention(q[:, :, start:end], [*prefix, own], precision))
    return jnp.concatenate(blocks, axis=2)
