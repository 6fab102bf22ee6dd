"""MNIST, 0 -> 6 (Section 5.1): every method of the paper, and its controls, on one harness.

    python -m experiments.mnist --preset=cpu

pretrains the prior, runs each algorithm from each seed for the same number of reward
evaluations, and writes Table 2 and Figures 2 and 11 with the controls in them. What is on disk
is not run again.

    python -m experiments.mnist --preset=cpu --algorithms=banel,rnd --sweep.failure_epochs=1,10,50

runs them at several values of any field (Figure 3). See the README for minutes and results.
"""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from banel_jax import checks, diagnostics, files, scoring, success_rate
from banel_jax.success_rate import LN10
from banel_jax.tasks.mnist import task as mnist
from banel_jax.tasks.mnist.data import load_mnist
from banel_jax.training import TrainingConfig
from banel_jax.types import Algorithm, Params, Sequences, State, Task
from experiments.common import methods, report, sweeps
from experiments.common.broadening import BroadenConfig, broadened
from experiments.common.cells import Cell, Runner, run_each
from experiments.common.methods import METHODS, Networks, Settings
from experiments.mnist import controls as mnist_controls
from experiments.mnist import figures as mnist_figures
from experiments.mnist import table as mnist_table

NUM_DRAWN = 250  # of the last state, for the diversity of its samples


@dataclass(frozen=True)
class Config:
    """Settings of the experiment.

    Attributes:
      algorithms: which to run; empty for all: prior, ladder, broadened, banel_f1, ours_f1,
        ours_by_prior (controls), banel, banel_base, importance, inverse, ours, filtering,
        policy_gradient, negative_rl, rnd, pseudo_count, gflownet_tb, gflownet_vargrad, rtb.
      rounds: of num_candidates reward evaluations each, of every algorithm.
      seeds: how many runs of each algorithm.
      first_seed: the seeds are this one and those that follow.
      seeds_at_once: in one compiled call, computed as one batch. All of them use a GPU best, 1
        a CPU.
      block: rounds in a compiled call; what it did is on disk before the next.
      num_round_targets: how many of the targets, the likeliest under the prior, the success
        rates by round are summed over; 0 for all. Final values are always over all.
      without_top: leave so many of the likeliest targets out of the second figure.
      num_cut_samples: of the prior, from which the control that cuts it by its own likelihood
        takes its thresholds.
      data_dir: folder of MNIST's four files, or of prepared tensorflow-datasets; by default
        the environment's BANEL_DATA_DIR.
      prior_file: a pretrained prior from another run's folder; empty to pretrain one.
      output: folder of the tables and figures.
      runs: folder of the pretrained prior and of the runs themselves.
      settings: of the algorithms.
      broaden: the broadened prior.
      task: the task.
    """

    main_flags: ClassVar[tuple[str, ...]] = (
        "algorithms", "rounds", "seeds", "first_seed", "seeds_at_once", "settings.num_candidates",
        "num_round_targets", "task.resolution", "data_dir", "prior_file", "output", "runs",
    )  # fmt: skip

    algorithms: tuple[str, ...] = ()
    rounds: int = 30
    seeds: int = 5
    first_seed: int = 0
    seeds_at_once: int = 5
    block: int = 5
    num_round_targets: int = 0
    without_top: int = 10
    num_cut_samples: int = 20_000
    data_dir: str = ""
    prior_file: str = ""
    output: str = "runs/mnist/results"
    runs: str = "runs/mnist"
    settings: Settings = field(default_factory=Settings)
    broaden: BroadenConfig = field(default_factory=BroadenConfig)
    task: mnist.MnistConfig = field(default_factory=mnist.MnistConfig)

    def __post_init__(self):
        checks.fields(self)
        numbers = ("rounds", "seeds", "seeds_at_once", "block", "num_cut_samples")
        checks.integers(self, *numbers, at_least=1)
        checks.integers(self, "num_round_targets", "without_top", at_least=0)
        checks.seeds(self, "first_seed")
        methods.check(self, METHODS)

    @property
    def chosen(self) -> tuple[str, ...]:
        return self.algorithms or tuple(METHODS)

    @property
    def networks(self) -> Networks:
        """Random network distillation sees pixels."""
        observe = partial(_flat_pixels, self.task)
        return methods.of_transformer(self.task.transformer, self.task.resolution**2, observe)


def _flat_pixels(task: mnist.MnistConfig, sequences: Sequences) -> jax.Array:
    return mnist.pixels(task, sequences).reshape(-1, task.resolution**2)


class Ground(NamedTuple):
    """What the algorithms of a configuration have in common.

    Attributes:
      task: with all targets, the likeliest under the prior first.
      bases: parameters to start from, by name.
      log10_rate: of the prior over all targets.
      log10_rate_without_top: the same without the likeliest of them.
      held_out: 0s that the prior was not trained on.
      zeros: images of the training 0s, float32 [n, pixels].
      prior_metrics: held-out nats of the prior and its epochs.
    """

    task: Task
    bases: dict[str, Params]
    log10_rate: float
    log10_rate_without_top: float
    held_out: Sequences
    zeros: jax.Array
    prior_metrics: dict[str, float]


def prepare(config: Config) -> Ground:
    """The task, its prior and what else is needed, all of it kept in `config.runs`."""
    data = load_mnist(config.data_dir or None)
    cache = report.output_folder(config.runs)
    prior = mnist.pretrained_prior(config.task, data, cache, config.prior_file or None)
    task = mnist.mnist(config.task, data, prior)
    assert task.targets is not None
    scores = scoring.log_likelihood(task.prior, task.prior_params, task.targets)
    if config.without_top >= len(scores):
        raise ValueError(
            f"without_top={config.without_top} leaves none of {len(scores)} targets; give fewer"
        )
    order = jnp.argsort(-scores, stable=True)
    targets = jax.tree.map(lambda x: x[order], task.targets)
    decades = lambda scores: float(success_rate.log_success_rate(scores)) / LN10
    zeros, held_out = mnist.pretraining_sequences(config.task, data)
    rows = np.flatnonzero(np.asarray(held_out))[:200]
    bases = {"prior": task.prior_params}
    needed = {METHODS[name].base(config.settings) for name in config.chosen}
    if "broadened" in needed:
        bases["broadened"] = broadened(task, config.broaden, config.task.seed, cache, "mnist")
    return Ground(
        task=task._replace(targets=targets),
        bases=bases,
        log10_rate=decades(scores),
        log10_rate_without_top=decades(scores[order][config.without_top :]),
        held_out=jax.tree.map(lambda x: x[rows], zeros),
        zeros=mnist.pixels(config.task, zeros).reshape(zeros.tokens.shape[0], -1),
        prior_metrics=prior.metrics,
    )


def round_targets(config: Config, ground: Ground) -> Sequences:
    number = config.num_round_targets or None
    return jax.tree.map(lambda x: x[:number], ground.task.targets)


def evaluation(config: Config, ground: Ground, algorithm: Algorithm):
    """Of each round: success rates, and how well the model still knows its 0s."""
    rates = success_rate.exact_evaluation(
        algorithm, round_targets(config, ground), config.without_top
    )

    def evaluate(asked: State, state: State):
        known = -jnp.mean(algorithm.log_prob(state, ground.held_out))
        return rates(asked, state) | {"held_out_nats": known}

    return evaluate


def final_evaluation(config: Config, ground: Ground, algorithm: Algorithm):
    """Of the last state: rates over all targets, and the diversity of what it draws."""
    assert ground.task.targets is not None
    targets = ground.task.targets
    inked = jnp.sum(ground.zeros, 1)  # here, or XLA folds the sum while it compiles, and is slow

    def final(state: State):
        scores = algorithm.log_prob(state, targets)
        drawn = algorithm.sample(jax.random.key(1), state, NUM_DRAWN)
        images = mnist.pixels(config.task, drawn).reshape(NUM_DRAWN, -1)
        # Pixels that differ from the nearest training image, by |a| + |b| - 2 a.b.
        common = jnp.matmul(images, ground.zeros.T, precision="highest")
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


def runner(config: Config, name: str, ground: Ground) -> Runner:
    method = METHODS[name]
    algorithm = method.build(config.settings, config.networks)
    base = method.base(config.settings)
    return Runner(
        name,
        algorithm,
        method.task(ground.task),
        ground.bases[base],
        config.rounds,
        evaluation(config, ground, algorithm),
        final_evaluation(config, ground, algorithm),
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


def run(config: Config, ground: Ground) -> dict[str, Cell]:
    """The chosen algorithms, from disk or run now; one that cannot go on is told of and left."""
    methods.check_rounds(config)

    def in_words(name, cell):
        gain = cell.final["log10_success_rate"].astype(float) - ground.log10_rate
        return f"{10 ** np.median(gain):.3g} times the prior in the median"

    seeds = range(config.first_seed, config.first_seed + config.seeds)
    run_one = lambda name: runner(config, name, ground)
    return run_each(METHODS, config.chosen, run_one, seeds, in_words)


def by_rate(curve: Mapping[float, mnist_controls.Rates]) -> dict[float, float]:
    return {at: rates.log10_rate for at, rates in curve.items()}


def costless_controls(config: Config, ground: Ground):
    """(rates by temperature, rates by cut, those of them that tables and figures show)."""
    temperatures = mnist_controls.tempering(ground.task, config.without_top)
    filtering = config.settings.filtering
    factor = filtering.filter_factor ** (len(filtering.filter_rounds) or 1)
    cuts = mnist_controls.cutting(ground.task, config.without_top, factor, config.num_cut_samples)
    return temperatures, cuts, mnist_controls.shown(temperatures, cuts, factor)


PRESETS: dict[str, Config] = {
    "paper": Config(),
    "cpu": Config(
        seeds=3,
        seeds_at_once=1,
        num_round_targets=300,
        task=mnist.MnistConfig(num_layers=2, num_heads=2, width=32),
    ),
    "cpu14": Config(
        seeds_at_once=1,
        num_round_targets=300,
        task=mnist.MnistConfig(resolution=14, patch_width=2, num_layers=2, num_heads=2, width=32),
    ),
    "smoke": Config(
        algorithms=(
            "prior",
            "ladder",
            "banel_f1",
            "banel",
            "ours",
            "negative_rl",
            "rnd",
            "pseudo_count",
            "gflownet_vargrad",
        ),
        rounds=2,
        seeds=2,
        seeds_at_once=1,
        num_round_targets=200,
        num_cut_samples=1000,
        output="runs/mnist_smoke/results",
        runs="runs/mnist_smoke",
        settings=Settings(num_candidates=20, failure_epochs=2, generator_epochs=1),
        broaden=BroadenConfig(num_samples=50, training=TrainingConfig(epochs=1)),
        task=mnist.MnistConfig(
            resolution=14,
            patch_width=7,
            patch_height=1,
            num_layers=1,
            num_heads=2,
            width=16,
            num_targets=1000,
            pretraining=TrainingConfig(epochs=1),
        ),
    ),
}


def main(config: Config) -> None:
    started = time.perf_counter()
    output = report.output_folder(config.output)
    ground = prepare(config)
    assert ground.task.targets is not None
    print(
        f"{ground.task.targets.tokens.shape[0]:,} targets; success rate of the prior "
        f"{10**ground.log10_rate:.3g}, exact; its held-out 0s take "
        f"{ground.prior_metrics['held_out_nats']:.1f} nats"
    )
    cells = run(config, ground)
    if not cells:
        raise ValueError("no algorithm came to its end; see above")
    temperatures, cuts, costless = costless_controls(config, ground)
    rows = mnist_table.rows(config, ground, cells, costless)
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
        | {"config": asdict(config), "log10_prior_success_rate": ground.log10_rate}
        | {"prior": ground.prior_metrics, "conclusion": words}
        | {"log10_success_rate_by_temperature": by_rate(temperatures)}
        | {"log10_success_rate_of_likeliest_1_in": by_rate(cuts)}
        | {"algorithms": {name: mnist_table.details(cell) for name, cell in cells.items()}},
    )
    report.write_json(output / "summary.json", summary)
    mnist_figures.draw(config, ground, cells, summary, output / "figures")
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
    cells: list[dict[str, Cell]] = []
    grounds: list[Ground] = []
    for value, point in points:
        print(f"{field} = {value}", flush=True)
        grounds.append(prepare(point))
        cells.append(run(point, grounds[-1]))
    base = np.array([g.log10_rate for g in grounds])[:, None]
    rates = lambda numbers: numbers["log10_success_rate"].astype(float)
    of_each = lambda rate: sweeps.stack(
        [{METHODS[name].title: rate(cell) for name, cell in at.items()} for at in cells]
    )
    over_base = lambda stacked: {title: rate - base for title, rate in stacked.items()}
    # By measure and algorithm, decades over the prior [values, seeds].
    measures = {
        "best": over_base(of_each(lambda cell: rates(cell.metrics).max(axis=1))),
        "final": over_base(of_each(lambda cell: rates(cell.final))),
    }
    found: dict[Any, list[mnist_controls.Costless]] = {}
    for (_, c), ground in zip(points, grounds, strict=True):
        needs = (c.task, c.without_top, c.settings.filtering)
        found[needs] = found.get(needs) or costless_controls(c, ground)[2]
    controls = [found[c.task, c.without_top, c.settings.filtering] for _, c in points]
    for same in zip(*controls, strict=True):
        gains = np.array([[control.rates.log10_rate] for control in same]) - base
        measures["best"][same[0].kind] = measures["final"][same[0].kind] = gains
    about = report.provenance(started) | {"config": asdict(config)}
    sweeps.show(
        output, field, [value for value, _ in points], measures, about, sweeps.colours(METHODS)
    )
