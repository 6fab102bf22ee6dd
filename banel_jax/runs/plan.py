"""What a run is going to do, checked before its folder is opened or anything is paid for."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax

from banel_jax import checks
from banel_jax.oracle import BudgetExceeded
from banel_jax.oracle.known import Known
from banel_jax.runs import given, naming
from banel_jax.runs.ahead import Asked, changed_by_ask
from banel_jax.runs.config import RunConfig
from banel_jax.runs.environment import environment
from banel_jax.runs.leaves import checksum
from banel_jax.runs.rehearsal import rehearse
from banel_jax.runs.rounds import Evaluate
from banel_jax.runs.steps import Steps, compiled_evaluate, compiled_steps
from banel_jax.types import Algorithm, Key, Params, State

ENDLESS = 2**31 - 1


class Plan(NamedTuple):
    """A run's functions and shapes.

    Attributes:
      steps: the algorithm's functions, compiled.
      evaluate: the caller's, compiled; None for none.
      key: of the run.
      by_ask: which arrays of a state are a round's own; None for one round at a time.
      kept: the types of what a checkpoint keeps.
      num_candidates: m.
      rounds: as many as there will ever be.
      known: before the first round; None for nothing.
    """

    steps: Steps
    evaluate: Evaluate | None
    key: Key
    by_ask: Any
    kept: Any
    num_candidates: int
    rounds: int
    known: Known | None

    @property
    def ahead(self) -> bool:
        """Whether rounds are proposed ahead."""
        return self.by_ask is not None

    def state_in(self, kept: Any) -> State:
        """The algorithm's state in what a checkpoint keeps."""
        return kept["state"] if self.ahead else kept


def plan(
    algorithm: Algorithm,
    prior_params: Params,
    config: RunConfig,
    evaluate: Evaluate | None,
    known: Known | Path | str | None = None,
) -> Plan:
    """Compiles nothing yet, and follows one round in types alone.

    Raises:
      ValueError: for functions that do not fit together, a budget that does not fit, or an
        algorithm that cannot propose ahead.
    """
    key = jax.random.key(config.seed)
    steps = compiled_steps(algorithm)
    compiled = compiled_evaluate(evaluate) if evaluate else None
    seen = rehearse(steps, compiled, key, prior_params)
    if known is not None:
        known = given.take(known, seen.candidates.tokens.shape[1])
        begun = given.told_first(algorithm, known)
        steps = steps._replace(init=compiled_steps(begun).init)  # the rest is compiled once
        seen = rehearse(steps, compiled, key, prior_params)
    by_ask, kept = None, seen.state
    if config.rounds_in_flight > 1:
        by_ask = changed_by_ask(algorithm, key, seen.state)
        asked = [Asked(seen.candidates, seen.state)] * (config.rounds_in_flight - 1)
        kept = {"state": seen.state, "asked": asked}
    m = seen.num_candidates
    return Plan(steps, compiled, key, by_ask, kept, m, _rounds(config, m), known)


def _rounds(config: RunConfig, m: int) -> int:
    """All rounds must fit into the budget."""
    rounds, budget = config.rounds, config.budget
    if budget is None or config.oracle.memo == "free":
        return rounds or ENDLESS
    fit = budget // m
    if rounds is None and fit:
        return fit
    rounds = rounds or 1
    if rounds > fit:
        raise BudgetExceeded(
            f"rounds={rounds} of {m} candidates need {rounds * m} reward evaluations, more "
            f"than budget={budget}; at most {fit} rounds fit"
        )
    return rounds


def described(
    plan: Plan,
    algorithm: Algorithm,
    prior_params: Params,
    config: RunConfig,
    configuration: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """A run's `config.json`; the caller's part must leave the other parts their names."""
    plain = naming.plain(configuration or {}, "configuration")
    if not isinstance(plain, dict):
        raise ValueError(f"configuration is a {type(configuration).__name__}; give a dict")
    ours = {
        "algorithm": naming.plain(dict(algorithm.settings), "algorithm"),
        "run": naming.plain(config) | {"num_candidates": plan.num_candidates},
        "prior_params": f"{checksum(prior_params):08x}",
        "environment": environment(plan.key),
    }
    if plan.known is not None:
        ours["known"] = given.described(plan.known)
    taken = plain.keys() & {*ours, "changes"}
    if taken:
        raise ValueError(
            f"configuration has {', '.join(sorted(taken))}, which config.json says of every run; "
            "choose another name"
        )
    return plain | ours


def check_arguments(algorithm: Algorithm, config: Any, evaluate: Any) -> None:
    if not isinstance(config, RunConfig):
        raise ValueError(f"config is a {type(config).__name__}; give a RunConfig")
    compiled = {name: getattr(algorithm, name, None) for name in Steps._fields}
    compiled |= {} if evaluate is None else {"evaluate": evaluate}
    for name, function in compiled.items():
        # JAX finds what it compiled by the function's hash.
        if not callable(function) or getattr(function, "__hash__", None) is None:
            raise ValueError(f"{name} is a {type(function).__name__}; give a function")
    if config.oracle.on_failure == "drop":
        check_answered(algorithm.tell)


def check_answered(tell: Callable) -> None:
    """An algorithm must be able to hear that a row has no answer."""
    if not checks.takes(tell, 5):
        raise ValueError(
            'on_failure="drop" needs an algorithm whose tell takes (key, state, candidates, '
            "rewards, answered); add the argument, or choose another on_failure"
        )
