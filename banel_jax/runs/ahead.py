"""Rounds that are proposed before those before them are answered (`RunConfig.rounds_in_flight`).

What `ask` leaves in a state for its `tell` (the batch, its threshold, diagnostics) is told from
what is learned by looking at which arrays it changes. A round that was asked for with an older
state is then told with the latest: what is learned is that one's, and the rest its own.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from banel_jax.types import Algorithm, Key, Sequences, State


class Asked(NamedTuple):
    """A round that was proposed.

    Attributes:
      candidates: [m].
      state: as `ask` returned it.
    """

    candidates: Sequences
    state: State


def merge(asked: State, learned: State, by_ask: Any) -> State:
    """The state that a round is told with.

    Args:
      asked: as its `ask` returned it, perhaps of an older state.
      learned: the latest.
      by_ask: bool by array, as `changed_by_ask` tells them.
    """
    return jax.tree.map(lambda mine, ours, own: mine if own else ours, asked, learned, by_ask)


def changed_by_ask(algorithm: Algorithm, key: Key, state: State) -> Any:
    """Which arrays of a state an algorithm's `ask` changes: a bool each.

    Args:
      algorithm: whose functions are traced.
      key: any.
      state: its types suffice.

    Raises:
      ValueError: where `ask` and `tell` change the same array, as they do where every round adds a
        filter: then no round can be proposed before the one before it was learned from.
    """
    candidates, _ = jax.eval_shape(algorithm.ask, key, state)
    rewards = jax.ShapeDtypeStruct((candidates.tokens.shape[0],), jnp.float32)
    asks = _changes(lambda state: algorithm.ask(key, state)[1], state)
    tells = _changes(
        lambda state, x, rewards: algorithm.tell(key, state, x, rewards)[0],
        state, candidates, rewards,
    )  # fmt: skip
    paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(state)]
    both = {
        jax.tree_util.keystr(path[:1], simple=True) or "state"
        for path, one, other in zip(paths, asks, tells, strict=True)
        if one and other
    }
    if both:
        raise ValueError(
            "rounds_in_flight must be 1 for this algorithm: both its ask and its tell change "
            f"{', '.join(sorted(both))}, so each round builds on the one before"
        )
    return jax.tree.unflatten(jax.tree.structure(state), asks)


def _changes(function: Callable[..., State], state: State, *others: Any) -> list[bool]:
    """Whether each array of the state that is returned is another than the one that was given."""
    traced = jax.make_jaxpr(function)(state, *others).jaxpr
    given = traced.invars[: len(jax.tree.leaves(state))]
    return [new is not old for new, old in zip(traced.outvars, given, strict=True)]
