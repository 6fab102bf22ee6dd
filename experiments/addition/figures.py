"""Figures of the addition attack."""

from pathlib import Path
from typing import Any

import numpy as np

from experiments.common.figures import COLOURS, Floor, plt, rate_by_temperature, save, seeds

BANDS = 3  # lines of a panel that are shown with their spread


def success_rate(path: Path, config, ground, cells, methods) -> None:
    """Success rate by reward evaluations, median over seeds; of the three that end best in a
    panel from lowest to highest as well.

    Controls stand left, in dashes, those that cost no evaluation in dots; what learns right.
    """
    floor = Floor.of_samples(config.num_evaluated)
    figure, panels = plt.subplots(1, 2, figsize=(13, 7.2), sharey=True, layout="constrained")
    for axes, controls in zip(panels, (True, False), strict=True):
        names = [name for name in cells if methods[name].control == controls]
        ends = {name: np.median(cells[name].final["successes"]) for name in names}
        best = sorted(names, key=lambda name: ends[name], reverse=True)[:BANDS]
        for i, name in enumerate(names):
            rates = cells[name].metrics["success_rate"]
            evaluations = config.settings.num_candidates * np.arange(1, rates.shape[1] + 1)
            colour = COLOURS[i % len(COLOURS)]
            styles: tuple[Any, Any] = ("--", (0, (5, 1, 1, 1))) if controls else ("-", "-.")
            style = styles[i // len(COLOURS) % 2]
            middle, low, high = seeds(rates)
            spread = (low, high) if name in best else ()
            label = methods[name].title
            floor.curve(axes, evaluations, middle, *spread, colour=colour, label=label, ls=style)
        for control, colour in zip(
            ground.costless if controls else (), COLOURS[::-1], strict=False
        ):
            floor_of = Floor.of_samples(control.rate.samples)
            floor_of.level(
                axes, control.rate.value, colour=colour, ls=":", lw=1.5, label=control.title
            )
        floor_of = Floor.of_samples(ground.prior.samples)
        floor_of.level(axes, ground.prior.value, colour="#000000", lw=0.8, label="the prior")
        axes.set_yscale("log")
        axes.set_title("controls" if controls else "what learns", fontsize=10)
        axes.set_xlabel("reward evaluations")
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(
            fontsize=7, frameon=False, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.1)
        )
    panels[0].set_ylabel("success rate")
    save(figure, path)


def tempering(path: Path, ground) -> None:
    """The prior's success rate at single temperatures, with 95% intervals."""
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    rate_by_temperature(axes, {**ground.by_temperature, 1.0: ground.prior}, COLOURS[0])
    if axes.get_legend_handles_labels()[1]:
        axes.legend(fontsize=8, frameon=False)
    save(figure, path)
