"""The settings search behind `experiments.digits`: every trial is kept.

    python -m experiments.digits_search

runs each setting of the grid below on seeds that the table does not use, and appends a line a
trial to `experiments/results/digits/search.jsonl`; trials that are there already are skipped.
"""

import dataclasses
import json
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from banel_jax.algorithms.banel import BanelConfig
from banel_jax.algorithms.sequential_filtering import SequentialFilteringConfig
from banel_jax.tasks.digits import digits
from banel_jax.training import TrainingConfig
from experiments import digits as digits_experiment
from experiments import flags, report


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
    last: int = 1000


def trials(config: Config) -> list[tuple[str, dict, digits_experiment.Config]]:
    """(method, what is varied, configuration) of every trial."""
    found = []

    def add(method, **varied):
        c = config.experiment
        epochs = varied.get("failure_epochs", 5)
        failures = dict(
            filter_factor=float(varied.get("filter_factor", 2)),
            kappa=varied.get("kappa", 1.0),
            failure_start=varied.get("failure_start", "fresh"),
            failure_training=TrainingConfig(epochs=epochs, learning_rate=1e-3),
        )
        if method == digits_experiment.FILTERING:
            setting = SequentialFilteringConfig(
                max_filters=varied.get("max_filters", 4), acceptance_floor=1e-3, **failures
            )
            c = dataclasses.replace(c, filtering=setting)
        else:
            setting = BanelConfig(
                num_distilled=varied.get("num_distilled", 1000),
                generator_training=TrainingConfig(
                    epochs=varied.get("generator_epochs", 4),
                    learning_rate=varied.get("generator_learning_rate", 1e-3),
                ),
                past_filters=varied.get("past_filters", 0),
                **failures,
            )
            c = dataclasses.replace(c, ours=setting)
        found.append((method, varied, c))

    for max_filters in (2, 4):
        for kappa in (1.0, 1.5):
            for start, epochs in (("fresh", 5), ("fresh", 15), ("base", 5)):
                add(
                    digits_experiment.FILTERING,
                    max_filters=max_filters,
                    kappa=kappa,
                    failure_start=start,
                    failure_epochs=epochs,
                )
    for factor in (2, 8):
        for kappa in (1.0, 1.5):
            for start, epochs in (("fresh", 5), ("base", 5)):
                add(
                    digits_experiment.OURS,
                    filter_factor=factor,
                    kappa=kappa,
                    failure_start=start,
                    failure_epochs=epochs,
                )
    add(digits_experiment.FILTERING, filter_factor=8, max_filters=1, kappa=1.0)
    add(digits_experiment.FILTERING, filter_factor=8, max_filters=1, kappa=1.5)
    add(digits_experiment.FILTERING, filter_factor=4, max_filters=2, kappa=1.5)
    return found


def main(config: Config) -> None:
    output = Path(config.output)
    done = set()
    if output.exists():
        done = {json.loads(line)["trial"] for line in output.read_text().splitlines()}
    task = digits(config.experiment.task, config.cache)
    base = digits_experiment.base_of(config.experiment, task)
    for number, (method, varied, setting) in enumerate(trials(config)):
        if number in done or not config.first <= number < config.last:
            continue
        started = time.perf_counter()
        record = {"trial": number, "method": method, "varied": varied}
        try:
            with tempfile.TemporaryDirectory() as folder:
                metrics = digits_experiment.run_method(setting, method, task, base, Path(folder))
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
