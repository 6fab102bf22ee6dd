"""Children of the genetic algorithm: how they are made, how likely each is, what was seen."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float, Int, UInt32

from banel_jax.algorithms.genetic_config import GeneticConfig
from banel_jax.log_domain import logsumexp
from banel_jax.replay import Replay
from banel_jax.types import Sequences


@struct.dataclass
class Donors:
    """Tokens that the prior puts at each position.

    Attributes:
      tokens: int32 [donors, length]; at each position those that may be taken come first.
      counts: int32 [length], how many those are.
    """

    tokens: Int[Array, "donors length"]
    counts: Int[Array, " length"]

    def draw(self, uniforms: Float[Array, " length"]) -> Int[Array, " length"]:
        """A token for each position, from numbers that are uniform in [0, 1)."""
        rows = jnp.minimum((uniforms * self.counts).astype(jnp.int32), self.counts - 1)
        return self.tokens[jnp.maximum(rows, 0), jnp.arange(self.counts.shape[0])]

    def share(self, tokens: Int[Array, " length"]) -> Float[Array, " length"]:
        """How likely each of the tokens is to be drawn at its position."""
        there = jnp.arange(self.tokens.shape[0])[:, None] < self.counts
        number = jnp.sum((self.tokens == tokens) & there, axis=0, dtype=jnp.float32)
        return number / jnp.maximum(self.counts, 1)


def inner(mask: Bool[Array, "*n length"]) -> Bool[Array, "*n length"]:
    """Where a token may be another: not at the end of a sequence that ended early.

    What ends it there would be no end elsewhere, so it stays, and comes nowhere else.
    """
    goes_on = jnp.concatenate([mask[..., 1:], jnp.ones_like(mask[..., :1])], axis=-1)
    return mask & goes_on


def donors_of(sequences: Sequences) -> Donors:
    """Of samples [donors, length] of the prior."""
    usable = inner(sequences.mask)
    order = jnp.argsort(~usable, axis=0, stable=True)
    tokens = jnp.take_along_axis(sequences.tokens, order, axis=0)
    return Donors(tokens, jnp.sum(usable, axis=0, dtype=jnp.int32))


def child(key, c: GeneticConfig, population: Replay, donors: Donors) -> Sequences:
    """One of two parents; there must be one."""
    parents_key, cut_key, cross_key, where_key, what_key = jax.random.split(key, 5)
    parents = population.draw(parents_key, 2)
    one, other = (Sequences(parents.tokens[i], parents.mask[i]) for i in (0, 1))
    length = one.tokens.shape[0]
    cut = jax.random.randint(cut_key, (), 1, max(length, 2), jnp.int32)
    alive = one.mask & other.mask
    crossed = alive[jnp.minimum(cut, length - 1)] & (cut < length)
    crossed &= jax.random.uniform(cross_key, (), jnp.float32) < c.crossover
    second = crossed & (jnp.arange(length) >= cut)
    tokens = jnp.where(second, other.tokens, one.tokens)
    mask = jnp.where(second, other.mask, one.mask)
    mutated = jax.random.uniform(where_key, (length,), jnp.float32) < c.mutation_rate
    mutated &= inner(mask) & (donors.counts > 0)
    new = donors.draw(jax.random.uniform(what_key, (length,), jnp.float32))
    return Sequences(jnp.where(mutated, new, tokens), mask)


def words(x: Sequences) -> UInt32[Array, "*n 2"]:
    """64 bits by which sequences [*n, length] are told apart; of an empty one they are 0."""
    length = x.tokens.shape[-1]
    factors = np.random.default_rng(0).integers(1, 2**32, (2, length), dtype=np.uint32)
    scored = jnp.where(x.mask, x.tokens.astype(jnp.uint32) + 1, 0)[..., None, :]
    return jnp.sum(scored * factors, axis=-1, dtype=jnp.uint32)


def among(seen: UInt32[Array, "n 2"], x: Sequences) -> Bool[Array, ""]:
    """Whether one sequence is of those that have these words."""
    return jnp.any(jnp.all(seen == words(x), axis=1))


def child_log_prob(
    c: GeneticConfig, population: Replay, donors: Donors, x: Sequences
) -> Float[Array, ""]:
    """The log-likelihood of one sequence as a `child`, in nats; -inf where there is no parent.

    Parents are independent and so are mutations: for each position of the cut it is the mean over
    first parents of what comes before, times the mean over second ones of what comes after.
    """
    parents, there = population.sequences, population.there()
    count = jnp.maximum(jnp.sum(there, dtype=jnp.float32), 1.0)
    weight = jnp.where(there, -jnp.log(count), -jnp.inf)[:, None]
    mutable = inner(parents.mask) & (donors.counts > 0)
    same = jnp.where(parents.mask, parents.tokens == x.tokens, True).astype(jnp.float32)
    mixed = (1 - c.mutation_rate) * same + c.mutation_rate * donors.share(x.tokens)
    each = jnp.log(jnp.where(mutable, mixed, same) * (parents.mask == x.mask))
    nothing = jnp.zeros_like(weight)
    before = weight + jnp.concatenate([nothing, jnp.cumsum(each, axis=1)], axis=1)
    after = jnp.flip(jnp.cumsum(jnp.flip(each, axis=1), axis=1), axis=1)
    after = weight + jnp.concatenate([after, nothing], axis=1)
    whole = before[:, -1:]
    # At each cut [length + 1] those of both parents that have not ended.
    alive = jnp.pad(parents.mask, ((0, 0), (0, 1)))
    of = lambda chosen, logs: logsumexp(jnp.where(chosen, logs, -jnp.inf), axis=0)
    partners = jnp.sum(alive & there[:, None], axis=0) / count
    alone = jnp.logaddexp(of(~alive, whole), of(alive, whole) + jnp.log1p(-partners))
    at_cut = jnp.logaddexp(of(alive, before) + of(alive, after), alone)
    at_cut = at_cut[1 : max(x.tokens.shape[0], 2)]
    crossed = logsumexp(at_cut) - jnp.log(jnp.float32(at_cut.shape[0]))
    share = jnp.float32(c.crossover)
    return jnp.logaddexp(jnp.log(share) + crossed, jnp.log1p(-share) + logsumexp(whole))
