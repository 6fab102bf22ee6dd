"""Figures of the digits experiment."""

from pathlib import Path

import numpy as np

from experiments.common.figures import Floor, plt, save, seeds

# Okabe and Ito's colours, which colour-blind readers can tell apart; controls are dashed.
COLOURS = ("#000000", "#999999", "#56B4E9", "#0072B2", "#CC79A7", "#D55E00", "#009E73", "#B8A000")
PARTS = {
    "filter": "#D55E00",
    "past_filters": "#009E73",
    "distillation": "#0072B2",
}


def success_rate(
    path: Path,
    by_method: dict[str, np.ndarray],
    controls: tuple[str, ...],
    base: float,
    num_candidates: int,
    free: tuple[str, float],
) -> None:
    """log10 success rate after each round: median over seeds, and from lowest to highest.

    Args:
      path: of the PNG.
      by_method: log10 success rates [seeds, rounds].
      controls: which methods are controls.
      base: log10 success rate of the prior.
      num_candidates: m.
      free: a control that costs nothing, its name and log10 success rate.
    """
    figure, axes = plt.subplots(figsize=(7.5, 4.5), layout="constrained")
    floor = Floor(base - 4, "below 1e-4 of the base")
    for colour, (name, rates) in zip(COLOURS, by_method.items(), strict=False):
        evaluations = num_candidates * np.arange(1, rates.shape[1] + 1)
        style = "--" if name in controls else "-"
        floor.curve(axes, evaluations, *seeds(rates), colour=colour, label=name, ls=style)
    axes.axhline(base, color="#000000", lw=0.8, ls=":", label="base")
    floor.level(axes, free[1], colour="#882255", lw=1.2, ls=":", label=free[0])
    axes.set_xlabel("reward evaluations")
    axes.set_ylabel("success rate, log10")
    axes.set_title("Digits 0 → 6: median over seeds, shaded from lowest to highest", fontsize=10)
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    save(figure, path)


def decomposition(path: Path, gains: dict[str, dict[str, np.ndarray]], num_candidates: int) -> None:
    """The gain of each round, split into the filter's and the distillation's, added up.

    Args:
      path: of the PNG.
      gains: by method, then by the keys of PARTS: decades a round [seeds, rounds]. Past
        filters are drawn where there are any.
      num_candidates: m.
    """
    figure, panels = plt.subplots(
        1, len(gains), figsize=(3.6 * len(gains), 3.4), sharey=True, layout="constrained",
        squeeze=False,
    )  # fmt: skip
    for axes, (name, split) in zip(panels[0], gains.items(), strict=True):
        for part, colour in PARTS.items():
            if part == "past_filters" and not np.any(split[part]):
                continue
            total = np.cumsum(np.clip(np.nan_to_num(split[part]), -4, 4), axis=1)
            evaluations = num_candidates * np.arange(1, total.shape[1] + 1)
            axes.plot(evaluations, np.median(total, 0), color=colour, label=part.replace("_", " "))
            axes.fill_between(evaluations, total.min(0), total.max(0), color=colour, alpha=0.15)
        axes.axhline(0, color="#000000", lw=0.8, ls=":")
        axes.set_title(name, fontsize=10)
        axes.set_xlabel("reward evaluations")
        axes.spines[["top", "right"]].set_visible(False)
    panels[0, 0].set_ylabel("gain so far, decades")
    labelled = max(panels[0], key=lambda axes: len(axes.lines))  # the panel with every part
    labelled.legend(fontsize=8, frameon=False)
    save(figure, path)


def samples(path: Path, images: dict[str, np.ndarray]) -> None:
    """Grids of samples side by side; images [n, height, width] in [0, 1] by title."""
    side = 8
    shades = plt.get_cmap("gray").with_extremes(bad="#56B4E9")  # frames, unlike any grey
    figure, panels = plt.subplots(
        1, len(images), figsize=(3.2 * len(images), 3.5), layout="constrained", squeeze=False
    )
    for axes, (name, batch) in zip(panels[0], images.items(), strict=True):
        _, height, width = batch.shape
        framed = np.pad(batch[: side * side], [(0, 0), (0, 1), (0, 1)], constant_values=np.nan)
        grid = framed.reshape(side, side, height + 1, width + 1).swapaxes(1, 2)
        grid = grid.reshape(side * (height + 1), side * (width + 1))[:-1, :-1]
        axes.imshow(grid, cmap=shades, vmin=0, vmax=1, interpolation="nearest")
        axes.set_title(name, fontsize=10)
        axes.axis("off")
    save(figure, path)
