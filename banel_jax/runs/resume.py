"""Going on with what is in a run's folder, and what is written there at its end."""

import json
import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any, NamedTuple

from banel_jax import files
from banel_jax.oracle import Ledger, LedgerError
from banel_jax.runs import folder as run_folder
from banel_jax.runs import naming
from banel_jax.runs.checkpoint import Checkpoints
from banel_jax.runs.rounds import COUNTS
from banel_jax.runs.timings import Timings
from banel_jax.types import State

logger = logging.getLogger(__name__)


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
    rounds: int,
    ledger_patience: float,
    abstract_state: State,
) -> TakenUp:
    """Opens what is in a folder that is held, after checking that it is this run's.

    A run that is complete is read wherever it was made; one that goes on needs the environment
    that it was begun under.
    """
    path = folder / "config.json"
    files.sweep(folder)
    begun = run_folder.check_configuration(path, configuration, accept)
    if not begun:
        run_folder.check_unclaimed(folder)
    name = run_folder.begun_as(path) if begun else naming.identity(configuration)
    ledger = Ledger(folder / "oracle.sqlite", name, begun, ledger_patience)
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
    if not counts.agrees_with(paid):
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


def summarise(
    folder: Path,
    ledger: Ledger,
    metrics: list[dict[str, float]],
    timings: Timings,
    stopped: str | None = None,
) -> None:
    """Writes `summary.json`: what was paid and met, the last round, where the time went, and the
    rule that ended the run early.

    Where it cannot be written a warning says so; the run's result is there all the same.
    """
    rows, successes = ledger.totals()
    summary: dict[str, Any] = {
        "rounds": len(metrics),
        "num_reward_evaluations": rows,
        "num_successes": successes,
        "evaluations_to_first_success": ledger.first_success(),
        "asked_again_after_a_stop": ledger.repeated_attempts(),
        "seconds": timings.seconds(),
        "last_round": run_folder.finite(metrics[-1]) if metrics else None,
    }
    summary |= {"stopped": stopped} if stopped else {}
    text = json.dumps(summary, indent=2, allow_nan=False) + "\n"
    try:
        files.write_atomically(folder / "summary.json", text)
    except OSError as error:
        logger.warning("the run is complete, but its summary cannot be written: %s", error)
