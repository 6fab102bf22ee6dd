"""A sequence made token by token, with a cache that grows, until it has ended."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

if TYPE_CHECKING:
    from banel_jax.models.autoregressive import Network


class Standing(NamedTuple):
    """How far a sequence that is being made has come.

    Attributes:
      position: of the next token, int32.
      alive: whether one is to come, bool.
      total: the log-likelihood of those so far in nats, float32.
      cache: of the network.
      tokens, mask: int32 and bool [length], zero from the position on.
    """

    position: Int[Array, ""]
    alive: Bool[Array, ""]
    total: Float[Array, ""]
    cache: Any
    tokens: Int[Array, " length"]
    mask: Bool[Array, " length"]


def generate(
    network: "Network",
    vocab_size: int,
    prepared: Any,
    length: int,
    ends: tuple[int, ...],
    take: Callable[..., tuple[Int[Array, ""], Float[Array, ""]]],
) -> Standing:
    """A sequence of `length` tokens, or fewer where one of `ends` comes.

    It stops where it has ended, or under `vmap` where all have.

    Args:
      network: that predicts the next token.
      vocab_size: V.
      prepared: what `network.prepare` made.
      length: the most tokens.
      ends: each of them ends the sequence.
      take: `take(position, logits [V]) -> (token int32, its log-likelihood float32)`.
    """

    def put(standing, logits, cache):
        position, alive, total, _, tokens, mask = standing
        token, log_prob = take(position, logits)
        token = jnp.where(alive, token, 0)
        total = total + jnp.where(alive, log_prob, 0.0)
        tokens, mask = tokens.at[position].set(token), mask.at[position].set(alive)
        for end in ends:
            alive = alive & (token != end)
        return Standing(position + 1, alive, total, cache, tokens, mask)

    def step(standing):
        previous = standing.tokens[standing.position - 1]
        return put(standing, *network.step(prepared, previous, standing.position, standing.cache))

    segment = network.segment_size(length)
    cache = network.init_cache(min(segment, length))
    # Outside the loop, the step that all sequences share is taken once by `vmap`.
    if network.first:
        logits, cache = network.first(prepared, cache)
    else:
        logits, cache = network.step(prepared, jnp.int32(vocab_size), jnp.int32(0), cache)
    nothing = jnp.zeros((length,), jnp.int32), jnp.zeros((length,), bool)
    standing = Standing(jnp.int32(0), jnp.bool_(True), jnp.float32(0.0), cache, *nothing)
    standing = put(standing, logits, cache)
    for start in range(0, length, segment):
        end = min(start + segment, length)
        if start:
            standing = standing._replace(cache=_grow(standing.cache, end - start))
        goes_on = lambda s, end=end: (s.position < end) & (not ends or _any(s.alive))
        standing = jax.lax.while_loop(goes_on, step, standing)
    return standing


@jax.custom_batching.custom_vmap
def _any(alive):
    """`alive`; under `vmap` whether any is, one answer for all of them.

    A loop whose sequences went on or stopped each by itself would compute all of them in each
    turn, and choose between what was and what is for the whole of the cache.
    """
    return alive


@_any.def_vmap
def _any_of_many(axis_size, in_batched, alive):
    return _any(jnp.any(alive, axis=0)), False


def _grow(cache, n):
    """Room for n more positions, on the last axis but one."""
    pad = lambda leaf: jnp.pad(leaf, [(0, 0)] * (leaf.ndim - 2) + [(0, n), (0, 0)])
    return jax.tree.map(pad, cache)
