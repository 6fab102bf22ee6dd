"""The GPT-2 style decoder (pre-norm, learned positions) in flax.linen, as a SequenceModel.

Everything is written for one sequence and batched by `jax.vmap`. Letters: L positions,
D the model width, H heads, K = D / H, V the vocabulary.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from banel_jax import checks
from banel_jax.models import autoregressive
from banel_jax.types import SequenceModel

MIN_ROWS = 32  # of a block of attention; smaller ones cost more than they save


@dataclass(frozen=True)
class TransformerConfig:
    """Settings of the decoder.

    Attributes:
      vocab_size: V. The start token is the model's own and is no part of the vocabulary.
      length: the longest sequence, in tokens.
      num_layers, num_heads, width: of the decoder; width is divisible by num_heads.
      mlp_ratio: width of the hidden layer over `width`.
      dropout: probability, used only where a dropout key is given.
      dtype: of the activations; parameters, softmax and log-likelihoods are float32.
      eos_token: ends a sequence (its probability counts), or None for fixed length.
      precision: of the matrix products. Likelihood ratios are small differences of large
        numbers, so the default is full float32 on every device.

    Raises:
      ValueError: in one line, for a field of another type or outside its range, and where
        `width` is not divisible by `num_heads`.
    """

    vocab_size: int
    length: int
    num_layers: int = 4
    num_heads: int = 4
    width: int = 128
    mlp_ratio: int = 4
    dropout: float = 0.0
    dtype: Any = jnp.float32
    eos_token: int | None = None
    precision: str = "highest"

    def __post_init__(self):
        checks.fields(self)
        sizes = ("vocab_size", "length", "num_layers", "num_heads", "width", "mlp_ratio")
        checks.integers(self, *sizes, at_least=1)
        if self.width % self.num_heads:
            raise ValueError(f"width={self.width} is not divisible by num_heads={self.num_heads}")
        checks.reals(self, "dropout", at_least=0, below=1)


@dataclass(frozen=True, kw_only=True)
class TransformerSize:
    """The fields of a task's settings that say how large its decoder is.

    Attributes:
      num_layers, num_heads, width, dropout: of the prior, a transformer.
    """

    num_layers: int = 4
    num_heads: int = 4
    width: int = 128
    dropout: float = 0.1

    def decoder(
        self, vocab_size: int, length: int, eos_token: int | None = None
    ) -> TransformerConfig:
        size = {name: getattr(self, name) for name in ("num_layers", "num_heads", "width")}
        return TransformerConfig(
            vocab_size, length, dropout=self.dropout, eos_token=eos_token, **size
        )


def row_blocks(length: int) -> list[tuple[int, int]]:
    """The rows of causal attention in at most four blocks, each (start, end).

    A block needs the keys up to its last row alone: in all little more than half of the square.
    """
    rows = max(MIN_ROWS, -(-length // 4))
    return [(start, min(start + rows, length)) for start in range(0, length, rows)]


def causal_attention(q, k, v, precision):
    """Attention of each position to itself and those before it; all [H, L, K].

    In four blocks of rows, each against the keys up to its last row alone: little more than
    half the work of the full square. On CPU forward and backward take less than half the
    time of `jax.nn.dot_product_attention`.
    """
    blocks = []
    for start, end in row_blocks(q.shape[1]):
        scores = jnp.einsum(
            "hlk,hsk->hls",
            q[:, start:end],
            k[:, :end],
            precision=precision,
            preferred_element_type=jnp.float32,
        )
        seen = jnp.arange(start, end)[:, None] >= jnp.arange(end)
        weights = jax.nn.softmax(jnp.where(seen, scores / q.shape[-1] ** 0.5, -jnp.inf))
        blocks.append(
            jnp.einsum("hls,hsk->hlk", weights.astype(v.dtype), v[:, :end], precision=precision)
        )
    return jnp.concatenate(blocks, axis=1)


class Block(nn.Module):
    config: TransformerConfig

    def setup(self):
        c = self.config
        dense = dict(dtype=c.dtype, precision=c.precision, kernel_init=nn.initializers.normal(0.02))
        residual = dense | dict(
            kernel_init=nn.initializers.normal(0.02 / (2 * c.num_layers) ** 0.5)
        )
        self.attention_norm = nn.LayerNorm(dtype=c.dtype)
        self.qkv = nn.Dense(3 * c.width, **dense)
        self.attention_out = nn.Dense(c.width, **residual)
        self.mlp_norm = nn.LayerNorm(dtype=c.dtype)
        self.mlp_in = nn.Dense(c.mlp_ratio * c.width, **dense)
        self.mlp_out = nn.Dense(c.width, **residual)
        self.drop = nn.Dropout(c.dropout)

    def _mlp(self, x, deterministic):
        h = self.mlp_out(nn.gelu(self.mlp_in(self.mlp_norm(x)), approximate=True))
        return x + self.drop(h, deterministic=deterministic)

    def _qkv(self, x):
        qkv = self.qkv(self.attention_norm(x))
        return [
            part.reshape(*part.shape[:-1], self.config.num_heads, -1)
            for part in jnp.split(qkv, 3, axis=-1)
        ]

    def __call__(self, x, deterministic):  # x [L, D]
        q, k, v = (part.swapaxes(0, 1) for part in self._qkv(x))
        attended = causal_attention(q, k, v, self.config.precision).swapaxes(0, 1)
        h = self.attention_out(attended.reshape(x.shape))
        return self._mlp(x + self.drop(h, deterministic=deterministic), deterministic)

    def step(self, x, cache, position):  # x [D], cache (k, v) each [H, S, K]
        q, k, v = self._qkv(x)
        keys = jax.lax.dynamic_update_index_in_dim(cache[0], k, position, 1)
        values = jax.lax.dynamic_update_index_in_dim(cache[1], v, position, 1)
        precision = self.config.precision
        scores = jnp.einsum(
            "hk,hsk->hs", q, keys, precision=precision, preferred_element_type=jnp.float32
        )
        scores = scores / q.shape[-1] ** 0.5
        seen = jnp.arange(keys.shape[1]) <= position
        weights = jax.nn.softmax(jnp.where(seen, scores, -jnp.inf)).astype(values.dtype)
        attended = jnp.einsum("hs,hsk->hk", weights, values, precision=precision)
        x = x + self.attention_out(attended.reshape(-1))
        return self._mlp(x, deterministic=True), (keys, values)


class Decoder(nn.Module):
    config: TransformerConfig

    def setup(self):
        c = self.config
        init = nn.initializers.normal(0.02)
        # Row V of the table is the start token.
        self.token_embedding = self.param(
            "token_embedding", init, (c.vocab_size + 1, c.width), jnp.float32
        )
        self.position_embedding = self.param(
            "position_embedding", init, (c.length, c.width), jnp.float32
        )
        self.blocks = [Block(c, name=f"block_{i}") for i in range(c.num_layers)]
        self.final_norm = nn.LayerNorm(dtype=c.dtype)
        self.head = nn.Dense(
            c.vocab_size, use_bias=False, dtype=c.dtype, precision=c.precision, kernel_init=init
        )
        self.drop = nn.Dropout(c.dropout)

    def __call__(self, tokens, deterministic=True):  # [L] -> logits [L, V], float32
        start = jnp.full((1,), self.config.vocab_size, tokens.dtype)
        inputs = jnp.concatenate([start, tokens[:-1]])
        x = self.token_embedding[inputs] + self.position_embedding[: tokens.shape[0]]
        x = self.drop(x.astype(self.config.dtype), deterministic=deterministic)
        for block in self.blocks:
            x = block(x, deterministic)
        return self.head(self.final_norm(x)).astype(jnp.float32)

    def step(self, previous, position, cache):  # previous token (V at the start) -> logits [V]
        x = self.token_embedding[previous] + self.position_embedding[position]
        x = x.astype(self.config.dtype)
        new_cache = []
        for block, block_cache in zip(self.blocks, cache, strict=True):
            x, block_cache = block.step(x, block_cache, position)
            new_cache.append(block_cache)
        return self.head(self.final_norm(x)).astype(jnp.float32), tuple(new_cache)


def network(config: TransformerConfig) -> autoregressive.Network:
    """The decoder as a network that predicts the next token."""
    decoder = Decoder(config)

    def init(key):
        return decoder.init(key, jnp.zeros((config.length,), jnp.int32))["params"]

    def logits(params, tokens, dropout_key):
        if dropout_key is None or config.dropout == 0:
            return decoder.apply({"params": params}, tokens)
        rngs = {"dropout": dropout_key}
        return decoder.apply({"params": params}, tokens, deterministic=False, rngs=rngs)

    def init_cache(size):
        # Heads first: with positions first, XLA would transpose the cache at every step.
        shape = (config.num_heads, size, config.width // config.num_heads)
        zeros = jnp.zeros(shape, config.dtype)
        return ((zeros, zeros),) * config.num_layers

    def step(params, previous, position, cache):
        return decoder.apply({"params": params}, previous, position, cache, method=Decoder.step)

    return autoregressive.Network(init, logits, init_cache, step)


def transformer(config: TransformerConfig) -> SequenceModel:
    """The decoder as a SequenceModel over sequences of `config.length` tokens.

    Args:
      config: sizes, and what ends a sequence.

    Returns:
      The model. Its parameters are float32 whatever `config.dtype`; it samples with a cache of
      keys and values, and scores a sequence in one pass.
    """
    return autoregressive.sequence_model(
        network(config),
        vocab_size=config.vocab_size,
        length=config.length,
        eos_token=config.eos_token,
        settings=config,
    )
