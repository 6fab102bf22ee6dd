"""The settings search behind `experiments.digits`: every trial is kept.

    python -m experiments.digits_search

runs each setting of GRID on seeds that the table does not use, and appends a line a
trial to `experiments/results/digits/search.jsonl`; trials that are there already are skipped.
"""

import dataclasses
import json
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from banel_jax.algorithms.banel import BanelConfig
from banel_jax.algorithms.sequential_filtering import SequentialFilteringConfig
from banel_jax.tasks.digits import digits
from banel_jax.training import TrainingConfig
from experiments import digits as digits_experiment
from experiments import flags, report

# What is varied, by method; what a trial does not name is as in DEFAULTS.
DEFAULTS = dict(
    filter_factor=2, kappa=1.0, failure_start="base", failure_epochs=10, max_filters=2,
    num_distilled=1000, past_filters=0, rejection="best", threshold=0.0,
)  # fmt: skip
GRID: list[tuple[str, dict[str, Any]]] = [
    (digits_experiment.FILTERING, {}),
    (digits_experiment.FILTERING, dict(kappa=1.5)),
    (digits_experiment.FILTERING, dict(kappa=1.5, max_filters=1, filter_factor=4)),
    (digits_experiment.FILTERING, dict(max_filters=3)),
    (digits_experiment.FILTERING, dict(kappa=1.5, max_filters=3)),
    (digits_experiment.FILTERING, dict(kappa=1.5, failure_start="fresh", failure_epochs=40)),
    (digits_experiment.OURS, {}),
    (digits_experiment.OURS, dict(kappa=1.5)),
    (digits_experiment.OURS, dict(filter_factor=4)),
    (digits_experiment.OURS, dict(filter_factor=4, kappa=1.5)),
    (digits_experiment.OURS, dict(filter_factor=8, kappa=1.5)),
    (digits_experiment.OURS, dict(kappa=1.5, past_filters=1)),
    (digits_experiment.OURS, dict(filter_factor=4, failure_start="fresh", failure_epochs=40)),
    (digits_experiment.OURS, dict(kappa=1.5, num_distilled=250)),
    (digits_experiment.FILTERING, dict(rejection="threshold", filter_factor=4, max_filters=10)),
    (
        digits_experiment.FILTERING,
        dict(rejection="threshold", threshold=-1.0, filter_factor=4, max_filters=10),
    ),
    (
        digits_experiment.FILTERING,
        dict(rejection="threshold", threshold=-2.0, filter_factor=4, max_filters=10),
    ),
    (digits_experiment.OURS, dict(rejection="threshold")),
    (digits_experiment.OURS, dict(rejection="threshold", threshold=-1.0)),
]


@dataclass(frozen=True)
class Config:
    """Settings of the search.

    Attributes:
      experiment: what each trial starts from; the seeds differ from the table's.
      output: the file of trials.
      cache: folder of the pretrained prior.
      first, last: numbers of the trials to run, the last one left out.
    """

    experiment: digits_experiment.Config = field(
        default_factory=lambda: digits_experiment.Config(seeds=3, first_seed=100)
    )
    output: str = "experiments/results/digits/search.jsonl"
    cache: str = "runs/digits"
    first: int = 0
    last: int = len(GRID)


def with_setting(
    config: digits_experiment.Config, method: str, varied: dict[str, Any]
) -> digits_experiment.Config:
    """The experiment's configuration with one method's settings changed."""
    v = DEFAULTS | varied
    failures = dict(
        filter_factor=float(v["filter_factor"]),
        kappa=v["kappa"],
        rejection=v["rejection"],
        threshold=v["threshold"],
        failure_start=v["failure_start"],
        failure_training=TrainingConfig(epochs=v["failure_epochs"], learning_rate=1e-3),
    )
    if method == digits_experiment.FILTERING:
        filtering = SequentialFilteringConfig(
            max_filters=v["max_filters"], acceptance_floor=1e-3, **failures
        )
        return dataclasses.replace(config, filtering=filtering)
    ours = BanelConfig(
        num_distilled=v["num_distilled"],
        generator_training=TrainingConfig(epochs=4, learning_rate=1e-3),
        past_filters=v["past_filters"],
        acceptance_floor=1e-3,
        **failures,
    )
    return dataclasses.replace(config, ours=ours)


def main(config: Config) -> None:
    output = Path(config.output)
    done = set()
    if output.exists():
        done = {json.loads(line)["trial"] for line in output.read_text().splitlines()}
    task = digits(config.experiment.task, config.cache)
    base = digits_experiment.base_of(config.experiment, task)
    for number, (method, varied) in enumerate(GRID):
        if number in done or not config.first <= number < config.last:
            continue
        setting = with_setting(config.experiment, method, varied)
        started = time.perf_counter()
        record = {"trial": number, "method": method, "setting": DEFAULTS | varied}
        try:
            with tempfile.TemporaryDirectory() as folder:
                metrics, *_ = digits_experiment.run_method(
                    setting, method, task, base, Path(folder)
                )
        except ValueError as error:
            record["error"] = str(error)
        else:
            gain = metrics["log10_success_rate"] - base.log10_rate
            record |= {
                "log10_gain_final": gain[:, -1].round(3).tolist(),
                "log10_gain_final_median": round(float(np.median(gain[:, -1])), 3),
                "log10_gain_by_round_median": np.median(gain, axis=0).round(3).tolist(),
                "successes_met": metrics["num_successes"][:, -1].tolist(),
            }
        record |= report.provenance(started)
        output.parent.mkdir(parents=True, exist_ok=True)
        with open(output, "a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        print(json.dumps({k: record[k] for k in list(record)[:7]}), flush=True)


if __name__ == "__main__":
    flags.run(main, Config())
