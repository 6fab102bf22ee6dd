"""Plain sampling from a fixed model: the control that learns nothing."""

from typing import Any

import jax.numpy as jnp
from flax import struct

from banel_jax import sampling, scoring
from banel_jax.types import Algorithm, SequenceModel


@struct.dataclass
class State:
    params: Any


def prior_sampling(model: SequenceModel, num_candidates: int) -> Algorithm:
    """Samples the model as it is; of `tempering.ladder(model)` it is the tempered control.

    A round costs m reward evaluations and m draws.

    Args:
      model: what to sample from.
      num_candidates: m, reward evaluations a round.

    Returns:
      The algorithm: `ask` gives m candidates, `tell` takes their rewards float32 [m].
    """

    def init(key, prior_params):
        del key
        return State(prior_params)

    def ask(key, state):
        candidates, _ = sampling.sample(model, key, state.params, num_candidates)
        return candidates, state

    def tell(key, state, candidates, rewards, answered=None):
        del key, candidates, answered
        return state, {"successes": jnp.sum(rewards)}

    def sample(key, state, n):
        return sampling.sample(model, key, state.params, n)[0]

    def log_prob(state, sequences):
        return scoring.log_likelihood(model, state.params, sequences)

    settings = {"name": "prior_sampling", "num_candidates": num_candidates}
    settings |= {"model": model.settings}
    return Algorithm(
        init, ask, tell, sample, log_prob, candidate_log_prob=log_prob,
        settings=tuple(settings.items()), model=model,
    )  # fmt: skip
