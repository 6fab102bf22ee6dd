"""From a network that predicts the next token to a SequenceModel."""

import math
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from banel_jax.models.generation import generate
from banel_jax.types import Params, SequenceModel, Sequences


def segment_size(length: int) -> int:
    """Positions by which the cache grows.

    Attention over a cache costs its whole size at every step: with S segments the average
    size is (S + 1) / 2S of the full one. More of them take longer to compile.
    """
    return max(8, -(-length // 8))


class Network(NamedTuple):
    """A causal network over one sequence.

    Attributes:
      init: `init(key) -> params`.
      logits: `logits(prepared, tokens [length], dropout_key or None) -> float32 [length, V]`,
        row t predicting token t from the tokens before it.
      init_cache: `init_cache(size) -> cache`, every leaf with the position as its last axis
        but one, [..., size, K].
      step: `step(prepared, previous_token, position, cache) -> (logits [V], cache)`; the
        previous token at position 0 is V, the start.
      prepare: `prepare(params) -> prepared`, computed once and given to the functions above:
        what no token changes, such as a prompt's keys and values. Under `vmap` over
        sequences it is computed once for all of them.
      token_log_probs: `token_log_probs(prepared, tokens [length], temperature, dropout_key or
        None) -> float32 [length]`, for networks whose logits of a whole sequence are too
        large; None takes them from `logits`.
      first: `first(prepared, cache) -> (logits [V], cache)`, for networks that know what comes
        first once they are prepared; None takes a step from the start.
      segment_size: `segment_size(length)`, how many positions the cache grows by.
    """

    init: Callable[..., Any]
    logits: Callable[..., Any]
    init_cache: Callable[[int], Any]
    step: Callable[..., Any]
    prepare: Callable[[Params], Any] = lambda params: params
    token_log_probs: Callable[..., Any] | None = None
    first: Callable[..., Any] | None = None
    segment_size: Callable[[int], int] = segment_size


def sequence_model(
    network: Network,
    vocab_size: int,
    length: int,
    eos_token: int | tuple[int, ...] | None = None,
    settings: Hashable = None,
) -> SequenceModel:
    """Ancestral sampling with a growing cache, and exact likelihoods, from a `Network`.

    A sequence of `length` tokens without the end token (or one of several) counts as it is
    (truncated), so the probabilities of all outcomes sum to one. After the end token comes
    padding (token 0, masked out).
    """
    ends = (eos_token,) if isinstance(eos_token, int) else eos_token or ()

    def log_prob(params, sequence, *, temperature=1.0, dropout_key=None):
        prepared, tokens = network.prepare(params), sequence.tokens
        if network.token_log_probs:
            taken = network.token_log_probs(prepared, tokens, temperature, dropout_key)
        else:
            taken = taken_log_probs(
                network.logits(prepared, tokens, dropout_key), tokens, temperature
            )
        return jnp.sum(jnp.where(sequence.mask, taken, 0.0))

    def sample(key, params, *, temperature=1.0):
        # One draw for many positions: random bits cost less in bulk than a few at every step.
        size = segment_size(length)
        uniforms = jnp.concatenate(
            [
                jax.random.uniform(
                    jax.random.fold_in(key, start), (min(size, length - start), 2), jnp.float32
                )
                for start in range(0, length, size)
            ]
        )

        def take(position, logits):
            log_probs = jax.nn.log_softmax(logits / temperature)
            token = draw(uniforms[position], jnp.exp(log_probs))
            return token, log_probs[token]

        made = generate(network, vocab_size, network.prepare(params), length, ends, take)
        return Sequences(made.tokens, made.mask), made.total

    return SequenceModel(network.init, log_prob, sample, settings)


def taken_log_probs(
    logits: Float[Array, "n V"], tokens: Int[Array, " n"], temperature: Any
) -> Float[Array, " n"]:
    """The log-likelihood of one token a row, in nats."""
    log_probs = jax.nn.log_softmax(logits / temperature)
    return jnp.take_along_axis(log_probs, tokens[:, None], axis=1)[:, 0]


def blockwise_log_probs(
    head: Callable[[Float[Array, "block D"]], Float[Array, "block V"]],
    features: Float[Array, "length D"],
    tokens: Int[Array, " length"],
    temperature: Any,
    block: int,
) -> Float[Array, " length"]:
    """`taken_log_probs` of `head(features)`, with the logits of at most `block` positions at once.

    A gradient computes each block's logits again, so that its memory is bounded as well.
    """
    length = tokens.shape[0]
    block = -(-length // -(-length // block))  # even ones, or the last would be mostly padding
    split = lambda x: jnp.pad(x, [(0, -length % block)] + [(0, 0)] * (x.ndim - 1)).reshape(
        -1, block, *x.shape[1:]
    )
    one = jax.checkpoint(lambda x: taken_log_probs(head(x[0]), x[1], temperature))
    return jax.lax.map(one, (split(features), split(tokens))).reshape(-1)[:length]


def complete_greedily(
    network: Network,
    vocab_size: int,
    params: Params,
    tokens: Int[Array, " length"],
    given: Int[Array, ""] | int,
    ends: tuple[int, ...] = (),
) -> Sequences:
    """A sequence's first `given` tokens as they are, and after them the likeliest next ones.

    Args:
      network: that predicts the next token; of `length` tokens or more.
      vocab_size: V.
      params: of the network.
      tokens: what comes after the first `given` of them has no influence.
      given: how many of the tokens are a prompt; need not be static.
      ends: after any of these tokens comes padding, masked out.
    """

    def take(position, logits):
        token = jnp.where(position < given, tokens[position], jnp.argmax(logits))
        return token.astype(jnp.int32), jnp.float32(0.0)

    prepared = network.prepare(params)
    made = generate(network, vocab_size, prepared, tokens.shape[0], ends, take)
    return Sequences(made.tokens, made.mask)


def draw(uniforms: Float[Array, " 2"], probabilities: Float[Array, " V"]) -> Int[Array, ""]:
    """A token, int32, from two numbers uniform in [0, 1), by inverting the distribution.

    First a block of sqrt(V) tokens, then a token of the block. Noise for each token of the
    vocabulary (the Gumbel-max trick) would cost more than a small network does, and one uniform
    alone would not resolve probabilities below 1e-7.
    """
    vocab_size = probabilities.shape[0]
    size = math.isqrt(vocab_size - 1) + 1
    blocks = jnp.pad(probabilities, (0, -vocab_size % size)).reshape(-1, size)
    block = _invert(uniforms[0], jnp.sum(blocks, axis=1))
    return block * size + _invert(uniforms[1], blocks[block])


def _invert(uniform, weights):
    """The first i of positive weight whose cumulative weight exceeds its share of the whole.

    Where rounding leaves none, which is so next to 1, it is the last i of positive weight. Sums of
    rounding errors may also rise where a weight is 0: such an i is never drawn.
    """
    n = weights.shape[0]
    cumulative, places = jnp.cumsum(weights), jnp.arange(n, dtype=jnp.int32)
    beyond = cumulative > uniform * cumulative[-1]
    order = jnp.where(beyond, 2 * n - places, places)
    return jnp.argmax(jnp.where(weights > 0, order, -1)).astype(jnp.int32)
