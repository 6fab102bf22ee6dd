"""MNIST, 0 -> 6 (Section 5.1): every method of the paper, and its controls, on one harness.

    python -m experiments.mnist --preset=cpu

pretrains the prior, runs each algorithm from each seed for the same number of reward
evaluations, and writes Table 2 and Figures 2 and 11 with the controls in them. What is on disk
is not run again.

    python -m experiments.mnist --preset=cpu --algorithms=banel,rnd --sweep.failure_epochs=1,10,50

runs them at several values of any field (Figure 3). Minutes and results stand in
experiments/mnist/README.md.
"""

import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from banel_jax import diagnostics, files, success_rate
from banel_jax.success_rate import LN10
from banel_jax.tasks.mnist import task as mnist
from banel_jax.types import Algorithm, Sequences, State
from experiments.common import methods, report, sweeps
from experiments.common.methods import METHODS
from experiments.common.seed_runs import Runner, SeedRuns, run_each
from experiments.mnist import controls as mnist_controls
from experiments.mnist import figures as mnist_figures
from experiments.mnist import table as mnist_table
from experiments.mnist.config import PRESETS, Config
from experiments.mnist.prepare import Prepared, prepare

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
            "task": asdict(config.task),
            "num_round_targets": config.num_round_targets,
            "without_top": config.without_top,
            **method.configuration,
        },
        files.expand(config.runs) / "cells",
        config.block,
        min(config.seeds_at_once, config.seeds),
    )


def run(config: Config, prepared: Prepared) -> dict[str, SeedRuns]:
    """The chosen algorithms, from disk or run now; one that cannot go on is told of and left."""
    methods.check_rounds(config)

    def in_words(name, result):
        gain = result.final["log10_success_rate"].astype(float) - prepared.log10_rate
        return f"{10 ** np.median(gain):.3g} times the prior in the median"

    seeds = range(config.first_seed, config.first_seed + config.seeds)
    run_one = lambda name: runner(config, name, prepared)
    return run_each(METHODS, config.chosen, run_one, seeds, in_words)


def by_rate(curve: Mapping[float, mnist_controls.Rates]) -> dict[float, float]:
    return {at: rates.log10_rate for at, rates in curve.items()}


def free_controls_of(config: Config, prepared: Prepared):
    """(rates by temperature, rates by cut, those of them that tables and figures show)."""
    temperatures = mnist_controls.tempering(prepared.task, config.without_top)
    filtering = config.settings.filtering
    factor = filtering.filter_factor ** (len(filtering.filter_rounds) or 1)
    cuts = mnist_controls.cutting(prepared.task, config.without_top, factor, config.num_cut_samples)
    return temperatures, cuts, mnist_controls.shown(temperatures, cuts, factor)


def main(config: Config) -> None:
    started = time.perf_counter()
    output = report.output_folder(config.output)
    prepared = prepare(config)
    assert prepared.task.targets is not None
    print(
        f"{prepared.task.targets.tokens.shape[0]:,} targets; success rate of the prior "
        f"{10**prepared.log10_rate:.3g}, exact; its held-out 0s take "
        f"{prepared.prior_metrics['held_out_nats']:.1f} nats"
    )
    results = run(config, prepared)
    if not results:
        raise ValueError("no algorithm came to its end; see above")
    temperatures, cuts, free_controls = free_controls_of(config, prepared)
    rows = mnist_table.rows(config, prepared, results, free_controls)
    print()
    for columns in mnist_table.TABLES:
        report.print_table(mnist_table.readable(rows), columns)
        print()
    words = mnist_table.in_words(rows)
    print(mnist_table.LEGEND + "\n\n" + words)
    about = report.provenance(started)
    stamp = {k: about[k] for k in ("command", "commit", "device")}
    # Rows read from disk keep the commit that ran them.
    report.write_json(
        output / "table2.json",
        [stamp | {"preset": methods.preset_of(config, PRESETS)} | row for row in rows],
    )
    summary = report.jsonable(
        about
        | {"config": asdict(config), "log10_prior_success_rate": prepared.log10_rate}
        | {"prior": prepared.prior_metrics, "conclusion": words}
        | {"log10_success_rate_by_temperature": by_rate(temperatures)}
        | {"log10_success_rate_of_likeliest_1_in": by_rate(cuts)}
        | {"algorithms": {name: mnist_table.details(result) for name, result in results.items()}},
    )
    report.write_json(output / "summary.json", summary)
    mnist_figures.draw(config, prepared, results, summary, output / "figures")
    print(
        f"\nwritten: {output}/table2.json, summary.json, figures/ "
        f"({time.perf_counter() - started:.0f} s in all)"
    )


def sweep(field: str, points: list[tuple[str, Config]]) -> None:
    """The algorithms at several values of one field (Figure 3, where it is failure_epochs)."""
    started = time.perf_counter()
    config = points[0][1]
    output = report.output_folder(config.output)
    sweeps.check(field, [c for _, c in points])
    results: list[dict[str, SeedRuns]] = []
    every_prepared: list[Prepared] = []
    for value, point in points:
        print(f"{field} = {value}", flush=True)
        every_prepared.append(prepare(point))
        results.append(run(point, every_prepared[-1]))
    base = np.array([g.log10_rate for g in every_prepared])[:, None]
    rates = lambda numbers: numbers["log10_success_rate"].astype(float)
    of_each = lambda rate: sweeps.stack(
        [{METHODS[name].title: rate(result) for name, result in at.items()} for at in results]
    )
    over_base = lambda stacked: {title: rate - base for title, rate in stacked.items()}
    # By measure and algorithm, decades over the prior [values, seeds].
    measures = {
        "best": over_base(of_each(lambda result: rates(result.metrics).max(axis=1))),
        "final": over_base(of_each(lambda result: rates(result.final))),
    }
    found: dict[Any, list[mnist_controls.FreeControl]] = {}
    for (_, c), prepared in zip(points, every_prepared, strict=True):
        needs = (c.task, c.without_top, c.settings.filtering)
        found[needs] = found.get(needs) or free_controls_of(c, prepared)[2]
    controls = [found[c.task, c.without_top, c.settings.filtering] for _, c in points]
    for same in zip(*controls, strict=True):
        gains = np.array([[control.rates.log10_rate] for control in same]) - base
        measures["best"][same[0].kind] = measures["final"][same[0].kind] = gains
    about = report.provenance(started) | {"config": asdict(config)}
    sweeps.show(
        output, field, [value for value, _ in points], measures, about, sweeps.colours(METHODS)
    )
