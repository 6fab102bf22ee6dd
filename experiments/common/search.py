"""A settings search of any comparison: every trial is kept in a file, and none is run twice."""

import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from banel_jax import numerics
from banel_jax.runs import naming
from banel_jax.runs.loop import CandidatesNotFound
from experiments.common import report
from experiments.common.seed_runs import Runner, SeedRuns

# By algorithm: what each of its trials changes in the experiment, fields named by their paths.
Trials = Mapping[str, list[dict[str, Any]]]


def with_fields(config: Any, changes: dict[str, Any]) -> Any:
    """The configuration with some fields changed, each named by its path."""
    for path, value in changes.items():
        first, _, rest = path.partition(".")
        inner = with_fields(getattr(config, first), {rest: value}) if rest else value
        config = dataclasses.replace(config, **{first: inner})
    return config


def check(algorithms: tuple[str, ...], trials: Trials) -> None:
    """Raises ValueError for an algorithm without trials."""
    unknown = [name for name in algorithms if name not in trials]
    if unknown:
        raise ValueError(
            f"algorithms={','.join(unknown)} has no trials; choose among {', '.join(trials)}"
        )


def run(
    config: Any,
    trials: Trials,
    prepare: Callable[[Any], Any],
    runner: Callable[[Any, str, Any], Runner],
    gains: Callable[[Any, Any, SeedRuns], tuple[np.ndarray, np.ndarray]],
) -> None:
    """Runs the trials that are not in the file, appends a line for each, and prints all.

    Args:
      config: `experiment`, which each trial starts from; `algorithms`, whose trials to run,
        empty for all; and `output`, the file.
      trials: of each algorithm.
      prepare: the experiment's; all trials have one task and their algorithm's base.
      runner: the experiment's, of (trial, algorithm, prepared).
      gains: of (trial, prepared, result) decades over the prior, [seeds, rounds] and [seeds].
    """
    output = report.output_file(config.output)
    lines: list[dict[str, Any]] = report.read_json_lines(output)
    e = config.experiment
    names = config.algorithms or tuple(trials)
    due = []
    for name in names:
        for number, changes in enumerate(trials[name]):
            trial = with_fields(e, {"algorithms": (name,), **changes})
            about = {
                "algorithm": name,
                "trial": number,
                "changes": changes,
                "rounds": trial.rounds,
                "seeds": [trial.first_seed, trial.seeds],
                "settings": dataclasses.asdict(trial.settings),
                "task": dataclasses.asdict(trial.task),
                "numerics": numerics.VERSION,
            }
            if not any(_same(line, report.jsonable(about)) for line in lines):
                due.append((trial, about))
    if due:
        prepared = prepare(dataclasses.replace(e, algorithms=names))
    for trial, about in due:
        name = about["algorithm"]
        print(f"{name}, trial {about['trial'] + 1} of {len(trials[name])}", flush=True)
        started = time.perf_counter()
        found = _run_trial(trial, name, prepared, runner, gains)
        # What is read from disk has its own commit.
        record = {**about, **report.provenance(started), **found}
        lines.append(report.jsonable(record))
        report.append_json_line(output, record)
    print()
    report.print_table(
        [
            {
                "algorithm": line["algorithm"],
                "changed": ", ".join(
                    f"{field.removeprefix('settings.')}={value}"
                    for field, value in line["changes"].items()
                ),
                "final": line.get("log10_gain_final_median"),
                "best": line.get("log10_gain_best_median"),
                "seconds": line.get("seconds"),
                "error": line.get("error"),
            }
            for line in lines
            if line["algorithm"] in names and line.get("numerics") == numerics.VERSION
        ],
        ("algorithm", "changed", "final", "best", "seconds", "error"),
    )
    print(f"\ngain over the prior in decades, median over seeds\nwritten: {output}")


def _same(line: dict[str, Any], about: dict[str, Any]) -> bool:
    """Whether a line of the file is of this trial, wherever both name a setting, and its numbers
    are still those that would be found."""
    if line.get("numerics") != about["numerics"]:
        return False
    line, about = ({k: v for k, v in x.items() if k != "trial"} for x in (line, about))
    line, about = naming.flatten(line), naming.flatten(about)
    return all(line[name] == about[name] for name in line.keys() & about.keys())


def _run_trial(trial, name, prepared, runner, gains) -> dict[str, Any]:
    """What one trial found, or why it could not be run."""
    try:
        seeds = range(trial.first_seed, trial.first_seed + trial.seeds)
        result = runner(trial, name, prepared).run_seeds(seeds)
    except CandidatesNotFound as error:
        return {"error": str(error)}
    by_round, final = gains(trial, prepared, result)
    found = {
        "log10_gain_final": final.round(3).tolist(),
        "log10_gain_final_median": round(float(np.median(final)), 3),
        "log10_gain_best_median": round(float(np.median(by_round.max(1))), 3),
        "log10_gain_by_round_median": np.median(by_round, 0).round(2).tolist(),
        "seconds": round(result.seconds),
    }
    return found | result.about
