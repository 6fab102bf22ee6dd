"""Pseudo-counts of a density model (Ostrovski et al., 2017) as an intrinsic reward (Section 3.2).

The density model takes one step on each candidate in turn; by how much that raises the
candidate's likelihood says how seldom the like of it was seen.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Float, Int

from banel_jax import checks
from banel_jax.algorithms.policy_gradient import (
    IntrinsicReward,
    PolicyGradientConfig,
    policy_gradient,
)
from banel_jax.types import Algorithm, SequenceModel

# The penalty of Appendix B.2. All bonuses are positive; the batch's mean stands in for the value
# function of the agents that were published with them.
POLICY = PolicyGradientConfig(kl_coefficient=0.05, centre=True)

MAX_EXPONENT = 50.0  # the bonus stays a float32, and its square too


@dataclass(frozen=True)
class PseudoCountConfig:
    """Settings of the bonus; `scale` and its decay are published, the density's fit is not.

    Attributes:
      scale: c of the prediction gain, which is multiplied by c / sqrt(n) at the n-th sample.
      learning_rate: of the density model. Its optimiser is Adam without momentum: a step then
        goes up the gradient of its own sample alone, so that the gain is that sample's and not
        what the earlier ones taught.
    """

    scale: float = 0.1
    learning_rate: float = 1e-4

    def __post_init__(self):
        checks.fields(self)
        checks.reals(self, "scale", "learning_rate", above=0)


def count_bonus(
    prediction_gain: Float[Array, ""], n: Int[Array, ""], scale: float
) -> Float[Array, ""]:
    """N^(-1/2) of the pseudo-count N = 1 / (exp(c n^(-1/2) gain) - 1); 0 where nothing is gained.

    Args:
      prediction_gain: log rho'(x) - log rho(x) in nats.
      n: samples seen, this one included.
      scale: c.
    """
    exponent = scale * jnp.maximum(prediction_gain, 0.0) / jnp.sqrt(n.astype(jnp.float32))
    return jnp.sqrt(jnp.expm1(jnp.minimum(exponent, MAX_EXPONENT)))


@struct.dataclass
class State:
    """The density model.

    Attributes:
      density: parameters of rho.
      opt_state: of its optimiser.
      count: int32, samples seen.
    """

    density: Any
    opt_state: Any
    count: Int[Array, ""]


def pseudo_count_reward(density_model: SequenceModel, config: PseudoCountConfig) -> IntrinsicReward:
    """The bonus by itself, to be added to another reward.

    Args:
      density_model: rho; starts from the prior's parameters.
      config: settings.
    """
    optimise = optax.adam(config.learning_rate, b1=0.0)
    loss_and_gradient = jax.value_and_grad(lambda params, x: -density_model.log_prob(params, x))

    def see(state, sequence):
        loss, gradient = loss_and_gradient(state.density, sequence)
        updates, opt_state = optimise.update(gradient, state.opt_state, state.density)
        density = optax.apply_updates(state.density, updates)
        gain = density_model.log_prob(density, sequence) + loss
        state = State(density, opt_state, state.count + 1)
        return state, (count_bonus(gain, state.count, config.scale), gain, loss)

    def init(key, prior_params):
        del key
        return State(prior_params, optimise.init(prior_params), jnp.int32(0))

    def update(key, state, sequences):
        del key
        state, (bonus, gain, loss) = jax.lax.scan(see, state, sequences)
        return bonus, state, {"prediction_gain": jnp.mean(gain), "density_loss": jnp.mean(loss)}

    settings = {"name": "pseudo_count", "settings": config, "model": density_model.settings}
    return IntrinsicReward(init, update, tuple(settings.items()))


def pseudo_count(
    model: SequenceModel,
    policy_config: PolicyGradientConfig,
    config: PseudoCountConfig,
    density_model: SequenceModel | None = None,
) -> Algorithm:
    """The policy gradient with the pseudo-count's bonus.

    The bonus costs four forward passes of the density model a candidate, one after the other.

    Args:
      model: the prior's functions.
      policy_config: settings of the policy gradient; `POLICY` has the paper's penalty.
      config: settings of the bonus.
      density_model: rho; by default `model` itself. Must share its parameter tree.
    """
    return policy_gradient(
        model, policy_config, pseudo_count_reward(density_model or model, config)
    )
