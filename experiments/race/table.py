"""The table of the race, of what is recorded: medians and quantiles of every measure over seeds."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from banel_jax import files
from experiments.common import report
from experiments.common.publication import publish
from experiments.race import figures, measures
from experiments.race.cell import Line, short
from experiments.race.config import Config
from experiments.race.methods import METHODS, NAMES, rival
from experiments.race.tasks import TASKS

MEASURES = ("to_first", "to_10_distinct", "to_0.5", "to_0.9", "distinct", "final")
# Beside them, in summary.json.
MORE = (
    "to_100_distinct", "to_0.1", "modes", "coverage", "found_share", "seconds", "flops",
)  # fmt: skip
SHOWN = {
    "method": "title", "m": "m", "seeds": "seeds", "first": "to_first", "10": "to_10_distinct",
    "0.1": "to_0.1", "0.5": "to_0.5", "0.9": "to_0.9", "distinct": "distinct", "modes": "modes",
    "coverage": "coverage", "final": "final", "seconds": "seconds", "TFLOP": "flops",
}  # fmt: skip
LEGEND = (
    "evaluations to the first and to the 10th distinct success, to success rates of 0.1, 0.5 and "
    "0.9: medians over seeds, - where fewer than half of them got there. distinct, modes: of the "
    "successes paid for. coverage: of the prior given success, by the last generator. final: its "
    "success rate. N rho: successes that plain sampling from the base expects."
)


def method_and_m(line: Line) -> tuple[str, int]:
    return line["algorithm"], line["m"]


def latest(
    lines: Iterable[Line], kind_of: Callable[[Line], Any] = method_and_m
) -> dict[Any, list[Line]]:
    """By kind the cells of the settings that were run last, one a seed."""
    of: dict[Any, dict[str, dict[int, Line]]] = {}
    for line in lines:
        versions = of.setdefault(kind_of(line), {})
        cells = versions.pop(line["of"], {})
        versions[line["of"]] = cells | {line["seed"]: line}  # last in order
    return {
        kind: [cells[seed] for seed in sorted(cells)]
        for kind, versions in of.items()
        for cells in [list(versions.values())[-1]]
    }


def row(task: str, algorithm: str, num_candidates: int, cells: Sequence[Line]) -> dict[str, Any]:
    """Of the cells of a kind: their medians, and beside them their 10, 50 and 90% quantiles."""
    found: dict[str, Any] = {
        "task": task,
        "n_rho": cells[-1]["budget"] * cells[-1]["base_rate"],
        "algorithm": algorithm,
        "rival": rival(algorithm),
        "control": METHODS[algorithm].control,
        "seeds": len(cells),
        "m": num_candidates,
    }
    for name in MEASURES + MORE:
        of = [short(value) for value in measures.quantiles(cells, name)]
        found |= {name: of[1], f"{name}_quantiles": of}
    return found


def rows(config: Config) -> list[dict[str, Any]]:
    """All of them: task by task, m by m, the methods in the order of their names there."""
    found = []
    for task in TASKS:
        if task not in config.chosen_tasks:
            continue
        kinds = latest(report.read_json_lines(files.expand(config.output) / f"cells/{task}.jsonl"))
        order = lambda kind: (kind[1], NAMES.index(kind[0]))
        for algorithm, num_candidates in sorted(
            (kind for kind in kinds if kind[0] in config.chosen), key=order
        ):
            cells = kinds[algorithm, num_candidates]
            errors = [cell["error"] for cell in cells if "error" in cell]
            found.append(
                row(task, algorithm, num_candidates, cells)
                | {"budget": cells[-1]["budget"], "changes": cells[-1]["changes"]}
                | {"title": METHODS[algorithm].title, "errors": errors}
            )
    return found


def exact(row: Mapping[str, Any]) -> dict[str, Any]:
    """What `table.json` has of a row."""
    names = ("task", "n_rho", "algorithm", "rival", "control", "seeds", "m")
    quantiles = [f"{name}_quantiles" for name in MEASURES]
    return {name: row[name] for name in (*names, *MEASURES, *quantiles)}


def readable(found: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[dict[str, Any]]]]:
    """(heading, rows as they are shown) of each task."""
    tasks = dict.fromkeys(r["task"] for r in found)
    of = lambda task: [r for r in found if r["task"] == task]
    heading = lambda r: (
        f"{r['task']}: N = {r['budget']:,}, N rho = {report.format_value(r['n_rho'])}"
    )
    return [(heading(of(task)[0]), [_shown(r) for r in of(task)]) for task in tasks]


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    """Evaluations and successes as whole numbers, but for a median between two; FLOPs in 1e12."""
    whole = lambda value: int(value) if isinstance(value, float) and value >= 10 else value
    flops = None if row["flops"] is None else row["flops"] / 1e12
    return {c: whole(row[n]) for c, n in SHOWN.items()} | {"TFLOP": flops}


def markdown(found: Sequence[Mapping[str, Any]]) -> str:
    """All tables for a reader of the results' folder."""
    lines = ["# The race", "", LEGEND]
    cells = lambda values: f"| {' | '.join(report.format_value(v) for v in values)} |"
    for heading, shown in readable(found):
        lines += ["", f"## {heading}", "", cells(SHOWN), cells(["---"] * len(SHOWN))]
        lines += [cells(r.values()) for r in shown]
    return "\n".join(lines) + "\n"


def main(config: Config) -> None:
    """Writes table.json, summary.json, table.md and the figure."""
    started = time.perf_counter()
    output = report.output_folder(config.output)
    found = rows(config)
    if not found:
        raise ValueError(f"no cell is recorded in {output}/cells; run `python -m experiments.race`")
    for heading, shown in readable(found):
        print(f"{heading}\n")
        report.print_table(shown, tuple(SHOWN))
        print()
    print(LEGEND)
    report.write_json(output / "table.json", [exact(r) for r in found])
    publish(
        started,
        output,
        config,
        {"rows": found},
        lambda summary, folder: figures.draw(summary, folder),
        texts={"table.md": markdown(found)},
    )
