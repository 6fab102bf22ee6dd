"""A round gone through in shapes and types alone, before anything is paid for."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from banel_jax.checks import one_line
from banel_jax.runs.leaves import signature
from banel_jax.runs.rounds import Evaluate, merge
from banel_jax.types import Key, Params, Sequences, State


class Rehearsed(NamedTuple):
    """Types as `jax.eval_shape` gives them.

    Attributes:
      state: of the algorithm.
      candidates: [m].
      num_candidates: m.
    """

    state: State
    candidates: Sequences
    num_candidates: int


def rehearse(
    steps: Any,
    evaluate: Evaluate | None,
    key: Key,
    prior_params: Params,
) -> Rehearsed:
    """Follows the types from `init` through `ask`, `tell` and `evaluate`.

    Args:
      steps: as `steps.Steps` has them.
      evaluate: as in `loop.run`.
      key: the run's.
      prior_params: the prior's.

    Raises:
      ValueError: one line naming the function, for one that cannot be traced, for candidates that
        are no `Sequences`, for metrics that are no real scalars or are given twice, and for a
        state whose structure, shapes or types do not stay what they are.
    """
    index = jax.ShapeDtypeStruct((), jnp.int32)
    state = _types_of("init", steps.init, key, prior_params)
    asked = _types_of("ask", steps.ask, key, index, state)
    if not isinstance(asked, tuple) or len(asked) != 2:
        raise ValueError(f"ask returns {_kind(asked)}; it must return (candidates, state)")
    candidates, asked_state = asked
    m = _check_candidates(candidates)
    scores = _types_of("log_prob", steps.log_prob, asked_state, candidates)
    if getattr(scores, "shape", None) != (m,):
        raise ValueError(f"log_prob returns {_kind(scores)}; it must return float32 [{m}]")
    rewards = jax.ShapeDtypeStruct((m,), jnp.float32)
    told = _types_of("tell", steps.tell, key, index, asked_state, candidates, rewards)
    if not isinstance(told, tuple) or len(told) != 2:
        raise ValueError(f"tell returns {_kind(told)}; it must return (state, info)")
    told_state, info = told
    _check_state(state, told_state)
    evaluation = _types_of("evaluate", evaluate, asked_state, told_state) if evaluate else {}
    _check_metrics("tell", info)
    _check_metrics("evaluate", evaluation)
    merge(info, evaluation)
    return Rehearsed(state, candidates, m)


def _types_of(name: str, function: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return jax.eval_shape(function, *arguments)
    except Exception as error:  # of whatever kind: it is the caller's function
        raise ValueError(
            f"{name} fails before anything is paid for: {type(error).__name__}: {one_line(error)}"
        ) from error


def _check_candidates(candidates: Any) -> int:
    if not isinstance(candidates, Sequences):
        raise ValueError(f"ask returns {_kind(candidates)} as candidates; they must be Sequences")
    tokens, mask = candidates.tokens, candidates.mask
    sound = tokens.dtype == jnp.int32 and mask.dtype == bool and tokens.shape == mask.shape
    if not sound or len(tokens.shape) != 2 or not tokens.size:
        types = f"{tokens.dtype}{list(tokens.shape)} and {mask.dtype}{list(mask.shape)}"
        raise ValueError(
            f"ask returns candidates of tokens and mask {types}; they must be int32 and bool "
            "[m, length], m and length at least 1"
        )
    return tokens.shape[0]


def _check_state(before: State, after: State) -> None:
    there, here = signature(before), signature(after)
    differing = [
        f"{path or 'it'} is {there.get(path, 'absent')} before and {here.get(path, 'absent')} after"
        for path in sorted(there.keys() | here.keys())
        if there.get(path) != here.get(path)
    ]
    structures: list[Any] = [jax.tree.structure(state) for state in (before, after)]
    if not differing and structures[0] != structures[1]:
        differing = ["its containers are others after"]
    if differing:
        more = f" and {len(differing) - 3} more" * (len(differing) > 3)
        raise ValueError(
            f"tell changes what the state is: {'; '.join(differing[:3])}{more}. A state keeps its "
            "structure, shapes and types from round to round"
        )


def _check_metrics(name: str, metrics: Any) -> None:
    if not isinstance(metrics, Mapping):
        raise ValueError(f"{name} returns {_kind(metrics)} as metrics; they must be a dict")
    for key, value in metrics.items():
        kind = getattr(value, "dtype", None)
        real = kind is not None and any(
            jnp.issubdtype(kind, each) for each in (jnp.bool, jnp.integer, jnp.floating)
        )
        if not isinstance(key, str) or not real:
            raise ValueError(f"the metric {key!r} of {name} is {_kind(value)}, no real number")
        if value.shape != ():
            raise ValueError(
                f"the metric {key!r} of {name} has shape {value.shape}; a metric is a scalar"
            )


def _kind(value: Any) -> str:
    dtype = getattr(value, "dtype", None)
    return type(value).__name__ if dtype is None else f"{dtype}{list(value.shape)}"
