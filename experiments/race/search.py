"""The search behind the race: as many trials for every method, on seeds that it does not report.

    python -m experiments.race search

appends a line a trial to `experiments/results/race/search/TASK.jsonl`; what is there already is
skipped. The cells are run with what did best, once all trials of a method are there.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from banel_jax import files
from experiments.common import choice, report, search
from experiments.common.config import SeedsConfig
from experiments.common.methods import Settings
from experiments.common.search import Searched
from experiments.race import cell, methods
from experiments.race.config import Config
from experiments.race.program import Program
from experiments.race.tasks import TASKS
from experiments.race.trials import trials_of

# A trial is judged by the evaluations to these, a never as twice the budget.
JUDGED = ("to_10_distinct", "to_0.5", "to_0.9")


@dataclass(frozen=True, kw_only=True)
class Raced:
    """What is raced over, in the line of a trial.

    Attributes:
      name: of the task.
      num_evaluated: samples after a round.
    """

    name: str
    num_evaluated: int


@dataclass(frozen=True, kw_only=True)
class Trial(SeedsConfig):
    """A method's runs with some settings.

    Attributes:
      algorithms: the one.
      settings: of all.
      task: it is run on.
    """

    algorithms: tuple[str, ...] = ()
    settings: Settings
    task: Raced


def file_of(config: Config, task: str) -> Path:
    return files.expand(config.output) / "search" / f"{task}.jsonl"


def trial_of(config: Config, task: str) -> Trial:
    rounds = config.rounds(task, config.search_candidates)
    return Trial(
        rounds=rounds,
        seeds=config.search_seeds,
        first_seed=config.search_first_seed,
        settings=methods.at(TASKS[task].settings, config.search_candidates, rounds),
        task=Raced(name=task, num_evaluated=config.num_evaluated),
    )


def main(config: Config) -> None:
    """The trials that are not in the files, of tasks that have a search of their own."""
    ends = time.monotonic() + 60 * config.minutes
    for task in config.chosen_tasks:
        if TASKS[task].searched_on:
            continue
        trials = trials_of(task, config.chosen)
        of = search.Config(trial_of(config, task), output=str(file_of(config, task)))
        search.run(of, searched(config, task), ends, trials)


def searched(config: Config, task: str) -> Searched:
    """How the race's trials are run and judged."""

    def runner(trial, name, prepared):
        method = methods.METHODS[name]
        program = Program(prepared, method, trial.settings, trial.rounds, config.num_evaluated)
        return _Runner(partial(cell.measured, program))

    return Searched(
        prepare=lambda trial: [cell.prepare(config, task)],
        check=lambda trial, prepared: None,
        runner=runner,
        found=lambda trial, prepared, lines: judged(lines, config.budget_of(task)),
        settings=settings_of,
        columns={"evaluations": "score", "first": "to_first", "half": "to_0.5", "final": "final"},
        legend=(
            f"evaluations: the geometric mean of {', '.join(JUDGED)}, a never counted as "
            "twice the budget; the others by seed"
        ),
    )


@dataclass(frozen=True)
class _Runner:
    """Runs seeds one after another, as `Searched` wants it."""

    run: Callable[[int], dict[str, Any]]

    def run_seeds(self, seeds: Sequence[int]) -> list[dict[str, Any]]:
        return [self.run(seed) for seed in seeds]


def settings_of(trial: Trial, name: str) -> dict[str, Any]:
    """Those that the method reads: others may change, and its trials are still what they were."""
    read = choice.read_by(methods.METHODS[name], trial.settings)
    return {field: getattr(trial.settings, field) for field in read}


def judged(lines: Sequence[Mapping[str, Any]], budget: int) -> dict[str, Any]:
    """What is kept of a trial's runs, and its score."""
    of = lambda name: [line[name] for line in lines]
    names = ("to_first", "to_10_distinct", "to_0.5", "to_0.9", "distinct", "final", "seconds")
    return {"score": round(score(lines, budget), 1), **{name: of(name) for name in names}} | {
        "commit": report.commit()
    }


def score(lines: Sequence[Mapping[str, Any]], budget: int) -> float:
    """Evaluations, the geometric mean over seeds of those to `JUDGED`; the fewer the better."""
    capped = [2 * budget if line[n] is None else line[n] for line in lines for n in JUDGED]
    return float(np.exp(np.mean(np.log(capped))))


def chosen(config: Config, task: str) -> dict[str, dict[str, Any]]:
    """By method, what the best of its trials changed in the settings; those that lack trials are
    left out."""
    on = TASKS[task].searched_on or task
    lines = report.read_json_lines(file_of(config, on))
    how, trial = searched(config, on), trial_of(config, on)
    found = {}
    searched_as = [methods.SEARCHED_AS.get(name, name) for name in config.chosen]
    for name, trials in trials_of(on, searched_as).items():
        tried = [
            (search.with_fields(trial, {"algorithms": (name,), **changes}), changes)
            for changes in trials
        ]
        kept = [
            search.kept(how, lines, at, search.about(how, at, name, number, changes))
            for number, (at, changes) in enumerate(tried)
        ]
        results = [line for line in kept if line and "score" in line]
        if results and None not in kept:
            best = min(results, key=lambda line: (line["score"], -_median(line["final"])))
            found[name] = {
                path.removeprefix("settings."): value for path, value in best["changes"].items()
            }
    names = zip(config.chosen, searched_as, strict=True)
    return {name: found[other] for name, other in names if other in found}


def _median(values: Sequence[float | None]) -> float:
    return float(np.median([value or 0.0 for value in values]))
