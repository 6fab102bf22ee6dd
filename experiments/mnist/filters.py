"""What filters alone do on MNIST: Algorithm 1's gain after 1 to 8 filters, and tempering's.

    python -m experiments.mnist.filters --preset=cpu

Nothing is distilled here, so nothing can be lost in it. A filter at f = 2 gains at most 0.3
decades. Beside the sum over targets, which a few dominate, stands the share of targets that
pass against the share of samples that pass. What is on disk is not run again.
"""

import dataclasses
import time
from pathlib import Path

import numpy as np

from banel_jax import files
from banel_jax.runs import fingerprint, naming
from banel_jax.runs.progress import progress
from banel_jax.types import Sequences
from experiments.common import flags, report
from experiments.common.methods import network
from experiments.mnist import experiment as mnist
from experiments.mnist import figures as mnist_figures
from experiments.mnist import filtering
from experiments.mnist.filtering import Base
from experiments.mnist.filters_config import PRESETS, VARIANTS, Config, Variant

COLUMNS = ("variant", "filters", "samples", "gain", "without top", "targets", "bound")


def run(config: Config, prepared: mnist.Prepared) -> dict[str, np.ndarray]:
    """Of each variant, [seeds, filters, 4]; what is on disk is read, the rest is run."""
    c = config.experiment
    found: dict[str, list[np.ndarray]] = {name: [] for name in VARIANTS}
    seeds = range(c.first_seed, c.first_seed + config.seeds)
    bar = progress(range(len(seeds) * len(VARIANTS)), len(seeds) * len(VARIANTS), "filters")
    bases = {name: filtering.base_of(config, prepared, name) for name in prepared.bases}
    for seed in seeds:
        drawn: dict[str, tuple[Sequences, np.ndarray]] = {}
        for name, variant in VARIANTS.items():
            base = bases[variant.base]
            path = _path(config, variant, base, seed)
            if not path.exists():
                if variant.base not in drawn:
                    drawn[variant.base] = filtering.draw(config, base, seed)
                member = network(c.task.transformer, variant.dropout)
                values = filtering.run_variant(
                    config, base, variant, member, seed, *drawn[variant.base]
                )
                path.parent.mkdir(parents=True, exist_ok=True)
                with files.replacing(path) as file:
                    np.savetxt(file, values)
            found[name].append(np.loadtxt(path, ndmin=2))
            bar.update(1)
    bar.close()
    return {name: np.stack(values) for name, values in found.items()}


def _path(config: Config, variant: Variant, base: Base, seed: int) -> Path:
    """Named after everything that determines the numbers."""
    c = config.experiment
    settings = naming.plain(config).without(("experiment", "seeds")) | {
        "variant": variant,
        "task": c.task,
        "without_top": c.without_top,
        "base": fingerprint.of_arrays(base.params),
        "targets": fingerprint.of_arrays(base.targets),
        "seed": seed,
    }
    return files.expand(c.runs) / "filters" / f"{naming.identity(settings)}.txt"


def main(config: Config) -> None:
    started = time.perf_counter()
    c = config.experiment
    output = report.output_folder(c.output)
    # The broadened prior is made where an algorithm that is chosen starts from it.
    prepared = mnist.prepare(dataclasses.replace(c, algorithms=("prior", "broadened")))
    results = run(config, prepared)
    over = lambda rates: rates.log10_rate - prepared.log10_rate
    curve = {t: over(rates) for t, rates in prepared.by_temperature.items()} | {1.0: 0.0}
    curve = dict(sorted(curve.items()))
    lines = [
        {
            "variant": name if number == 0 else "",
            "filters": number + 1,
            "samples": float(np.median(values[:, number, 0])),
            "gain": report.format_spread(values[:, number, 1]),
            "without top": report.format_spread(values[:, number, 2]),
            "targets": float(np.median(values[:, number, 3])),
            "bound": (number + 1) * np.log10(2),
        }
        for name, values in results.items()
        for number in range(config.filters)
    ]
    report.print_table(lines, COLUMNS)
    print(
        "\ngain in decades, median over seeds [lowest, highest]; samples, targets: share that "
        "passes\n\ntempering alone, gain in decades by T: "
        + ", ".join(f"{t:g}: {gain:.2f}" for t, gain in curve.items())
    )
    name = f"filters_{c.task.resolution}"
    columns = ("samples", "gain", "gain_without_top", "targets")
    found = (
        report.provenance(started)
        | {"config": dataclasses.asdict(config), "log10_prior_success_rate": prepared.log10_rate}
        | {"log10_gain_by_temperature": curve}
        | {
            "variants": {
                variant: {column: values[:, :, i] for i, column in enumerate(columns)}
                for variant, values in results.items()
            }
        }
    )
    mnist_figures.filters(output / "figures" / f"{name}.png", found)
    report.write_json(output / f"{name}.json", found)
    print(f"\nwritten: {output}/{name}.json, figures/{name}.png")


if __name__ == "__main__":
    flags.run(main, PRESETS["paper"], PRESETS)
