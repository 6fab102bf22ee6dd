"""The best value by evaluations, of the climb and of evolution.

    python -m experiments.ehrlich.figures

draws the figure of the committed results again.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.common import redraw
from experiments.common.figures import WIDTH, below, colour, plt, save, seeds


def draw(summary: Mapping[str, Any], folder: Path) -> None:
    """Medians over seeds, shaded from the lowest to the highest."""
    figure, axes = plt.subplots(figsize=(WIDTH, 3.2), layout="constrained")
    for title, name, runs in (
        ("both sides, the threshold rising", "both_sides", summary["climb"]),
        ("holo-bench's genetic algorithm", "genetic", summary["evolution"]["runs"]),
    ):
        middle, low, high = seeds([run["best"] for run in runs])
        evaluations = runs[0]["evaluations"]
        label = f"{title}, {len(runs)} seeds"
        axes.plot(evaluations, middle, color=colour(name), label=label, drawstyle="steps-post")
        axes.fill_between(evaluations, low, high, color=colour(name), alpha=0.15, lw=0, step="post")
    axes.set_xlabel("evaluations")
    axes.set_ylabel("best value so far")
    axes.set_ylim(0, 1.02)
    below(figure, [axes], columns=2)
    save(figure, folder / "best_value.png")


if __name__ == "__main__":
    redraw.run(draw, "experiments/results/ehrlich/climb")
