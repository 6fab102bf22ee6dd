"""The one loop: ask the algorithm, pay the oracle, tell the algorithm, log, checkpoint.

`run` meets any oracle and survives being killed; `compiled_run` (compiled.py) is the same
experiment as one compiled call, for rewards that are JAX functions.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from banel_jax import hosts
from banel_jax.oracle import Oracle, Stopped, signals
from banel_jax.oracle.evaluators import as_evaluator
from banel_jax.oracle.known import Known
from banel_jax.runs import folder as run_folder
from banel_jax.runs import hosting, naming
from banel_jax.runs.callbacks import Callback, Callbacks
from banel_jax.runs.clock import Clock
from banel_jax.runs.compiled import compiled_blocks, compiled_run
from banel_jax.runs.config import RunConfig, RunResult
from banel_jax.runs.model_check import check_model, names_of_nan
from banel_jax.runs.pipeline import Pipeline, Told
from banel_jax.runs.plan import Plan, check_arguments, described, plan
from banel_jax.runs.report.view import Standing
from banel_jax.runs.resume import TakenUp, summarise, take_up
from banel_jax.runs.rounds import CandidatesNotFound, Evaluate, NotANumber
from banel_jax.runs.stops import after_a_round, within_a_round
from banel_jax.runs.successes import Successes
from banel_jax.runs.watch import Watch
from banel_jax.types import Algorithm, Params, Sequences

logger = logging.getLogger(__name__)

__all__ = [
    "CandidatesNotFound", "Evaluate", "NotANumber", "RunConfig", "RunResult", "compiled_blocks",
    "compiled_run", "run",
]  # fmt: skip


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
    known: Known | Path | str | None = None,
    text: Callable[[Sequences], Sequence[str]] | None = None,
    description: str = "",
    callbacks: Sequence[Callback] = (),
    report: bool = True,
) -> RunResult:
    """Runs an experiment in a folder, or goes on with the one that is there.

    Stopped at any moment and called again, it ends with the metrics and the state, bit for
    bit, of a run that was never stopped, and every reward evaluation is paid once. A folder
    that is complete is read and returned; with more rounds it goes on.

    The folder holds `config.json`, `metrics.jsonl` (a line a round), `timings.jsonl` (seconds
    a round), `oracle.sqlite` (the ledger) with its `.mark`, `checkpoints/` and at the end
    `summary.json`; for people also `successes.jsonl`, `report.html`, `status.json` and
    `metrics.csv`.

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
      known: what is known already and costs nothing, a file or what `oracle.known.read` gives:
        the algorithm is told of it before its first round, and `OracleConfig.memo` says whether
        a proposal that is known is answered from there.
      text: `text(sequences [n]) -> n texts`, for oracles that take texts and for people.
      description: stands before the line on the terminal.
      callbacks: told of each round, see `callbacks.Callback`; what one raises is logged.
      report: draw the page of the run, `report.html`, every few seconds.

    Returns:
      `state`, the algorithm's after the last round; `metrics`, a dict of numbers for each round,
      the lines of `metrics.jsonl`; and the rule that `stopped` it early, or None.

    Raises:
      ValueError: one line saying what is wrong and how to mend it, for a folder of another
        configuration, begun under another environment or in use, functions that do not fit
        together, a budget that does not fit, a damaged ledger, an oracle that fails.
    """
    evaluator = as_evaluator(reward_fn)
    check_arguments(algorithm, config, evaluate)
    told = Callbacks(callbacks)
    folder = run_folder.named(folder)
    accept = (accept,) if isinstance(accept, str) else tuple(accept)
    the = plan(algorithm, prior_params, config, evaluate, known)
    configuration = described(the, algorithm, prior_params, config, configuration)
    line, name = hosts.Line(), naming.identity(configuration)
    first = partial(the.steps.init, the.key, prior_params)
    check = partial(check_prior, algorithm, prior_params)
    if not hosts.leads():
        return hosting.follow(line, the, config, name, first, check, bool(callbacks))
    with ExitStack() as stack:
        stack.enter_context(hosting.leading(line))
        stack.enter_context(signals.terminating())
        stack.enter_context(run_folder.hold(folder))
        with hosting.by_itself():
            at = take_up(
                stack, folder, configuration, accept, the.rounds, config.ledger_patience, the.kept
            )
        unpaid = not at.ledger.totals()[0]
        stands = dict(metrics=at.metrics, check=unpaid)
        at = at._replace(state=hosting.taken_up(line, the, name, at.done, at.state, **stands))
        if at.done == the.rounds:
            tell_complete(folder, at.done)
            summarise(folder, at.ledger, at.metrics, at.timings)
            return RunResult(the.state_in(at.state), at.metrics)
        if unpaid:
            check()
        if the.known is not None:
            at.ledger.give(the.known)
        watch = stack.enter_context(Watch(folder, at.metrics, told, description, report))
        reached = Clock(at.timings).reached(at.ledger)
        oracle = Oracle(
            evaluator, config.budget, at.ledger, config.oracle, config.rounds_in_flight, text,
            lambda: within_a_round(config.stop, reached),
            Successes(folder, text).add, watch.propose,
        )  # fmt: skip
        stack.push(oracle.end)
        return _rounds(folder, at, the, config, hosting.Paying(oracle, line), line, first, watch)


def _rounds(
    folder: Path,
    at: TakenUp,
    the: Plan,
    config: RunConfig,
    oracle: hosting.Paying,
    line: hosts.Line,
    first: Callable[[], Any],
    watch: Watch,
) -> RunResult:
    """All that are to be done."""
    pipeline, stopped = Pipeline(the, oracle), None
    try:
        pipeline.begin(at.done, at.state, first)
        for round in range(at.done, the.rounds):
            line.say({"round": round})
            told = pipeline.next(round)
            keep(folder, at, pipeline, told, config.checkpoint_every)
            state = hosts.local(pipeline.state) if watch.tells_states else None
            with hosting.by_itself():
                watch.on_round(told.record, state, hosts.local(told.candidates), told.rewards)
            if stopped := after_a_round(config.stop, at.metrics):
                break
    except Stopped as rule:
        stopped = str(rule)
    line.say({"ended": stopped})
    if len(at.metrics) > at.done and len(at.metrics) % config.checkpoint_every:
        checkpoint(at, pipeline)
    at.checkpoints.wait()
    if stopped:
        watch.standing = Standing("complete", stopped)
        logger.warning("the run in %s has ended: %s. The same command with another stop goes on",
                       folder, stopped)  # fmt: skip
    summarise(folder, at.ledger, at.metrics, at.timings, stopped)
    return RunResult(pipeline.state, at.metrics, stopped)


def tell_complete(folder: Path, rounds: int) -> None:
    logger.warning(
        "the run in %s is complete: its %d rounds are read, and the oracle was asked nothing. "
        "Raise rounds to go on, or choose another folder to begin anew",
        folder,
        rounds,
    )


def keep(folder: Path, at: TakenUp, pipeline: Pipeline, told: Told, every: int) -> None:
    """Writes down a round that was told of."""
    at.metrics.append(told.record)
    run_folder.append_record(folder / "metrics.jsonl", told.record)
    start = time.perf_counter()
    if len(at.metrics) % every == 0:
        checkpoint(at, pipeline)
    at.timings.append(told.seconds | {"checkpoint": time.perf_counter() - start})


def checkpoint(at: TakenUp, pipeline: Pipeline) -> None:
    done = len(at.metrics)
    at.checkpoints.save(done, hosts.local(pipeline.kept()), at.ledger.counts(done)._asdict())


def check_prior(algorithm: Algorithm, prior_params: Params) -> None:
    """Before the first payment: the prior holds no NaN, and is a model where it is known."""
    if algorithm.model is not None:
        check_model(algorithm.model, prior_params)
    elif names := names_of_nan(prior_params):
        raise NotANumber(f"the prior's parameters hold NaN in {', '.join(names[:3])}")
