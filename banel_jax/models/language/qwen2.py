"""The Qwen2 decoder in flax.linen: rotary positions, grouped queries, gated MLP, RMSNorm.

Everything is written for one sequence and batched by `jax.vmap`. Letters: L positions, P those
of a prefix, S those attended to, D the model width, H heads of keys and values, G query heads
for each of them, K the width of a head, V the vocabulary.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float, Int

from banel_jax import checks
from banel_jax.models.transformer import row_blocks


@dataclass(frozen=True)
class Qwen2Config:
    """Settings of the decoder.

    Attributes:
      vocab_size: V, the rows of the embedding; may exceed the tokenizer's size.
      width, num_layers, mlp_width: of the decoder.
      num_heads: of the queries; divides width.
      num_kv_heads: of the keys and values; divides num_heads.
      rope_theta: base of the rotary positions' wavelengths.
      norm_eps: added to the mean square in RMSNorm.
      tied: whether the embedding is the output projection as well.
      context: the most tokens of a prompt and its response together.
      dtype: of the activations; norms, softmax, logits and likelihoods are float32.
      param_dtype: of the parameters.
      precision: of the matrix products. Likelihood ratios are small differences of large
        numbers, so the default is full float32 on every device.
      head_block: positions whose logits a scorer holds at a time, which takes 4 V head_block
        bytes for each sequence in work.
      remat: whether a gradient computes each layer again instead of keeping its activations.
    """

    vocab_size: int
    width: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    mlp_width: int
    rope_theta: float = 1e6
    norm_eps: float = 1e-6
    tied: bool = True
    context: int = 32768
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32
    precision: str = "highest"
    head_block: int = 8
    remat: bool = True

    def __post_init__(self):
        sizes = ("vocab_size", "width", "num_layers", "num_heads", "num_kv_heads", "mlp_width")
        checks.fields(self)
        checks.integers(self, *sizes, "context", "head_block", at_least=1)
        checks.reals(self, "rope_theta", "norm_eps", above=0)
        checks.one_of(self, "precision", ("default", "high", "highest"))
        for name in ("dtype", "param_dtype"):
            if not _is_float(getattr(self, name)):
                raise ValueError(f"{name}={getattr(self, name)!r} must be a type of floats")
        if self.width % (2 * self.num_heads):
            raise ValueError(
                f"width={self.width} over num_heads={self.num_heads} must be an even number"
            )
        if self.num_heads % self.num_kv_heads:
            raise ValueError(
                f"num_heads={self.num_heads} is not divisible by num_kv_heads={self.num_kv_heads}"
            )

    @property
    def head_width(self) -> int:
        return self.width // self.num_heads


def _is_float(dtype):
    try:
        return dtype is not None and jnp.issubdtype(jnp.dtype(dtype), jnp.floating)
    except TypeError:
        return False


QWEN2_5_0_5B = Qwen2Config(
    vocab_size=151936, width=896, num_layers=24, num_heads=14, num_kv_heads=2, mlp_width=4864
)


def rotate(
    x: Float[Array, "L heads K"], positions: Int[Array, " L"], theta: float
) -> Float[Array, "L heads K"]:
    """Rotary positions: the pair (i, i + K/2) of a head is turned by position * theta^(-2i/K)."""
    half = x.shape[-1] // 2
    frequencies = np.asarray(theta ** (-np.arange(half) / half), np.float32)
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


class Layer(nn.Module):
    config: Qwen2Config

    def setup(self):
        c = self.config
        dtypes = dict(dtype=c.dtype, param_dtype=c.param_dtype)
        dense = dtypes | dict(
            use_bias=False, precision=c.precision, kernel_init=nn.initializers.normal(0.02)
        )
        biased = dense | dict(use_bias=True)
        self.attention_norm = nn.RMSNorm(epsilon=c.norm_eps, **dtypes)
        self.q = nn.Dense(c.num_heads * c.head_width, **biased)
        self.k = nn.Dense(c.num_kv_heads * c.head_width, **biased)
        self.v = nn.Dense(c.num_kv_heads * c.head_width, **biased)
        self.attention_out = nn.Dense(c.width, **dense)
        self.mlp_norm = nn.RMSNorm(epsilon=c.norm_eps, **dtypes)
        self.gate = nn.Dense(c.mlp_width, **dense)
        self.up = nn.Dense(c.mlp_width, **dense)
        self.down = nn.Dense(c.width, **dense)

    def _qkv(self, x, positions):  # x [L, D] -> q [H, G, L, K], k and v [H, L, K]
        c = self.config
        x = self.attention_norm(x)
        split = lambda y: y.reshape(y.shape[0], -1, c.head_width)
        q = rotate(split(self.q(x)), positions, c.rope_theta).swapaxes(0, 1)
        k = rotate(split(self.k(x)), positions, c.rope_theta).swapaxes(0, 1)
        q = q.reshape(c.num_kv_heads, -1, *q.shape[1:])
        return q, k, split(self.v(x)).swapaxes(0, 1)

    def _finish(self, x, attended):  # x [L, D], attended [H, G, L, K]
        attended = attended.reshape(-1, *attended.shape[2:]).swapaxes(0, 1)
        x = x + self.attention_out(attended.reshape(x.shape))
        h = self.mlp_norm(x)
        return x + self.down(nn.silu(self.gate(h)) * self.up(h))

    def __call__(self, x, positions, seen, prefix):
        """x [L, D], seen [L, L], prefix a list of at most one part -> (x, (keys, values))."""
        q, k, v = self._qkv(x, positions)
        attended = attention_in_blocks(q, k, v, seen, prefix, self.config.precision)
        return self._finish(x, attended), (k, v)

    def step(self, x, position, index, cache, prefix):
        """x [1, D] at a position of the whole, written at `index` of the cache."""
        q, k, v = self._qkv(x, position[None])
        keys = jax.lax.dynamic_update_slice_in_dim(cache[0], k, index, 1)
        values = jax.lax.dynamic_update_slice_in_dim(cache[1], v, index, 1)
        own = (keys, values, jnp.arange(keys.shape[1]) <= index)
        attended = attention(q, [*prefix, own], self.config.precision)
        return self._finish(x, attended), (keys, values)


class Decoder(nn.Module):
    config: Qwen2Config

    def setup(self):
        c = self.config
        table = (nn.initializers.normal(0.02), (c.vocab_size, c.width), c.param_dtype)
        self.embedding = self.param("embedding", *table)
        self.head = self.embedding if c.tied else self.param("head", *table)
        layer = nn.remat(Layer) if c.remat else Layer
        self.layers = [layer(c, name=f"layer_{i}") for i in range(c.num_layers)]
        self.final_norm = nn.RMSNorm(epsilon=c.norm_eps, dtype=c.dtype, param_dtype=c.param_dtype)

    def __call__(self, tokens):
        """[L] -> float32 [L, V], row t the logits of the token that follows token t."""
        positions = jnp.arange(tokens.shape[0])
        features, _ = self.features(tokens, positions, positions[:, None] >= positions)
        return self.logits(features)

    def features(self, tokens, positions, seen, prefix=None, prefix_seen=None):
        """What the logits are made from, [L, D], and each layer's (keys, values)."""
        x = self.embedding[tokens].astype(self.config.dtype)
        cache = []
        for i, layer in enumerate(self.layers):
            x, layer_cache = layer(x, positions, seen, _part(prefix, i, prefix_seen))
            cache.append(layer_cache)
        return self.final_norm(x), tuple(cache)

    def step(self, token, position, index, cache, prefix, prefix_seen):
        """A token at a position of the whole, at `index` of the cache -> (logits [V], cache)."""
        x = self.embedding[token][None].astype(self.config.dtype)
        new_cache = []
        for i, layer in enumerate(self.layers):
            part = _part(prefix, i, prefix_seen)
            x, layer_cache = layer.step(x, position, index, cache[i], part)
            new_cache.append(layer_cache)
        return self.logits(self.final_norm(x)[0]), tuple(new_cache)

    def logits(self, features):
        """[..., D] -> float32 [..., V]."""
        return jnp.einsum(
            "...d,vd->...v",
            features,
            self.head.astype(self.config.dtype),
            precision=self.config.precision,
            preferred_element_type=jnp.float32,
        )


def _part(prefix, i, seen):
    return [] if prefix is None else [(*prefix[i], seen)]
