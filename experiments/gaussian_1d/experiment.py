"""A toy that loses a mode, and two signs of it that need no reward.

    python -m experiments.gaussian_1d

takes about 15 seconds on 2 CPU cores. A standard normal in bins is rewarded about -2 and +2;
ten samples a round; the failure model is a smoothed histogram. Rejecting the worse half of
the proposals in every round ends on one of the two points. With a fixed threshold, everything
else the same, both are kept.

Two signs would have told without knowing the rewards:

- The threshold that "the best half" amounts to climbs well above 0: the filter then rejects
  points that are likelier under the prior than under the failures, against its own evidence.
- The coverage falls below one half. By Eq. 6 the posterior gives every point outside the
  rejection region at least its prior probability. So of the prior's mass where no failure was
  ever met nearby, all should be left; what is gone was lost without any evidence.
"""

import dataclasses
import time
from dataclasses import dataclass, field
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from banel_jax.algorithms.banel import BanelConfig
from banel_jax.tasks.gaussian_1d import Gaussian1DConfig, centres, gaussian_1d
from banel_jax.types import Algorithm, Task
from experiments.common import report, table_controls, toys
from experiments.common.publication import publish
from experiments.common.toys import Run, ToyConfig
from experiments.gaussian_1d import figure as gaussian_1d_figure
from experiments.gaussian_1d import table
from experiments.gaussian_1d.table import ALARM, ALL_FAILURES, PUBLISHED, THRESHOLD


@dataclass(frozen=True, kw_only=True)
class Config(ToyConfig):
    """Settings of the experiment.

    Attributes:
      num_candidates: m, reward evaluations a round.
      filter_factor: f of the methods that keep the best 1 / f.
      threshold: tau of the other, in nats.
      num_distilled: filtered samples to distil on.
      output: folder for the figure and summary.json.
      task: the normal and its rewards.
    """

    rounds: int = 15
    seeds: int = 40
    num_candidates: int = 10
    filter_factor: float = 2.0
    threshold: float = 0.0
    num_distilled: int = 1000
    generator_bandwidth: float = 0.3
    failure_bandwidth: float = 0.7
    failure_floor: float = 0.05
    output: str = "runs/gaussian_1d"
    task: Gaussian1DConfig = field(default_factory=Gaussian1DConfig)


def learners(config: Config, task: Task) -> dict[str, Algorithm]:
    published = BanelConfig(
        num_candidates=config.num_candidates,
        filter_factor=config.filter_factor,
        num_distilled=config.num_distilled,
    )
    kept = dataclasses.replace(published, failure_rounds=config.rounds)
    threshold = dataclasses.replace(kept, rejection="threshold", threshold=config.threshold)
    settings = {PUBLISHED: published, ALL_FAILURES: kept, THRESHOLD: threshold}
    return toys.learners(config, task, settings)


def run(config: Config, algorithm: Algorithm, task: Task) -> dict[str, np.ndarray]:
    """All rounds of all seeds; arrays [seeds, rounds, ...].

    Beside the metrics: `generator`, log densities after the round; `threshold`, that of the
    round's filter; `failures`, how many failures each bin has seen up to and with the round.
    """

    def measure(asked, state):
        candidates = jax.tree.map(lambda x: x[: config.num_candidates], asked.batch)
        failed = 1 - task.reward_fn(candidates)
        return {
            "generator": state.generator,
            "threshold": asked.threshold,
            "failures": jnp.zeros_like(state.base).at[candidates.tokens[:, 0]].add(failed),
        }

    metrics = toys.run(config, algorithm, task, measure)
    return metrics | {"failures": np.cumsum(metrics["failures"], axis=1)}


def main(config: Config) -> None:
    started = time.perf_counter()
    output = report.output_folder(config.output)
    task = gaussian_1d(config.task)
    base = table_controls.rate(np.asarray(task.prior_params), task)
    toys.begin(config, base)
    runs = toys.run_each(learners(config, task), lambda one: run(config, one, task))
    analyses = {n: table.analyse(config, config.task, of.metrics, task) for n, of in runs.items()}
    rows = [
        table.row(name, config, analyses[name], len(config.task.modes), of.seconds)
        for name, of in runs.items()
    ]
    words = table.in_words(task, runs, analyses)
    print()
    report.print_table(rows, table.COLUMNS)
    print(f"\n{table.LEGEND}\n\n{words}")
    by_round = {
        name: {key: np.median(value, axis=0) for key, value in analysis.items()}
        for name, analysis in analyses.items()
    }
    publish(
        started,
        output,
        config,
        {"base_success_rate": base, "rows": rows, "conclusion": words, "median_by_round": by_round},
        lambda summary, folder: draw(config, runs, analyses, folder),
    )


def draw(
    config: Config, runs: dict[str, Run], analyses: dict[str, dict[str, np.ndarray]], folder: Path
) -> None:
    shown = (ALL_FAILURES, THRESHOLD)
    gaussian_1d_figure.draw(
        folder / "gaussian_1d.png",
        centres(config.task),
        {name: np.exp(runs[name].metrics["generator"][0]) for name in shown},
        {name: analyses[name] for name in shown},
        config.task.modes,
        ALARM,
    )
