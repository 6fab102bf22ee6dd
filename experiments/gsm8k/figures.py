"""Figures of the GSM8K experiment (Figures 4 and 10).

    python -m experiments.gsm8k.figures

draws those of the committed results again.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from banel_jax.success_rate import clopper_pearson
from experiments.common import redraw, sweeps
from experiments.common.figures import (
    WIDTH,
    Floor,
    below,
    colour,
    of_control,
    plt,
    rate_by_temperature,
    save,
)
from experiments.common.methods import Method
from experiments.common.rate_table import best_of, rate_of, rates_of

ROWS = ("best so far", "as it was")


def draw(summary: Mapping[str, Any], folder: Path, methods: Mapping[str, Method]) -> None:
    """All of them, from what `summary.json` holds."""
    questions = summary["questions"]
    curves = {
        row: {methods[name].title: of["rounds"] for name, of in told["algorithms"].items()}
        for row, told in questions.items()
    }
    success_rate(
        folder / "success_rate.png", summary["config"], questions, curves, sweeps.colours(methods)
    )
    tempering(folder / "tempering.png", questions)


def success_rate(
    path: Path,
    config: Mapping[str, Any],
    questions: Mapping[str, Any],
    curves: Mapping[str, Mapping[str, Any]],
    colours: Mapping[str, str],
) -> None:
    """Success rate by reward evaluations, a column for each question: the best so far (Figure 4)
    and as it was (Figure 10), median over seeds, with its 95% interval.

      Args:
      path: of the PNG.
      config: of the experiment.
      questions: what was measured of the prior, by question.
      curves: metrics [seeds, rounds] by name, by question and title.
      colours: by title.
    """
    titles = list(dict.fromkeys(title for of in curves.values() for title in of))
    floor = Floor.of_samples(config["num_evaluated"])
    figure, panels = plt.subplots(
        2, len(curves), figsize=(WIDTH, 5.4), sharex=True, sharey=True, squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for (question, of), column in zip(curves.items(), panels.T, strict=True):
        prior = rate_of(questions[question]["prior"])
        best = best_of("best T", rates_of(questions[question]["by_temperature"]))
        for axes, kind in zip(column, ROWS, strict=True):
            for i, title in enumerate(titles):
                if title in of:
                    shift = 0.22 * (i - (len(titles) - 1) / 2)  # of a round; none over another
                    shown = title, colours[title], shift
                    _points(
                        axes, config["num_evaluated"], of[title], kind == ROWS[0], floor, *shown
                    )
            low, high = prior.interval
            axes.axhspan(max(low, 0.5 / prior.samples), high, color="#999999", alpha=0.25, lw=0)
            for rate, style, title, of_line in (
                (prior, "-", "the prior, shaded its 95% interval", colour("prior")),
                (best.rate, ":", "the prior at its best temperature", of_control("best T")),
            ):
                floor_of = Floor.of_samples(rate.samples)
                floor_of.level(axes, rate.value, colour=of_line, lw=1, ls=style, label=title)
            axes.set_yscale("log")
        column[0].set_title(f"question {question}")
        column[-1].set_xlabel("reward evaluations")
    for row, kind in zip(panels, ROWS, strict=True):
        row[0].set_ylabel(f"success rate, {kind}")
    below(figure, panels.flat, columns=3)
    save(figure, path)


def swept(
    path: Path, config: Mapping[str, Any], question: str, told: Mapping[str, Any], of: Mapping
) -> None:
    """The same at one question, a line for each value of a field, from dark to light.

    Args:
      path, config: as for `success_rate`.
      question: which.
      told: what was measured of the prior.
      of: metrics [seeds, rounds] by name, by title.
    """
    shades = plt.get_cmap("viridis")(np.linspace(0, 0.8, len(of)))
    colours = dict(zip(of, shades, strict=True))
    success_rate(path, config, {question: told}, {question: of}, colours)


def _points(
    axes, n: int, metrics, cumulative: bool, floor: Floor, title: str, colour: str, shift: float
) -> None:
    """Medians over seeds of rates counted among n samples; `shift` is in rounds."""
    rates = np.array(metrics["success_rate"], float)
    if cumulative:
        rates = np.maximum.accumulate(rates, axis=1)
    middle = np.median(rates, axis=0)
    low, high = np.array([clopper_pearson(round(rate * n), n) for rate in middle]).T
    evaluations = np.asarray(metrics["num_reward_evaluations"], float)[0]
    places = evaluations + shift * evaluations[0]
    seen = middle > 0
    axes.errorbar(
        places[seen], middle[seen], [(middle - low)[seen], (high - middle)[seen]], fmt="o", ms=3,
        lw=1, color=colour, label=title,
    )  # fmt: skip
    floor.mark(axes, places[~seen], colour)


def tempering(path: Path, questions: Mapping[str, Any]) -> None:
    """The prior's success rate at each question by its temperature, with 95% intervals.

    Questions stand side by side; their colours are no method's.
    """
    figure, axes = plt.subplots(figsize=(WIDTH, 4.2), layout="constrained")
    shades = plt.get_cmap("viridis")(np.linspace(0, 0.8, len(questions)))
    for i, (question, told) in enumerate(questions.items()):
        rates = {**rates_of(told["by_temperature"]), 1.0: rate_of(told["prior"])}
        rate_by_temperature(axes, rates, shades[i], f"question {question}", 0.008 * i)
    below(figure, [axes])
    save(figure, path)


if __name__ == "__main__":
    from experiments.gsm8k.methods import METHODS

    redraw.run(lambda summary, folder: draw(summary, folder, METHODS), "experiments/results/gsm8k")
