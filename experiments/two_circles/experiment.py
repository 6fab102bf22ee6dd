"""The 2-D toy of Figure 1: what failures alone can teach, where every rate is exact.

    python -m experiments.two_circles

takes about half a minute on 2 CPU cores. From a base success rate of 0.8%, BaNEL with the
failures of all rounds ends at 0.99 or more and stays there; with those of the latest round
alone, as published, it gets there and slips back now and then; with a fixed threshold instead
of a fixed share it covers more of the arc; without a filter (f = 1) it is lost.
"""

import dataclasses
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from banel_jax.algorithms.banel import BanelConfig
from banel_jax.tasks.two_circles import TwoCirclesConfig, two_circles
from banel_jax.types import Algorithm, Sequences, Task
from experiments.common import report, toys
from experiments.common.publication import publish
from experiments.common.table_controls import controls
from experiments.common.table_controls import rate as rate_of
from experiments.common.toys import Run, ToyConfig
from experiments.two_circles import table
from experiments.two_circles.table import ALL_FAILURES, NO_FILTER, PUBLISHED, THRESHOLD


@dataclass(frozen=True, kw_only=True)
class Config(ToyConfig):
    """Settings of the experiment.

    Attributes:
      kappa: sharpness of the failure model.
      task: the circles.
    """

    rounds: int = 20
    kappa: float = 1.0
    output: str = "runs/two_circles"
    task: TwoCirclesConfig = field(default_factory=TwoCirclesConfig)


def learners(config: Config, task: Task) -> dict[str, Algorithm]:
    """The methods; they differ in nothing but what their names say."""
    published = BanelConfig(
        num_candidates=config.num_candidates,
        filter_factor=config.filter_factor,
        kappa=config.kappa,
        num_distilled=config.num_distilled,
    )
    all_failures = dataclasses.replace(published, failure_rounds=config.rounds)
    settings = {
        PUBLISHED: published,
        ALL_FAILURES: all_failures,
        THRESHOLD: dataclasses.replace(
            all_failures, rejection="threshold", threshold=config.threshold, acceptance_floor=1e-3
        ),
        NO_FILTER: dataclasses.replace(published, filter_factor=1.0),
    }
    return toys.learners(config, task, settings)


def run(config: Config, algorithm: Algorithm, task: Task) -> dict[str, np.ndarray]:
    """All rounds of all seeds; arrays [seeds, rounds, ...].

    Beside the metrics: `proposal` (where the round's candidates came from), `failure_model`
    and `generator` (after the round), log densities over the grid, and `candidates`.
    """
    shape = (config.task.grid,) * 2
    points = jnp.asarray(np.argwhere(np.ones(shape, bool)))
    every_point = Sequences(points, jnp.ones(points.shape, bool))

    def measure(asked, state):
        return {
            "proposal": algorithm.candidate_log_prob(asked, every_point).reshape(shape),
            "failure_model": state.failure_model,
            "generator": state.generator,
            "candidates": asked.batch.tokens[: config.num_candidates],
        }

    return toys.run(config, algorithm, task, measure)


def main(config: Config) -> None:
    started = time.perf_counter()
    output = report.output_folder(config.output)
    task = two_circles(config.task)
    densities = controls(task)
    constant = {name: rate_of(density, task) for name, density in densities.items()}
    toys.begin(config, constant["prior"])
    runs = toys.run_each(learners(config, task), lambda one: run(config, one, task))
    learnt = {name: table.summarise(config, of.metrics, task) for name, of in runs.items()}
    rows = [table.control_row(config, name, of, task) for name, of in densities.items()]
    rows += [table.row(config, name, learnt[name], of.seconds) for name, of in runs.items()]
    words = table.in_words(learnt, constant)
    print()
    report.print_table(rows, table.COLUMNS)
    print(f"\n{table.LEGEND}\n\n{words}")
    never = {
        name: {"success_rate": rate, "expected_evaluations_to_first_success": 1 / rate}
        for name, rate in constant.items()
    }
    publish(
        started,
        output,
        config,
        {"base_success_rate": constant["prior"], "conclusion": words, "methods": never | learnt},
        lambda summary, folder: draw(summary, runs, task, folder),
    )


def draw(summary: dict[str, Any], runs: dict[str, Run], task: Task, folder: Path) -> None:
    from experiments.two_circles import figures  # slow to load

    figures.rounds(folder / "rounds.png", runs[ALL_FAILURES].metrics, task)
    figures.draw(summary, folder)
