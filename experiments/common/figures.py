"""What the figures of several experiments have in common."""

import os
from pathlib import Path
from typing import Any

# Named here and not by a notebook's environment, which may name one that is not installed; it is
# read where matplotlib is imported.
os.environ["MPLBACKEND"] = "agg"

import matplotlib
import matplotlib.colors

matplotlib.use("Agg")  # where it was imported before
import matplotlib.pyplot as plt
import numpy as np

from banel_jax import files
from banel_jax.success_rate import clopper_pearson

WIDTH = 8.0  # inches, of every figure: what is written in it is legible at 800 pixels
plt.rcParams |= {
    "font.size": 9, "axes.titlesize": 9, "axes.labelsize": 9, "legend.fontsize": 8,
    "figure.titlesize": 9, "xtick.labelsize": 8, "ytick.labelsize": 8, "legend.frameon": False,
    "axes.spines.top": False, "axes.spines.right": False,
}  # fmt: skip
# One colour a method, in every figure; a control is a lighter shade of what it is a control of.
OF_METHODS = {
    "prior": "#000000", "ladder": "#7A7A7A", "broadened": "#A6761D",
    "temperature": "#882255", "cut": "#332288", "best_cut": "#661100",
    "banel": "#0072B2", "banel_f1": "#6BAED6", "banel_base": "#08306B",
    "ours": "#D55E00", "ours_f1": "#F4A582", "ours_every_round": "#8C2D04",
    "ours_told_nothing": "#E7298A", "ours_by_prior": "#C994C7", "ours_by_novelty": "#DF65B0",
    "ours_held_out": "#8073AC", "ours_f_decays": "#238B45", "ours_kappa_decays": "#C9920E",
    "auto": "#377EB8", "both_sides": "#E41A1C", "success_only": "#FC9272",
    "filtering": "#009E73", "importance": "#66C2A5", "inverse": "#41AE76",
    "policy_gradient": "#CC79A7", "policy_gradient_ours": "#6A3D9A", "negative_rl": "#B15928",
    "rnd": "#E69F00", "rnd_ours": "#B37400", "pseudo_count": "#B8A000",
    "threshold": "#44AA99", "expert_iteration": "#999933",
    "cbas": "#5D6B1E", "reinforce_replay": "#AA4499", "ppo": "#C2185B", "vsd": "#00695C",
    "genetic": "#795548", "hedge": "#004D40", "hedge_free": "#80CBC4",
    "gflownet_tb": "#56B4E9", "gflownet_vargrad": "#1B9E9E", "rtb": "#3F007D",
}  # fmt: skip
FORMAT = "png"  # of every figure
MARK: dict[str, Any] = {
    "marker": "v", "mfc": "none", "ms": 6, "ls": "", "clip_on": False, "zorder": 3,
}  # fmt: skip
FLOOR = -6.0  # decades; what falls below has collapsed, and how far says nothing


def save(figure, path: Path, dpi: int = 150) -> None:
    """Writes a figure whole, in `FORMAT`, and closes it; OSError names the file."""
    path = path.with_name(f"{path.name.removesuffix('.png')}.{FORMAT}")
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.replacing(path) as file:
        figure.savefig(file, dpi=dpi, format=FORMAT)
    plt.close(figure)


def colour(name: str) -> str:
    """Of a method; variants that differ in how they distil alone share one."""
    return OF_METHODS.get(name, OF_METHODS.get(name.removesuffix("_every_round"), "#999999"))


def of_control(title: str) -> str:
    """The colour of a control that costs nothing: one temperature of the prior, or a cut of it."""
    cut = "best_cut" if " 1 in f" in title else "cut"
    return OF_METHODS[cut if " 1 in " in title else "temperature"]


def grid(number: int, height: float, **options) -> tuple[Any, list[Any]]:
    """A figure of panels, three in a row at most; the height is of one."""
    columns = number if number <= 3 else min(3, -(-number // 2))
    rows = -(-number // columns)
    figure, panels = plt.subplots(
        rows, columns, figsize=(WIDTH, height * rows), layout="constrained", squeeze=False,
        **options,
    )  # fmt: skip
    for axes in panels.flat[number:]:
        axes.axis("off")
    return figure, list(panels.flat[:number])


class Floor:
    """Where a plot ends below: what lies there is no rate, and is drawn as a mark that points down.

    Args:
      value: what is at or below it is not drawn as a line.
      note: what such a mark says, in the legend.
      height: of the marks.
    """

    def __init__(self, value: float, note: str, height: float | None = None):
        self.value, self.note = value, note
        self.height = value if height is None else height

    @classmethod
    def of_samples(cls, n: int) -> "Floor":
        """Of a rate that is counted among n samples: the 95% bound where none succeeds."""
        note = f"no success in {n:,} samples (95% bound)"
        return cls(0.0, note, clopper_pearson(0, n)[1])

    def curve(self, axes, x, middle, low=None, high=None, *, colour, label, alpha=0.12, **style):
        """A line through `middle` [n], shaded from `low` to `high`, and marks where it is below."""
        x, middle = np.asarray(x), np.asarray(middle, float)
        below = ~(middle > self.value)
        line = np.where(below, np.nan, middle)
        axes.plot(x, line, color=colour, label=label, **{"marker": ".", "ms": 4, **style})
        if low is not None:
            bottom = self.value or self.height / 20
            low, high = (np.maximum(part, bottom) for part in (low, high))
            axes.fill_between(x, low, high, color=colour, alpha=alpha, lw=0)
        self.mark(axes, x[below], colour)

    def mark(self, axes, x, colour) -> None:
        if not len(x):
            return
        heights = np.full(len(x), self.height)
        axes.plot(x, heights, color=colour, **MARK)
        self.name(axes)

    def name(self, axes) -> None:
        """Has the legend say once what a mark means."""
        if self.note not in axes.get_legend_handles_labels()[1]:
            axes.plot([], [], color="#666666", label=self.note, **MARK | {"clip_on": True})

    def level(self, axes, value: float, *, colour, label, **style) -> None:
        """A rate that does not change: a line across, or marks where it is below the floor."""
        if value > self.value:
            axes.axhline(value, color=colour, label=label, **style)
            return
        places, across = [0.02, 0.5, 0.98], axes.get_yaxis_transform()
        note = label and f"{label}:\n{self.note}"
        axes.plot(places, [self.height] * 3, color=colour, transform=across, label=note, **MARK)
        if not label:  # it is named where it ends
            self.name(axes)


def below(figure, panels, columns: int = 4) -> None:
    """One legend for all panels, below them, of all that any of them names."""
    named: dict[str, Any] = {}
    for axes in panels:
        handles, labels = axes.get_legend_handles_labels()
        named = dict(zip(labels, handles, strict=True)) | named
    if named:
        place = "outside lower center"
        figure.legend(list(named.values()), list(named), ncols=columns, loc=place)


def seeds(values) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Median, lowest and highest over seeds of values [seeds, n]."""
    values = np.asarray(values, float)
    return np.median(values, axis=0), values.min(axis=0), values.max(axis=0)


def rate_by_temperature(axes, rates, colour, label=None, shift: float = 0.0) -> None:
    """Counted rates by temperature with their 95% intervals, a bound where nothing succeeded.

    Args:
      axes: with a logarithmic y axis.
      rates: by temperature; each with value, interval and samples.
      colour, label: of the points.
      shift: of all temperatures, so that several curves can be told apart.
    """
    curve = sorted(rates.items())
    values = np.array([rate.value or np.nan for _, rate in curve])  # no line over what is missing
    low, high = np.array([rate.interval for _, rate in curve]).T
    axes.errorbar(
        [t + shift for t, _ in curve], values, [values - low, high - values], marker="o", ms=4,
        capsize=3, color=colour, label=label,
    )  # fmt: skip
    for t, rate in curve:
        if not rate.value:
            Floor.of_samples(rate.samples).mark(axes, [t + shift], colour)
    axes.set_yscale("log")
    axes.set_xlabel("temperature of the prior")
    axes.set_ylabel("success rate, 95% interval")
