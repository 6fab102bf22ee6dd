"""MNIST, 0 -> 6 (Section 5.1): every method of the paper, and its controls, on one harness.

    python -m experiments.mnist --preset=cpu

pretrains the prior, runs each algorithm from each seed for the same number of reward
evaluations, and writes Table 2 and Figures 2 and 11 with the controls in them. What is on disk
is not run again.

    python -m experiments.mnist --preset=cpu --algorithms=banel,rnd --sweep.failure_epochs=1,10,50

runs them at several values of any field (Figure 3). Minutes and results stand in
experiments/mnist/README.md.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from banel_jax import diagnostics, files, success_rate
from banel_jax.success_rate import LN10
from banel_jax.tasks.mnist import task as mnist
from banel_jax.types import Algorithm, Sequences, State
from experiments.common.comparison import Experiment, Found, Gains, Part, Results
from experiments.common.methods import METHODS
from experiments.common.seed_runs import Runner, SeedRuns
from experiments.mnist import figures as mnist_figures
from experiments.mnist import table as mnist_table
from experiments.mnist.config import PRESETS, Config
from experiments.mnist.prepare import Prepared, describe, measured, prepare

NUM_DRAWN = 250  # of the last state, for the diversity of its samples


def round_targets(config: Config, prepared: Prepared) -> Sequences:
    number = config.num_round_targets or None
    return jax.tree.map(lambda x: x[:number], prepared.task.targets)


def evaluation(config: Config, prepared: Prepared, algorithm: Algorithm):
    """Of each round: success rates, and how well the model still knows its 0s."""
    rates = success_rate.exact_evaluation(
        algorithm, round_targets(config, prepared), config.without_top
    )

    def evaluate(asked: State, state: State):
        known = -jnp.mean(algorithm.log_prob(state, prepared.held_out))
        return rates(asked, state) | {"held_out_nats": known}

    return evaluate


def final_evaluation(config: Config, prepared: Prepared, algorithm: Algorithm):
    """Of the last state: rates over all targets, and the diversity of what it draws."""
    assert prepared.task.targets is not None
    targets = prepared.task.targets
    inked = jnp.sum(prepared.zeros, 1)  # here, or XLA folds the sum while it compiles, and is slow

    def final(state: State):
        scores = algorithm.log_prob(state, targets)
        drawn = algorithm.sample(jax.random.key(1), state, NUM_DRAWN)
        images = mnist.pixels(config.task, drawn).reshape(NUM_DRAWN, -1)
        # Pixels that differ from the nearest training image, by |a| + |b| - 2 a.b.
        common = jnp.matmul(images, prepared.zeros.T, precision="highest")
        distances = jnp.sum(images, 1)[:, None] + inked - 2 * common
        return {
            "log10_success_rate": success_rate.log_success_rate(scores) / LN10,
            "log10_success_rate_without_first": success_rate.log_success_rate(
                scores[config.without_top :]
            )
            / LN10,
            "num_carrying_targets": success_rate.num_carrying(scores),
            "entropy": -jnp.mean(algorithm.log_prob(state, drawn)),
            "duplicate_rate": diagnostics.duplicate_rate(drawn),
            "nearest_training_pixels": jnp.mean(jnp.min(distances, axis=1)),
        }

    return final


def runner(config: Config, name: str, prepared: Prepared) -> Runner:
    method = METHODS[name]
    algorithm = method.build(config.settings, config.networks)
    base = method.base(config.settings)
    return Runner(
        name,
        algorithm,
        method.task(prepared.task),
        prepared.bases[base],
        config.rounds,
        evaluation(config, prepared, algorithm),
        final_evaluation(config, prepared, algorithm),
        {
            "task": config.task,
            "num_round_targets": config.num_round_targets,
            "without_top": config.without_top,
            **method.configuration,
        },
        files.expand(config.runs) / "cells",
        config.block,
        min(config.seeds_at_once, config.seeds),
    )


def outcome(config: Config, name: str, prepared: Prepared, result: SeedRuns) -> str:
    gain = result.final["log10_success_rate"].astype(float) - prepared.log10_rate
    return f"{10 ** np.median(gain):.3g} times the prior in the median"


def found(config: Config, prepared: Prepared, results: Results) -> Found:
    rows = mnist_table.rows(config, prepared, results, prepared.free_controls)
    words = mnist_table.in_words(rows)
    return Found(
        rows,
        [(mnist_table.readable(rows), columns) for columns in mnist_table.TABLES],
        words,
        {"conclusion": words, **measured(prepared)}
        | {"algorithms": {name: mnist_table.details(result) for name, result in results.items()}},
    )


def draw(config: Config, parts: Sequence[Part[Prepared]], summary: dict[str, Any], folder: Path):
    (part,) = parts
    mnist_figures.draw(config, part.prepared, part.results, summary, folder)


def gains(config: Config, prepared: Prepared, result: SeedRuns) -> tuple[np.ndarray, np.ndarray]:
    """Decades over the prior, by round and final."""
    # As float64: float32 would be written as 1.4440000057.
    over = lambda values: values.astype(float) - prepared.log10_rate
    return over(result.metrics["log10_success_rate"]), over(result.final["log10_success_rate"])


def free_gains(config: Config, prepared: Prepared) -> dict[str, Gains]:
    over = lambda rates: np.array([rates.log10_rate]) - prepared.log10_rate
    return {c.label: (over(c.rate), over(c.rate)) for c in prepared.free_controls}


EXPERIMENT = Experiment[Config, Prepared](
    PRESETS,
    prepare=lambda config: [prepare(config)],
    describe=lambda config, prepared: describe(prepared),
    runner=runner,
    outcome=outcome,
    found=found,
    draw=draw,
    gains=gains,
    free_gains=free_gains,
    legend=mnist_table.LEGEND,
    table="table2.json",
)
main = EXPERIMENT.main
