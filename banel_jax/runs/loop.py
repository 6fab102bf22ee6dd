"""The one loop: ask the algorithm, pay the oracle, tell the algorithm, log, checkpoint.

`run` meets any oracle and survives being killed; `compiled_run` (compiled.py) is the same
experiment as one compiled call, for rewards that are JAX functions.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import jax

from banel_jax import checks
from banel_jax.oracle import BudgetExceeded, Oracle
from banel_jax.runs import folder as run_folder
from banel_jax.runs import naming
from banel_jax.runs.checkpoint import checksum
from banel_jax.runs.compiled import compiled_blocks, compiled_run
from banel_jax.runs.environment import environment
from banel_jax.runs.model_check import check_model, names_of_nan
from banel_jax.runs.progress import progress
from banel_jax.runs.rehearsal import rehearse
from banel_jax.runs.resume import TakenUp, summarise, take_up
from banel_jax.runs.rounds import CandidatesNotFound, Evaluate, NotANumber
from banel_jax.runs.steps import Steps, compiled_evaluate, compiled_steps, one_round
from banel_jax.types import MAY_CHANGE, Algorithm, Params, Sequences, State

logger = logging.getLogger(__name__)

__all__ = [
    "CandidatesNotFound", "Evaluate", "NotANumber", "RunConfig", "RunResult", "compiled_blocks",
    "compiled_run", "run",
]  # fmt: skip


@dataclass(frozen=True)
class RunConfig:
    """Settings of a run; all but the seed may be others when it goes on.

    Attributes:
      rounds: of ask, evaluate, tell; a run that is complete goes on when they are raised.
      seed: of all random numbers, below 2**32.
      budget: reward evaluations allowed in all; None for what the rounds ask for.
      oracle_batch_size: rows in a call of the oracle, each call being on disk before the next.
        None for one row a call, so that an exception costs no other row's answer; for all of a
        round where the oracle is a generator or a function of `jax.jit`, see `oracle.Oracle`.
      checkpoint_every: rounds between checkpoints. The last round always has one.
      ledger_patience: seconds to wait while another program has locked the ledger.

    Raises:
      ValueError: in one line, for a field of another type or outside its range.
    """

    rounds: int = field(default=30, metadata=MAY_CHANGE)
    seed: int = 0
    budget: int | None = field(default=None, metadata=MAY_CHANGE)
    oracle_batch_size: int | None = field(default=None, metadata=MAY_CHANGE)
    checkpoint_every: int = field(default=1, metadata=MAY_CHANGE)
    ledger_patience: float = field(default=30.0, metadata=MAY_CHANGE)

    def __post_init__(self):
        checks.integers(self, "rounds", at_least=1, below=2**31)
        checks.integers(self, "checkpoint_every", at_least=1)
        checks.integers(self, "oracle_batch_size", at_least=1, none=True)
        checks.integers(self, "budget", at_least=0, none=True)
        checks.seeds(self, "seed")
        checks.reals(self, "ledger_patience", at_least=0, infinite=True)


class RunResult(NamedTuple):
    """What a run ends with.

    Attributes:
      state: the algorithm's.
      metrics: a record of numbers for each round, the lines of `metrics.jsonl`.
    """

    state: State
    metrics: list[dict[str, float]]


def run(
    algorithm: Algorithm,
    prior_params: Params,
    reward_fn: Callable[[Sequences], Any],
    config: RunConfig,
    folder: Path | str,
    *,
    evaluate: Evaluate | None = None,
    configuration: Mapping[str, Any] | None = None,
    accept: Sequence[str] = (),
    description: str = "",
) -> RunResult:
    """Runs an experiment in a folder, or goes on with the one that is there.

    Stopped at any moment and called again, it ends with the metrics and the state, bit for
    bit, of a run that was never stopped, and every reward evaluation is paid once. A folder
    that is complete is read and returned; with more rounds it goes on.

    The folder holds `config.json`, `metrics.jsonl` (a line a round), `timings.jsonl` (seconds
    a round), `oracle.sqlite` (the ledger) with its `.mark`, `checkpoints/` and at the end
    `summary.json`.

    Args:
      algorithm: what learns. Its functions are compiled once, so pass the same object to
        every run.
      prior_params: handed to `algorithm.init`.
      reward_fn: the oracle, see `oracle.Oracle`.
      config: settings of the run.
      folder: of this run alone.
      evaluate: `evaluate(asked_state, state) -> dict` of scalars, a JAX function of the states
        after `ask` and after `tell`; its values join the round's metrics. Pass the same object
        to every run.
      configuration: of the experiment, whatever `naming.plain` can name, beside the settings of
        the run and of the algorithm; a folder of another one is refused, naming the fields that
        differ.
      accept: fields of `config.json`, such as `environment.jax`, that may differ from what the
        folder was begun with. The change is written down there, and where rounds must be asked
        for again, the ledger refuses them if they are others now.
      description: stands before the progress bar.

    Returns:
      `state`, the algorithm's after the last round, and `metrics`, a dict of numbers for each
      round, the lines of `metrics.jsonl`.

    Raises:
      ValueError: one line saying what is wrong and how to mend it, for a folder of another
        configuration, begun under another environment or in use, functions that do not fit
        together, a budget that does not fit, a damaged ledger, an oracle that fails.
    """
    check_arguments(algorithm, reward_fn, config, evaluate)
    folder = run_folder.named(folder)
    accept = (accept,) if isinstance(accept, str) else tuple(accept)
    key = jax.random.key(config.seed)
    steps = compiled_steps(algorithm)
    compiled = compiled_evaluate(evaluate) if evaluate else None
    abstract_state, num_candidates = rehearse(steps, compiled, key, prior_params)
    check_budget(config, num_candidates)
    configuration = {
        **described(configuration),
        "algorithm": naming.plain(dict(algorithm.settings), "algorithm"),
        "run": naming.plain(config) | {"num_candidates": num_candidates},
        "prior_params": f"{checksum(prior_params):08x}",
        "environment": environment(key),
    }
    with ExitStack() as stack:
        stack.enter_context(run_folder.hold(folder))
        at = take_up(
            stack, folder, configuration, accept, config.rounds, config.ledger_patience,
            abstract_state,
        )  # fmt: skip
        if at.done == config.rounds:
            tell_complete(folder, at.done)
            summarise(folder, at.ledger, at.metrics, at.timings)
            return RunResult(at.state, at.metrics)
        if not at.ledger.totals()[0]:
            check_prior(algorithm, prior_params)
        oracle = Oracle(reward_fn, config.budget, at.ledger, config.oracle_batch_size)
        state = steps.init(key, prior_params) if at.state is None else at.state
        for round in progress(range(at.done, config.rounds), config.rounds, description, at.done):
            state, record, timing = one_round(steps, oracle, compiled, key, round, state)
            keep(folder, at, config, state, record, timing)
        at.checkpoints.wait()
        summarise(folder, at.ledger, at.metrics, at.timings)
    return RunResult(state, at.metrics)


def tell_complete(folder: Path, rounds: int) -> None:
    logger.warning(
        "the run in %s is complete: its %d rounds are read, and the oracle was asked nothing. "
        "Raise rounds to go on, or choose another folder to begin anew",
        folder,
        rounds,
    )


def keep(
    folder: Path, at: TakenUp, config: RunConfig, state: State, record: dict, timing: dict
) -> None:
    """Writes down a round that was told of."""
    round = record["round"]
    at.metrics.append(record)
    run_folder.append_record(folder / "metrics.jsonl", record)
    start = time.perf_counter()
    if (round + 1) % config.checkpoint_every == 0 or round + 1 == config.rounds:
        at.checkpoints.save(round + 1, state, at.ledger.counts(round + 1)._asdict())
    timing["checkpoint"] = time.perf_counter() - start
    at.timings.append(timing)


def check_budget(config: RunConfig, num_candidates: int) -> None:
    """All rounds must fit into the budget."""
    needed = config.rounds * num_candidates
    if config.budget is not None and needed > config.budget:
        raise BudgetExceeded(
            f"rounds={config.rounds} of {num_candidates} candidates need {needed} reward "
            f"evaluations, more than budget={config.budget}; at most "
            f"{config.budget // num_candidates} rounds fit"
        )


def check_arguments(algorithm: Algorithm, reward_fn: Any, config: Any, evaluate: Any) -> None:
    if not isinstance(config, RunConfig):
        raise ValueError(f"config is a {type(config).__name__}; give a RunConfig")
    if not callable(reward_fn):
        raise ValueError(f"reward_fn is a {type(reward_fn).__name__}; give a function")
    compiled = {name: getattr(algorithm, name, None) for name in Steps._fields}
    compiled |= {} if evaluate is None else {"evaluate": evaluate}
    for name, function in compiled.items():
        # JAX finds what it compiled by the function's hash.
        if not callable(function) or getattr(function, "__hash__", None) is None:
            raise ValueError(f"{name} is a {type(function).__name__}; give a function")


def check_prior(algorithm: Algorithm, prior_params: Params) -> None:
    """Before the first payment: the prior holds no NaN, and is a model where it is known."""
    if algorithm.model is not None:
        check_model(algorithm.model, prior_params)
    elif names := names_of_nan(prior_params):
        raise NotANumber(f"the prior's parameters hold NaN in {', '.join(names[:3])}")


def described(configuration: Mapping[str, Any] | None) -> dict[str, Any]:
    """The caller's part of `config.json`, which must leave the other parts their names."""
    plain = naming.plain(configuration or {}, "configuration")
    if not isinstance(plain, dict):
        raise ValueError(f"configuration is a {type(configuration).__name__}; give a dict")
    taken = plain.keys() & {"algorithm", "run", "prior_params", "environment", "changes"}
    if taken:
        raise ValueError(
            f"configuration has {', '.join(sorted(taken))}, which config.json says of every run; "
            "choose another name"
        )
    return plain
