"""Figures of the GSM8K experiment (Figures 4 and 10)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from banel_jax.success_rate import clopper_pearson
from experiments.common.cells import Cell
from experiments.common.figures import COLOURS, Floor, plt, rate_by_temperature, save

ROWS = ("best so far", "as it was")


def success_rate(path: Path, config, grounds: Mapping, curves: Mapping[int, Mapping[str, Cell]]):
    """Success rate by reward evaluations, a column for each question: the best so far (Figure 4)
    and as it was (Figure 10), median over seeds, with its 95% interval.

    The prior's interval is grey; dots are the best temperature.

    Args:
      path: of the PNG.
      config: of the experiment.
      grounds: what was measured of the prior, by question.
      curves: by question, then by title.
    """
    titles = list(dict.fromkeys(title for of in curves.values() for title in of))
    floor = Floor.of_samples(config.num_evaluated)
    figure, panels = plt.subplots(
        2, len(curves), figsize=(4.2 * len(curves) + 0.6, 7), sharey=True, squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for (question, of), column in zip(curves.items(), panels.T, strict=True):
        ground = grounds[question]
        for axes, kind in zip(column, ROWS, strict=True):
            for title, cell in of.items():
                _curve(axes, config, title, titles.index(title), cell, kind == ROWS[0], floor)
            low, high = ground.prior.interval
            axes.axhspan(
                max(low, 0.5 / ground.prior.samples), high, color="#999999", alpha=0.25, lw=0
            )
            best = ground.costless[0]
            for rate, style, label in (
                (ground.prior, "-", "the prior"),
                (best.rate, ":", "the prior at its best temperature"),
            ):
                floor_of = Floor.of_samples(rate.samples)
                floor_of.level(axes, rate.value, colour="#000000", lw=0.9, ls=style, label=label)
            axes.set_yscale("log")
            axes.spines[["top", "right"]].set_visible(False)
            axes.set_xlabel("reward evaluations")
        column[0].set_title(f"question {question}", fontsize=10)
    for row, kind in zip(panels, ROWS, strict=True):
        row[0].set_ylabel(f"success rate, {kind}")
    shown: dict[str, Any] = {}  # a question may have marks that the first one lacks
    for axes in panels.flat:
        handles, labels = axes.get_legend_handles_labels()
        shown = dict(zip(labels, handles, strict=True)) | shown
    figure.legend(
        list(shown.values()),
        list(shown),
        fontsize=8,
        frameon=False,
        ncols=min(len(curves), 4),
        loc="outside lower center",
    )
    save(figure, path)


def _curve(axes, config, title: str, number: int, cell: Cell, cumulative: bool, floor):
    rates = cell.metrics["success_rate"].astype(float)
    if cumulative:
        rates = np.maximum.accumulate(rates, axis=1)
    middle = np.median(rates, axis=0)
    n = config.num_evaluated
    low, high = np.array([clopper_pearson(round(rate * n), n) for rate in middle]).T
    evaluations = cell.metrics["num_reward_evaluations"][0]
    colour, style = COLOURS[number % len(COLOURS)], ("-", "--")[number // len(COLOURS) % 2]
    floor.curve(
        axes, evaluations, middle, low, high, colour=colour, label=title, ls=style, alpha=0.1
    )


def tempering(path: Path, grounds: Mapping) -> None:
    """The prior's success rate at each question by its temperature, with 95% intervals.

    Questions stand side by side.
    """
    figure, axes = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
    for i, (question, ground) in enumerate(grounds.items()):
        rates = {**ground.by_temperature, 1.0: ground.prior}
        colour, label = COLOURS[i % len(COLOURS)], f"question {question}"
        rate_by_temperature(axes, rates, colour, label, 0.008 * i)
    axes.legend(fontsize=8, frameon=False)
    save(figure, path)
