"""A round, whether the loop or a compiled call runs it: its keys, its counts, its checks."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from banel_jax.keys import portable
from banel_jax.types import Key, State

# evaluate(asked_state, state) -> dict of scalars; a JAX function, never shown the oracle.
Evaluate = Callable[[State, State], dict[str, jax.Array]]

# Names in a round's record.
COUNTS = ("num_reward_evaluations", "num_successes")


class RoundKeys(NamedTuple):
    ask: Key
    tell: Key


def init_key(key: Key) -> Key:
    return jax.random.split(portable(key))[0]


def round_keys(key: Key, round: Any) -> RoundKeys:
    """A round's keys come from the run's key and the round alone, so any round can be re-run."""
    rounds_key = jax.random.split(portable(key))[1]
    return RoundKeys(*jax.random.split(jax.random.fold_in(rounds_key, round)))


def strong(tree: Any) -> Any:
    """Fixes the types that JAX left weak, which a checkpoint would not keep."""

    def fix(leaf):
        dtype = jnp.result_type(leaf)
        if jnp.issubdtype(dtype, jax.dtypes.prng_key):
            return leaf
        return jax.lax.convert_element_type(leaf, dtype)

    return jax.tree.map(fix, tree)


class CandidatesNotFound(ValueError):
    """The rejection sampler hit its floor before it had a round's candidates."""


def check_found(round: int, found: Any) -> None:
    """Raises `CandidatesNotFound` where a candidate is missing; found is bool [m]."""
    if not np.all(found):
        raise CandidatesNotFound(
            f"in round {round} only {np.sum(found)} of {len(found)} candidates were found that "
            "pass the filters; nothing of it was evaluated. Let more pass (lower the threshold or "
            "kappa, keep fewer filters) or look longer (lower acceptance_floor; for Algorithm 1 "
            "with a fixed threshold raise filter_factor)"
        )


class NotANumber(ValueError):
    """A model's parameters or likelihoods have become NaN."""


def nan_parts(state: State) -> dict[str, jax.Array]:
    """bool by name: which of a state's fields hold NaN."""
    parts: dict[str, jax.Array] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        if jnp.issubdtype(leaf.dtype, jnp.floating):
            name = jax.tree_util.keystr(path[:1], simple=True) or "state"
            parts[name] = parts.get(name, False) | jnp.any(jnp.isnan(leaf))
    return parts


def check_asked(round: int, nan: Mapping[str, Any], unscored: Any) -> None:
    """Raises `NotANumber` where nothing may be paid for.

    Args:
      round: from 0.
      nan: of the state after `ask`, see `nan_parts`.
      unscored: bool [m], the candidates whose log-likelihood is NaN.
    """
    names = [name for name, bad in nan.items() if bad]
    wrong = int(np.sum(unscored))
    if names or wrong:
        what = f"the algorithm's {' and '.join(names)}" if names else "likelihoods"
        count = f" and {wrong} of {len(unscored)} candidates have none" if wrong else ""
        raise NotANumber(
            f"in round {round} {what} came out as NaN{count}; the oracle was not asked. A fit "
            "diverged or the prior overflows: lower the learning rates, or look at the prior with "
            "model_check.check_model"
        )


def check_told(round: int, nan: Mapping[str, Any]) -> None:
    """Raises `NotANumber` where what was learned from a round is none."""
    names = [name for name, bad in nan.items() if bad]
    if names:
        raise NotANumber(
            f"what round {round} was learned from made the algorithm's {' and '.join(names)} NaN: "
            "a fit diverged. What was paid for is kept, and no more was asked; lower the learning "
            "rates or bound the gradients (clip_norm), in another folder"
        )


def merge(info: Mapping[str, Any], evaluation: Mapping[str, Any]) -> dict[str, Any]:
    twice = set(info) & set(evaluation) | (set(info) | set(evaluation)) & {"round", *COUNTS}
    if twice:
        raise ValueError(f"the metrics {sorted(twice)} are given twice; rename them in evaluate")
    return {**info, **evaluation}
