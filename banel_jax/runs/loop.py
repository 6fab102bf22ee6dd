"""The one loop: ask the algorithm, pay the oracle, tell the algorithm, log, checkpoint.

`run` meets any oracle and survives being killed; `compiled_run` (compiled.py) is the same
experiment as one compiled call, for rewards that are JAX functions.
"""

import functools
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from banel_jax import checks, files
from banel_jax.oracle import BudgetExceeded, Ledger, LedgerError, Oracle
from banel_jax.runs import folder as run_folder
from banel_jax.runs import naming
from banel_jax.runs.checkpoint import Checkpoints, checksum
from banel_jax.runs.compiled import compiled_blocks, compiled_run
from banel_jax.runs.environment import environment
from banel_jax.runs.model_check import check_model, names_of_nan
from banel_jax.runs.progress import progress
from banel_jax.runs.rehearsal import rehearse
from banel_jax.runs.rounds import (
    COUNTS,
    CandidatesNotFound,
    Evaluate,
    NotANumber,
    check_asked,
    check_found,
    check_told,
    init_key,
    merge,
    nan_parts,
    round_keys,
    strong,
)
from banel_jax.runs.timings import Timings
from banel_jax.sampling import found
from banel_jax.types import MAY_CHANGE, Algorithm, Key, Params, Sequences, State

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
        return strong(begin(init_key(key), prior_params))

    def ask(key, round, state):
        return strong(propose(round_keys(key, round).ask, state))

    def tell(key, round, state, candidates, rewards):
        return strong(learn(round_keys(key, round).tell, state, candidates, rewards))

    return Steps(jax.jit(init), jax.jit(ask), jax.jit(tell), jax.jit(score))


compiled_nan_parts = jax.jit(nan_parts)


@functools.lru_cache(maxsize=32)
def compiled_evaluate(evaluate: Evaluate) -> Evaluate:
    return jax.jit(evaluate)


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
        at = take_up(stack, folder, configuration, accept, config, abstract_state)
        if at.done == config.rounds:
            logger.warning(
                "the run in %s is complete: its %d rounds are read, and the oracle was asked "
                "nothing. Raise rounds to go on, or choose another folder to begin anew",
                folder,
                at.done,
            )
            summarise(folder, at.ledger, at.metrics, at.timings)
            return RunResult(at.state, at.metrics)
        if not at.ledger.totals()[0]:
            check_prior(algorithm, prior_params)
        oracle = Oracle(reward_fn, config.budget, at.ledger, config.oracle_batch_size)
        state = steps.init(key, prior_params) if at.state is None else at.state
        for round in progress(range(at.done, config.rounds), config.rounds, description, at.done):
            state, record, timing = one_round(steps, oracle, compiled, key, round, state)
            at.metrics.append(record)
            run_folder.append_record(folder / "metrics.jsonl", record)
            start = time.perf_counter()
            if (round + 1) % config.checkpoint_every == 0 or round + 1 == config.rounds:
                at.checkpoints.save(round + 1, state, at.ledger.counts(round + 1)._asdict())
            timing["checkpoint"] = time.perf_counter() - start
            at.timings.append(timing)
        at.checkpoints.wait()
        summarise(folder, at.ledger, at.metrics, at.timings)
    return RunResult(state, at.metrics)


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


class TakenUp(NamedTuple):
    """A run's folder as it is gone on with.

    Attributes:
      ledger, checkpoints, timings: open.
      done: rounds.
      state: after them; None before the first.
      metrics: of these rounds.
    """

    ledger: Ledger
    checkpoints: Checkpoints
    timings: Timings
    done: int
    state: State | None
    metrics: list[dict[str, float]]


def take_up(
    stack: ExitStack,
    folder: Path,
    configuration: Mapping[str, Any],
    accept: Sequence[str],
    config: RunConfig,
    abstract_state: State,
) -> TakenUp:
    """Opens what is in a folder that is held, after checking that it is this run's.

    A run that is complete is read wherever it was made; one that goes on needs the environment
    that it was begun under.
    """
    path, rounds = folder / "config.json", config.rounds
    files.sweep(folder)
    begun = run_folder.check_configuration(path, configuration, accept)
    if not begun:
        run_folder.check_unclaimed(folder)
    name = run_folder.begun_as(path) if begun else naming.identity(configuration)
    ledger = Ledger(folder / "oracle.sqlite", name, begun, config.ledger_patience)
    stack.enter_context(closing(ledger))
    if not begun:  # after the ledger, so that a folder with one and no other is no loss
        run_folder.record_configuration(path, configuration)
    checkpoints = stack.enter_context(closing(Checkpoints(folder / "checkpoints", name)))
    if checkpoints.newest() < rounds:
        run_folder.check_environment(path, configuration, accept)
    restored = checkpoints.restore_latest(abstract_state)
    done, state = restored or (0, None)
    paid = checkpoints.paid(done) if restored else {}
    asked = max(done, ledger.last_round() + 1)
    if asked > rounds:
        raise ValueError(
            f"rounds={rounds}, but the run in {folder} was paid for up to round {asked}; give at "
            "least that, or choose another folder"
        )
    num_candidates = configuration["run"]["num_candidates"]
    metrics = take_up_records(folder, ledger, done, num_candidates, paid)
    if done < rounds:
        run_folder.check_environment(path, configuration, accept)
        run_folder.record_configuration(path, configuration, done)
    return TakenUp(
        ledger, checkpoints, Timings(folder / "timings.jsonl", done), done, state, metrics
    )


def summarise(
    folder: Path, ledger: Ledger, metrics: list[dict[str, float]], timings: Timings
) -> None:
    """Writes `summary.json`: what was paid and met, the last round, and where the time went.

    Where it cannot be written a warning says so; the run's result is there all the same.
    """
    rows, successes = ledger.totals()
    summary = {
        "rounds": len(metrics),
        "num_reward_evaluations": rows,
        "num_successes": successes,
        "evaluations_to_first_success": ledger.first_success(),
        "asked_again_after_a_stop": ledger.repeated_attempts(),
        "seconds": timings.seconds(),
        "last_round": run_folder.finite(metrics[-1]),
    }
    text = json.dumps(summary, indent=2, allow_nan=False) + "\n"
    try:
        files.write_atomically(folder / "summary.json", text)
    except OSError as error:
        logger.warning("the run is complete, but its summary cannot be written: %s", error)


def check_budget(config: RunConfig, num_candidates: int) -> None:
    """All rounds must fit into the budget."""
    needed = config.rounds * num_candidates
    if config.budget is not None and needed > config.budget:
        raise BudgetExceeded(
            f"rounds={config.rounds} of {num_candidates} candidates need {needed} reward "
            f"evaluations, more than budget={config.budget}; at most "
            f"{config.budget // num_candidates} rounds fit"
        )


def take_up_records(
    folder: Path, ledger: Ledger, done: int, num_candidates: int, paid: Mapping[str, int]
) -> list[dict]:
    """Cuts the records to the rounds of the checkpoint, after checking that all are there."""
    check_paid(folder, ledger, done, num_candidates, paid)
    path = folder / "metrics.jsonl"
    run_folder.keep_records(path, done)
    metrics = run_folder.read_records(path)
    if [record.get("round") for record in metrics] != list(range(done)):
        raise ValueError(
            f"{path} does not hold the {done} rounds of the checkpoint; put it back from a copy, "
            f"or delete {folder / 'checkpoints'}: the rounds are then run again without paying"
        )
    return metrics


def check_paid(
    folder: Path, ledger: Ledger, done: int, num_candidates: int, paid: Mapping[str, int]
) -> None:
    """The ledger must hold what the checkpoint of `done` rounds and every line of metrics do.

    Raises:
      LedgerError: if it lacks rows or holds other rewards.
    """
    counts = ledger.counts(done)
    if counts.rows != done * num_candidates or ledger.unanswered(done):
        raise LedgerError(
            f"the ledger {ledger.path} holds {counts.rows} evaluations for {done} rounds of "
            f"{num_candidates}: it is older than the checkpoint; put the newer one back, or start "
            "anew in another folder"
        )
    if paid and paid != counts._asdict():
        raise LedgerError(
            f"the ledger {ledger.path} holds other rewards than those that the checkpoint of "
            f"{done} rounds was made of; put its own back, or start anew in another folder"
        )
    path, records = folder / "metrics.jsonl", []
    with suppress(ValueError):  # what is damaged is told of, or cut off, in take_up_records
        records = run_folder.read_records(path)
    for record in records:
        told = [record.get(name) for name in COUNTS]
        if None not in told and told != list(ledger.totals(int(record["round"]) + 1)):
            raise LedgerError(
                f"the ledger {ledger.path} holds {ledger.totals()[0]} evaluations, and {path} "
                f"tells of {told[0]:g} with {told[1]:g} successes up to round "
                f"{record['round']:g}: it is older or another; put the right one back, or delete "
                f"{path} and {folder / 'checkpoints'} to pay again for what it lacks"
            )


def one_round(
    steps: Steps, oracle: Oracle, evaluate: Evaluate | None, key: Key, round: int, state: State
) -> tuple[State, dict[str, float], dict[str, float]]:
    """(state, record, seconds by phase) of one round."""
    times = [time.perf_counter()]

    def lap(x):
        jax.block_until_ready(x)
        times.append(time.perf_counter())
        return x

    index = jnp.int32(round)
    candidates, asked = lap(steps.ask(key, index, state))
    check_found(round, np.asarray(found(candidates)))
    unscored = np.isnan(steps.log_prob(asked, candidates))
    check_asked(round, jax.device_get(compiled_nan_parts(asked)), unscored)
    rewards = lap(oracle.evaluate(round, candidates))
    state, info = lap(steps.tell(key, index, asked, candidates, jnp.asarray(rewards)))
    check_told(round, jax.device_get(compiled_nan_parts(state)))
    evaluation = lap(evaluate(asked, state) if evaluate else {})
    record = {
        "round": round,
        **dict(zip(COUNTS, oracle.ledger.totals(round + 1), strict=True)),
        **{name: float(np.float32(value)) for name, value in merge(info, evaluation).items()},
    }
    seconds = dict(zip(("ask", "oracle", "tell", "evaluate"), np.diff(times).tolist(), strict=True))
    return state, record, {"round": round, **seconds}
