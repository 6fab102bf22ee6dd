"""The settings search behind `experiments.digits`: every trial is kept.

    python -m experiments.digits.search

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
from experiments.common import flags, report
from experiments.digits import config as digits_config
from experiments.digits import experiment as digits_experiment

# What is varied, by method; what a trial does not name is as in DEFAULTS.
DEFAULTS: dict[str, Any] = dict(
    filter_factor=2, kappa=1.0, failure_start="base", failure_epochs=10, max_filters=10,
    num_distilled=1000, past_filters=0, rejection="best", threshold=0.0,
    generator_epochs=4,
)  # fmt: skip
_1, _2 = digits_config.FILTERING, digits_config.OURS
GRID: list[tuple[str, dict[str, Any]]] = [
    (_1, {}),
    (_2, {}),
    (_2, dict(filter_factor=4)),
    (_2, dict(past_filters=4)),
    (_2, dict(filter_factor=4, num_distilled=2000)),
    (_2, dict(rejection="threshold", threshold=0.5)),
    (_1, dict(kappa=1.5)),
    (_1, dict(failure_start="fresh", failure_epochs=40)),
    (_1, dict(rejection="threshold", filter_factor=4)),
    (_1, dict(rejection="threshold", threshold=-0.5, filter_factor=4)),
    (_2, dict(filter_factor=4, kappa=0.7)),
    (_2, dict(rejection="threshold", threshold=0.0)),
    (_2, dict(past_filters=4, num_distilled=2000)),
    (_1, dict(max_filters=5)),
    (_2, dict(past_filters=10, num_distilled=2000)),
    (_2, dict(past_filters=10, num_distilled=2000, generator_epochs=15)),
    (_1, dict(failure_epochs=20)),
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

    experiment: digits_config.Config = field(
        default_factory=lambda: digits_config.Config(seeds=3, first_seed=100)
    )
    output: str = "experiments/results/digits/search.jsonl"
    cache: str = "runs/digits"
    first: int = 0
    last: int = len(GRID)


def with_setting(
    config: digits_config.Config, method: str, varied: dict[str, Any]
) -> digits_config.Config:
    """The experiment's configuration with one method's settings changed."""
    v = DEFAULTS | varied
    failures: dict[str, Any] = dict(
        failure_rounds=digits_config.ALL_ROUNDS,
        filter_factor=float(v["filter_factor"]),
        kappa=v["kappa"],
        rejection=v["rejection"],
        threshold=v["threshold"],
        failure_start=v["failure_start"],
        failure_training=TrainingConfig(epochs=v["failure_epochs"], learning_rate=1e-3),
    )
    if method == digits_config.FILTERING:
        filtering = SequentialFilteringConfig(
            max_filters=v["max_filters"], acceptance_floor=1e-4, **failures
        )
        return dataclasses.replace(config, filtering=filtering)
    ours = BanelConfig(
        num_distilled=v["num_distilled"],
        generator_training=TrainingConfig(epochs=v["generator_epochs"], learning_rate=1e-3),
        past_filters=v["past_filters"],
        acceptance_floor=1e-4,
        **failures,
    )
    return dataclasses.replace(config, ours=ours)


def main(config: Config) -> None:
    output, cache = report.output_file(config.output), report.output_folder(config.cache)
    done = {line["trial"] for line in report.read_json_lines(output)}
    task = digits(config.experiment.task, cache)
    base = digits_experiment.base_of(config.experiment, task, cache)
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
        report.append_json_line(output, record)
        print(json.dumps({k: record[k] for k in list(record)[:7]}), flush=True)


if __name__ == "__main__":
    flags.run(main, Config())
