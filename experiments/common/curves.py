"""Success rates by reward evaluations, in one panel: the lines that matter, named at their ends."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.common.figures import (
    OF_METHODS,
    WIDTH,
    Floor,
    colour,
    matplotlib,
    of_control,
    plt,
    save,
    seeds,
)

ALWAYS = ("ours", "banel", "filtering")  # what this project is about
OTHERS = 2  # of the rest that learns, those that end best
GREY = "#BBBBBB"
LUMINANCE = np.array([0.2126, 0.7152, 0.0722])  # of red, green and blue
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
      name: what decides its colour; without it, it is a control that costs nothing.
    """

    title: str
    value: float
    name: str = ""

    @property
    def colour(self) -> str:
        return OF_METHODS[self.name] if self.name else of_control(self.title)


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
    scale: str = "linear",
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
      scale: of the rates' axis, linear, log or logit.
      everything: show all of them in colour.
    """
    figure, axes = plt.subplots(figsize=(WIDTH, 4.6), layout="constrained")
    axes.set_yscale(scale)
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
    best = sorted(free, key=lambda level: -level.value)
    levels = [base, *(best if everything else best[:1])]
    for level in levels:
        style = "-" if level is base else ":"
        floor.level(axes, level.value, colour=level.colour, label=None, ls=style, lw=1.0)
        ends.append((level.value, level.title, level.colour))
    axes.set_xlabel("reward evaluations")
    axes.set_ylabel(ylabel)
    axes.margins(x=0.01)
    low, high = axes.get_ylim()
    axes.set_ylim(low, high)
    if scale == "logit":
        _probabilities(axes, floor.value)
    seen = lambda end: end if end > floor.value else floor.height
    name_ends(axes, [(seen(end), text, c) for end, text, c in ends])
    hidden = len(grey) + len(free) + 1 - len(levels)
    note = "Median over seeds, shaded from lowest to highest; controls are dashed or dotted."
    if hidden:
        note += f"\nThin and grey, or left out: {hidden} others, whose numbers the table has."
    if axes.get_legend_handles_labels()[1]:
        note += f"\n\N{WHITE DOWN-POINTING TRIANGLE}: {floor.note}."
    axes.set_title(f"{title}\n{note}", loc="left")
    save(figure, path)


def _probabilities(axes, low: float) -> None:
    """Ticks of a logit axis, which ends at `low` and leaves the highest line room."""
    ticks = [0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999]
    axes.set_ylim(low, 0.9995)
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.yaxis.set_minor_locator(matplotlib.ticker.NullLocator())


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
    folded = [textwrap.fill(text, 30) for _, text, _ in named]
    heights = [gap * (1 + text.count("\n")) for text in folded]
    places = spread([place for place, _, _ in named], heights)
    for (end, _, c), text, place in zip(named, folded, places, strict=True):
        axes.annotate(
            text, (1.0, end), (1.03, place), xycoords="axes fraction", va="center", fontsize=8,
            color=ink(c), annotation_clip=False,
            arrowprops=LEADER | {"color": c},
        )  # fmt: skip


def ink(colour: str) -> tuple[float, ...]:
    """A line's colour, as dark as letters on white must be to be read."""
    parts = np.array(matplotlib.colors.to_rgb(colour))
    while LUMINANCE @ parts**2.2 > 0.2:
        parts = 0.95 * parts
    return tuple(parts)


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
