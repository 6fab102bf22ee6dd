"""Figures of the 2-D toy.

    python -m experiments.two_circles.figures

draws the success rates of the committed results again; the rounds show densities, which a run has.
"""

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from banel_jax.types import Task
from experiments.common import curves, redraw
from experiments.common.curves import Curve, Level
from experiments.common.figures import WIDTH, Floor, matplotlib, plt, save
from experiments.common.table_controls import rewarded

FAILURE, SUCCESS, LEARNT, FAINT = "#3b6fb6", "#d1495b", "#2e7d4f", "#8a8a8a"
NAMES = ("banel", "ours", "threshold", "banel_f1")  # of the methods, which decide their colours
FIXED = {"prior": "prior", "tempered ladder": "ladder"}
SETTLED = 0.01  # of a success rate: what changes less does not change


def rounds(path: Path, metrics: dict[str, np.ndarray], task: Task, columns: int = 7) -> None:
    """A column for each round of the first seed: candidates over proposals, failures, posterior.

    Args:
      path: of the PNG.
      metrics: from `two_circles.run`.
      task: for the rewards and the grid.
      columns: rounds side by side; the others follow below.
    """
    region = rewarded(task)
    posteriors = [_posterior(metrics, round) for round in range(metrics["candidates"].shape[1])]
    shares = np.array([np.exp(p)[region].sum() / np.exp(p).sum() for p in posteriors])
    count = settled(shares)
    columns = min(columns, count)
    blocks = -(-count // columns)
    figure, axes = plt.subplots(
        3 * blocks,
        columns,
        figsize=(WIDTH, (3 * WIDTH / columns + 1) * blocks),
        squeeze=False,
        layout="constrained",
    )
    for axis in axes.flat:
        axis.axis("off")
    for round in range(count):
        block, column = divmod(round, columns)
        top, middle, bottom = axes[3 * block : 3 * block + 3, column]
        x, y = metrics["candidates"][0, round].T
        hit = region[x, y]
        proposals = metrics["generator"][0, round - 1] if round else np.asarray(task.prior_params)
        _density(top, proposals, FAINT)
        # Points share bins; a little jitter lets their number be seen.
        jitter = np.random.default_rng(round).uniform(-0.35, 0.35, (2, len(x)))
        for chosen, kind in ((~hit, FAILURE), (hit, SUCCESS)):
            top.scatter(*(np.stack([x, y]) + jitter)[:, chosen], s=3, c=kind, linewidths=0)
        top.set_title(f"Round {round + 1}: {hit.mean():.0%}", fontsize=8)
        _density(middle, metrics["failure_model"][0, round], FAILURE)
        _density(bottom, posteriors[round], LEARNT)
        bottom.set_xlabel(f"rate {shares[round]:.3f}", fontsize=8)
        for axis in (top, middle, bottom):
            axis.axis("on")
            _frame(axis, region)
    labels = ("Proposals, candidates", "Failure model", "Posterior")
    for block in range(blocks):
        for axis, label in zip(axes[3 * block : 3 * block + 3, 0], labels, strict=True):
            axis.set_ylabel(label, fontsize=8)
    words = (
        "Candidates: failures blue, successes red (their share above), over the proposals in grey. "
        "Red outline: where the reward is 1."
    )
    if count < len(shares):
        words += f" After round {count} nothing changes any more."
    figure.suptitle(textwrap.fill(words, 110))
    save(figure, path)


def settled(rates) -> int:
    """How many rounds to show: one more than it takes for all later rates to be those of the last
    one, within `SETTLED`."""
    moving = np.flatnonzero(np.abs(np.asarray(rates) - rates[-1]) > SETTLED)
    return min(len(rates), int(moving[-1]) + 3) if len(moving) else 1


def _posterior(metrics, round: int) -> np.ndarray:
    """What the next round's candidates come from; after the last one, the generator."""
    last = round + 1 == metrics["candidates"].shape[1]
    return metrics["generator"][0, round] if last else metrics["proposal"][0, round + 1]


def draw(summary: Mapping[str, Any], folder: Path) -> None:
    """What `summary.json` holds enough for."""
    methods = summary["methods"]
    success_rate(
        folder / "success_rate.png",
        {n: of["success_rate_by_round"] for n, of in methods.items() if "final" in of},
        {name: of["success_rate"] for name, of in methods.items() if "success_rate" in of},
        summary["config"]["num_candidates"],
    )


def success_rate(
    path: Path,
    by_round: Mapping[str, Mapping[str, Any]],
    constant: Mapping[str, float],
    num_candidates: int,
) -> None:
    """Success rate against reward evaluations: median over seeds, spread shaded.

    Args:
      path: of the PNG.
      by_round: for each method its `values` [seeds, rounds].
      constant: for each control its rate.
      num_candidates: m, evaluations a round.
    """
    base, *free = (
        Level(f"{title}: {rate:.4f}", rate, FIXED.get(title, ""))
        for title, rate in constant.items()
    )
    curves.draw(
        path,
        [
            Curve(name, title, np.asarray(of["values"]), name == "banel_f1")
            for name, (title, of) in zip(NAMES, by_round.items(), strict=False)
        ],
        free,
        base,
        num_candidates,
        Floor(5e-4, "below 5e-4"),
        "success rate, exact",
        "Two circles",
        scale="logit",
        everything=True,
    )


def _density(axis, log_density, colour):
    """Colour by the square root of the density, so that a peak hides nothing."""
    density = np.exp(np.asarray(log_density, np.float64))
    colours = matplotlib.colors.LinearSegmentedColormap.from_list(
        "mass", [(1, 1, 1), matplotlib.colors.to_rgb(colour)]
    )
    shown = np.sqrt(density.T / density.max())
    axis.imshow(shown, origin="lower", cmap=colours, vmin=0, vmax=1, interpolation="nearest")


def _frame(axis, region):
    axis.contour(region.T.astype(float), [0.5], colors=SUCCESS, linewidths=0.9)
    axis.set(xlim=(-0.5, len(region) - 0.5), ylim=(-0.5, len(region) - 0.5), aspect="equal")
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set(color="#cccccc", visible=True)


if __name__ == "__main__":
    redraw.run(draw, "experiments/results/two_circles")
