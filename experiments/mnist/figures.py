"""Figures of the MNIST experiment.

    python -m experiments.mnist.figures

draws those of the committed results again, but for the samples, which a run has.
"""

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from banel_jax import files
from banel_jax.tasks.mnist import task as mnist
from banel_jax.types import Sequences
from experiments.common import curves, redraw
from experiments.common.curves import Curve, Level
from experiments.common.figures import (
    FLOOR,
    WIDTH,
    Floor,
    below,
    colour,
    grid,
    matplotlib,
    of_control,
    plt,
    save,
    seeds,
)
from experiments.common.methods import METHODS

SIDE = 6  # images along a side of a grid
# Of ways to filter, which are no methods.
VARIANTS = (
    "#000000", "#332288", "#117733", "#44AA99", "#88CCEE", "#DDCC77", "#CC6677", "#AA4499",
)  # fmt: skip
COLLAPSE = ("negative_rl", "gflownet_vargrad", "banel_f1", "banel")  # Figure 11


def draw(config, prepared, results, summary: Mapping[str, Any], folder: Path) -> None:
    """All figures for which the algorithms were run."""
    success_rate(folder / "success_rate.png", summary)
    best = best_banel(results)
    if best:
        figure_2(folder / "figure2.png", config, prepared, best, results)
    if set(COLLAPSE) & set(results):
        figure_11(folder / "figure11.png", config, results)


def draw_again(summary: Mapping[str, Any], folder: Path) -> None:
    """What needs no samples."""
    success_rate(folder / "success_rate.png", summary)
    for told in sorted(folder.parent.glob("filters_*.json")):
        filters(folder / f"{told.stem}.png", files.read_json(told))


BANEL = ("banel", "banel_base", "importance", "inverse", "ours", "filtering")


def best_banel(results) -> str | None:
    """Of BaNEL's variants that were run, the one with the best final median."""
    final = lambda name: np.median(results[name].final["log10_success_rate"])
    return max((name for name in BANEL if name in results), key=final, default=None)


def success_rate(path: Path, summary: Mapping[str, Any]) -> None:
    """Decades over the prior by round, median over seeds and from lowest to highest."""
    base = summary["log10_prior_success_rate"]
    gains = lambda of: curves.logarithms(of["rounds"]["log10_success_rate"]) - base
    best = lambda of: max(of.items(), key=lambda item: -np.inf if item[1] is None else item[1])
    t, by_temperature = best(summary["log10_success_rate_by_temperature"])
    f, by_cut = best(summary["log10_success_rate_of_likeliest_1_in"])
    curves.draw(
        path,
        [
            Curve(name, METHODS[name].title, gains(of), METHODS[name].control)
            for name, of in summary["algorithms"].items()
        ],
        [
            Level(f"best T, chosen by looking ({float(t):g})", by_temperature - base),
            Level(f"likeliest 1 in f, chosen by looking ({float(f):g})", by_cut - base),
        ],
        Level("prior", 0.0, "prior"),
        summary["config"]["settings"]["num_candidates"],
        Floor(FLOOR, f"below 1e{FLOOR:.0f} of the prior"),
        "success rate over the prior's, decades",
        "MNIST, 0 to 6",
    )


def mosaic(config, tokens) -> np.ndarray:
    """SIDE x SIDE images as one, with frames of NaN between them; tokens [n, length]."""
    tokens = jnp.asarray(tokens[: SIDE * SIDE])
    images = np.asarray(mnist.pixels(config.task, Sequences(tokens, tokens >= 0)))
    framed = np.pad(images, [(0, 0), (0, 1), (0, 1)], constant_values=np.nan)
    side = config.task.resolution + 1
    joined = framed.reshape(SIDE, SIDE, side, side).swapaxes(1, 2)
    return joined.reshape(SIDE * side, SIDE * side)[:-1, :-1]


def show(axes, config, tokens, title: str) -> None:
    shades = plt.get_cmap("gray").with_extremes(bad="#56B4E9")
    axes.imshow(mosaic(config, tokens), cmap=shades, vmin=0, vmax=1, interpolation="nearest")
    axes.set_title("\n".join(textwrap.fill(line, 32) for line in title.split("\n")))
    axes.axis("off")


def figure_2(path: Path, config, prepared, name: str, results) -> None:
    """Samples of the prior, the controls, the best posterior by the rounds' rates, and targets."""
    result = results[name]
    rates = result.metrics["log10_success_rate"]
    kept = result.snapshot_rounds[1:]
    seed, block = np.unravel_index(np.argmax(rates[:, kept - 1]), (rates.shape[0], len(kept)))
    done = kept[block]
    no_filter = "ours_f1" if name in ("ours", "filtering") else "banel_f1"
    controls = [control for control in ("ladder", no_filter) if control in results]
    figure, panels = grid(3 + len(controls), WIDTH / 3 + 0.3)
    show(panels[0], config, result.snapshots[seed, 0], f"prior, 1e{prepared.log10_rate:.1f}")
    for axes, control in zip(panels[1:], controls, strict=False):
        rate = results[control].metrics["log10_success_rate"][seed, done - 1]
        title = f"{METHODS[control].title},\n1e{rate:.1f}"
        show(axes, config, results[control].snapshots[seed, block + 1], title)
    show(
        panels[-2],
        config,
        result.snapshots[seed, block + 1],
        f"{METHODS[name].title}, 1e{rates[seed, done - 1]:.1f},\n"
        f"round {done} of seed {config.first_seed + seed}",
    )
    tokens = np.asarray(prepared.task.targets.tokens)
    few = len(tokens) < SIDE * SIDE
    rows = np.random.default_rng(0).choice(len(tokens), SIDE * SIDE, replace=few)
    show(panels[-1], config, tokens[rows], "targets, at random")
    save(figure, path)


def figure_11(path: Path, config, results) -> None:
    """Samples over training, and how many nats the held-out 0s take, a line a seed."""
    names = [name for name in COLLAPSE if name in results]
    columns = results[names[0]].snapshots.shape[1]
    chosen = np.unique(np.linspace(0, columns - 1, 4).astype(int))
    figure, panels = plt.subplots(
        len(names), len(chosen) + 1, figsize=(WIDTH, 1.7 * len(names)),
        layout="constrained", squeeze=False, width_ratios=[1] * len(chosen) + [1.4],
    )  # fmt: skip
    worst = max(np.nanmax(results[name].metrics["held_out_nats"]) for name in names)
    least = min(np.nanmin(results[name].metrics["held_out_nats"]) for name in names)
    for row, name in zip(panels, names, strict=True):
        result = results[name]
        for axes, block in zip(row, chosen, strict=False):
            done = result.snapshot_rounds[block]
            show(axes, config, result.snapshots[0, block], f"round {done}")
        row[0].set_title("")
        start = f"{METHODS[name].title}\nround {result.snapshot_rounds[chosen[0]]}"
        row[0].set_title(start, loc="left")
        nats = result.metrics["held_out_nats"]
        rounds = np.arange(1, nats.shape[1] + 1)
        for values in nats:
            row[-1].plot(rounds, values, color=colour(name), lw=1)
        row[-1].set_ylabel("held-out 0s, nats")
        row[-1].set_yscale("log")
        row[-1].set_ylim(least * 0.9, worst * 1.1)  # one scale for all rows
        row[-1].set_yticks([float(f"{tick:.2g}") for tick in np.geomspace(least, worst, 4)])
        row[-1].yaxis.set_minor_locator(matplotlib.ticker.NullLocator())
        row[-1].yaxis.set_major_formatter("{x:g}")
    panels[-1, -1].set_xlabel("round")
    save(figure, path)


def filters(path: Path, told: Mapping[str, Any]) -> None:
    """What filters alone gain, by their number, and what tempering alone does.

    Args:
      path: of the figure.
      told: what `experiments.mnist.filters` writes.
    """
    figure, panels = plt.subplots(1, 3, figsize=(WIDTH, 4), layout="constrained")
    number = np.arange(1, told["config"]["filters"] + 1)
    floor = Floor(-4.0, "below 1e-4 of the base")
    for axes, measure in zip(panels[:2], ("gain", "gain_without_top"), strict=True):
        for (name, of), shade in zip(told["variants"].items(), VARIANTS, strict=False):
            gain = curves.logarithms(of[measure])
            floor.curve(axes, number, *seeds(gain), colour=shade, label=name, alpha=0.1)
        axes.plot(number, number * np.log10(2), "--", color="#999999", label="bound")
        axes.axhline(0, color="#000000", lw=0.8, ls=":")
        axes.set(xlabel="filters, each f = 2", xticks=number[::2])
    panels[0].set(ylabel="gain, decades", title="all targets")
    panels[1].set_title(f"without the {told['config']['experiment']['without_top']} likeliest")
    temperatures, tempered = zip(*told["log10_gain_by_temperature"].items(), strict=True)
    floor.curve(
        panels[2], [float(t) for t in temperatures], curves.logarithms(tempered), label=None,
        colour=of_control("one temperature"),
    )  # fmt: skip
    panels[2].axhline(0, color="#000000", lw=0.8, ls=":")
    panels[2].set(xlabel="temperature of the prior", title="tempering alone")
    below(figure, panels, columns=3)
    save(figure, path)


if __name__ == "__main__":
    redraw.run(draw_again, "experiments/results/mnist", METHODS)
