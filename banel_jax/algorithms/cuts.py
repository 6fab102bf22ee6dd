"""Cuts of a model by its own likelihood: free proposals that learn nothing.

What fails may do so because it is too usual, or too strange. The likeliest and the least likely
1 in f of what a model draws cost no evaluation, and need no look at the success rate.
"""

from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float

from banel_jax import checks, rejection, sampling, scoring
from banel_jax.rejection import Best, Proposals
from banel_jax.types import Algorithm, SequenceModel

FEWEST = 0.01  # of the share that should pass a cut, below which `sample` gives up


@dataclass(frozen=True)
class CutConfig:
    """Settings of a cut.

    Attributes:
      num_candidates: m, reward evaluations a round.
      filter_factor: f, draws for each that is kept; m times f must be a whole number.
      keep: which 1 in f.
      length_normalised: ranked by nats a token, where the lengths of sequences differ.
      distinct: copies of a draw come last (`rejection.Best`).

    Raises:
      ValueError: in one line, for a field of another type or outside its range.
    """

    num_candidates: int = 250
    filter_factor: float = 4.0
    keep: Literal["likeliest", "least_likely"] = "likeliest"
    length_normalised: bool = False
    distinct: bool = True

    def __post_init__(self):
        checks.fields(self)
        checks.integers(self, "num_candidates", at_least=1)
        checks.reals(self, "filter_factor", at_least=1)
        checks.whole("num_candidates * filter_factor", self.num_candidates * self.filter_factor)


@struct.dataclass
class State:
    """The model and where it is cut.

    Attributes:
      params: of the model.
      threshold: of the latest draws, in nats: what is at or above it is kept, by its likelihood
        or, for the least likely, by what is left under it.
      log_share: of the share that is kept.
    """

    params: Any
    threshold: Float[Array, ""]
    log_share: Float[Array, ""]


def cut(model: SequenceModel, config: CutConfig) -> Algorithm:
    """The likeliest or the least likely 1 in f of a model, as ask and tell.

    The cut lies where the latest m f draws put it, so `log_prob` is exact but for it and its
    normaliser. A round costs m reward evaluations and m f draws.

    Args:
      model: what is drawn from; its own likelihood decides.
      config: settings.

    Returns:
      The algorithm: `ask` gives m candidates, `tell` takes their rewards float32 [m].
    """
    c, region = config, Best(config.distinct)
    num_drawn = round(c.num_candidates * c.filter_factor)
    sign = 1.0 if c.keep == "likeliest" else -1.0

    def rank(scores, sequences):
        if c.length_normalised:
            scores = scoring.normalise_length(scores, sequences)
        return sign * scores

    def ask(key, state):
        draw_key, choose_key = jax.random.split(key)
        drawn, scores = sampling.sample(model, draw_key, state.params, num_drawn)
        ranks = rank(scores, drawn)
        accepted = region.accept(choose_key, ranks, drawn, c.num_candidates, jnp.bool(True))
        candidates = jax.tree.map(lambda x: x[accepted.indices], drawn)
        return candidates, State(state.params, accepted.threshold, accepted.log_share)

    def init(key, prior_params):
        return ask(key, State(prior_params, jnp.float32(0.0), jnp.float32(0.0)))[1]

    def tell(key, state, candidates, rewards, answered=None):
        del key, candidates, answered
        return state, {"successes": jnp.sum(rewards)}

    def sample(key, state, n):
        def propose(indices):
            drawn, scores = sampling.sample_indices(model, key, state.params, indices)
            return Proposals(drawn, scores, scores)

        passes = lambda k, drawn: rank(drawn.base_scores, drawn.sequences) >= state.threshold
        nothing = jnp.zeros(())  # the model's own likelihood decides
        here = rejection.add_filter(rejection.no_filters(nothing, 1), nothing, state.threshold)
        floor = FEWEST / c.filter_factor
        return rejection.rejection_sample(propose, passes, here, n, floor)[0].sequences

    def log_prob(state, sequences):
        scores = scoring.log_likelihood(model, state.params, sequences)
        kept = region.log_density(scores, rank(scores, sequences), state.threshold)
        return kept - state.log_share

    settings = {"name": "cut", "settings": c, "model": model.settings}
    return Algorithm(
        init, ask, tell, sample, log_prob, candidate_log_prob=log_prob,
        settings=tuple(settings.items()), model=model,
    )  # fmt: skip
