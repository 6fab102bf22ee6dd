"""The decoder of pretrained language models in flax.linen: Llama's, Qwen's and GPT-2's by settings.

Everything is written for one sequence and batched by `jax.vmap`. Letters: L positions, P those
of a prefix, S those attended to, D the model width, H heads of keys and values, G query heads
for each of them, K the width of a head, V the vocabulary.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from banel_jax.models import low_rank
from banel_jax.models.language.attention import attention, attention_in_blocks, frequencies, rotate
from banel_jax.models.language.decoder_config import DecoderConfig

ACTIVATIONS: dict[str, Callable[..., jax.Array]] = {
    "silu": nn.silu,
    "gelu": partial(nn.gelu, approximate=False),
    "gelu_tanh": partial(nn.gelu, approximate=True),
}


def _norm(config, rms=False):
    settings = dict(epsilon=config.norm_eps, dtype=config.dtype, param_dtype=config.param_dtype)
    if rms or config.norm == "rms":
        return nn.RMSNorm(**settings)
    return nn.LayerNorm(use_fast_variance=False, **settings)  # which cancels where means are large


class Layer(nn.Module):
    config: DecoderConfig

    def setup(self):
        c = self.config
        dense = partial(
            nn.Dense,
            dtype=c.dtype,
            param_dtype=c.param_dtype,
            precision=c.precision,
            dot_general=low_rank.dot_general,
            promote_dtype=low_rank.promote_dtype,
            kernel_init=nn.initializers.normal(0.02),
        )
        self.attention_norm = _norm(c)
        self.q = dense(c.query_width, use_bias=c.qkv_bias)
        self.k = dense(c.kv_width, use_bias=c.qkv_bias)
        self.v = dense(c.kv_width, use_bias=c.qkv_bias)
        if c.qk_norm:
            self.q_norm, self.k_norm = _norm(c, rms=True), _norm(c, rms=True)
        self.attention_out = dense(c.width, use_bias=c.out_bias)
        self.mlp_norm = _norm(c)
        if c.gated:
            self.gate = dense(c.mlp_width, use_bias=c.mlp_bias)
        self.up = dense(c.mlp_width, use_bias=c.mlp_bias)
        self.down = dense(c.width, use_bias=c.mlp_bias)

    def _qkv(self, x, positions):  # x [L, D] -> q [H, G, L, K], k and v [H, L, K]
        c = self.config
        x = self.attention_norm(x)
        q, k, v = (
            y.reshape(y.shape[0], -1, c.head_width) for y in (self.q(x), self.k(x), self.v(x))
        )
        if c.qk_norm:
            q, k = self.q_norm(q), self.k_norm(k)
        if c.positions == "rotary":
            turns = frequencies(c.head_width, c.rope_theta, c.rope_scaling)
            q, k = rotate(q, positions, turns), rotate(k, positions, turns)
        q, k, v = (y.swapaxes(0, 1) for y in (q, k, v))
        return q.reshape(c.num_kv_heads, -1, *q.shape[1:]), k, v

    def _finish(self, x, attended):  # x [L, D], attended [H, G, L, K]
        attended = attended.reshape(-1, *attended.shape[2:]).swapaxes(0, 1)
        x = x + self.attention_out(attended.reshape(x.shape[0], -1))
        h = self.mlp_norm(x)
        act, up = ACTIVATIONS[self.config.activation], self.up(h)
        return x + self.down(act(self.gate(h)) * up if self.config.gated else act(up))

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
    config: DecoderConfig

    def setup(self):
        c = self.config
        table = lambda name, rows: self.param(
            name, nn.initializers.normal(0.02), (rows, c.width), c.param_dtype
        )
        self.embedding = table("embedding", c.vocab_size)
        self.head = self.embedding if c.tied else table("head", c.vocab_size)
        if c.positions == "learned":
            self.position_table = table("position_table", c.context)
        made = self.variables.get("params", {}).get("layers")  # flax refuses kernels with adapters
        self.layers = self.param("layers", partial(_init_layers, c)) if made is None else made
        self.final_norm = _norm(c)

    def __call__(self, tokens):
        """[L] -> float32 [L, V], row t the logits of the token that follows token t.

        Raises:
          ValueError: for more tokens than a learned table of positions has rows.
        """
        c = self.config
        if c.positions == "learned" and tokens.shape[0] > c.context:
            raise ValueError(f"context={c.context} has no room for {tokens.shape[0]} tokens")
        positions = jnp.arange(tokens.shape[0])
        features, _ = self.features(tokens, positions, positions[:, None] >= positions)
        return self.logits(features)

    def _embedded(self, tokens, positions):  # [L] -> [L, D]
        x = self.embedding[tokens].astype(self.config.dtype)
        if self.config.positions == "rotary":
            return x
        return x + self.position_table[positions].astype(self.config.dtype)

    def features(self, tokens, positions, seen, prefix=None, prefix_seen=None):
        """What the logits are made from, [L, D], and the layers' (keys, values) [layers, H, L, K].

        `prefix` are such keys and values of what stands before, `prefix_seen` [P] those that count.
        """
        layer = Layer(self.config, parent=None)

        def apply(x, xs):
            params, part = xs
            parts = [] if part is None else [(*part, prefix_seen)]
            return layer.apply({"params": params}, x, positions, seen, parts)

        if self.config.remat:
            apply = jax.checkpoint(apply, prevent_cse=False)
        x, cache = jax.lax.scan(apply, self._embedded(tokens, positions), (self.layers, prefix))
        return self.final_norm(x), cache

    def step(self, layers, token, position, index, cache, prefix_seen):
        """The features [D] of a token at a position of the whole, and the cache with its keys and
        values at `index`.

        Of each layer there is one in `layers`, (parameters, prefix), and one in `cache`: in a scan
        XLA would copy its parameters out of the stack for each token.
        """
        x, new_cache = self._embedded(token[None], position[None]), []
        for (params, part), own in zip(layers, cache, strict=True):
            args = (x, position, index, own, (*part, prefix_seen))
            x, own = _layer_step(self.config, params, *args)
            new_cache.append(own)
        return self.final_norm(x)[0], tuple(new_cache)

    def logits(self, features):
        """[..., D] -> float32 [..., V]."""
        return logits(self.config, features, self.head.T.astype(self.config.dtype))


def logits(config, features, head):
    """[..., D] and a head [D, V] -> float32 [..., V]."""
    product = partial(jnp.einsum, "...d,dv->...v", preferred_element_type=jnp.float32)
    return product(features, head, precision=config.precision)


@partial(jax.jit, static_argnums=0)  # traced once for all layers
def _layer_step(config, params, x, position, index, cache, part):
    layer = Layer(config, parent=None)
    return layer.apply({"params": params}, x, position, index, cache, [part], method=Layer.step)


def _init_layers(config, key):
    """The parameters of all layers, each stacked [layers, ...]."""
    x, seen = jnp.zeros((1, config.width), config.dtype), jnp.ones((1, 1), bool)

    def one(key):
        layer = Layer(config, parent=None)
        return layer.init(key, x, jnp.zeros(1, jnp.int32), seen, [])["params"]

    return jax.vmap(one)(jax.random.split(key, config.num_layers))


def unstacked(tree: Any) -> list[Any]:
    """What is stacked [layers, ...] in a tree, layer by layer."""
    size = jax.tree.leaves(tree)[0].shape[0]
    return [jax.tree.map(lambda x, i=i: x[i], tree) for i in range(size)]
