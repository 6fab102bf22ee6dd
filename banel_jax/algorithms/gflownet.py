"""GFlowNet: fit the policy to a target proportional to the reward (Section 3.3).

The squared log-ratios of trajectory balance hold for samples of any distribution, so a paid
batch serves many steps. Where all rewards are 0 the target is uniform over whatever was
sampled, and the policy's mass goes wherever else it may: the collapse of Appendix B.4.
"""

from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Float, Int

from banel_jax import checks, diagnostics, sampling, scoring, training
from banel_jax.training import TrainingConfig
from banel_jax.types import Algorithm, SequenceModel

# Log-likelihoods of one sequence by two programs differ by this share or less in float32.
ROUNDING = 1e-5


@dataclass(frozen=True)
class GFlowNetConfig:
    """Settings of trajectory balance and VarGrad; the paper publishes none.

    Attributes:
      num_candidates: m, reward evaluations a round.
      objective: `trajectory_balance` learns log Z (Eq. 2); `vargrad` takes the log Z that is
        best for the minibatch, so that the loss is a variance (Eq. 3).
      relative_to_prior: the target is prior(x) (r(x) + epsilon) instead of r(x) + epsilon, as
        in relative trajectory balance: failures alone then leave the prior as it is.
      epsilon: what a failure counts for beside the 1 of a success; of failures alone it shifts
        log Z and nothing else.
      training: the steps on each batch. Its default `batch_size` is above any m, so that a
        step sees all of a round; VarGrad's variance is over a minibatch.
      log_z_learning_rate: of Adam on log Z, for `trajectory_balance`.

    Raises:
      ValueError: in one line, for a field of another type or outside its range.
    """

    num_candidates: int = 250
    objective: Literal["trajectory_balance", "vargrad"] = "vargrad"
    relative_to_prior: bool = False
    epsilon: float = 1e-3
    training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(epochs=5, batch_size=10**6, learning_rate=1e-3)
    )
    log_z_learning_rate: float = 1e-1

    def __post_init__(self):
        checks.fields(self)
        checks.integers(self, "num_candidates", at_least=1)
        checks.reals(self, "epsilon", "log_z_learning_rate", above=0)


def above_prior(scores: Float[Array, " n"], base_scores: Float[Array, " n"]) -> Float[Array, " n"]:
    """log p(x) - log prior(x); exactly 0 where that is rounding, though its gradient is not.

    Where the prior is the target there is nothing else in the gradient, and Adam makes whole
    steps of it.
    """
    apart = scores - base_scores
    noise = jnp.abs(apart) <= ROUNDING * (1 + jnp.abs(base_scores))
    return apart - jax.lax.stop_gradient(jnp.where(noise, apart, 0.0))


def batch_log_z(log_ratios: Float[Array, " n"], weights: Float[Array, " n"]) -> Float[Array, ""]:
    """The log Z that minimises the loss on a batch, minus the mean of its log-ratios.

    Taken from the first ratio on, so that equal ratios leave residuals of exactly 0.
    """
    first = jax.lax.stop_gradient(log_ratios[0])
    return -first - jnp.sum(weights * (log_ratios - first)) / jnp.maximum(jnp.sum(weights), 1e-9)


def balance_loss(
    log_ratios: Float[Array, " n"],
    weights: Float[Array, " n"],
    log_z: Float[Array, ""] | None = None,
) -> Float[Array, ""]:
    """Trajectory balance (Eq. 2), the weighted mean of (log p - log target + log Z)^2.

    Args:
      log_ratios: log p(x) - log target(x) in nats, the target unnormalised.
      weights: float32 [n], not negative.
      log_z: None for the batch's own, which makes it VarGrad's variance (Eq. 3).
    """
    log_z = batch_log_z(log_ratios, weights) if log_z is None else log_z
    return jnp.sum(weights * (log_ratios + log_z) ** 2) / jnp.maximum(jnp.sum(weights), 1e-9)


@struct.dataclass
class State:
    """The policy and what its training carries on.

    Attributes:
      round: int32, rounds told so far.
      base, policy: parameters of the prior and of what samples.
      log_z: log of the target's total, learned, or for VarGrad the latest batch's.
      opt_state: of the policy's and log Z's optimiser.
    """

    round: Int[Array, ""]
    base: Any
    policy: Any
    log_z: Float[Array, ""]
    opt_state: Any


def gflownet(model: SequenceModel, config: GFlowNetConfig) -> Algorithm:
    """Trajectory balance (Eq. 2), VarGrad (Eq. 3) and both relative to the prior, as ask and tell.

    A round costs m reward evaluations and, in forward passes of one sequence, 3 m (drawn, scored
    by the policy and by the base) and 3 m an epoch.

    Args:
      model: the prior's functions; the policy starts from the parameters `init` is given.
      config: settings.

    Returns:
      The algorithm: `ask` gives m candidates, `tell` takes their rewards float32 [m].
    """
    c = config
    learned = c.objective == "trajectory_balance"
    score = partial(scoring.log_likelihood, model, chunk_size=c.training.micro_batch_size or None)
    # Each with its own rate, and the gradient's norm is bounded for the policy alone: log Z's
    # part of it is by far the largest while log Z is off.
    optimise = optax.partition(
        {"policy": training.optimizer(c.training), "log_z": optax.adam(c.log_z_learning_rate)},
        {"policy": "policy", "log_z": "log_z"},
    )

    def ratios(scores, base_scores, rewards):
        """log p - log target in nats."""
        if c.relative_to_prior:
            scores = above_prior(scores, base_scores)
        return scores - jnp.log(rewards + c.epsilon)

    def loss(params, rows, weights):
        candidates, base_scores, rewards, answered = rows
        weights = weights if answered is None else weights * answered
        log_ratios = ratios(score(params["policy"], candidates), base_scores, rewards)
        return balance_loss(log_ratios, weights, params["log_z"] if learned else None)

    def init(key, prior_params):
        del key
        zero = jnp.float32(0.0)
        opt_state = optimise.init({"policy": prior_params, "log_z": zero})
        return State(jnp.int32(0), prior_params, prior_params, zero, opt_state)

    def ask(key, state):
        return sampling.sample(model, key, state.policy, c.num_candidates)[0], state

    def tell(key, state, candidates, rewards, answered=None):
        scores, base_scores = score(state.policy, candidates), score(state.base, candidates)
        log_ratios = ratios(scores, base_scores, rewards)
        every = jnp.ones_like(rewards) if answered is None else answered.astype(jnp.float32)
        # Learned from 0 it would take hundreds of steps to come near, while the policy follows
        # its error; the first batch's own costs nothing.
        log_z = batch_log_z(log_ratios, every)
        if learned:
            log_z = jnp.where(state.round == 0, log_z, state.log_z)
        before = balance_loss(log_ratios, every, log_z)
        params = {"policy": state.policy, "log_z": log_z}
        rows = (candidates, base_scores, rewards, answered)
        params, opt_state, _ = training.minimise(
            loss, c.training, key, params, state.opt_state, rows, optimise
        )
        state = state.replace(round=state.round + 1, opt_state=opt_state, **params)
        return state, {
            "successes": jnp.sum(rewards),
            "gflownet_loss": before,
            "log_z": state.log_z,
            **diagnostics.proposal_diagnostics(0.0, candidates, scores, base_scores),
        }

    def sample(key, state, n):
        return sampling.sample(model, key, state.policy, n)[0]

    def log_prob(state, sequences):
        return score(state.policy, sequences)

    settings = {"name": "gflownet", "settings": c, "model": model.settings}
    return Algorithm(
        init, ask, tell, sample, log_prob, candidate_log_prob=log_prob,
        settings=tuple(settings.items()), model=model,
    )  # fmt: skip
