"""Figures of the addition attack."""

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from experiments.figures import COLOURS

BANDS = 3  # lines of a panel that are shown with their spread


def success_rate(path: Path, config, ground, cells, methods) -> None:
    """Success rate by reward evaluations, median over seeds; of the three that end best in a
    panel from lowest to highest as well.

    Controls stand left, in dashes, those that cost no evaluation in dots; what learns right. A
    rate without a success among its samples is drawn as half of one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    floor = 0.5 / config.num_evaluated
    figure, panels = plt.subplots(1, 2, figsize=(13, 7.2), sharey=True, layout="constrained")
    for axes, controls in zip(panels, (True, False), strict=True):
        names = [name for name in cells if methods[name].control == controls]
        ends = {name: np.median(cells[name].final["successes"]) for name in names}
        best = sorted(names, key=lambda name: ends[name], reverse=True)[:BANDS]
        for i, name in enumerate(names):
            rates = np.maximum(cells[name].metrics["success_rate"], floor)
            evaluations = config.settings.num_candidates * np.arange(1, rates.shape[1] + 1)
            colour = COLOURS[i % len(COLOURS)]
            styles: tuple[Any, Any] = ("--", (0, (5, 1, 1, 1))) if controls else ("-", "-.")
            style = styles[i // len(COLOURS) % 2]
            axes.plot(
                evaluations, np.median(rates, 0), ls=style, color=colour, lw=1.5,
                label=methods[name].title,
            )  # fmt: skip
            if name in best:
                axes.fill_between(
                    evaluations, rates.min(0), rates.max(0), color=colour, alpha=0.12, lw=0
                )
        for control, colour in zip(
            ground.costless if controls else (), COLOURS[::-1], strict=False
        ):
            axes.axhline(
                max(control.rate.value, floor), color=colour, ls=":", lw=1.5, label=control.title
            )
        axes.axhline(max(ground.prior.value, floor), color="#000000", lw=0.8)
        axes.set_yscale("log")
        axes.set_title("controls" if controls else "what learns", fontsize=10)
        axes.set_xlabel("reward evaluations")
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(
            fontsize=7, frameon=False, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.1)
        )
    panels[0].set_ylabel("success rate (the prior's in black)")
    figure.savefig(path, dpi=150)
    plt.close(figure)


def tempering(path: Path, ground) -> None:
    """The prior's success rate at single temperatures, with 95% intervals."""
    path.parent.mkdir(parents=True, exist_ok=True)
    curve = dict(sorted({**ground.by_temperature, 1.0: ground.prior}.items()))
    rates = np.array([rate.value for rate in curve.values()])
    low, high = np.array([rate.interval for rate in curve.values()]).T
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    axes.errorbar(
        list(curve), rates, [rates - low, high - rates], marker="o", capsize=3, color=COLOURS[0]
    )
    axes.set_yscale("log")
    axes.set_xlabel("temperature of the prior")
    axes.set_ylabel("success rate, 95% interval")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
    plt.close(figure)
