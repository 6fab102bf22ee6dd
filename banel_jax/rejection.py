"""Rejection regions (Eqs. 5 and 6) and exact sampling from their complement.

A filter is a failure model with a threshold tau: it rejects x where
log p_theta(x) - kappa log p_phi(x) < tau. Thresholds and ratios are in nats throughout.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from banel_jax.types import Key, Params, Sequences

CHUNK_SIZE = 256
# Nats. The same sequence scored in another batch may differ by rounding; it must fall on the
# same side of a threshold all the same.
TIE = 1e-4


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


def give_up(candidates: Sequences, found: Int[Array, ""] | int, proposed: int) -> Sequences:
    """Empties the masks of the same share of the candidates as of the proposals were not found.

    Below the acceptance floor no candidate may be paid for, even where enough were found to
    make up the number: they would not be the best of all that was to be proposed.
    """
    number = candidates.mask.shape[0]
    enough = jnp.arange(1, number + 1) <= found / proposed * number
    return candidates.replace(mask=candidates.mask & enough[:, None])  # type: ignore[attr-defined]


def passes_all(
    passes: Callable[[Int[Array, ""], Any], Bool[Array, " n"]], filters: Filters, proposals: Any
) -> Bool[Array, " n"]:
    """Whether each of n sequences lies in no rejection region of the filters in force."""
    n = jax.tree.leaves(proposals)[0].shape[0]
    both = lambda k, passed: passed & passes(k, proposals)
    return jax.lax.fori_loop(0, filters.count, both, jnp.ones((n,), bool))


class Proposals(NamedTuple):
    """Sequences with their log-likelihoods in nats under what drew them and under the base."""

    sequences: Sequences
    generator_scores: Float[Array, " n"]
    base_scores: Float[Array, " n"]


def rejection_sample(
    propose: Callable[[Int[Array, " c"]], Proposals],
    passes: Callable[[Int[Array, ""], Proposals], Bool[Array, " c"]],
    filters: Filters,
    num_samples: int,
    acceptance_floor: float,
    chunk_size: int = CHUNK_SIZE,
) -> tuple[Proposals, Int[Array, ""], Filters]:
    """Samples from the prior restricted to what every filter in force lets through (Eq. 6).

    One compiled loop. Candidates wait in a queue before each filter and are worked off in
    full chunks, deepest queue first, so most of them meet few filters and no chunk is run
    half empty. The queues keep the order of the proposals: the result is the first
    `num_samples` of them to pass, whatever the chunk size.

    Args:
      propose: maps the indices [c] of proposals to them.
      passes: `passes(k, proposals) -> bool [c]`, the k-th filter.
      filters: in force; their counts of tested and passed are carried on.
      num_samples: n, static.
      acceptance_floor: stop after n / floor proposals, static.
      chunk_size: c, static.

    Returns:
      The n samples, how many were found (fewer than n only if the floor was reached; the
      rest have an empty mask), and the filters with their counts.
    """
    chunk = min(chunk_size, num_samples)
    capacity = filters.capacity
    limit = num_samples / acceptance_floor
    blank = jax.eval_shape(propose, jax.ShapeDtypeStruct((chunk,), jnp.int32))
    room = lambda *shape: jax.tree.map(
        lambda leaf: jnp.zeros((*shape, *leaf.shape[1:]), leaf.dtype), blank
    )
    last = filters.count
    stages = jnp.arange(capacity, dtype=jnp.int32)

    class Work(NamedTuple):
        queues: Proposals  # [K, 2c]
        waiting: Int[Array, " K"]
        found: Proposals  # [n + c]
        num_found: Int[Array, ""]
        proposed: Int[Array, ""]
        tested: Float[Array, " K"]
        passed: Float[Array, " K"]

    def push(work, stage, rows, kept):
        order = jnp.argsort(~kept, stable=True)
        rows = jax.tree.map(lambda x: x[order], rows)
        number = jnp.sum(kept, dtype=jnp.int32)

        def finish(work):
            put = lambda to, x: jax.lax.dynamic_update_slice_in_dim(to, x, work.num_found, 0)
            found = jax.tree.map(put, work.found, rows)
            return work._replace(found=found, num_found=work.num_found + number)

        def enqueue(work):
            def put(to, x):
                start = (stage, work.waiting[stage]) + (jnp.int32(0),) * (x.ndim - 1)
                return jax.lax.dynamic_update_slice(to, x[None], start)

            queues = jax.tree.map(put, work.queues, rows)
            return work._replace(queues=queues, waiting=work.waiting.at[stage].add(number))

        return jax.lax.cond(stage == last, finish, enqueue, work)

    def draw(work, _):
        rows = propose(work.proposed + jnp.arange(chunk, dtype=jnp.int32))
        work = work._replace(proposed=work.proposed + chunk)
        return push(work, jnp.int32(0), rows, jnp.ones((chunk,), bool))

    def apply_filter(work, stage):
        rows = jax.tree.map(lambda q: q[stage, :chunk], work.queues)
        shift = lambda q: q.at[stage, :chunk].set(q[stage, chunk:])
        kept = passes(stage, rows)
        work = work._replace(
            queues=jax.tree.map(shift, work.queues),
            waiting=work.waiting.at[stage].add(-chunk),
            tested=work.tested.at[stage].add(chunk),
            passed=work.passed.at[stage].add(jnp.sum(kept, dtype=jnp.int32)),
        )
        return push(work, stage + 1, rows, kept)

    def step(work):
        ready = work.waiting >= chunk
        deepest = jnp.max(jnp.where(ready, stages, -1))
        return jax.lax.cond(deepest >= 0, apply_filter, draw, work, deepest)

    def unfinished(work):
        # What is drawn at the limit is still to be filtered.
        left = (work.proposed < limit) | jnp.any(work.waiting >= chunk)
        return (work.num_found < num_samples) & left

    work = Work(
        queues=room(capacity, 2 * chunk),
        waiting=jnp.zeros((capacity,), jnp.int32),
        found=room(num_samples + chunk),
        num_found=jnp.int32(0),
        proposed=jnp.int32(0),
        tested=filters.tested,
        passed=filters.passed,
    )
    work = jax.lax.while_loop(unfinished, step, work)
    number = jnp.minimum(work.num_found, num_samples)
    found = jax.tree.map(lambda x: x[:num_samples], work.found)
    missing = jnp.arange(num_samples) >= number
    sequences = found.sequences.replace(mask=found.sequences.mask & ~missing[:, None])
    filters = dataclasses.replace(filters, tested=work.tested, passed=work.passed)
    return found._replace(sequences=sequences), number, filters
