"""The one loop: ask the algorithm, pay the oracle, tell the algorithm, log, checkpoint.

`run` meets any oracle and survives being killed; `compiled_run` (compiled.py) is the same
experiment as one compiled call, for rewards that are JAX functions.
"""

import functools
import json
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from banel_jax import checks, files, naming, run_folder
from banel_jax.checkpoint import Checkpoints, checksum
from banel_jax.compiled import compiled_blocks, compiled_run
from banel_jax.oracle import BudgetExceeded, Ledger, LedgerError, Oracle
from banel_jax.progress import progress
from banel_jax.rounds import (
    COUNTS,
    CandidatesNotFound,
    Evaluate,
    check_found,
    found,
    init_key,
    merge,
    round_keys,
    strong,
)
from banel_jax.types import Algorithm, Key, Params, Sequences, State

__all__ = [
    "CandidatesNotFound", "Evaluate", "RunConfig", "RunResult", "compiled_blocks", "compiled_run",
    "run",
]  # fmt: skip


@dataclass(frozen=True)
class RunConfig:
    """Settings of a run.

    Attributes:
      rounds: of ask, evaluate, tell.
      seed: of all random numbers.
      budget: reward evaluations allowed in all; None for what the rounds ask for.
      oracle_batch_size: rows in a call of the oracle, each call being on disk before the next.
        None for one row a call, so that an exception costs no other row's answer; for all of a
        round where the oracle is a generator or a function of `jax.jit`, see `oracle.Oracle`.
      checkpoint_every: rounds between checkpoints. The last round always has one.
      ledger_patience: seconds to wait while another program has locked the ledger. Neither this
        nor the two before bind a folder.
    """

    rounds: int = 30
    seed: int = 0
    budget: int | None = None
    oracle_batch_size: int | None = None
    checkpoint_every: int = 1
    ledger_patience: float = 30.0

    def __post_init__(self):
        for name in ("rounds", "oracle_batch_size", "checkpoint_every"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}={value} must be at least 1")
        if self.budget is not None and self.budget < 0:
            raise ValueError(f"budget={self.budget} must not be negative")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed={self.seed} must be between 0 and 2**32 - 1")
        checks.reals(self, "ledger_patience", at_least=0, infinite=True)


# Settings that change no number, so that a run may go on with others.
UNBOUND = ("oracle_batch_size", "checkpoint_every", "ledger_patience")


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


@functools.lru_cache(maxsize=32)
def compiled_steps(algorithm: Algorithm) -> Steps:
    """Compiled once for an algorithm, however many seeds and runs use it.

    Nothing is donated: the state before `tell` is evaluated after it, and the first state
    shares the caller's prior.
    """

    def init(key, prior_params):
        return strong(algorithm.init(init_key(key), prior_params))

    def ask(key, round, state):
        return strong(algorithm.ask(round_keys(key, round).ask, state))

    def tell(key, round, state, candidates, rewards):
        return strong(algorithm.tell(round_keys(key, round).tell, state, candidates, rewards))

    return Steps(jax.jit(init), jax.jit(ask), jax.jit(tell))


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
    description: str = "",
) -> RunResult:
    """Runs an experiment in a folder, or goes on with the one that is there.

    Stopped at any moment and called again, it ends with the metrics and the state, bit for
    bit, of a run that was never stopped, and every reward evaluation is paid once. A folder
    that is complete is read and returned.

    The folder holds `config.json`, `metrics.jsonl` (a line a round), `timings.jsonl` (seconds
    a round), `oracle.sqlite` (the ledger), `checkpoints/` and at the end `summary.json`.

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
      configuration: of the experiment, as JSON values, beside the settings of the run and of
        the algorithm; a folder of another one is refused, naming the fields that differ.
      description: stands before the progress bar.

    Raises:
      ValueError: one line saying what is wrong and how to mend it, for a folder of another
        configuration or in use, a budget that does not fit, a damaged ledger, an oracle that
        fails.
    """
    folder = files.expand(folder).absolute()
    key = jax.random.key(config.seed)
    steps = compiled_steps(algorithm)
    abstract_state = jax.eval_shape(steps.init, key, prior_params)
    num_candidates = check_budget(steps, abstract_state, config)
    configuration = {
        **(configuration or {}),
        "algorithm": naming.plain(dict(algorithm.settings)),
        "run": {k: v for k, v in asdict(config).items() if k not in UNBOUND}
        | {"num_candidates": num_candidates},
        "prior_params": f"{checksum(prior_params):08x}",
    }
    name = naming.identity(configuration)
    with ExitStack() as stack:
        stack.enter_context(run_folder.hold(folder))
        begun = run_folder.check_configuration(folder / "config.json", configuration)
        ledger = Ledger(folder / "oracle.sqlite", name, begun, config.ledger_patience)
        stack.enter_context(closing(ledger))
        if not begun:  # after the ledger, so that a folder with one and no other is no loss
            text = json.dumps(configuration, indent=2, sort_keys=True) + "\n"
            files.write_atomically(folder / "config.json", text)
        checkpoints = stack.enter_context(closing(Checkpoints(folder / "checkpoints", name)))
        restored = checkpoints.restore_latest(abstract_state)
        done, state = restored or (0, None)
        paid = checkpoints.paid(done) if restored else {}
        metrics = take_up_records(folder, ledger, done, num_candidates, paid)
        if done == config.rounds:
            summarise(folder, ledger, metrics)
            return RunResult(state, metrics)
        if state is None:
            state = steps.init(key, prior_params)
        oracle = Oracle(reward_fn, config.budget, ledger, config.oracle_batch_size)
        for round in progress(range(done, config.rounds), config.rounds, description, done):
            state, record, timing = one_round(steps, oracle, evaluate, key, round, state)
            metrics.append(record)
            run_folder.append_record(folder / "metrics.jsonl", record)
            start = time.perf_counter()
            if (round + 1) % config.checkpoint_every == 0 or round + 1 == config.rounds:
                checkpoints.save(round + 1, state, ledger.counts(round + 1)._asdict())
            timing["checkpoint"] = time.perf_counter() - start
            run_folder.append_record(folder / "timings.jsonl", timing)
        checkpoints.wait()
        summarise(folder, ledger, metrics)
    return RunResult(state, metrics)


def summarise(folder: Path, ledger: Ledger, metrics: list[dict[str, float]]) -> None:
    """Writes `summary.json`: what was paid and met, the last round, and where the time went."""
    timings = run_folder.read_records(folder / "timings.jsonl")
    phases = [name for name in timings[0] if name != "round"] if timings else []
    rows, successes = ledger.totals()
    summary = {
        "rounds": len(metrics),
        "num_reward_evaluations": rows,
        "num_successes": successes,
        "evaluations_to_first_success": ledger.first_success(),
        "asked_again_after_a_stop": ledger.repeated_attempts(),
        "seconds": {name: round(sum(t[name] for t in timings), 3) for name in phases},
        "last_round": run_folder.finite(metrics[-1]),
    }
    text = json.dumps(summary, indent=2, allow_nan=False) + "\n"
    files.write_atomically(folder / "summary.json", text)


def check_budget(steps: Steps, abstract_state: State, config: RunConfig) -> int:
    """m, the candidates of a round; all rounds must fit into the budget."""
    candidates, _ = jax.eval_shape(steps.ask, jax.random.key(0), jnp.int32(0), abstract_state)
    num_candidates = candidates.tokens.shape[0]
    needed = config.rounds * num_candidates
    if config.budget is not None and needed > config.budget:
        raise BudgetExceeded(
            f"rounds={config.rounds} of {num_candidates} candidates need {needed} reward "
            f"evaluations, more than budget={config.budget}; at most "
            f"{config.budget // num_candidates} rounds fit"
        )
    return num_candidates


def take_up_records(
    folder: Path, ledger: Ledger, done: int, num_candidates: int, paid: Mapping[str, int]
) -> list[dict]:
    """Cuts the records to the rounds of the checkpoint, after checking that all are there."""
    check_paid(folder, ledger, done, num_candidates, paid)
    path = folder / "metrics.jsonl"
    for file in (path, folder / "timings.jsonl"):
        run_folder.keep_records(file, done)
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
    rewards = lap(oracle.evaluate(round, candidates))
    state, info = lap(steps.tell(key, index, asked, candidates, jnp.asarray(rewards)))
    evaluation = lap(compiled_evaluate(evaluate)(asked, state) if evaluate else {})
    record = {
        "round": round,
        **dict(zip(COUNTS, oracle.ledger.totals(round + 1), strict=True)),
        **{name: float(np.float32(value)) for name, value in merge(info, evaluation).items()},
    }
    seconds = dict(zip(("ask", "oracle", "tell", "evaluate"), np.diff(times).tolist(), strict=True))
    return state, record, {"round": round, **seconds}
