"""An algorithm's functions, compiled, and one round of the loop."""

import functools
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from banel_jax.oracle import Oracle
from banel_jax.runs import rounds as shared
from banel_jax.sampling import found
from banel_jax.types import Algorithm, Key, Params, Sequences, State


class Steps(NamedTuple):
    """An algorithm's functions, compiled."""

    init: Callable[[Key, Params], State]
    ask: Callable[[Key, Any, State], tuple[Sequences, State]]
    tell: Callable[..., tuple[State, dict[str, jax.Array]]]
    log_prob: Callable[[State, Sequences], jax.Array]


def compiled_steps(algorithm: Algorithm) -> Steps:
    """Compiled once for an algorithm, however many seeds and runs use it.

    Nothing is donated: the state before `tell` is evaluated after it, and the first state
    shares the caller's prior.
    """
    return _compiled_steps(algorithm.init, algorithm.ask, algorithm.tell, algorithm.log_prob)


@functools.lru_cache(maxsize=32)
def _compiled_steps(begin, propose, learn, score) -> Steps:
    def init(key, prior_params):
        return shared.strong(begin(shared.init_key(key), prior_params))

    def ask(key, round, state):
        return shared.strong(propose(shared.round_keys(key, round).ask, state))

    def tell(key, round, state, candidates, rewards):
        return shared.strong(learn(shared.round_keys(key, round).tell, state, candidates, rewards))

    return Steps(jax.jit(init), jax.jit(ask), jax.jit(tell), jax.jit(score))


compiled_nan_parts = jax.jit(shared.nan_parts)


@functools.lru_cache(maxsize=32)
def compiled_evaluate(evaluate: shared.Evaluate) -> shared.Evaluate:
    return jax.jit(evaluate)


def one_round(
    steps: Steps,
    oracle: Oracle,
    evaluate: shared.Evaluate | None,
    key: Key,
    round: int,
    state: State,
) -> tuple[State, dict[str, float], dict[str, float]]:
    """(state, record, seconds by phase) of one round."""
    times = [time.perf_counter()]

    def lap(x):
        jax.block_until_ready(x)
        times.append(time.perf_counter())
        return x

    index = jnp.int32(round)
    candidates, asked = lap(steps.ask(key, index, state))
    shared.check_found(round, np.asarray(found(candidates)))
    unscored = np.isnan(steps.log_prob(asked, candidates))
    shared.check_asked(round, jax.device_get(compiled_nan_parts(asked)), unscored)
    rewards = lap(oracle.evaluate(round, candidates))
    state, info = lap(steps.tell(key, index, asked, candidates, jnp.asarray(rewards)))
    shared.check_told(round, jax.device_get(compiled_nan_parts(state)))
    evaluation = lap(evaluate(asked, state) if evaluate else {})
    record = {
        "round": round,
        **dict(zip(shared.COUNTS, oracle.ledger.totals(round + 1), strict=True)),
        **{
            name: float(np.float32(value)) for name, value in shared.merge(info, evaluation).items()
        },
    }
    seconds = dict(zip(("ask", "oracle", "tell", "evaluate"), np.diff(times).tolist(), strict=True))
    return state, record, {"round": round, **seconds}
