"""Success rates by reward evaluations, in one panel: the lines that matter, named at their ends."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.common.figures import Floor, colour, plt, save, seeds

ALWAYS = ("ours", "banel", "filtering")  # what this project is about
OTHERS = 2  # of the rest that learns, those that end best
GREY = "#BBBBBB"
LEADER = {"arrowstyle": "-", "lw": 0.6, "shrinkA": 1, "shrinkB": 0, "relpos": (0, 0.5)}


class Curve(NamedTuple):
    """A method's success rates.

    Attributes:
      name: of the method, which decides its colour.
      title: what it is called in the figure.
      rates: by seed and round, [seeds, rounds].
      control: whether it is one.
    """

    name: str
    title: str
    rates: np.ndarray
    control: bool


class Level(NamedTuple):
    """A rate that does not change.

    Attributes:
      title: what it is called in the figure.
      value: the rate.
      name: what decides its colour, the prior or a control that costs nothing.
    """

    title: str
    value: float
    name: str = "free"


def chosen(curves: Sequence[Curve]) -> list[Curve]:
    """What is shown in colour: of what learns `ALWAYS` and the best others; the best control."""
    best = sorted(curves, key=lambda curve: -float(np.median(curve.rates[:, -1])))
    learners = [curve for curve in best if not curve.control]
    others = [curve for curve in learners if curve.name not in ALWAYS][:OTHERS]
    controls = [curve for curve in best if curve.control and curve.name != "prior"][:1]
    return [curve for curve in learners if curve.name in ALWAYS] + others + controls


def logarithms(values) -> np.ndarray:
    """Of rates, from JSON: None is that of 0."""
    found = np.array(values, float)
    return np.where(np.isnan(found), -np.inf, found)


def draw(
    path: Path,
    curves: Sequence[Curve],
    free: Sequence[Level],
    base: Level,
    num_candidates: int,
    floor: Floor,
    ylabel: str,
    title: str,
    log: bool = False,
    everything: bool = False,
) -> None:
    """Median over seeds, shaded from lowest to highest; controls dashed, constant ones dotted.

    Args:
      path: of the figure.
      curves: all of them; those not chosen are thin and grey.
      free: controls that cost no evaluation, of which the best is shown.
      base: where everything begins.
      num_candidates: reward evaluations a round.
      floor: where the plot ends below.
      ylabel: of the rates.
      title: of the figure; what is grey is said below it.
      log: whether the rates' axis is logarithmic.
      everything: show all curves in colour.
    """
    figure, axes = plt.subplots(figsize=(9.5, 5.4), layout="constrained")
    if log:
        axes.set_yscale("log")
    shown = list(curves) if everything else chosen(curves)
    ends: list[tuple[float, str, str]] = []
    grey = [curve for curve in curves if curve.name not in {c.name for c in shown}]
    for curve in grey + shown:
        x = num_candidates * np.arange(1, curve.rates.shape[1] + 1)
        style = "--" if curve.control else "-"
        if curve.name in {c.name for c in grey}:
            middle = np.median(curve.rates, axis=0)
            axes.plot(x, np.where(middle > floor.value, middle, np.nan), GREY, lw=0.8, ls=style)
            continue
        floor.curve(axes, x, *seeds(curve.rates), colour=colour(curve.name), label=None, ls=style)
        ends.append((float(np.median(curve.rates[:, -1])), curve.title, colour(curve.name)))
    best = max(free, key=lambda level: level.value, default=None)
    for level in [base] if best is None else [base, best]:
        style = "-" if level is base else ":"
        floor.level(axes, level.value, colour=colour(level.name), label=None, ls=style, lw=1.0)
        ends.append((level.value, level.title, colour(level.name)))
    axes.set_xlabel("reward evaluations")
    axes.set_ylabel(ylabel)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.01)
    low, high = axes.get_ylim()
    axes.set_ylim(low, high)
    seen = lambda end: end if end > floor.value else floor.height
    name_ends(axes, [(seen(end), text, c) for end, text, c in ends])
    hidden = len(grey) + max(0, len(free) - 1)
    note = "Median over seeds, shaded from lowest to highest; controls are dashed or dotted."
    if hidden:
        note += f"\nThin and grey, or left out: {hidden} others, whose numbers the table has."
    axes.set_title(f"{title}\n{note}", fontsize=9, loc="left")
    if axes.get_legend_handles_labels()[1]:
        axes.legend(fontsize=8, frameon=False, loc="lower right")
    save(figure, path)


def name_ends(axes, ends: Sequence[tuple[float, str, str]], gap: float = 0.045) -> None:
    """Names lines at their right ends, (value, name, colour) each, none over another.

    Args:
      axes: whose limits are final.
      ends: of the lines.
      gap: between lines of text, as a share of the axes' height.
    """
    at = lambda value: float(
        axes.transAxes.inverted().transform(axes.transData.transform((axes.get_xlim()[0], value)))[
            1
        ]
    )
    inside = lambda value: min(max(at(value), 0.0), 1.0)
    named = sorted(((inside(value), text, c) for value, text, c in ends), key=lambda end: end[0])
    folded = [textwrap.fill(text, 34) for _, text, _ in named]
    heights = [gap * (1 + text.count("\n")) for text in folded]
    places = spread([place for place, _, _ in named], heights)
    for (end, _, c), text, place in zip(named, folded, places, strict=True):
        axes.annotate(
            text, (1.0, end), (1.03, place), xycoords="axes fraction", va="center", fontsize=8,
            color=c, annotation_clip=False,
            arrowprops=LEADER | {"color": c},
        )  # fmt: skip


def spread(places: Sequence[float], heights: Sequence[float]) -> list[float]:
    """Middles of boxes, rising, moved as little as it takes for none to lie over another."""
    found = list(places)
    for _ in range(200):
        moved = False
        for i in range(len(found) - 1):
            lacking = (heights[i] + heights[i + 1]) / 2 - (found[i + 1] - found[i])
            if lacking > 1e-9:
                found[i] -= lacking / 2
                found[i + 1] += lacking / 2
                moved = True
        if not moved:
            break
    return found
