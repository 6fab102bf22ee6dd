"""A settings search of any comparison: every trial is kept in a file, and none is run twice."""

import dataclasses
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from banel_jax import numerics
from banel_jax.runs import naming
from banel_jax.runs.loop import CandidatesNotFound
from experiments.common import report
from experiments.common.comparison import Experiment

# By algorithm: what each of its trials changes in the experiment, fields named by their paths.
Trials = Mapping[str, list[dict[str, Any]]]


def with_fields(config: Any, changes: dict[str, Any]) -> Any:
    """The configuration with some fields changed, each named by its path."""
    for path, value in changes.items():
        first, _, rest = path.partition(".")
        inner = with_fields(getattr(config, first), {rest: value}) if rest else value
        config = dataclasses.replace(config, **{first: inner})
    return config


@dataclass(frozen=True)
class Config:
    """Settings of a search; an experiment's own names its trials and what they start from.

    Attributes:
      experiment: what each trial starts from; its seeds are not the table's.
      algorithms: whose trials to run; empty for all.
      output: the file of trials.
    """

    trials: ClassVar[Trials] = {}

    experiment: Any
    algorithms: tuple[str, ...] = ()
    output: str = ""

    def __post_init__(self):
        unknown = [name for name in self.algorithms if name not in self.trials]
        if unknown:
            raise ValueError(
                f"algorithms={','.join(unknown)} has no trials; choose among "
                f"{', '.join(self.trials)}"
            )


def run(config: Config, experiment: Experiment[Any, Any]) -> None:
    """Runs the trials that are not in the file, appends a line for each, and prints all.

    All trials have one preparation: one task, and what each of their algorithms starts from.
    """
    output = report.output_file(config.output)
    lines: list[dict[str, Any]] = report.read_json_lines(output)
    e = config.experiment
    names = config.algorithms or tuple(config.trials)
    due = []
    for name in names:
        for number, changes in enumerate(config.trials[name]):
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
        (prepared,) = experiment.prepare(dataclasses.replace(e, algorithms=names))
        experiment.check(e, prepared)
    for trial, about in due:
        name = about["algorithm"]
        print(f"{name}, trial {about['trial'] + 1} of {len(config.trials[name])}", flush=True)
        started = time.perf_counter()
        found = _run_trial(experiment, trial, name, prepared)
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
            if line.get("numerics") == numerics.VERSION and line["algorithm"] in names
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


def _run_trial(experiment, trial, name, prepared) -> dict[str, Any]:
    """What one trial found, or why it could not be run."""
    try:
        result = experiment.runner(trial, name, prepared).run_seeds(trial.every_seed)
    except CandidatesNotFound as error:
        return {"error": str(error)}
    by_round, final = experiment.gains(trial, prepared, result)
    found = {
        "log10_gain_final": final.round(3).tolist(),
        "log10_gain_final_median": round(float(np.median(final)), 3),
        "log10_gain_best_median": round(float(np.median(by_round.max(1))), 3),
        "log10_gain_by_round_median": np.median(by_round, 0).round(2).tolist(),
        "seconds": round(result.seconds),
    }
    return found | result.about
