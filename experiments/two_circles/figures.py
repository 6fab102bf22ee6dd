"""Figures of the 2-D toy."""

import textwrap
from pathlib import Path

import numpy as np

from banel_jax.types import Task
from experiments.common.figures import Floor, colour, matplotlib, plt, save
from experiments.common.table_controls import rewarded

FAILURE, SUCCESS, LEARNT = "#3b6fb6", "#d1495b", "#2e7d4f"
INK, FAINT = "#222222", "#8a8a8a"
NAMES = ("banel", "ours", "threshold", "banel_f1")  # of the methods, which decide their colours
SETTLED = 0.01  # of a success rate: what changes less does not change
LINES = (":", "--", "-.")


def rounds(path: Path, metrics: dict[str, np.ndarray], task: Task, columns: int = 10) -> None:
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
        figsize=(1.5 * columns + 0.6, 5.2 * blocks),
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
        top.set_title(f"Round {round + 1}: {hit.mean():.0%}", fontsize=9)
        _density(middle, metrics["failure_model"][0, round], FAILURE)
        _density(bottom, posteriors[round], LEARNT)
        bottom.set_xlabel(f"rate {shares[round]:.3f}", fontsize=8)
        for axis in (top, middle, bottom):
            axis.axis("on")
            _frame(axis, region)
    labels = ("Proposals, candidates", "Failure model", "Posterior")
    for block in range(blocks):
        for axis, label in zip(axes[3 * block : 3 * block + 3, 0], labels, strict=True):
            axis.set_ylabel(label, fontsize=9)
    words = (
        "Candidates: failures blue, successes red (their share above), over the proposals in grey. "
        "Red outline: where the reward is 1."
    )
    if count < len(shares):
        words += f" After round {count} nothing changes any more."
    figure.suptitle(textwrap.fill(words, 18 * columns), fontsize=10)
    save(figure, path, dpi=110)


def settled(rates) -> int:
    """How many rounds to show: one more than it takes for all later rates to be those of the last
    one, within `SETTLED`."""
    moving = np.flatnonzero(np.abs(np.asarray(rates) - rates[-1]) > SETTLED)
    return min(len(rates), int(moving[-1]) + 3) if len(moving) else 1


def _posterior(metrics, round: int) -> np.ndarray:
    """What the next round's candidates come from; after the last one, the generator."""
    last = round + 1 == metrics["candidates"].shape[1]
    return metrics["generator"][0, round] if last else metrics["proposal"][0, round + 1]


def success_rate(
    path: Path,
    by_round: dict[str, dict],
    constant: dict[str, float],
    num_candidates: int,
) -> None:
    """Success rate against reward evaluations: median over seeds, spread shaded.

    Args:
      path: of the PNG.
      by_round: for each method the median, min and max [rounds].
      constant: for each control its rate.
      num_candidates: m, evaluations a round.
    """
    figure, axis = plt.subplots(figsize=(7.6, 4.4), layout="constrained")
    floor = Floor(5e-4, "below 5e-4")
    for (name, spread), method in zip(by_round.items(), NAMES, strict=False):
        evaluations = num_candidates * (1 + np.arange(len(spread["median"])))
        curve = (spread[part] for part in ("median", "min", "max"))
        floor.curve(axis, evaluations, *curve, colour=colour(method), label=name, alpha=0.18, lw=2)
    for (name, rate), line in zip(constant.items(), LINES, strict=False):
        label = f"{name}: {rate:.4f}"
        floor.level(axis, rate, colour=FAINT, ls=line, lw=1.2, label=label, zorder=1)
    axis.set_yscale("logit")
    axis.set_ylim(floor.value, 0.9995)
    axis.set_yticks([0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999])
    axis.set_yticklabels(["0.001", "0.01", "0.1", "0.5", "0.9", "0.99", "0.999"])
    axis.yaxis.set_minor_locator(matplotlib.ticker.NullLocator())
    axis.set_xlabel("Reward evaluations", color=INK)
    axis.set_ylabel("Success rate (exact)", color=INK)
    axis.grid(axis="y", color="#e6e6e6", linewidth=0.8)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(
        loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=9, handlelength=2.2
    )
    save(figure, path, dpi=130)


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
    for spine in axis.spines.values():
        spine.set_color("#cccccc")
