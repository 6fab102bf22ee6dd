"""The one loop: ask the algorithm, pay the oracle, tell the algorithm, log, checkpoint.

`run` meets any oracle and survives being killed; `compiled_run` is the same experiment as one
compiled call, for rewards that are JAX functions.
"""

import functools
import json
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from banel_jax import files, run_folder
from banel_jax.checkpoint import Checkpoints, checksum
from banel_jax.oracle import BudgetExceeded, Ledger, LedgerError, Oracle
from banel_jax.progress import progress
from banel_jax.types import Algorithm, Key, Params, Sequences, State

# evaluate(asked_state, state) -> dict of scalars; a JAX function, never shown the oracle.
Evaluate = Callable[[State, State], dict[str, jax.Array]]


@dataclass(frozen=True)
class RunConfig:
    """Settings of a run.

    Attributes:
      rounds: of ask, evaluate, tell.
      seed: of all random numbers.
      budget: reward evaluations allowed in all; None for what the rounds ask for.
      oracle_batch_size: rows in a call of the oracle, each call being on disk before the next;
        None for all rows of a round at once. 1 for a real experiment.
      checkpoint_every: rounds between checkpoints. The last round always has one.
    """

    rounds: int = 30
    seed: int = 0
    budget: int | None = None
    oracle_batch_size: int | None = None
    checkpoint_every: int = 1

    def __post_init__(self):
        for name in ("rounds", "oracle_batch_size", "checkpoint_every"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}={value} must be at least 1")
        if self.budget is not None and self.budget < 0:
            raise ValueError(f"budget={self.budget} must not be negative")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed={self.seed} must be between 0 and 2**32 - 1")


class RunResult(NamedTuple):
    """What a run ends with.

    Attributes:
      state: the algorithm's.
      metrics: a record of numbers for each round, the lines of `metrics.jsonl`.
    """

    state: State
    metrics: list[dict[str, float]]


class RoundKeys(NamedTuple):
    ask: Key
    tell: Key


def init_key(key: Key) -> Key:
    return jax.random.split(key)[0]


def round_keys(key: Key, round: Any) -> RoundKeys:
    """A round's keys come from the run's key and the round alone, so any round can be re-run."""
    return RoundKeys(*jax.random.split(jax.random.fold_in(jax.random.split(key)[1], round)))


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


def strong(tree: Any) -> Any:
    """Fixes the types that JAX left weak, which a checkpoint would not keep."""

    def fix(leaf):
        dtype = jnp.result_type(leaf)
        if jnp.issubdtype(dtype, jax.dtypes.prng_key):
            return leaf
        return jax.lax.convert_element_type(leaf, dtype)

    return jax.tree.map(fix, tree)


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
    folder = Path(folder).absolute()
    key = jax.random.key(config.seed)
    steps = compiled_steps(algorithm)
    abstract_state = jax.eval_shape(steps.init, key, prior_params)
    num_candidates = check_budget(steps, abstract_state, config)
    configuration = {
        **(configuration or {}),
        "algorithm": run_folder.plain(dict(algorithm.settings)),
        "run": asdict(config) | {"num_candidates": num_candidates},
        "prior_params": f"{checksum(prior_params):08x}",
    }
    name = run_folder.identity(configuration)
    with ExitStack() as stack:
        stack.enter_context(run_folder.hold(folder))
        begun = run_folder.check_configuration(folder / "config.json", configuration)
        ledger = Ledger(folder / "oracle.sqlite", name, must_exist=begun)
        stack.enter_context(closing(ledger))
        if not begun:  # after the ledger, so that a folder with one and no other is no loss
            text = json.dumps(configuration, indent=2, sort_keys=True) + "\n"
            files.write_atomically(folder / "config.json", text)
        checkpoints = stack.enter_context(closing(Checkpoints(folder / "checkpoints", name)))
        restored = checkpoints.restore_latest(abstract_state)
        done, state = restored or (0, None)
        metrics = take_up_records(folder, ledger, done, num_candidates)
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
                checkpoints.save(round + 1, state)
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


def take_up_records(folder: Path, ledger: Ledger, done: int, num_candidates: int) -> list[dict]:
    """Cuts the records to the rounds of the checkpoint, after checking that all are there."""
    paid = ledger.totals(done)[0]
    if paid != done * num_candidates or ledger.unanswered(done):
        raise LedgerError(
            f"the ledger {ledger.path} holds {paid} evaluations for {done} rounds of "
            f"{num_candidates}: it is older than the checkpoint; put the newer one back, or start "
            "anew in another folder"
        )
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


def found(candidates: Sequences) -> jax.Array:
    """bool [m]; a candidate of empty mask is one that was not found: rejection hit its floor."""
    return jnp.any(candidates.mask, axis=1)


COUNTS = ("num_reward_evaluations", "num_successes")


def merge(info: Mapping[str, Any], evaluation: Mapping[str, Any]) -> dict[str, Any]:
    twice = set(info) & set(evaluation) | (set(info) | set(evaluation)) & {"round", *COUNTS}
    if twice:
        raise ValueError(f"the metrics {sorted(twice)} are given twice; rename them in evaluate")
    return {**info, **evaluation}


class CompiledRun(NamedTuple):
    """A whole experiment as compiled calls, each of as many rounds as one likes.

    Attributes:
      start: `start(keys [seeds], prior_params) -> progress`, before the first round.
      advance: `advance(keys [seeds], progress, first_round, rounds) -> (progress, metrics)`
        with metrics by name, [seeds, rounds]; `rounds` is static. One call of thirty rounds
        and six of five have the same numbers, so `progress` may be kept between them.
        It raises ValueError where `run` would, if only at the end of the call: for a candidate
        that was not found above the acceptance floor or a reward that is neither 0 nor 1.
        Under a caller's own jit it cannot: there such candidates are neither counted nor
        rewarded.
    """

    start: Callable[[Key, Params], "Progress"]
    advance: Callable[[Key, "Progress", Any, int], tuple["Progress", dict[str, jax.Array]]]


class Progress(NamedTuple):
    """Of several seeds: states, each leaf [seeds, ...], and what was paid and met.

    Attributes:
      states: the algorithm's.
      counts: int32 [seeds, 2], as COUNTS names them.
    """

    states: State
    counts: jax.Array


def compiled_run(
    algorithm: Algorithm,
    reward_fn: Callable[[Sequences], jax.Array],
    rounds: int,
    evaluate: Evaluate | None = None,
    seeds_at_once: int | None = None,
) -> Callable[[Key, Params], tuple[State, dict[str, jax.Array]]]:
    """The whole experiment as one compiled call: a scan over rounds, mapped over seeds.

    Args:
      algorithm, reward_fn, evaluate, seeds_at_once: as in `compiled_blocks`.
      rounds: of ask, evaluate, tell; each costs m reward evaluations a seed.

    Returns:
      A function of (keys [seeds], prior_params) that returns the final states, each leaf
      [seeds, ...], and the metrics by name, [seeds, rounds]. It raises as
      `CompiledRun.advance` does.
    """
    start, advance = compiled_blocks(algorithm, reward_fn, evaluate, seeds_at_once)

    def experiment(keys: Key, prior_params: Params):
        progress, metrics = advance(keys, start(keys, prior_params), 0, rounds)
        return progress.states, metrics

    return experiment


def compiled_blocks(
    algorithm: Algorithm,
    reward_fn: Callable[[Sequences], jax.Array],
    evaluate: Evaluate | None = None,
    seeds_at_once: int | None = None,
) -> CompiledRun:
    """An experiment in compiled calls, for rewards that are JAX functions.

    Keys are derived as in `run`, so a seed has the same numbers. With `seeds_at_once=1` states
    and counts are so bit for bit, and what `evaluate` reports to float32 rounding; where
    several seeds are computed as one batch, all is to rounding.

    Args:
      algorithm: what learns.
      reward_fn: `reward_fn(sequences [m]) -> float32 [m]` in {0, 1}, a JAX function.
      evaluate: as in `run`.
      seeds_at_once: how many seeds are computed as one batch; None for all.
    """
    # The barriers keep XLA from fusing across what are separate programs in `run`.
    barrier = jax.lax.optimization_barrier

    def start_one(key: Key, prior_params: Params):
        state = barrier(strong(algorithm.init(init_key(key), prior_params)))
        return Progress(state, jnp.zeros(2, jnp.int32))

    def advance_one(key: Key, progress: Progress, first_round, rounds: int):
        def one_round(progress, round):
            state, counts = progress
            keys = round_keys(key, round)
            candidates, asked = barrier(strong(algorithm.ask(keys.ask, state)))
            present = found(candidates)
            rewards = barrier(jnp.asarray(reward_fn(candidates), jnp.float32))
            if rewards.shape != candidates.tokens.shape[:1]:
                raise ValueError(
                    f"the reward function returned shape {rewards.shape} for "
                    f"{candidates.tokens.shape[0]} candidates; it must return one reward each"
                )
            sound = jnp.all((rewards == 0) | (rewards == 1))
            rewards = jnp.where(present, rewards, 0.0)
            told = algorithm.tell(keys.tell, asked, candidates, rewards)
            state, info = barrier(strong(told))
            evaluation = evaluate(asked, state) if evaluate else {}
            counts += jnp.array([jnp.sum(present), jnp.sum(rewards)], jnp.int32)
            record = {"round": round, **dict(zip(COUNTS, counts, strict=True))}
            record = barrier(record | merge(info, evaluation))
            return Progress(state, counts), (record, {"found": present, "sound": sound})

        progress, records = jax.lax.scan(one_round, progress, first_round + jnp.arange(rounds))
        return progress, *records

    if seeds_at_once is not None and seeds_at_once < 1:
        raise ValueError(f"seeds_at_once={seeds_at_once} must be at least 1")

    def over_seeds(each, xs):
        seeds = jax.tree.leaves(xs)[0].shape[0]
        if seeds_at_once is None:
            return jax.vmap(each)(xs)
        if seeds_at_once == 1:
            return jax.lax.map(each, xs)
        if seeds % seeds_at_once:
            raise ValueError(f"{seeds} seeds are not a multiple of seeds_at_once={seeds_at_once}")
        split = lambda x: x.reshape(seeds // seeds_at_once, seeds_at_once, *x.shape[1:])
        batches = jax.lax.map(jax.vmap(each), jax.tree.map(split, xs))
        return jax.tree.map(lambda x: x.reshape(seeds, *x.shape[2:]), batches)

    @jax.jit
    def start(keys: Key, prior_params: Params):
        return over_seeds(lambda key: start_one(key, prior_params), keys)

    @functools.partial(jax.jit, static_argnums=3)
    def advance_all(keys: Key, progress: Progress, first_round, rounds: int):
        each = lambda x: advance_one(x[0], x[1], first_round, rounds)
        return over_seeds(each, (keys, progress))

    def advance(keys: Key, progress: Progress, first_round, rounds: int):
        progress, metrics, checks = advance_all(keys, progress, first_round, rounds)
        if not isinstance(checks["sound"], jax.core.Tracer):  # under a caller's jit it cannot raise
            for seed, round in np.argwhere(~np.asarray(checks["sound"])):
                raise ValueError(
                    f"the reward function answered neither 0 nor 1 in round {first_round + round} "
                    f"of seed number {seed}; a reward is 0 or 1"
                )
            for seed in np.asarray(checks["found"]):
                for round, present in enumerate(seed, first_round):
                    check_found(round, present)
        return progress, metrics

    return CompiledRun(start, advance)
