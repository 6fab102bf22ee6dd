"""A genetic algorithm on tokens, whose population is the successes.

Of a reward of 0 or 1 selection in proportion to fitness is a choice among successes; while there is
none, all are alike, and a round is drawn from the prior. No child is one of the population again: a
success repeated would be a rate of 1 that finds nothing. What is proposed has a likelihood none the
less: a child is the crossing of two independent parents, each of its tokens mutated by itself.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from banel_jax import checks, diagnostics, replay, sampling, scoring
from banel_jax.keys import portable
from banel_jax.log_domain import logsumexp
from banel_jax.parallel import map_sequences
from banel_jax.replay import Replay
from banel_jax.types import Algorithm, SequenceModel, Sequences

TRIES = 8  # at a child that is not in the population; after these a sample of the prior
CHUNK = 16  # sequences scored at a time, each against all of the population and the donors


@dataclass(frozen=True)
class GeneticConfig:
    """Settings of the genetic algorithm.

    Attributes:
      num_candidates: m, reward evaluations a round.
      population: distinct successes among which parents are chosen, the latest ones.
      fresh: probability that a candidate is drawn from the prior, as all are before a success and
        those are of which no child in 8 would be new.
      crossover: probability that a child ends like a second parent, from a position on that is
        chosen evenly; where one of both has ended before it, the child is the first parent.
      mutation_rate: probability that a token is replaced by one that the prior may put there.
      num_donors: samples of the prior, drawn once, of which those tokens are taken.

    Raises:
      ValueError: in one line, for a field of another type or outside its range.
    """

    num_candidates: int = 250
    population: int = 100
    fresh: float = 0.1
    crossover: float = 0.5
    mutation_rate: float = 0.05
    num_donors: int = 1000

    def __post_init__(self):
        checks.fields(self)
        checks.integers(self, "num_candidates", "population", "num_donors", at_least=1)
        checks.reals(self, "fresh", "crossover", "mutation_rate", at_least=0, at_most=1)


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


@struct.dataclass
class State:
    """What parents are chosen from.

    Attributes:
      base: parameters of the prior.
      population: the successes.
      donors: what mutates them.
    """

    base: Any
    population: Replay
    donors: Donors


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


def among(population: Replay, x: Sequences) -> Bool[Array, ""]:
    """Whether one sequence is of the population."""
    rows = population.sequences
    same = jnp.where(rows.mask, rows.tokens == x.tokens, True) & (rows.mask == x.mask)
    return jnp.any(jnp.all(same, axis=1) & population.there())


def new_child(
    key, c: GeneticConfig, population: Replay, donors: Donors
) -> tuple[Sequences, Bool[Array, ""]]:
    """The first of `TRIES` children that is not of the population, and whether there is one."""
    one = lambda key: child(key, c, population, donors)
    children = jax.vmap(one)(jax.random.split(key, TRIES))
    new = ~jax.vmap(lambda x: among(population, x))(children) & jnp.any(population.there())
    first = jnp.argmax(new)
    return jax.tree.map(lambda x: x[first], children), new[first]


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


def genetic(model: SequenceModel, config: GeneticConfig) -> Algorithm:
    """The genetic algorithm as ask and tell.

    A round costs m reward evaluations and, in forward passes of one sequence, m draws; once, before
    the first, `num_donors` of them. Nothing is trained.

    Args:
      model: the prior's functions.
      config: settings.

    Returns:
      The algorithm: `ask` gives m candidates, `tell` takes their rewards float32 [m].
    """
    c = config

    def init(key, prior_params):
        donors, _ = sampling.sample(model, key, prior_params, c.num_donors)
        none = replay.empty(model, prior_params, c.population)
        return State(prior_params, none, donors_of(donors))

    def sample(key, state, n):
        fresh_key, child_key, choice_key = jax.random.split(portable(key), 3)
        fresh, _ = sampling.sample(model, fresh_key, state.base, n)
        one = lambda of, i: new_child(jax.random.fold_in(of[0], i), c, of[1], of[2])
        given = (child_key, state.population, state.donors)
        children, new = map_sequences(one, given, jnp.arange(n, dtype=jnp.int32), CHUNK)
        bred = new & (jax.random.uniform(choice_key, (n,), jnp.float32) >= c.fresh)
        return jax.tree.map(lambda a, b: jnp.where(bred[:, None], a, b), children, fresh)

    def ask(key, state):
        return sample(key, state, c.num_candidates), state

    def tell(key, state, candidates, rewards, answered=None):
        del key, answered  # what has no answer has reward 0
        population = state.population.add(candidates, rewards)
        info = {
            "successes": jnp.sum(rewards),
            "population": jnp.sum(population.there(), dtype=jnp.float32),
            "duplicate_rate": diagnostics.duplicate_rate(candidates),
        }
        return state.replace(population=population), info

    def know(key, state, sequences, rewards):
        del key
        return state.replace(population=state.population.add(sequences, rewards))

    def log_prob(state, sequences):
        met = state.population
        one = lambda of, x: (child_log_prob(c, of[0], of[1], x), among(of[0], x))
        scored = partial(map_sequences, one, (met, state.donors), chunk_size=CHUNK)
        # A child is of the population with this chance, so that another is tried.
        again = jnp.sum(jnp.exp(scored(met.sequences)[0]) * met.there())
        again = jnp.where(jnp.any(met.there()), jnp.minimum(again, 1.0), 1.0)
        children, old = scored(sequences)
        tried = jnp.log((1 - c.fresh) * jnp.sum(again ** jnp.arange(TRIES, dtype=jnp.float32)))
        bred = jnp.where(old, -jnp.inf, tried + children)
        fresh = jnp.log(c.fresh + (1 - c.fresh) * again**TRIES)
        return jnp.logaddexp(fresh + scoring.log_likelihood(model, state.base, sequences), bred)

    settings = {"name": "genetic", "settings": c, "model": model.settings}
    return Algorithm(
        init, ask, tell, sample, log_prob, candidate_log_prob=log_prob,
        settings=tuple(settings.items()), model=model, know=know,
    )  # fmt: skip
