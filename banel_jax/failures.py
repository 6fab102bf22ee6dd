"""What was paid for and failed, and the model that is fitted to it: p_phi of both algorithms."""

import math
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float

from banel_jax import checks, diagnostics, sampling, scoring, training
from banel_jax.training import Fit, FitInfo
from banel_jax.types import Key, Params, SequenceModel, Sequences


@struct.dataclass
class Failures:
    """What is known to fail: n = K from before the run, then a ring of the latest R rounds of m.

    Attributes:
      sequences: [n].
      weights: float32 [n]; 0 marks an empty row.
      num_known: K, static.
    """

    sequences: Sequences
    weights: Float[Array, " n"]
    num_known: int = struct.field(pytree_node=False, default=0)

    def add(self, round_index, sequences: Sequences, failed: Float[Array, " m"]) -> "Failures":
        m, k = failed.shape[0], self.num_known
        start = k + (round_index % ((self.weights.shape[0] - k) // m)) * m
        put = lambda old, new: jax.lax.dynamic_update_slice_in_dim(old, new, start, 0)
        return jax.tree.map(put, self, Failures(sequences, failed, k))

    def preceded_by(self, known: Sequences, failed: Float[Array, " K"]) -> "Failures":
        """With failures that are never forgotten."""
        first = Failures(known, failed, failed.shape[0])
        both = lambda new, old: jnp.concatenate([new, old])
        return jax.tree.map(both, first, Failures(self.sequences, self.weights, first.num_known))


def no_failures(model: SequenceModel, params: Params, capacity: int) -> Failures:
    """An empty buffer for `capacity` sequences of the model."""
    one = jax.eval_shape(lambda k: model.sample(k, params)[0], jax.random.key(0))
    zeros = jax.tree.map(lambda x: jnp.zeros((capacity, *x.shape), x.dtype), one)
    return Failures(zeros, jnp.zeros((capacity,), jnp.float32))


def failed(
    candidates: Sequences, rewards: Float[Array, " m"], answered: Bool[Array, " m"] | None = None
) -> Float[Array, " m"]:
    """1 for each failure; neither what was not found (no mask) nor what has no answer is one."""
    failed = (1 - rewards) * sampling.found(candidates)
    return failed if answered is None else failed * answered


def failure_weights(
    failures: Failures, holdout: float
) -> tuple[Float[Array, " n"], Float[Array, " n"] | None]:
    """Splits the failures' weights into training and validation, evenly spread.

    Copies of a sequence go where the first of them goes: on both sides they would tell nothing
    of what was learned by heart. Where the split would leave nothing to train on, none is made.
    """
    weights = failures.weights
    if not holdout:
        return weights, None
    n = weights.shape[0]
    marks = [math.floor(i * holdout + 1e-9) for i in range(n + 1)]
    by_row = jnp.diff(jnp.array(marks, jnp.float32))
    held_out = by_row[diagnostics.first_equal(failures.sequences)]
    held_out *= jnp.any(weights * (1 - held_out) > 0)
    return weights * (1 - held_out), weights * held_out


class FailureModel(NamedTuple):
    """p_phi: its functions, and how it is fitted.

    Attributes:
      model: its functions; what it is fitted to may be drawn from another.
      fit: `fit(key, start, sequences, weights, validation_weights) -> (params, FitInfo)`.
      start: where a fit starts: at the `base`, at the last failure model (`carry`) or `fresh`.
      holdout: share of the failures held out; 0 for none.
    """

    model: SequenceModel
    fit: Fit
    start: Literal["base", "carry", "fresh"] = "base"
    holdout: float = 0.0

    def init(self, key: Key, base: Params) -> Params:
        """Parameters before the first failure."""
        return self.model.init(key) if self.start == "fresh" else base

    def learn(
        self, key: Key, start_key: Key, base: Params, latest: Params, failures: Failures
    ) -> tuple[Params, FitInfo]:
        """The next failure model."""
        start = {"base": base, "carry": latest}.get(self.start)
        if start is None:
            start = self.model.init(start_key)
        weights, held_out = failure_weights(failures, self.holdout)
        return self.fit(key, start, failures.sequences, weights, held_out)

    def report(self, params: Params, failures: Failures, fitted: FitInfo) -> dict[str, Array]:
        """A fit, to log: losses of its final parameters, without dropout.

        Returns:
          `failure_train_loss` and `failure_validation_loss`, mean negative log-likelihoods in
          nats a sequence over the failures it was fitted to and those held out; `failure_gap`,
          the second less the first; `failure_epochs` that ran. NaN where there is no such
          failure.
        """
        scores = scoring.log_likelihood(self.model, params, failures.sequences)
        held_out = failure_weights(failures, self.holdout)[1]
        if held_out is None:
            held_out = jnp.zeros_like(failures.weights)
        train = scoring.mean_loss(scores, failures.weights - held_out)
        validation = scoring.mean_loss(scores, held_out)
        return {
            "failure_train_loss": train,
            "failure_validation_loss": validation,
            "failure_gap": scoring.difference(validation, train),
            "failure_epochs": fitted.epochs_run,
        }


def know(
    failure_model: FailureModel, base: str, key: Key, state: Any, known: Sequences, rewards: Array
) -> Any:
    """The state of an algorithm that was told, before its first round, what is known already.

    Args:
      failure_model: the algorithm's, fitted to the failures among it.
      base: the state's field with the prior's parameters.
      key: consumed once.
      state: with `failures` and `failure_model` too.
      known: [K].
      rewards: float32 [K], 0 or 1.
    """
    seen = state.failures.preceded_by(known, failed(known, rewards))
    fit_key, start_key = jax.random.split(key)
    params, _ = failure_model.learn(
        fit_key, start_key, getattr(state, base), state.failure_model, seen
    )
    return state.replace(failures=seen, failure_model=params)


def configured(config: Any, model: SequenceModel, fit: Fit | None = None) -> FailureModel:
    """The failure model of an algorithm's settings.

    Args:
      config: with `failure_training`, `failure_start` and `failure_holdout`.
      model: p_phi.
      fit: in place of `training.fit` with `config.failure_training`.
    """
    fit = fit or partial(training.fit, model, config.failure_training)
    return FailureModel(model, fit, config.failure_start, config.failure_holdout)


def check(config: Any) -> None:
    """The settings that say which failures are learned from.

    Raises:
      ValueError: one line that names the field.
    """
    checks.integers(config, "failure_rounds", at_least=1)
    checks.reals(config, "failure_holdout", at_least=0, at_most=0.5)
