"""How proposals are ranked (Eq. 5), and the filters that stay in force (Eq. 6)."""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from banel_jax import scoring
from banel_jax.types import Params, SequenceModel, Sequences


class Proposals(NamedTuple):
    """Sequences with their log-likelihoods in nats under what drew them and under the base."""

    sequences: Sequences
    generator_scores: Float[Array, " n"]
    base_scores: Float[Array, " n"]


class Ranking(NamedTuple):
    """The log-ratio of Eq. 5 in nats, log p_theta(x) - kappa log p_phi(x).

    Attributes:
      failure_model: p_phi.
      kappa: sharpness of the failure model.
      length_normalised: nats a token instead of a sequence (Appendix B.2).
      against: the numerator, the `base` or the `generator`, or `nothing` for 1 / p_phi alone.
    """

    failure_model: SequenceModel
    kappa: float
    length_normalised: bool = False
    against: Literal["base", "generator", "nothing"] = "base"

    def log_ratio(self, failure_params: Params, proposals: Proposals) -> Float[Array, " n"]:
        sequences, generator_scores, base_scores = proposals
        numerators = {"base": base_scores, "generator": generator_scores}
        prior_scores = numerators.get(self.against, jnp.zeros_like(base_scores))
        failure_scores = scoring.log_likelihood(self.failure_model, failure_params, sequences)
        values = scoring.log_ratio(prior_scores, failure_scores, self.kappa)
        return scoring.normalise_length(values, sequences) if self.length_normalised else values

    def passes(
        self, filters: "Filters", k: Int[Array, ""], proposals: Proposals
    ) -> Bool[Array, " n"]:
        """Which of the proposals the k-th filter lets through."""
        return self.log_ratio(filters.failure_model(k), proposals) >= filters.thresholds[k]


@struct.dataclass
class Filters:
    """The filters in force, oldest first up to `count`; the capacity K is fixed.

    Attributes:
      failure_params: parameters of the failure models, each leaf [K, ...].
      thresholds: float32 [K], tau in nats.
      tested, passed: float32 [K], how many sequences met each filter and how many it let
        through, counted since it came into force; each meets only what the earlier ones
        let through.
      count: int32, filters in force.
    """

    failure_params: Params
    thresholds: Float[Array, " K"]
    tested: Float[Array, " K"]
    passed: Float[Array, " K"]
    count: Int[Array, ""]

    @property
    def capacity(self) -> int:
        return self.thresholds.shape[0]

    def failure_model(self, k: Int[Array, ""] | int) -> Params:
        return jax.tree.map(lambda p: p[k], self.failure_params)

    def log_acceptance(self) -> Float[Array, ""]:
        """Estimate of log p(R^C), the normaliser of the product of all filters."""
        rates = self.passed / jnp.maximum(self.tested, 1)
        in_force = jnp.arange(self.tested.shape[0]) < self.count
        return jnp.sum(jnp.where(in_force, jnp.log(rates), 0.0))


def no_filters(failure_params: Params, capacity: int) -> Filters:
    """Room for `capacity` filters, none in force."""
    zeros = jnp.zeros((capacity,), jnp.float32)
    stacked = jax.tree.map(lambda p: jnp.zeros((capacity, *p.shape), p.dtype), failure_params)
    return Filters(stacked, zeros, zeros, zeros, jnp.int32(0))


def add_filter(
    filters: Filters,
    failure_params: Params,
    threshold: Float[Array, ""],
    acceptance: Float[Array, ""] | float | None = None,
    tested: float = 1.0,
) -> Filters:
    """Puts a filter in force; at capacity the oldest is dropped.

    Args:
      filters: in force so far.
      failure_params, threshold: of the new one.
      acceptance: of the new one, as estimated from `tested` sequences; None for unknown.
      tested: how many; later counts are added to it.
    """
    capacity = filters.capacity
    tested, passed = (0.0, 0.0) if acceptance is None else (tested, tested * acceptance)
    full = filters.count == capacity
    slot = jnp.minimum(filters.count, capacity - 1)
    push = lambda old, new: jnp.where(full, jnp.roll(old, -1, axis=0), old).at[slot].set(new)
    return Filters(
        failure_params=jax.tree.map(push, filters.failure_params, failure_params),
        thresholds=push(filters.thresholds, threshold),
        tested=push(filters.tested, tested),
        passed=push(filters.passed, passed),
        count=slot + 1,
    )


def forget_counts(filters: Filters) -> Filters:
    """The same filters, with nothing known of their acceptance."""
    zeros = jnp.zeros_like(filters.tested)
    return dataclasses.replace(filters, tested=zeros, passed=zeros)


def passes_all(
    passes: Callable[[Int[Array, ""], Any], Bool[Array, " n"]], filters: Filters, proposals: Any
) -> Bool[Array, " n"]:
    """Whether each of n sequences lies in no rejection region of the filters in force."""
    n = jax.tree.leaves(proposals)[0].shape[0]
    both = lambda k, passed: passed & passes(k, proposals)
    return jax.lax.fori_loop(0, filters.count, both, jnp.ones((n,), bool))
