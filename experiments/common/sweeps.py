"""A sweep over one field, as table, figure and file, whatever the experiment."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.common import report
from experiments.common.curves import name_ends
from experiments.common.figures import FLOOR, WIDTH, Floor, below, colour, of_control, plt, save

# By measure ("best", "final"), then by title, decades over the prior [values, seeds].
Measures = Mapping[str, Mapping[str, np.ndarray]]


def check(field: str, configs: list[Any]) -> None:
    """Raises ValueError where the points of a sweep make no one table."""
    if field == "algorithms":
        raise ValueError("--sweep.algorithms is no sweep; --algorithms runs several on one table")
    if len({(c.rounds, c.seeds) for c in configs}) > 1:
        raise ValueError(f"--sweep.{field}: points of other rounds or seeds make no one table")


def stack(found: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Of each title, its gains [seeds] at each value as one array [values, seeds], with NaN at
    values where the algorithm could not go on."""
    missing = {name: np.full(np.shape(gain), np.nan) for at in found for name, gain in at.items()}
    return {
        name: np.stack([gains.get(name, nans) for gains in found]).astype(float)
        for name, nans in missing.items()
    }


def colours(methods: Mapping[str, Any]) -> dict[str, str]:
    """Of methods, by their titles."""
    return {method.title: colour(name) for name, method in methods.items()}


def short(field: str) -> str:
    """A field's name in tables and files."""
    return field.removeprefix("settings.")


def show(
    output: Path,
    field: str,
    values: list[str],
    measures: Measures,
    about: dict[str, Any],
    colours: Mapping[str, str],
    ending: str = "",
) -> None:
    """Prints the table and writes `sweep_FIELD.json` and `figures/sweep_FIELD.png`.

    What the field does not touch is the same at all of its values: one row, and a line in the
    figure.

    Args:
      output: folder.
      field: that was swept.
      values: of it.
      measures: the gains.
      about: beside them in the file.
      colours: by title; what has none is a control that costs nothing.
      ending: of the files' names.
    """
    name, file = short(field), f"sweep_{short(field)}{ending}"
    varies = {title: bool(np.any(gain != gain[0])) for title, gain in measures["final"].items()}
    rows = [
        {"algorithm": title, name: value if varies[title] else "any"}
        | {m: _spread(measures[m][title][i]) for m in measures}
        for title in varies
        for i, value in enumerate(values)
        if i == 0 or varies[title]
    ]
    print()
    report.print_table(rows, ("algorithm", name, *measures))
    print("\ntimes the prior's success rate, median over seeds [lowest, highest]")
    figure(output / "figures" / f"{file}.png", name, values, measures, colours)
    gains = {f"log10_gain_{m}": found for m, found in measures.items()}
    report.write_json(output / f"{file}.json", about | {"field": field, "values": values} | gains)
    print(f"\nwritten: {output}/{file}.json, figures/{file}.png")


def _spread(gains: np.ndarray) -> str:
    return "stopped" if np.isnan(gains).all() else report.format_spread(10**gains)


def figure(
    path: Path,
    field: str,
    values: list[str],
    measures: Measures,
    colours: Mapping[str, str],
) -> None:
    """Improvement by the value of a swept field (Figure 3), best of rounds and final.

    Args:
      path: of the figure.
      field: that was swept.
      values: of it.
      measures: decades over the prior, by measure and title [values, seeds].
      colours: by title.
    """
    plot, panels = plt.subplots(
        1, len(measures), figsize=(WIDTH, 4), sharey=True, layout="constrained"
    )
    touched = lambda gain: np.any(np.asarray(gain) != np.asarray(gain)[0])
    varies = [name for name, gain in measures["final"].items() if touched(gain)]
    places = np.arange(len(values))
    floor = Floor(FLOOR, f"below 1e{FLOOR:.0f} of the prior")
    of = {title: of_control(title) for title in measures["final"]} | dict(colours)
    ends = []
    for axes, measure in zip(panels, measures, strict=True):
        for name in measures["final"]:
            gain = np.asarray(measures[measure][name], float)
            middle = np.median(gain, axis=1)
            reached = middle[~np.isnan(middle)]  # at some values it may have been stopped
            if axes is panels[-1] and len(reached):
                ends.append((max(reached[-1], FLOOR), name, of[name]))
            if name not in varies:
                floor.level(axes, middle[0], ls="--", colour=of[name], lw=1, label=None)
                continue
            seen = middle > FLOOR
            spread = np.maximum([gain.min(1), gain.max(1)], FLOOR)
            error = np.where(seen, np.abs(spread - middle), 0)
            axes.errorbar(
                places, np.where(seen, middle, np.nan), error, marker="o", ms=4, capsize=3,
                color=of[name],
            )  # fmt: skip
            floor.mark(axes, places[middle <= FLOOR], of[name])
        axes.axhline(0, color="#000000", lw=0.8, ls=":")
        axes.set_xticks(places, values)
        axes.set_xlabel(field)
        axes.set_title({"best": "best of the rounds"}.get(measure, measure))
    panels[0].set_ylabel("success rate over the prior's, decades")
    axes.set_ylim(axes.get_ylim())
    name_ends(axes, ends)
    below(plot, panels)
    save(plot, path)
