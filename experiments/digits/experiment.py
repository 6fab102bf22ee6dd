"""Digits, 0 -> 6: BaNEL beside its controls on real handwritten digits.

    python -m experiments.digits

pretrains a transformer on scikit-learn's 8x8 0s and lets each method look for 6s, paying for
every look; experiments/digits/README.md has minutes and results. The same command on the same
folder goes on where it was stopped.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from banel_jax import files, success_rate
from banel_jax.types import Sequences
from experiments.common import report
from experiments.common.comparison import Experiment, Found, Gains, Part, Results
from experiments.common.seed_runs import Runner, SeedRuns
from experiments.digits import figures as digits_figures
from experiments.digits import table as digits_table
from experiments.digits.config import PRESETS, Config
from experiments.digits.methods import METHODS, relevant
from experiments.digits.prepare import Prepared, describe, measured, prepare

BLOCK = 5  # rounds in a compiled call
NUM_SNAPSHOT = 64  # samples kept of the last state
DRAWN = ("prior", "banel", "ours", "filtering")  # whose samples are shown


def runner(config: Config, name: str, prepared: Prepared) -> Runner:
    method = METHODS[name]
    algorithm = method.build(config.settings, config.networks)
    assert prepared.task.targets is not None
    return Runner(
        name,
        algorithm,
        method.task(prepared.task),
        prepared.bases[config.base],
        config.rounds,
        success_rate.exact_evaluation(algorithm, prepared.task.targets),
        lambda state: {},  # the last round has all of it
        {"task": config.task, **method.configuration},
        files.expand(config.runs or config.output) / "cells",
        BLOCK,
        num_snapshot=NUM_SNAPSHOT,
    )


def gains(config: Config, prepared: Prepared, result: SeedRuns) -> tuple[np.ndarray, np.ndarray]:
    """Decades over the base, by round and final."""
    by_round = result.metrics["log10_success_rate"].astype(float) - prepared.log10_base
    return by_round, by_round[:, -1]


def free_gains(config: Config, prepared: Prepared) -> dict[str, Gains]:
    best = np.log10(prepared.best_temperature.finals)
    return {"best T, chosen by looking": (best, best)}


def outcome(config: Config, name: str, prepared: Prepared, result: SeedRuns) -> str:
    final = 10 ** gains(config, prepared, result)[1]
    return f"{report.format_value(float(np.median(final)))} times the base in the median"


def found(config: Config, prepared: Prepared, results: Results) -> Found:
    m, free = config.num_candidates, prepared.best_temperature
    summary = {
        METHODS[name].title: digits_table.summarise(result.metrics, prepared.log10_base, m)
        for name, result in results.items()
    }
    seconds = {METHODS[name].title: result.seconds for name, result in results.items()}
    rows = digits_table.rows(config, summary, seconds, free)
    words = digits_table.in_words(config, summary, prepared.log10_base, free)
    return Found(
        rows,
        [(rows, digits_table.COLUMNS)],
        words,
        measured(prepared) | {"conclusion": words, "methods": summary, "seconds": seconds},
        f"The best single temperature, {free.title}: {free.median:.3g} times the base.",
    )


def draw(config: Config, parts: Sequence[Part[Prepared]], summary: dict[str, Any], folder: Path):
    digits_figures.draw(summary, folder)
    ((prepared, results, _),) = parts
    task = prepared.task
    images = {
        METHODS[name].title: task.render(_sequences(results[name].snapshots[0, -1]))
        for name in DRAWN
        if name in results
    }
    images["targets"] = task.render(jax.tree.map(lambda x: x[_spread_rows(x)], task.targets))
    digits_figures.samples(folder / "samples.png", images)


def _sequences(tokens: np.ndarray) -> Sequences:
    return Sequences(jnp.asarray(tokens), jnp.ones(tokens.shape, bool))


def _spread_rows(rows) -> np.ndarray:
    return np.linspace(0, rows.shape[0] - 1, NUM_SNAPSHOT).astype(int)


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
    legend=digits_table.LEGEND,
    relevant=relevant,
)
main = EXPERIMENT.main
