"""Random network distillation (Burda et al., 2019) as an intrinsic reward (Section 3.2).

A predictor learns what a fixed random network makes of the candidates; where it errs, the
candidate is unlike those before.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import struct
from jaxtyping import Array, Float

from banel_jax import checks, training
from banel_jax.algorithms.observing import Observe, one_hot, vocab_size_of
from banel_jax.algorithms.policy_gradient import (
    IntrinsicReward,
    PolicyGradientConfig,
    policy_gradient,
)
from banel_jax.training import TrainingConfig
from banel_jax.types import Algorithm, SequenceModel

# The penalty of Appendix B.2. All bonuses are positive and much alike; the batch's mean stands in
# for the value function of the PPO that was published with them.
POLICY = PolicyGradientConfig(kl_coefficient=0.01, centre=True)


@dataclass(frozen=True)
class RndConfig:
    """Settings of the bonus; the defaults are the paper's for MNIST and Burda et al.'s.

    Attributes:
      width, num_layers: of the target: `num_layers` dense layers, all but the last `width` wide.
      num_features: what the target puts out, and the predictor learns.
      predictor_extra_layers: dense layers, `num_features` wide, of the predictor beyond those.
      learning_rate: of Adam on the predictor.
      epochs: passes of the predictor over each batch of candidates; 1 as published. More
        lower the error whether or not a candidate is novel.
      batch_size: candidates in a step of the predictor.
      observation_clip: bound of the normalised observations.
      vocab_size: of the one-hot observation; 0 to read it from the model's settings.
    """

    width: int = 1024
    num_layers: int = 4
    num_features: int = 512
    predictor_extra_layers: int = 2
    learning_rate: float = 1e-4
    epochs: int = 1
    batch_size: int = 50
    observation_clip: float = 5.0
    vocab_size: int = 0

    def __post_init__(self):
        checks.fields(self, infinite=("observation_clip",))
        checks.integers(self, "width", "num_layers", "num_features", at_least=1)
        checks.integers(self, "predictor_extra_layers", "vocab_size", at_least=0)
        checks.reals(self, "observation_clip", above=0, infinite=True)
        _ = self.training  # it checks the rest

    @property
    def training(self) -> TrainingConfig:
        return TrainingConfig(
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            clip_norm=0.0,
        )


class Mlp(nn.Module):
    """Dense layers of these widths with ReLU between them.

    Normal weights of the scale of the orthogonal ones in the publication, whose QR takes
    minutes where the observation is wide.
    """

    widths: tuple[int, ...]

    @nn.compact
    def __call__(self, x):
        for layer, width in enumerate(self.widths):
            x = nn.relu(x) if layer else x
            x = nn.Dense(width, kernel_init=nn.initializers.he_normal())(x)
        return x


@struct.dataclass
class Moments:
    """Mean and variance of all rows so far."""

    count: Float[Array, ""]
    mean: Float[Array, "*d"]
    variance: Float[Array, "*d"]

    def add(self, rows: Float[Array, " m *d"]) -> "Moments":
        """Two sets of rows merged from their moments, without cancellation."""
        m = rows.shape[0]
        count, mean = self.count + m, jnp.mean(rows, axis=0)
        delta = mean - self.mean
        squares = self.variance * self.count + jnp.var(rows, axis=0) * m
        squares += delta**2 * (self.count * m / count)
        return Moments(count, self.mean + delta * (m / count), squares / count)

    def scale(self) -> Float[Array, "*d"]:
        """The standard deviation; 1 where nothing but rounding ever varied."""
        varied = self.variance > 1e-10 * self.mean**2
        return jnp.sqrt(jnp.where(varied, self.variance, 1.0))


def no_rows(shape: tuple[int, ...]) -> Moments:
    zeros = jnp.zeros(shape, jnp.float32)
    return Moments(jnp.float32(0), zeros, zeros)


@struct.dataclass
class State:
    """The two networks, and what normalises their input and their error.

    Attributes:
      target, predictor: parameters; the target's never change.
      opt_state: of the predictor's optimiser.
      observations, errors: moments over all candidates so far.
    """

    target: Any
    predictor: Any
    opt_state: Any
    observations: Moments
    errors: Moments


def rnd_reward(
    model: SequenceModel, config: RndConfig, observe: Observe | None = None
) -> IntrinsicReward:
    """The bonus by itself, to be added to another reward.

    The bonus is the squared error before the predictor has seen the round's candidates, over
    the running standard deviation of such errors; an episode being one sequence, its return
    is its bonus. No mean is taken off.

    Args:
      model: whose sequences are to be seen.
      config: settings.
      observe: what the networks see of sequences; by default `one_hot` tokens.
    """
    c = config
    if observe is None:
        observe = one_hot(vocab_size_of(model, c))
    widths = (c.width,) * (c.num_layers - 1) + (c.num_features,)
    target = Mlp(widths)
    predictor = Mlp(widths + (c.num_features,) * c.predictor_extra_layers)

    def errors(params, rows):
        observations, features = rows
        return jnp.mean((predictor.apply(params, observations) - features) ** 2, axis=-1)

    def loss(params, rows, weights):
        return jnp.sum(weights * errors(params, rows)) / jnp.maximum(jnp.sum(weights), 1e-9)

    def init(key, prior_params):
        target_key, predictor_key = jax.random.split(key)

        def seen(key):
            sequence, _ = model.sample(key, prior_params)
            return observe(jax.tree.map(lambda x: x[None], sequence))

        observation = jnp.zeros(jax.eval_shape(seen, key).shape, jnp.float32)
        params = predictor.init(predictor_key, observation)
        return State(
            target=target.init(target_key, observation),
            predictor=params,
            opt_state=training.optimizer(c.training).init(params),
            observations=no_rows(observation.shape[1:]),
            errors=no_rows(()),
        )

    def update(key, state, sequences):
        observations = jnp.asarray(observe(sequences), jnp.float32)
        # The moments take in the round first: there is no normaliser before the first.
        moments = state.observations.add(observations)
        normalised = (observations - moments.mean) / moments.scale()
        normalised = jnp.clip(normalised, -c.observation_clip, c.observation_clip)
        rows = (normalised, target.apply(state.target, normalised))
        before = errors(state.predictor, rows)
        error_moments = state.errors.add(before)
        params, opt_state, _ = training.minimise(
            loss, c.training, key, state.predictor, state.opt_state, rows
        )
        info = {
            "prediction_error": jnp.mean(before),
            "prediction_error_after": jnp.mean(errors(params, rows)),
        }
        state = state.replace(
            predictor=params, opt_state=opt_state, observations=moments, errors=error_moments
        )
        return before / error_moments.scale(), state, info

    return IntrinsicReward(init, update, (("name", "rnd"), ("settings", c), ("observe", observe)))


def rnd(
    model: SequenceModel,
    policy_config: PolicyGradientConfig,
    config: RndConfig,
    observe: Observe | None = None,
) -> Algorithm:
    """The policy gradient with RND's bonus.

    The bonus costs, a candidate, one pass of the target and 2 + 3 an epoch of the predictor;
    beside a sequence model's these are next to nothing.

    Args:
      model: the prior's functions.
      policy_config: settings of the policy gradient; `POLICY` has the paper's penalty.
      config: settings of the bonus.
      observe: what the networks see of sequences; by default `one_hot` tokens.
    """
    return policy_gradient(model, policy_config, rnd_reward(model, config, observe))
