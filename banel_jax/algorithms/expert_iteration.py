"""Expert iteration: the prior fitted anew, each round, to all successes met so far.

Without a success it is plain sampling from the prior. It learns from successes alone, and is the
natural rival of what learns from failures (ReST-EM, Singh et al., 2023, with a reward of 0 or 1).
With `importance` it is CbAS (Brookes et al., 2019): what the generators of all rounds drew is
weighted towards the prior given success. The quantiles and the model of the oracle that CbAS has
beside are for graded or noisy rewards; of a reward of 0 or 1 P(S | x) is the reward itself.
"""

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float

from banel_jax import checks, diagnostics, failures, sampling, scoring, training
from banel_jax.failures import Failures
from banel_jax.training import Fit, TrainingConfig
from banel_jax.types import Algorithm, Evidence, SequenceModel


@dataclass(frozen=True)
class ExpertIterationConfig:
    """Settings of expert iteration.

    Attributes:
      num_candidates: m, reward evaluations a round.
      success_rounds: rounds whose successes are kept, the latest ones.
      importance: a success counts (prior(x) / p(x))^this, p being the generator that drew it; 0 for
        all alike, 1 for CbAS. Weights are relative to those of the same round, which counts in all
        for the effective number of its successes: one lucky draw of an early round would otherwise
        outweigh all that come after.
      training: the fit to them, which starts at the prior each round.

    Raises:
      ValueError: in one line, for a field of another type or outside its range.
    """

    num_candidates: int = 250
    success_rounds: int = 30
    importance: float = 0.0
    training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(epochs=5, learning_rate=1e-3)
    )

    def __post_init__(self):
        checks.fields(self)
        checks.integers(self, "num_candidates", "success_rounds", at_least=1)
        checks.reals(self, "importance", at_least=0)


def success_weights(
    rewards: Float[Array, " m"], log_ratios: Float[Array, " m"]
) -> Float[Array, " m"]:
    """What each success of a round counts for: exp(log_ratios), up to a factor, and 0 for failures.

    Args:
      rewards: 0 or 1.
      log_ratios: of the target to what was drawn from, in nats, unnormalised.

    Returns:
      float32 [m], of the sum (sum w)^2 / sum w^2, the effective number of successes.
    """
    log_weights = jnp.where(rewards > 0, log_ratios, -jnp.inf)
    highest = jnp.max(log_weights)
    weights = jnp.exp(log_weights - jnp.where(jnp.isfinite(highest), highest, 0.0))
    return weights * jnp.sum(weights) / jnp.maximum(jnp.sum(weights**2), 1.0)


@struct.dataclass
class State:
    """What is sampled from and what it was fitted to.

    Attributes:
      base, generator: parameters of the prior and of what samples.
      successes: those met, in a ring, with their weights; 0 in empty rows.
      round: int32, rounds told so far.
    """

    base: Any
    generator: Any
    successes: Failures
    round: Any


def expert_iteration(
    model: SequenceModel, config: ExpertIterationConfig, fit: Fit | None = None
) -> Algorithm:
    """Expert iteration as ask and tell.

    A round costs m reward evaluations and, in forward passes of one sequence, 3 m (drawn, scored
    by the generator and by the prior) and 3 an epoch for each success that is kept.

    Args:
      model: the prior's functions.
      config: settings.
      fit: in place of `training.fit` with `config.training`.

    Returns:
      The algorithm: `ask` gives m candidates, `tell` takes their rewards float32 [m].
    """
    c = config
    fitted_to = fit or partial(training.fit, model, c.training)

    def learn(key, state, seen):
        generator, info = fitted_to(key, state.base, seen.sequences, seen.weights, None)
        any_seen = jnp.any(seen.weights > 0)
        pick = lambda new, old: jnp.where(any_seen, new, old)
        generator = jax.tree.map(pick, generator, state.base)
        return state.replace(generator=generator, successes=seen), info

    def init(key, prior_params):
        del key
        empty = failures.no_failures(model, prior_params, c.num_candidates * c.success_rounds)
        return State(prior_params, prior_params, empty, jnp.int32(0))

    def ask(key, state):
        return sampling.sample(model, key, state.generator, c.num_candidates)[0], state

    def tell(key, state, candidates, rewards, answered=None, evidence=None):
        del answered  # what has no answer has reward 0
        scores = scoring.log_likelihood(model, state.generator, candidates)
        base_scores = scoring.log_likelihood(model, state.base, candidates)
        heard, target = Evidence(candidates, rewards, None, scores), base_scores
        if evidence is not None:
            heard = evidence
            target = scoring.log_likelihood(model, state.base, heard.sequences)
        weights = heard.rewards
        if c.importance:
            weights = success_weights(weights, c.importance * (target - heard.log_probs))
        seen = state.successes.add(state.round, heard.sequences, weights)
        state, fitted = learn(key, state, seen)
        info = {
            "successes": jnp.sum(rewards),
            "successes_kept": jnp.sum(seen.weights > 0, dtype=jnp.float32),
            "generator_epochs": fitted.epochs_run * jnp.any(seen.weights > 0),
            **diagnostics.proposal_diagnostics(0.0, candidates, scores, base_scores),
        }
        return state.replace(round=state.round + 1), info

    def know(key, state, sequences, rewards):
        return learn(key, state, state.successes.preceded_by(sequences, rewards))[0]

    def sample(key, state, n):
        return sampling.sample(model, key, state.generator, n)[0]

    def log_prob(state, sequences):
        return scoring.log_likelihood(model, state.generator, sequences)

    settings = {"name": "expert_iteration", "settings": c, "model": model.settings}
    return Algorithm(
        init, ask, tell, sample, log_prob, candidate_log_prob=log_prob,
        settings=tuple(settings.items()), model=model, know=know, takes_evidence=True,
    )  # fmt: skip
