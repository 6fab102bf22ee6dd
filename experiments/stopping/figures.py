"""Success rates by round: where a run without a success is at its best, and what it is after.

    python -m experiments.stopping.figures

draws the figure of the committed results again.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from experiments.common import redraw
from experiments.common.figures import below, colour, grid, save

SHADED = ("banel", "ours")


def draw(summary: Mapping[str, Any], folder: Path) -> None:
    """A panel for each task; medians over seeds, some shaded from the lowest to the highest."""
    variants = summary["variants"]
    tasks = list(dict.fromkeys(task for of in variants.values() for task in of["reached"]))
    figure, panels = grid(len(tasks), 2.6)
    for task, axes in zip(tasks, panels, strict=True):
        for name, of in variants.items():
            if task in of["reached"]:
                _variant(axes, name, of["title"], of["reached"][task])
        axes.set_yscale("log")
        axes.set_title(task.replace("_", " "), loc="left")
        axes.set_xlabel("round")
    panels[0].set_ylabel("success rate")
    below(figure, panels, columns=3)
    save(figure, folder / "success_rate.png")


def _variant(axes, name: str, title: str, at: Mapping[str, Any]) -> None:
    low, middle, high = ([at["base"], *at["rates"][of]] for of in ("min", "median", "max"))
    rounds = np.arange(len(middle))
    axes.plot(rounds, middle, color=colour(name), label=title, marker=".", ms=3, lw=1.2)
    if name in SHADED:
        axes.fill_between(rounds, low, high, color=colour(name), alpha=0.1, lw=0)


if __name__ == "__main__":
    redraw.run(draw, "experiments/results/stopping")
