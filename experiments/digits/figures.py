"""Figures of the digits experiment.

    python -m experiments.digits.figures

draws those of the committed results again, but for the samples, which a run has.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from experiments.common import curves, redraw
from experiments.common.curves import Curve, Level
from experiments.common.figures import WIDTH, Floor, grid, plt, save
from experiments.digits.methods import METHODS

NAMES = {method.title: name for name, method in METHODS.items()}  # which decide their colours
# Of a round's gain: no method's colours.
PARTS = {"filter": "#AA3377", "past_filters": "#228833", "distillation": "#4477AA"}


def draw(summary: Mapping[str, Any], folder: Path) -> None:
    """All of them that `summary.json` holds."""
    success_rate(folder / "success_rate.png", summary)
    split = {
        title: of for title, of in summary["methods"].items() if NAMES[title] not in UNCHANGING
    }
    if split:
        num_candidates = summary["config"]["num_candidates"]
        decomposition(folder / "decomposition.png", split, num_candidates)


UNCHANGING = ("prior", "ladder")


def success_rate(path: Path, summary: Mapping[str, Any]) -> None:
    """log10 success rate after each round: median over seeds, and from lowest to highest."""
    base = summary["log10_base_success_rate"]
    by_temperature = {float(t): r for t, r in summary["log10_success_rate_by_temperature"].items()}
    best = max(by_temperature, key=lambda t: by_temperature[t])
    rates = lambda of: curves.logarithms(of["log10_success_rate_by_round"]["values"])
    curves.draw(
        path,
        [
            Curve(NAMES[title], title, rates(of), METHODS[NAMES[title]].control)
            for title, of in summary["methods"].items()
            if title != "prior"
        ],
        [Level(f"T = {best:g}, chosen by looking", by_temperature[best])],
        Level("base", base, "prior"),
        summary["config"]["num_candidates"],
        Floor(base - 4, "below 1e-4 of the base"),
        "success rate, log10",
        "Digits, 0 to 6",
        everything=True,
    )


def decomposition(path: Path, methods: Mapping[str, Any], num_candidates: int) -> None:
    """The gain of each round, split into the filter's and the distillation's, added up.

    Args:
      path: of the figure.
      methods: by title, what `summary.json` has of each. Past filters are drawn where there are
        any.
      num_candidates: m.
    """
    figure, panels = grid(len(methods), 2.4, sharey=True, sharex=True)
    for axes, (name, of) in zip(panels, methods.items(), strict=True):
        for part, colour in PARTS.items():
            gain = np.array(of[f"log10_{part}_gain_by_round"]["values"], float)
            if part == "past_filters" and not np.any(np.nan_to_num(gain)):
                continue
            total = np.cumsum(np.clip(np.nan_to_num(gain), -4, 4), axis=1)
            evaluations = num_candidates * np.arange(1, total.shape[1] + 1)
            axes.plot(evaluations, np.median(total, 0), color=colour, label=part.replace("_", " "))
            axes.fill_between(evaluations, total.min(0), total.max(0), color=colour, alpha=0.15)
        axes.axhline(0, color="#000000", lw=0.8, ls=":")
        axes.set_title(name)
    figure.supxlabel("reward evaluations", fontsize=9)
    figure.supylabel("gain so far, decades", fontsize=9)
    labelled = max(panels, key=lambda axes: len(axes.lines))  # the panel with every part
    labelled.legend(loc="upper left")
    save(figure, path)


def samples(path: Path, images: dict[str, np.ndarray]) -> None:
    """Grids of samples side by side; images [n, height, width] in [0, 1] by title."""
    side = 8
    shades = plt.get_cmap("gray").with_extremes(bad="#56B4E9")  # frames, unlike any grey
    figure, panels = grid(len(images), WIDTH / 3 + 0.2)
    for axes, (name, batch) in zip(panels, images.items(), strict=True):
        _, height, width = batch.shape
        framed = np.pad(batch[: side * side], [(0, 0), (0, 1), (0, 1)], constant_values=np.nan)
        joined = framed.reshape(side, side, height + 1, width + 1).swapaxes(1, 2)
        joined = joined.reshape(side * (height + 1), side * (width + 1))[:-1, :-1]
        axes.imshow(joined, cmap=shades, vmin=0, vmax=1, interpolation="nearest")
        axes.set_title(name)
        axes.axis("off")
    save(figure, path)


if __name__ == "__main__":
    redraw.run(draw, "experiments/results/digits", METHODS)
