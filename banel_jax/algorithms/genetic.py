"""A genetic algorithm on tokens, whose population is the successes.

Of a reward of 0 or 1 selection in proportion to fitness is a choice among successes; while there is
none, all are alike, and a round is drawn from the prior. No child is what was paid for already: a
success repeated would be a rate of 1 that finds nothing. What is proposed has a likelihood none the
less: a child is the crossing of two independent parents, each of its tokens mutated by itself.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, UInt32

from banel_jax import diagnostics, replay, sampling, scoring
from banel_jax.algorithms.breeding import Donors, among, child, child_log_prob, donors_of, words
from banel_jax.algorithms.genetic_config import GeneticConfig
from banel_jax.keys import portable
from banel_jax.parallel import map_sequences
from banel_jax.replay import Replay
from banel_jax.types import Algorithm, SequenceModel, Sequences

TRIES = 8  # at a child that was not paid for yet; after these a sample of the prior
CHUNK = 16  # sequences scored at a time, each against all of the population and the donors


@struct.dataclass
class State:
    """What parents are chosen from.

    Attributes:
      base: parameters of the prior.
      population: the successes.
      seen: what was paid for.
      donors: what mutates them.
    """

    base: Any
    population: Replay
    seen: Replay
    donors: Donors


def new_child(
    key, c: GeneticConfig, state: State, seen: UInt32[Array, "n 2"]
) -> tuple[Sequences, Bool[Array, ""]]:
    """The first of `TRIES` children that was not seen, and whether there is one."""
    one = lambda key: child(key, c, state.population, state.donors)
    children = jax.vmap(one)(jax.random.split(key, TRIES))
    new = ~jax.vmap(lambda x: among(seen, x))(children) & jnp.any(state.population.there())
    first = jnp.argmax(new)
    return jax.tree.map(lambda x: x[first], children), new[first]


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
        none = lambda capacity: replay.empty(model, prior_params, capacity)
        return State(prior_params, none(c.population), none(c.memory), donors_of(donors))

    def sample(key, state, n):
        fresh_key, child_key, choice_key = jax.random.split(portable(key), 3)
        fresh, _ = sampling.sample(model, fresh_key, state.base, n)
        one = lambda of, i: new_child(jax.random.fold_in(of[0], i), c, of[1], of[2])
        given = (child_key, state, words(state.seen.sequences))
        children, new = map_sequences(one, given, jnp.arange(n, dtype=jnp.int32), CHUNK)
        bred = new & (jax.random.uniform(choice_key, (n,), jnp.float32) >= c.fresh)
        return jax.tree.map(lambda a, b: jnp.where(bred[:, None], a, b), children, fresh)

    def ask(key, state):
        return sample(key, state, c.num_candidates), state

    def tell(key, state, candidates, rewards, answered=None):
        del key
        population = state.population.add(candidates, rewards)
        paid = jnp.ones_like(rewards) if answered is None else answered.astype(jnp.float32)
        info = {
            "successes": jnp.sum(rewards),
            "population": jnp.sum(population.there(), dtype=jnp.float32),
            "duplicate_rate": diagnostics.duplicate_rate(candidates),
        }
        return state.replace(population=population, seen=state.seen.add(candidates, paid)), info

    def know(key, state, sequences, rewards):
        del key
        seen = state.seen.add(sequences, jnp.ones_like(rewards))
        return state.replace(population=state.population.add(sequences, rewards), seen=seen)

    def log_prob(state, sequences):
        seen, given = state.seen, (state.population, state.donors)
        of_child = lambda given, x: child_log_prob(c, given[0], given[1], x)
        scored = partial(map_sequences, of_child, given, chunk_size=CHUNK)
        # A child was seen with this chance, so that another is tried.
        again = jnp.sum(jnp.exp(scored(seen.sequences)) * seen.there())
        alone = ~jnp.any(state.population.there())
        again = jnp.where(alone, 1.0, jnp.minimum(again, 1.0))
        tried = jnp.sum(again ** jnp.arange(TRIES, dtype=jnp.float32))
        children = jnp.log((1 - c.fresh) * tried) + scored(sequences)
        old = jax.vmap(partial(among, words(seen.sequences)))(sequences)
        fresh = jnp.log(c.fresh + (1 - c.fresh) * again**TRIES)
        fresh += scoring.log_likelihood(model, state.base, sequences)
        return jnp.logaddexp(fresh, jnp.where(old, -jnp.inf, children))

    settings = {"name": "genetic", "settings": c, "model": model.settings}
    return Algorithm(
        init, ask, tell, sample, log_prob, candidate_log_prob=log_prob,
        settings=tuple(settings.items()), model=model, know=know,
    )  # fmt: skip
