"""The settings search behind `experiments.mnist`: as many trials for a baseline as for BaNEL.

    python -m experiments.mnist_search

runs each trial on a prior, targets and seeds that the table does not use, at 14x14 pixels and
for fewer rounds, and appends a line a trial to `experiments/results/mnist/search.jsonl`; what
is there already is skipped. The policy gradient and relative trajectory balance are left out:
where every answer is 0 they leave the prior as it is, whatever their settings.
"""

import dataclasses
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from experiments import flags, mnist, report

_COOL = {"settings.ours_base": "broadened", "broaden.temperatures": (0.5, 0.7, 0.85, 1.0)}
_WIDE = {"settings.ours_base": "broadened"}
# By algorithm: what each of its trials changes. Six trials for each.
TRIALS: dict[str, list[dict[str, Any]]] = {
    "banel": [
        {},
        {"settings.generator_learning_rate": 3e-5},
        {"settings.generator_learning_rate": 3e-4},
        {"settings.failure_learning_rate": 3e-4},
        {"settings.filter_factor": 4.0},
        {"settings.kappa": 0.5},
    ],
    "ours": [
        {},
        {"settings.ours.kappa": 0.5},
        {"settings.ours.past_filters": 8, "settings.ours.filter_factor": 1.2},
        {"settings.ours.filter_factor": 4.0},
        _WIDE,
        _COOL,
    ],
    "filtering": [
        {},
        {"settings.filtering.kappa": 0.5},
        {"settings.filtering.filter_factor": 1.4},
        {"settings.filtering.failure_training.epochs": 30},
        {"settings.filtering.failure_rounds": 1},
        _COOL,
    ],
    "negative_rl": [
        {},
        {"settings.negative_rl.training.learning_rate": 1e-5},
        {"settings.negative_rl.training.learning_rate": 3e-5},
        {"settings.negative_rl.training.learning_rate": 3e-4},
        {"settings.negative_rl.kl_coefficient": 0.05},
        {"settings.negative_rl.kl_coefficient": 0.5},
    ],
    "rnd": [
        {},
        {"settings.rnd_policy.training.learning_rate": 3e-5},
        {"settings.rnd_policy.training.learning_rate": 3e-4},
        {"settings.rnd_policy.training.learning_rate": 1e-3},
        {"settings.rnd_policy.kl_coefficient": 0.1},
        {"settings.rnd.epochs": 5},
    ],
    "pseudo_count": [
        {},
        {"settings.pseudo_count_policy.training.learning_rate": 3e-5},
        {"settings.pseudo_count_policy.training.learning_rate": 3e-4},
        {"settings.pseudo_count_policy.training.learning_rate": 1e-3},
        {"settings.pseudo_count_policy.kl_coefficient": 0.2},
        {"settings.pseudo_count.learning_rate": 1e-3},
    ],
    "gflownet_tb": [
        {},
        {"settings.gflownet_tb.training.learning_rate": 1e-5},
        {"settings.gflownet_tb.training.learning_rate": 3e-5},
        {"settings.gflownet_tb.training.learning_rate": 1e-4},
        {"settings.gflownet_tb.training.learning_rate": 3e-4},
        {"settings.gflownet_tb.training.epochs": 1},
    ],
    "gflownet_vargrad": [
        {},
        {"settings.gflownet_vargrad.training.learning_rate": 1e-5},
        {"settings.gflownet_vargrad.training.learning_rate": 3e-5},
        {"settings.gflownet_vargrad.training.learning_rate": 1e-4},
        {"settings.gflownet_vargrad.training.learning_rate": 3e-4},
        {"settings.gflownet_vargrad.training.epochs": 1},
    ],
}


def _search_task():
    return dataclasses.replace(mnist.PRESETS["cpu14"].task, seed=1)


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
            mnist.PRESETS["cpu14"], rounds=10, seeds=2, first_seed=100, task=_search_task()
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


def main(config: Config) -> None:
    output = Path(config.output)
    done = set()
    if output.exists():
        lines = [json.loads(line) for line in output.read_text().splitlines()]
        done = {(line["algorithm"], json.dumps(line["changes"])) for line in lines}
    for name in config.algorithms or TRIALS:
        for number, changes in enumerate(TRIALS[name]):
            plain = json.loads(json.dumps(changes))
            if (name, json.dumps(plain)) in done:
                continue
            started = time.perf_counter()
            trial = with_fields(config.experiment, {"algorithms": (name,), **changes})
            record: dict[str, Any] = {"algorithm": name, "trial": number, "changes": plain}
            try:
                ground = mnist.prepare(trial)
                cell = mnist.runner(trial, name, ground).cell(
                    range(trial.first_seed, trial.first_seed + trial.seeds)
                )
            except ValueError as error:
                record["error"] = str(error)
            else:
                by_round = cell.metrics["log10_success_rate"] - ground.log10_rate
                final = cell.final["log10_success_rate"] - ground.log10_rate
                record |= {
                    "log10_gain_final": final.round(3).tolist(),
                    "log10_gain_final_median": round(float(np.median(final)), 3),
                    "log10_gain_best_median": round(float(np.median(by_round.max(1))), 3),
                    "log10_gain_by_round_median": np.median(by_round, 0).round(2).tolist(),
                }
            print(json.dumps(record), flush=True)
            record |= {
                "rounds": trial.rounds,
                "seeds": [trial.first_seed, trial.seeds],
                "settings": dataclasses.asdict(trial.settings),
            }
            output.parent.mkdir(parents=True, exist_ok=True)
            with open(output, "a", encoding="utf-8") as file:
                file.write(json.dumps(record | report.provenance(started)) + "\n")


if __name__ == "__main__":
    flags.run(main, Config())
