"""The settings search behind `experiments.mnist`: as many trials for a baseline as for BaNEL.

    python -m experiments.mnist_search

runs each trial on a prior, targets and seeds that the table does not use, for fewer rounds, and
appends a line a trial to `experiments/results/mnist/search.jsonl`; what is there already is
skipped. The policy gradient and relative trajectory balance are left out: where every answer is
0 they leave the prior as it is, whatever their settings.
"""

import dataclasses
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from banel_jax.loop import CandidatesNotFound
from experiments import flags, mnist, report

# By algorithm: what each of its trials changes. A baseline has as many as any form of BaNEL.
TRIALS: dict[str, list[dict[str, Any]]] = {
    "ours": [
        {},
        {"settings.ours.kappa": 1.0},
        {"settings.ours.failure_start": "base"},
        {"settings.ours.filter_factor": 2.0},
    ],
    "filtering": [
        {
            "settings.filtering.filter_rounds": (1, 2, 3, 4, 5, 6, 7),
            "settings.filtering.max_filters": 7,
        },
        *(
            {"settings.filtering.filter_rounds": (3, 4, 5, 6), **changes}
            for changes in (
                {},
                {"settings.filtering.filter_factor": 4.0},
                {"settings.filtering.filter_factor": 4.0, "settings.filtering.kappa": 0.75},
                {"settings.filtering.filter_factor": 4.0, "settings.filtering.kappa": 1.0},
            )
        ),
    ],
    "banel": [
        {},
        {"settings.generator_learning_rate": 3e-5},
        {"settings.generator_learning_rate": 3e-4},
        {"settings.filter_factor": 8.0},
    ],
    **{
        name: [{}, *({f"settings.{policy}.training.learning_rate": rate} for rate in rates)]
        for name, policy, rates in (
            ("rnd", "rnd_policy", (1e-4, 3e-4, 1e-3, 3e-5)),
            ("pseudo_count", "pseudo_count_policy", (1e-5, 3e-4, 1e-3, 3e-5)),
            ("negative_rl", "negative_rl", (1e-5, 3e-4, 1e-3, 3e-5)),
            ("gflownet_tb", "gflownet_tb", (1e-5, 1e-4, 3e-4, 3e-5)),
            ("gflownet_vargrad", "gflownet_vargrad", (1e-5, 1e-4, 3e-4, 3e-5)),
        )
    },
}


def _search_task():
    return dataclasses.replace(mnist.PRESETS["cpu"].task, seed=1)


@dataclass(frozen=True)
class Config:
    """Settings of the search.

    Attributes:
      experiment: what each trial starts from; its seeds, prior and targets are not the table's.
      algorithms: whose trials to run; empty for all.
      output: the file of trials.
    """

    experiment: mnist.Config = field(
        default_factory=lambda: dataclasses.replace(
            mnist.PRESETS["cpu"], rounds=8, seeds=2, first_seed=100, task=_search_task()
        )
    )
    algorithms: tuple[str, ...] = ()
    output: str = "experiments/results/mnist/search.jsonl"

    def __post_init__(self):
        unknown = [name for name in self.algorithms if name not in TRIALS]
        if unknown:
            raise ValueError(
                f"algorithms={','.join(unknown)} has no trials; choose among {', '.join(TRIALS)}"
            )


def with_fields(config: Any, changes: dict[str, Any]) -> Any:
    """The configuration with some fields changed, each named by its path."""
    for path, value in changes.items():
        first, _, rest = path.partition(".")
        inner = with_fields(getattr(config, first), {rest: value}) if rest else value
        config = dataclasses.replace(config, **{first: inner})
    return config


def run_trial(trial: mnist.Config, name: str, ground: mnist.Ground) -> dict[str, Any]:
    """What one trial found, or why it could not be run."""
    try:
        seeds = range(trial.first_seed, trial.first_seed + trial.seeds)
        cell = mnist.runner(trial, name, ground).cell(seeds)
    except CandidatesNotFound as error:
        return {"error": str(error)}
    # As float64: float32 would be written as 1.4440000057.
    by_round = cell.metrics["log10_success_rate"].astype(float) - ground.log10_rate
    final = cell.final["log10_success_rate"].astype(float) - ground.log10_rate
    found = {
        "log10_gain_final": final.round(3).tolist(),
        "log10_gain_final_median": round(float(np.median(final)), 3),
        "log10_gain_best_median": round(float(np.median(by_round.max(1))), 3),
        "log10_gain_by_round_median": np.median(by_round, 0).round(2).tolist(),
        "seconds": round(cell.seconds),
    }
    return found | cell.about


def main(config: Config) -> None:
    output = Path(config.output)
    lines: list[dict[str, Any]] = report.read_json_lines(output)
    e = config.experiment
    same = [e.rounds, [e.first_seed, e.seeds]]
    done = {
        (line["algorithm"], json.dumps(line["changes"]))
        for line in lines
        if [line["rounds"], line["seeds"]] == same
    }
    names = config.algorithms or tuple(TRIALS)
    trials = [
        (name, number, changes)
        for name in names
        for number, changes in enumerate(TRIALS[name])
        if (name, json.dumps(changes)) not in done
    ]
    if trials:  # all of them have one task and one base
        ground = mnist.prepare(dataclasses.replace(config.experiment, algorithms=names))
    for name, number, changes in trials:
        print(f"{name}, trial {number + 1} of {len(TRIALS[name])}", flush=True)
        started = time.perf_counter()
        trial = with_fields(config.experiment, {"algorithms": (name,), **changes})
        found = run_trial(trial, name, ground)
        record = {
            "algorithm": name,
            "trial": number,
            "changes": changes,
            "rounds": trial.rounds,
            "seeds": [trial.first_seed, trial.seeds],
            "settings": dataclasses.asdict(trial.settings),
            **report.provenance(started),
            **found,  # which has its own commit, where read from disk
        }
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
            if line["algorithm"] in names
        ],
        ("algorithm", "changed", "final", "best", "seconds", "error"),
    )
    print(f"\ngain over the prior in decades, median over seeds\nwritten: {output}")


if __name__ == "__main__":
    flags.run(main, Config())
