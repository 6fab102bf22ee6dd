"""Evaluations to half against N rho: where failures tell something, where successes take over.

    python -m experiments.race.figures

draws the figure of the committed results again.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.common import redraw
from experiments.common.figures import MARK, below, colour, grid, save

SPREAD = 1.06  # between the methods of a task, so that their bars can be told apart


def draw(summary: Mapping[str, Any], folder: Path) -> None:
    """All of them, from what `summary.json` holds."""
    to_half(folder / "evaluations_to_half.png", summary["rows"])


def to_half(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """A panel for each m; medians over seeds, bars from 10 to 90%, one colour a method."""
    sizes = sorted({row["m"] for row in rows})
    figure, panels = grid(len(sizes), 3.6, sharex=True, sharey=True)
    names = list(dict.fromkeys(row["algorithm"] for row in rows))
    never = 2.0 * max(row["budget"] for row in rows)
    for size, axes in zip(sizes, panels, strict=True):
        axes.set_xscale("log")
        axes.set_yscale("log")
        for place, name in enumerate(names):
            of = [row for row in rows if row["m"] == size and row["algorithm"] == name]
            if of:
                _method(axes, sorted(of, key=lambda row: row["n_rho"]), never, place, len(names))
        axes.set_title(f"m = {size}", loc="left")
        axes.set_xlabel(r"N rho, successes that plain sampling expects")
        axes.axvline(1.0, color="#DDDDDD", lw=0.8, zorder=0)
    panels[0].set_ylabel("reward evaluations to a success rate of one half")
    below(figure, panels, columns=4)
    save(figure, path)


def _method(axes, rows, never: float, place: int, number: int) -> None:
    """One method's points; what never got there in the median is a mark above all others."""
    shift = SPREAD ** (place - (number - 1) / 2)
    x = np.array([row["n_rho"] for row in rows]) * shift
    middle = np.array([np.nan if row["to_0.5"] is None else row["to_0.5"] for row in rows])
    low, high = (
        np.array([_value(row["to_0.5_quantiles"][i], never) for row in rows]) for i in (0, 2)
    )
    name = rows[0]["algorithm"]
    style = "--" if rows[0]["control"] else "-"
    c = colour(name)
    axes.plot(x, middle, color=c, marker=".", ms=6, ls=style, lw=1.0, label=rows[0]["title"])
    reached = np.isfinite(middle)
    axes.vlines(x[reached], low[reached], high[reached], color=c, lw=1.0, alpha=0.6)
    if (~reached).any():
        up = MARK | {"marker": "^"}
        axes.plot(x[~reached], np.full(sum(~reached), never), color=c, **up)
        note = "fewer than half of the seeds got there"
        if note not in axes.get_legend_handles_labels()[1]:
            axes.plot([], [], color="#666666", label=note, **up | {"clip_on": True})


def _value(value: float | None, never: float) -> float:
    return never if value is None else value


if __name__ == "__main__":
    redraw.run(draw, "experiments/results/race")
