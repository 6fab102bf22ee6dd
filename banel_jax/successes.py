"""What was paid for and succeeded, and the model that is fitted to it: the numerator of the ratio
that looks at both sides."""

import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from banel_jax import checks, scoring, training
from banel_jax.rejection import Proposals
from banel_jax.replay import Replay
from banel_jax.training import Fit
from banel_jax.types import Key, Params, SequenceModel, Sequences


class SuccessModel(NamedTuple):
    """p_S, the base fitted to the successes met; until there are enough of them it is the base.

    Attributes:
      model: functions of the base.
      fit: as `training.fit`.
      needed: different successes before there is a model of them.
      mix: share of the base in p_S, so that it never becomes a list of what was seen.
    """

    model: SequenceModel
    fit: Fit
    needed: int = 1
    mix: float = 0.0

    def enough(self, met: Replay) -> Bool[Array, ""]:
        return jnp.sum(met.there()) >= self.needed

    def learn(self, key: Key, base: Params, met: Replay) -> Params:
        """The next success model, fitted from the base to each success once."""
        weights = met.there().astype(jnp.float32)
        params, _ = self.fit(key, base, met.sequences, weights, None)
        return jax.tree.map(partial(jnp.where, self.enough(met)), params, base)

    def scores(self, params: Params, met: Replay, proposals: Proposals) -> Float[Array, " n"]:
        """Log-likelihoods in nats of n proposals; the base's own until there are enough."""
        base_scores = proposals.base_scores
        scores = scoring.log_likelihood(self.model, params, proposals.sequences)
        if self.mix:
            kept = math.log1p(-self.mix) if self.mix < 1 else -math.inf
            scores = jnp.logaddexp(kept + scores, math.log(self.mix) + base_scores)
        return jnp.where(self.enough(met), scores, base_scores)


def replayed(
    key: Key, rows: Sequences, use: Float[Array, " k"], met: Replay, share: float
) -> tuple[Sequences, Float[Array, " k"]]:
    """Rows to learn from with a share of them, the last ones, replaced by successes.

    Each different success comes equally often, give or take one. Without one the rows stay as
    they are.

    Args:
      key: consumed once.
      rows: [k].
      use: what each counts for; a success counts 1.
      met: the successes.
      share: of the k rows; static.
    """
    k, some = use.shape[0], met.there()
    order = jnp.argsort(jax.random.uniform(key, some.shape, jnp.float32) + 2.0 * ~some)
    count = jnp.sum(some, dtype=jnp.int32)
    taken = order[jnp.arange(k) % jnp.maximum(count, 1)]
    replace = (jnp.arange(k) >= k - round(share * k)) & (count > 0)
    put = lambda old, new: jnp.where(replace[:, None], new[taken], old)
    return jax.tree.map(put, rows, met.sequences), jnp.where(replace, 1.0, use)


def configured(config: Any, model: SequenceModel, fit: Fit | None = None) -> SuccessModel:
    """The success model of an algorithm's settings.

    Args:
      config: with `success_training`, `successes_needed` and `success_mix`.
      model: functions of the base.
      fit: in place of `training.fit` with `config.success_training`.
    """
    fit = fit or partial(training.fit, model, config.success_training)
    return SuccessModel(model, fit, config.successes_needed, config.success_mix)


def check(config: Any) -> None:
    """The settings that say how successes are learned from.

    Raises:
      ValueError: one line that names the field.
    """
    checks.integers(config, "replay_size", "successes_needed", at_least=1)
    checks.reals(config, "success_mix", "replay", at_least=0, at_most=1)
