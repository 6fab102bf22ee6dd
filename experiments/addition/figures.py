"""Figures of the addition attack, from its summary.json.

    python -m experiments.addition.figures

draws those of the committed results again.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from experiments.common import curves, redraw
from experiments.common.curves import Curve, Level
from experiments.common.figures import WIDTH, Floor, colour, plt, rate_by_temperature, save
from experiments.common.methods import Method
from experiments.common.rate_table import best_of, rate_of, rates_of


def draw(summary: Mapping[str, Any], folder: Path, methods: Mapping[str, Method]) -> None:
    """All of them, from what `summary.json` holds."""
    success_rate(folder / "success_rate.png", summary, methods)
    tempering(folder / "tempering.png", summary)


def success_rate(path: Path, summary: Mapping[str, Any], methods: Mapping[str, Method]) -> None:
    """Success rate by reward evaluations, median over seeds and from lowest to highest."""
    config = summary["config"]
    controls = [
        best_of("best T", rates_of(summary["by_temperature"])),
        best_of("least likely 1 in f of the prior", rates_of(summary["least_likely_1_in"])),
    ]
    curves.draw(
        path,
        [
            Curve(name, methods[name].title, np.array(of["rounds"]["success_rate"]), control)
            for name, of in summary["algorithms"].items()
            for control in [methods[name].control]
        ],
        [Level(control.title, control.rate.value) for control in controls],
        Level("prior", rate_of(summary["prior"]).value, "prior"),
        config["settings"]["num_candidates"],
        Floor.of_samples(config["num_evaluated"]),
        "success rate",
        f"Addition, operands of up to {config['task']['grammar']['max_digits']} digits",
        scale="log",
    )


def tempering(path: Path, summary: Mapping[str, Any]) -> None:
    """The prior's success rate at single temperatures, with 95% intervals."""
    figure, axes = plt.subplots(figsize=(WIDTH, 4), layout="constrained")
    by_temperature = {**rates_of(summary["by_temperature"]), 1.0: rate_of(summary["prior"])}
    rate_by_temperature(axes, by_temperature, colour("temperature"))
    if axes.get_legend_handles_labels()[1]:
        axes.legend()
    save(figure, path)


if __name__ == "__main__":
    from experiments.addition.methods import METHODS

    redraw.run(
        lambda summary, folder: draw(summary, folder, METHODS),
        "experiments/results/addition",
        METHODS,
    )
