"""Rejection regions: which of a round's proposals are accepted, and how likely that makes them.

A region sees log-ratios in nats (Eq. 5): x is the likelier to be accepted the higher its own.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from banel_jax import checks, diagnostics
from banel_jax.types import Key, Sequences

# Nats. The same sequence scored in another batch may differ by rounding; it must fall on the
# same side of a threshold all the same.
TIE = 1e-4
LAST = -1e9  # nats, below any ratio


class Accepted(NamedTuple):
    """What a region accepts of n proposals.

    Attributes:
      indices: int32 [m]; where some of them alone are paid for, the first.
      threshold: float32, tau in nats.
      log_share: float32, the log of the mean over the proposals of what `log_density` adds to
        their log-likelihoods.
    """

    indices: Int[Array, " m"]
    threshold: Float[Array, ""]
    log_share: Float[Array, ""]


class Region:
    """Which of a round's proposals are accepted.

    Attributes:
      alone: each proposal passes or not whatever the others are, so that proposals may be drawn
        until enough have passed, as by an earlier filter. What then is proposed has passed: its
        ratio is +inf.
      rejects: what is not accepted could not have been; weights reject nothing.
    """

    alone: ClassVar[bool] = False
    rejects: ClassVar[bool] = True

    def accept(
        self,
        key: Key | None,
        log_ratios: Float[Array, " n"],
        sequences: Sequences,
        num_accepted: int,
        ranked: Bool[Array, ""],
        paid: Sequences | None = None,
    ) -> Accepted:
        """Chooses among n proposals.

        Args:
          key: consumed once; None to choose by index where a choice is left to chance.
          log_ratios: of the newest failure model.
          sequences: [n, length].
          num_accepted: m, static.
          ranked: False before the first failures, when all ratios are 0: proposals are then
            accepted in the order in which they were drawn.
          paid: [k], what was paid for before, in rows that are not empty.
        """
        raise NotImplementedError

    def log_density(
        self,
        log_probs: Float[Array, " n"],
        log_ratios: Float[Array, " n"],
        threshold: Float[Array, ""],
    ) -> Float[Array, " n"]:
        """Log-likelihoods of what is accepted, from those of what is proposed; less the
        `log_share` they are normalised."""
        return jnp.where(log_ratios >= threshold, log_probs, -jnp.inf)


@dataclass(frozen=True)
class Best(Region):
    """The adaptive region of Section 4.1: the best m of n, whatever their ratios.

    A generator that has narrowed repeats itself. Among equal ratios chance decides: were it the
    smaller index, the first of those accepted would not be a fair sample.

    Attributes:
      distinct: copies of a proposal, and of what was paid for where that is given, come last and
        are paid for after what else passed.
    """

    distinct: bool = False

    def accept(self, key, log_ratios, sequences, num_accepted, ranked, paid=None):
        chance = None
        if key is not None:
            chance = jax.random.uniform(key, log_ratios.shape, jnp.float32)
            chance = jnp.where(ranked, chance, 0.0)
        if self.distinct:
            copy = diagnostics.copies(sequences, paid)
            last = jnp.where(copy, LAST, log_ratios)
            indices, threshold, _ = best(last, num_accepted, chance)
            indices = indices[jnp.argsort(copy[indices], stable=True)]
        else:
            indices, threshold, _ = best(log_ratios, num_accepted, chance)
        # A copy is as likely to pass the threshold as what it is a copy of.
        share = jnp.mean(log_ratios >= threshold, dtype=jnp.float32)
        return Accepted(indices, threshold, jnp.log(share))


@dataclass(frozen=True)
class Threshold(Region):
    """The fixed region of Eq. 5: the first m at or above tau.

    Where fewer are, the indices end with some that are not.

    Attributes:
      threshold: tau in nats.
    """

    threshold: float
    alone: ClassVar[bool] = True

    def accept(self, key, log_ratios, sequences, num_accepted, ranked, paid=None):
        threshold = jnp.where(ranked, jnp.float32(self.threshold), -jnp.inf)
        indices, share = above(log_ratios, threshold, num_accepted)
        return Accepted(indices, threshold, jnp.log(share))


@dataclass(frozen=True)
class Importance(Region):
    """The paper's soft alternative: resampling in proportion to the ratio."""

    rejects: ClassVar[bool] = False

    def accept(self, key, log_ratios, sequences, num_accepted, ranked, paid=None):
        # Equal weights choose nothing: then what was drawn is taken in order, once each.
        in_order = jnp.arange(num_accepted)
        indices = jnp.where(ranked, resample(key, log_ratios, num_accepted), in_order)
        log_share = jax.nn.logsumexp(log_ratios) - jnp.log(log_ratios.shape[0])
        return Accepted(indices, jnp.float32(0.0), log_share)

    def log_density(self, log_probs, log_ratios, threshold):
        return log_probs + log_ratios


def check(config: Any) -> None:
    """The settings that say how proposals are drawn and rejected, and the types of all others.

    Raises:
      ValueError: one line that names the field.
    """
    checks.fields(config, infinite=("threshold",))
    checks.integers(config, "num_candidates", at_least=1)
    checks.reals(config, "filter_factor", at_least=1)
    checks.reals(config, "kappa", at_least=0)
    checks.whole("num_candidates * filter_factor", config.num_candidates * config.filter_factor)
    checks.reals(config, "acceptance_floor", above=0, at_most=1)


def best(
    log_ratios: Float[Array, " n"],
    num_accepted: int,
    among_equals: Float[Array, " n"] | None = None,
) -> tuple[Int[Array, " m"], Float[Array, ""], Float[Array, ""]]:
    """The adaptive region of Section 4.1: accept the best m of n, whatever the threshold.

    Args:
      log_ratios: n of them.
      num_accepted: m; static.
      among_equals: which of equal ratios goes first, the one that is smaller here; by default
        the smaller index.

    Returns:
      The accepted indices in ascending order; tau; and the
      share of the n at or above it. Tau lies halfway between the last accepted and the first
      rejected ratio; just below both where they tie, so the share can then exceed m / n; and
      at -inf where nothing is rejected, so that R is empty at f = 1.
    """
    n = log_ratios.shape[0]
    if among_equals is None:
        among_equals = jnp.zeros(n, jnp.float32)
    order = jnp.lexsort((among_equals, -log_ratios))  # stable, the last key first
    accepted = jnp.sort(order[:num_accepted])
    if num_accepted == n:
        return accepted, jnp.float32(-jnp.inf), jnp.float32(1.0)
    last, first_rejected = log_ratios[order[num_accepted - 1]], log_ratios[order[num_accepted]]
    tied = last - first_rejected < TIE
    threshold = (last + first_rejected) / 2 - jnp.where(tied, TIE, 0.0)
    return accepted, threshold, jnp.mean(log_ratios >= threshold, dtype=jnp.float32)


def above(
    log_ratios: Float[Array, " n"], threshold: Float[Array, ""] | float, num_accepted: int
) -> tuple[Int[Array, " m"], Float[Array, ""]]:
    """The fixed region of Eq. 5: the first m of n at or above tau, and the share that is.

    Where fewer than m are, the indices end with some that are not.
    """
    accepted = log_ratios >= threshold
    order = jnp.argsort(~accepted, stable=True)
    return order[:num_accepted], jnp.mean(accepted, dtype=jnp.float32)


def resample(key: Key, log_weights: Float[Array, " n"], num_samples: int) -> Int[Array, " m"]:
    """Importance resampling with replacement, the paper's soft alternative to the hard cut.

    In the order in which they were drawn, so that the first of them are a sample like any other.
    """
    return jax.random.categorical(key, log_weights, shape=(num_samples,))


def effective_sample_size(log_weights: Float[Array, " n"]) -> Float[Array, ""]:
    """(sum w)^2 / sum w^2, between 1 and n; 0 where all weights are 0."""
    highest = jnp.max(log_weights)
    # Infinite weights are equal, and all there is beside others.
    top = jnp.where(log_weights == highest, 0.0, log_weights - highest)
    log_weights = jnp.where(highest == -jnp.inf, 0.0, top)
    size = jnp.exp(2 * jax.nn.logsumexp(log_weights) - jax.nn.logsumexp(2 * log_weights))
    return jnp.where(highest == -jnp.inf, 0.0, size)
