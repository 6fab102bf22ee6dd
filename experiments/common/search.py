"""A settings search of any comparison: every trial is kept in a file, and none is run twice."""

import dataclasses
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, NamedTuple, TypeGuard

import numpy as np

from banel_jax import numerics
from banel_jax.runs import naming, plain_values
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


class Searched(NamedTuple):
    """What a search needs of an experiment that is no `Experiment`, by its names there.

    Attributes:
      prepare, check, runner: as there, a runner being whatever has `run_seeds`.
      found: `found(trial, prepared, what run_seeds gave)`, of a trial's line.
      settings: `settings(trial, name)`, those that the method's numbers depend on, by name.
      columns: what is shown of a trial, and by which name its line has it.
      legend: what they mean.
    """

    prepare: Callable[[Any], Iterable[Any]]
    check: Callable[[Any, Any], None]
    runner: Callable[[Any, str, Any], Any]
    found: Callable[[Any, Any, Any], dict[str, Any]]
    settings: Callable[[Any, str], dict[str, Any]]
    columns: Mapping[str, str]
    legend: str


def of_experiment(experiment: Experiment[Any, Any]) -> Searched:
    """A search by the gains of a comparison."""
    return Searched(
        experiment.prepare,
        experiment.check,
        experiment.runner,
        partial(_gains, experiment),
        lambda trial, name: fields_of(trial.settings),
        {"final": "log10_gain_final_median", "best": "log10_gain_best_median"},
        "gain over the prior in decades, median over seeds",
    )


def run(
    config: Config,
    experiment: Experiment[Any, Any] | Searched,
    until: float = math.inf,
    trials: Trials | None = None,
) -> None:
    """Runs the trials that are not in the file, appends a line for each, and prints all.

    All trials have one preparation: one task, and what each of their algorithms starts from.

    Args:
      config: settings.
      experiment: whose trials they are.
      until: on `time.monotonic`; no trial begins that would end later if it took as long as the
        longest before it.
      trials: in place of the configuration's.
    """
    trials = config.trials if trials is None else trials
    searched = experiment if isinstance(experiment, Searched) else of_experiment(experiment)
    output = report.output_file(config.output)
    lines: list[dict[str, Any]] = report.read_json_lines(output)
    e = config.experiment
    names = config.algorithms or tuple(trials)
    due = [
        (trial, told)
        for name in names
        for number, changes in enumerate(trials[name])
        for trial in [with_fields(e, {"algorithms": (name,), **changes})]
        for told in [about(searched, trial, name, number, changes)]
        if not kept(searched, lines, trial, told)
    ]
    if due:
        (prepared,) = searched.prepare(dataclasses.replace(e, algorithms=names))
        searched.check(e, prepared)
    longest = 0.0
    for trial, told in due:
        started = time.perf_counter()
        if time.monotonic() + longest > until:
            print("the other trials are left for another call", flush=True)
            break
        name = told["algorithm"]
        print(f"{name}, trial {told['trial'] + 1} of {len(trials[name])}", flush=True)
        found = _run_trial(searched, trial, name, prepared)
        # What is read from disk has its own commit.
        record = {**told, **report.provenance(started), **found}
        lines.append(report.jsonable(record))
        report.append_json_line(output, record)
        longest = max(longest, time.perf_counter() - started)
    _show(searched, [line for line in lines if line["algorithm"] in names])
    print(f"\n{searched.legend}\nwritten: {output}")


def about(
    searched: Searched, trial: Any, name: str, number: int, changes: dict[str, Any]
) -> dict[str, Any]:
    """What a trial is known by."""
    return {
        "algorithm": name,
        "trial": number,
        "changes": changes,
        "rounds": trial.rounds,
        "seeds": [trial.first_seed, trial.seeds],
        "settings": {
            field: dataclasses.asdict(value) if _settings(value) else value
            for field, value in searched.settings(trial, name).items()
        },
        "task": dataclasses.asdict(trial.task),
        "numerics": numerics.VERSION,
    }


def kept(
    searched: Searched, lines: Sequence[dict[str, Any]], trial: Any, told: dict[str, Any]
) -> dict[str, Any] | None:
    """The latest line of the trial that is told of, if there is one."""
    plain = report.jsonable(told)
    settings = searched.settings(trial, told["algorithm"])
    defaults = {
        name: _class_defaults(value) for name, value in settings.items() if _settings(value)
    }
    new = naming.flatten({"settings": report.jsonable(defaults)})
    return next((line for line in reversed(lines) if _same(line, plain, new)), None)


def fields_of(settings: Any) -> dict[str, Any]:
    """A dataclass' values by name."""
    return {field.name: getattr(settings, field.name) for field in dataclasses.fields(settings)}


def _class_defaults(value: Any) -> dict[str, Any]:
    """The fields of a dataclass, and of those in it, as their classes have them."""
    found: dict[str, Any] = {}
    for field in dataclasses.fields(value):
        inner = getattr(value, field.name)
        default = _class_defaults(inner) if _settings(inner) else plain_values.default_of(field)
        found |= {} if default is dataclasses.MISSING else {field.name: default}
    return found


def _settings(value: Any) -> TypeGuard[Any]:
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def _show(searched: Searched, lines: Sequence[dict[str, Any]]) -> None:
    rows = [
        {
            "algorithm": line["algorithm"],
            "changed": ", ".join(
                f"{field.removeprefix('settings.')}={value}"
                for field, value in line["changes"].items()
            ),
            **{title: line.get(name) for title, name in searched.columns.items()},
            "seconds": line.get("seconds"),
            "error": line.get("error"),
        }
        for line in lines
        if line.get("numerics") == numerics.VERSION
    ]
    print()
    report.print_table(rows, ("algorithm", "changed", *searched.columns, "seconds", "error"))


def _same(line: dict[str, Any], about: dict[str, Any], new: dict[str, Any]) -> bool:
    """Whether a line of the file is of this trial, and its numbers are still what would be found.

    A field that the line's settings have not was added since, and is in them as in its class:
    `new`. Settings that the line has not at all are not compared.
    """
    if line.get("numerics") != about["numerics"]:
        return False
    line, about = ({k: v for k, v in x.items() if k != "trial"} for x in (line, about))
    line, about = naming.flatten(line), naming.flatten(about)
    known = {name.rpartition(".")[0] for name in line}
    added = {k: v for k, v in new.items() if k not in line and k.rpartition(".")[0] in known}
    line |= added
    return all(line[name] == about[name] for name in line.keys() & about.keys())


def _run_trial(searched: Searched, trial: Any, name: str, prepared: Any) -> dict[str, Any]:
    """What one trial found, or why it could not be run."""
    try:
        result = searched.runner(trial, name, prepared).run_seeds(trial.every_seed)
    except CandidatesNotFound as error:
        return {"error": str(error)}
    return searched.found(trial, prepared, result)


def _gains(experiment: Experiment[Any, Any], trial: Any, prepared: Any, result: Any):
    by_round, final = experiment.gains(trial, prepared, result)
    return {
        "log10_gain_final": final.round(3).tolist(),
        "log10_gain_final_median": round(float(np.median(final)), 3),
        "log10_gain_best_median": round(float(np.median(by_round.max(1))), 3),
        "log10_gain_by_round_median": np.median(by_round, 0).round(2).tolist(),
        "seconds": round(result.seconds),
        **result.about,
    }
