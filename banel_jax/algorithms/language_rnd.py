"""Random network distillation for language models (Gao et al., 2025), the baseline on GSM8K.

Both networks see the tokens of a response; a response that the predictor has not met yet earns
up to `highest`, less as training goes on, and nothing where it is right (`POLICY`).
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import struct
from jaxtyping import Array, Float, Int

from banel_jax import checks, training
from banel_jax.algorithms.policy_gradient import (
    IntrinsicReward,
    PolicyGradientConfig,
    policy_gradient,
)
from banel_jax.training import TrainingConfig
from banel_jax.types import Algorithm, SequenceModel, Sequences

# The penalty of Appendix B.2, without which the paper found no gain.
POLICY = PolicyGradientConfig(kl_coefficient=0.05, centre=True, bonus_for_failures=True)


WEIGHT_DECAY = 1e-4  # AdamW's usual one


@dataclass(frozen=True)
class LanguageRndConfig:
    """Settings of the bonus; the defaults are the published ones.

    Attributes:
      vocab_size: of the tokens.
      embedding: width of a token's embedding; all of a response's are one input.
      widths: of the hidden layers.
      highest: the bonus of the batch's least expected response in the first round; its most
        expected one has 0.
      half_life: the bonus is times half_life / (half_life + rounds).
      learning_rate: of AdamW on the predictor.
      epochs: steps of the predictor on each batch.
    """

    vocab_size: int
    embedding: int = 16
    widths: tuple[int, ...] = (16, 8)
    highest: float = 0.5
    half_life: float = 40.0
    learning_rate: float = 1e-3
    epochs: int = 1

    def __post_init__(self):
        checks.fields(self, infinite=("half_life", "highest"))
        checks.integers(self, "vocab_size", "embedding", at_least=1)
        checks.reals(self, "learning_rate", above=0)
        checks.reals(self, "half_life", above=0, infinite=True)
        checks.reals(self, "highest", at_least=0, infinite=True)
        checks.integers(self, "epochs", at_least=0)

    @property
    def training(self) -> TrainingConfig:
        """Each step on the whole batch, by whose moments the networks norm."""
        return TrainingConfig(
            epochs=self.epochs,
            batch_size=10**6,
            learning_rate=self.learning_rate,
            weight_decay=WEIGHT_DECAY,
            clip_norm=0.0,
        )


class Network(nn.Module):
    """What both the target and the predictor are; it sees a batch, by whose moments it norms."""

    config: LanguageRndConfig

    @nn.compact
    def __call__(self, sequences):  # [m, length] -> [m] in (0, 1)
        c = self.config
        tokens = sequences.tokens * sequences.mask  # what is not scored is token 0
        x = nn.Embed(c.vocab_size, c.embedding)(tokens).reshape(tokens.shape[0], -1)
        x = nn.BatchNorm(use_running_average=False)(x)
        for width in c.widths:
            x = nn.leaky_relu(nn.Dense(width)(x))
        return nn.sigmoid(nn.Dense(1)(x)[:, 0])


@struct.dataclass
class State:
    """The two networks.

    Attributes:
      round: int32, batches seen.
      target, predictor: parameters; the target's never change.
      opt_state: of the predictor's optimiser.
    """

    round: Int[Array, ""]
    target: Any
    predictor: Any
    opt_state: Any


def language_rnd_reward(model: SequenceModel, config: LanguageRndConfig) -> IntrinsicReward:
    """The bonus by itself, to be added to another reward.

    Args:
      model: whose sequences are to be seen.
      config: settings.
    """
    c = config
    network = Network(c)

    def apply(params, sequences):
        return network.apply({"params": params}, sequences, mutable=["batch_stats"])[0]

    def errors(params, rows) -> Float[Array, " m"]:
        sequences, targets = rows
        return (apply(params, sequences) - targets) ** 2

    def loss(params, rows, weights):
        return jnp.sum(weights * errors(params, rows)) / jnp.maximum(jnp.sum(weights), 1e-9)

    def init(key, prior_params):
        keys = jax.random.split(key, 3)
        one = jax.eval_shape(lambda k: model.sample(k, prior_params)[0], keys[0])
        blank: Sequences = jax.tree.map(lambda x: jnp.zeros((1, *x.shape), x.dtype), one)
        target, predictor = (network.init(k, blank)["params"] for k in keys[1:])
        opt_state = training.optimizer(c.training).init(predictor)
        return State(jnp.int32(0), target, predictor, opt_state)

    def update(key, state, sequences):
        rows = (sequences, apply(state.target, sequences))
        before = errors(state.predictor, rows)
        low, high = jnp.min(before), jnp.max(before)
        bonus = c.highest * (before - low) / jnp.maximum(high - low, 1e-12)
        bonus *= c.half_life / (c.half_life + state.round)
        predictor, opt_state, _ = training.minimise(
            loss, c.training, key, state.predictor, state.opt_state, rows
        )
        info = {"prediction_error": jnp.mean(before)}
        state = state.replace(round=state.round + 1, predictor=predictor, opt_state=opt_state)
        return bonus, state, info

    return IntrinsicReward(init, update, (("name", "language_rnd"), ("settings", c)))


def language_rnd(
    model: SequenceModel, policy_config: PolicyGradientConfig, config: LanguageRndConfig
) -> Algorithm:
    """The policy gradient with that bonus.

    The bonus costs, a candidate, one pass of the target and 1 + 3 an epoch of the predictor;
    beside a language model's these are next to nothing.

    Args:
      model: the prior's functions.
      policy_config: settings of the policy gradient; `POLICY` has the paper's penalty.
      config: settings of the bonus.
    """
    return policy_gradient(model, policy_config, language_rnd_reward(model, config))
