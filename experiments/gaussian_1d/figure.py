"""The figure of the one-dimensional toy."""

from pathlib import Path

import numpy as np

from experiments.common.figures import WIDTH, colour, plt, save

COLOURS = (colour("ours"), colour("threshold"))  # of the two methods that are drawn
MODE, FAINT = "#d1495b", "#8a8a8a"


def draw(
    path: Path,
    centres: np.ndarray,
    generators: dict[str, np.ndarray],
    analyses: dict[str, dict[str, np.ndarray]],
    modes: tuple[float, ...],
    alarm: float,
) -> None:
    """Above, where the generator's mass is by round; below, the two signs of a lost mode.

    Args:
      path: of the PNG.
      centres: of the bins [V].
      generators: for each method the probabilities [rounds, V] of one seed.
      analyses: for each method `coverage` and `threshold` [seeds, rounds].
      modes: where the rewards lie.
      alarm: coverage below which a mode is called lost.
    """
    figure, axes = plt.subplots(2, 2, figsize=(WIDTH, 5.8), layout="constrained")
    width = centres[1] - centres[0]
    for axis, (name, mass) in zip(axes[0], generators.items(), strict=True):
        edges = (centres[0] - width / 2, centres[-1] + width / 2)
        axis.imshow(
            np.sqrt(mass / mass.max()),
            extent=(*edges, len(mass) + 0.5, 0.5),
            aspect="auto",
            cmap="Greys",
            interpolation="nearest",
        )
        for mode in modes:
            axis.axvline(mode, color=MODE, linewidth=1.2, linestyle=":")
        axis.set(
            title=f"generator: {name}", xlabel="x, rewarded at the dotted lines", ylabel="round"
        )
    signs = (
        ("coverage", alarm, "coverage of untried prior mass", "alarm below"),
        ("threshold", 0.0, "threshold tau, nats", "against the evidence above"),
    )
    for axis, (key, level, label, words) in zip(axes[1], signs, strict=True):
        for (name, analysis), c in zip(analyses.items(), COLOURS, strict=True):
            values = np.where(np.isfinite(analysis[key]), analysis[key], np.nan)
            start = 1 if key == "threshold" else 0  # nothing is filtered in the first round
            rounds = 1 + np.arange(start, values.shape[1])
            low, middle, high = np.percentile(values[:, start:], [10, 50, 90], axis=0)
            axis.fill_between(rounds, low, high, color=c, alpha=0.18, linewidth=0)
            axis.plot(rounds, middle, color=c, linewidth=2, label=name)
        axis.axhline(level, color=FAINT, linewidth=1.2, linestyle="--")
        axis.annotate(
            words, (1, level), (-2, 3), xycoords=("axes fraction", "data"),
            textcoords="offset points", ha="right", fontsize=8, color=FAINT,
        )  # fmt: skip
        axis.set(xlabel="round", ylabel=label)
    axes[1, 0].legend()
    axes[1, 0].set_ylim(0, 1.03)
    save(figure, path)
