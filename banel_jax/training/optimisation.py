"""Settings of a fit, its optimiser, and epochs of minibatch steps on any loss."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from banel_jax import checks
from banel_jax.keys import portable
from banel_jax.parallel import whole
from banel_jax.types import Key, Params


@dataclass(frozen=True)
class TrainingConfig:
    """Settings of one maximum-likelihood fit.

    Attributes:
      epochs: passes over the sequences of weight above 0; at most this many.
      batch_size: sequences in an optimiser step.
      learning_rate: of Adam, after `warmup_steps` of linear increase.
      weight_decay: of AdamW; 0 is Adam.
      warmup_steps: optimiser steps of linear warm-up.
      decay_steps: optimiser steps after which the learning rate has fallen to 0 along half a
        cosine, warm-up included; 0 for none.
      clip_norm: bound of the gradient's global norm; 0 for none.
      micro_batch_size: gradients are accumulated over pieces of at most this size on each
        device; 0 for the size that the scorer takes.
      keep_best: with validation sequences, end with the parameters of the epoch that scored
        best on them (the start counts as epoch 0).
      patience: with validation sequences, epochs without an improvement before the rest of
        the epochs is skipped; 0 to go on to the end.

    Raises:
      ValueError: in one line, for a field of another type or outside its range; for fields that do
        not go together.
    """

    epochs: int = 10
    batch_size: int = 50
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    warmup_steps: int = 0
    decay_steps: int = 0
    clip_norm: float = 1.0
    micro_batch_size: int = 0
    keep_best: bool = True
    patience: int = 0

    def __post_init__(self):
        checks.fields(self)
        checks.integers(self, "batch_size", at_least=1)
        checks.reals(self, "learning_rate", above=0)
        steps = ("epochs", "warmup_steps", "decay_steps", "micro_batch_size", "patience")
        checks.integers(self, *steps, at_least=0)
        checks.reals(self, "weight_decay", "clip_norm", at_least=0)
        if self.decay_steps and self.decay_steps <= self.warmup_steps:
            raise ValueError(
                f"decay_steps={self.decay_steps} must be above warmup_steps={self.warmup_steps}, "
                "or 0"
            )
        if self.micro_batch_size and self.batch_size % self.micro_batch_size:
            raise ValueError(
                f"batch_size={self.batch_size} is not a multiple of "
                f"micro_batch_size={self.micro_batch_size}"
            )


def optimizer(config: TrainingConfig) -> optax.GradientTransformation:
    schedule: Any = config.learning_rate
    if config.decay_steps:
        schedule = optax.warmup_cosine_decay_schedule(
            0.0 if config.warmup_steps else config.learning_rate,
            config.learning_rate,
            config.warmup_steps,
            config.decay_steps,
        )
    elif config.warmup_steps:
        schedule = optax.linear_schedule(0.0, config.learning_rate, config.warmup_steps)
    clip = optax.clip_by_global_norm(config.clip_norm) if config.clip_norm else optax.identity()
    adam = optax.adamw(schedule, weight_decay=config.weight_decay)

    def update(updates, state, params):
        # A logit of -inf, a probability of 0, would decay to NaN.
        params = jax.tree.map(lambda p: jnp.where(p == -jnp.inf, 0, p), params)
        return adam.update(updates, state, params)

    if config.weight_decay:
        return optax.chain(clip, optax.GradientTransformation(adam.init, update))
    return optax.chain(clip, adam)


# loss(params, rows [b], weights [b]) -> the mean over the rows of weight 1
Loss = Callable[[Params, Any, Float[Array, " b"]], Float[Array, ""]]


def minimise(
    loss: Loss,
    config: TrainingConfig,
    key: Key,
    params: Params,
    opt_state: Any,
    rows: Any,
    optimise: optax.GradientTransformation | None = None,
) -> tuple[Params, Any, Float[Array, " epochs"]]:
    """Epochs of minibatch steps on any loss, for what learns otherwise than by likelihood.

    Args:
      loss: `loss(params, rows [b], weights [b]) -> float32`, the mean over a minibatch; the
        weights are 1, but 0 for what fills up the last minibatch of an epoch.
      config: settings; nothing is held out, so `keep_best` and `patience` have no meaning here.
      key: consumed once.
      params: where to start.
      opt_state: of the optimiser, carried from call to call by whoever calls.
      rows: a pytree whose leaves share their leading axis [n].
      optimise: the optimiser; None for `optimizer(config)`.

    Returns:
      (parameters, state of the optimiser, mean loss by epoch).
    """
    key, rows, n = portable(key), whole(rows), jax.tree.leaves(rows)[0].shape[0]
    batch = min(config.batch_size, n)
    optimise = optimise or optimizer(config)
    gradient = jax.value_and_grad(loss)
    inside = jnp.pad(jnp.ones(n, jnp.float32), (0, -n % batch)).reshape(-1, batch)

    def step(carry, xs):
        params, opt_state = carry
        order, weights = xs
        value, grads = gradient(params, jax.tree.map(lambda x: x[order], rows), weights)
        updates, opt_state = optimise.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), value * jnp.sum(weights)

    def epoch(carry, key):
        order = jnp.pad(jax.random.permutation(key, n), (0, -n % batch)).reshape(-1, batch)
        carry, values = jax.lax.scan(step, carry, (order, inside))
        return carry, jnp.sum(values) / n

    keys = jax.random.split(key, config.epochs)
    (params, opt_state), losses = jax.lax.scan(epoch, (params, opt_state), keys)
    return params, opt_state, losses
