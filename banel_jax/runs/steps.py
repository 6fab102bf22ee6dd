"""An algorithm's functions, compiled, and one round of the loop."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from banel_jax.partitioning import settled
from banel_jax.runs import rounds as shared
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
    fixed = lambda tree: settled(shared.strong(tree))

    def init(key, prior_params):
        return fixed(begin(shared.init_key(key), prior_params))

    def ask(key, round, state):
        return fixed(propose(shared.round_keys(key, round).ask, state))

    def tell(key, round, state, candidates, rewards, *answered):
        step = shared.round_keys(key, round).tell
        return fixed(learn(step, state, candidates, rewards, *answered))

    def log_prob(state, candidates):
        return settled(score(state, candidates))

    return Steps(jax.jit(init), jax.jit(ask), jax.jit(tell), jax.jit(log_prob))


compiled_nan_parts = jax.jit(shared.nan_parts)


@functools.lru_cache(maxsize=32)
def compiled_evaluate(evaluate: shared.Evaluate) -> shared.Evaluate:
    return jax.jit(evaluate)
