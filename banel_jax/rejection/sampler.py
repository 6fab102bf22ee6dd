"""The compiled rejection sampler: exact draws from what no filter in force rejects (Eq. 6)."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from banel_jax.rejection.filters import Filters, Proposals
from banel_jax.types import Sequences

CHUNK_SIZE = 256


class _Work(NamedTuple):
    queues: Proposals  # [K, 2c], what waits before each filter
    waiting: Int[Array, " K"]
    found: Proposals  # [n + c]
    num_found: Int[Array, ""]
    proposed: Int[Array, ""]
    tested: Float[Array, " K"]
    passed: Float[Array, " K"]


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
    limit = num_samples / acceptance_floor
    stages = jnp.arange(filters.capacity, dtype=jnp.int32)

    def draw(work, _):
        rows = propose(work.proposed + jnp.arange(chunk, dtype=jnp.int32))
        work = work._replace(proposed=work.proposed + chunk)
        return _push(work, filters.count, jnp.int32(0), rows, jnp.ones((chunk,), bool))

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
        return _push(work, filters.count, stage + 1, rows, kept)

    def step(work):
        ready = work.waiting >= chunk
        deepest = jnp.max(jnp.where(ready, stages, -1))
        return jax.lax.cond(deepest >= 0, apply_filter, draw, work, deepest)

    def unfinished(work):
        # What is drawn at the limit is still to be filtered.
        left = (work.proposed < limit) | jnp.any(work.waiting >= chunk)
        return (work.num_found < num_samples) & left

    start = _nothing_done(propose, filters, num_samples, chunk)
    return _result(jax.lax.while_loop(unfinished, step, start), filters, num_samples)


def _nothing_done(propose: Any, filters: Filters, num_samples: int, chunk: int) -> _Work:
    capacity = filters.capacity
    blank = jax.eval_shape(propose, jax.ShapeDtypeStruct((chunk,), jnp.int32))
    room = lambda *shape: jax.tree.map(
        lambda leaf: jnp.zeros((*shape, *leaf.shape[1:]), leaf.dtype), blank
    )
    return _Work(
        queues=room(capacity, 2 * chunk),
        waiting=jnp.zeros((capacity,), jnp.int32),
        found=room(num_samples + chunk),
        num_found=jnp.int32(0),
        proposed=jnp.int32(0),
        tested=filters.tested,
        passed=filters.passed,
    )


def _push(work: _Work, last: Any, stage: Any, rows: Proposals, kept: Any) -> _Work:
    """The kept of the rows queue before filter `stage`; past the last one they are found."""
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


def _result(
    work: _Work, filters: Filters, num_samples: int
) -> tuple[Proposals, Int[Array, ""], Filters]:
    number = jnp.minimum(work.num_found, num_samples)
    found = jax.tree.map(lambda x: x[:num_samples], work.found)
    missing = jnp.arange(num_samples) >= number
    mask = found.sequences.mask & ~missing[:, None]
    sequences = dataclasses.replace(found.sequences, mask=mask)
    filters = dataclasses.replace(filters, tested=work.tested, passed=work.passed)
    return found._replace(sequences=sequences), number, filters


def give_up(candidates: Sequences, found: Int[Array, ""] | int, proposed: int) -> Sequences:
    """Empties the masks of the same share of the candidates as of the proposals were not found.

    Below the acceptance floor no candidate may be paid for, even where enough were found to
    make up the number: they would not be the best of all that was to be proposed.
    """
    number = candidates.mask.shape[0]
    enough = jnp.arange(1, number + 1) <= found / proposed * number
    return dataclasses.replace(candidates, mask=candidates.mask & enough[:, None])
