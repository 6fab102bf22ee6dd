"""Evaluations to half against N rho: where failures tell something, where successes take over.

    python -m experiments.race.figures

draws the figure of the committed results again.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.common import redraw
from experiments.common.figures import MARK, WIDTH, below, colour, matplotlib, plt, save

SPREAD = 1.045  # between the methods of a task, so that they can be told apart
LEAST = 1e-3  # of N rho in the figure; what has less stands there
NEVER = "fewer than half of the seeds got there"
TICKS = (10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000)
CONTROL, RIVAL, OURS = ("x", 4.0), ("o", 3.5), ("D", 5.0)  # marks and their sizes


def draw(summary: Mapping[str, Any], folder: Path) -> None:
    """All of them, from what `summary.json` holds."""
    to_half(folder / "evaluations_to_half.png", summary["rows"])


def to_half(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """A panel for each m; medians over seeds, bars from 10 to 90%, one colour a method.

    Diamonds are ours, circles rivals and crosses controls.
    """
    sizes = sorted({row["m"] for row in rows})
    names = list(dict.fromkeys(row["algorithm"] for row in rows))
    height = 0.6 + 0.07 * len(names) + 2.4 * len(sizes)
    figure, grid = plt.subplots(
        len(sizes), 1, figsize=(WIDTH, height), layout="constrained", sharex=True, sharey=True,
        squeeze=False,
    )  # fmt: skip
    panels = list(grid[:, 0])
    never = 2.0 * max(row["budget"] for row in rows)
    for size, axes in zip(sizes, panels, strict=True):
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.axvline(1.0, color="#CCCCCC", lw=0.8, zorder=0)
        for place, name in enumerate(names):
            of = [row for row in rows if row["m"] == size and row["algorithm"] == name]
            shift = SPREAD ** (place - (len(names) - 1) / 2)
            if of:
                _method(axes, of, never, shift)
        axes.set_title(f"m = {size}", loc="left")
        axes.set_ylabel("evaluations to one half")
    low, high = panels[0].get_ylim()
    ticks = [tick for tick in TICKS if low <= tick < never]
    panels[0].set_yticks(ticks, [f"{tick:,}" for tick in ticks])
    panels[0].yaxis.set_minor_locator(matplotlib.ticker.NullLocator())
    panels[0].set_ylim(low, high)
    panels[-1].set_xlabel(
        f"N rho: successes that plain sampling from the base expects in the budget (or {LEAST:g})"
    )
    panels[-1].plot([], [], color="#666666", label=NEVER, **_UP | {"clip_on": True})
    below(figure, panels, columns=3)
    save(figure, path)


_UP = MARK | {"marker": "^", "ms": 5}


def _method(axes, rows, never: float, shift: float) -> None:
    """One method's points; what never got there in the median is a mark above all others."""
    first = rows[0]
    c = colour(first["algorithm"])
    mark, size = CONTROL if first["control"] else RIVAL if first["rival"] else OURS
    x = np.maximum([row["n_rho"] for row in rows], LEAST) * shift
    low, middle, high = np.array([row["to_0.5_quantiles"] for row in rows], float).T
    reached = np.isfinite(middle)
    axes.plot(x, middle, color=c, marker=mark, ms=size, ls="", label=first["title"])
    tops = np.where(np.isfinite(high), high, never)
    axes.vlines(x[reached], low[reached], tops[reached], color=c, lw=0.8, alpha=0.5)
    if not reached.all():  # a line without points that is not clipped takes room at the corner
        axes.plot(x[~reached], np.full(sum(~reached), never), color=c, **_UP)


if __name__ == "__main__":
    redraw.run(draw, "experiments/results/race")
