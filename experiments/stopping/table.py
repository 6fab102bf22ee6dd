"""What the rules keep, and what the variants reach: tables and the figure."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.common import report
from experiments.common.publication import publish
from experiments.race.table import latest
from experiments.stopping import figures, rules
from experiments.stopping.config import Config
from experiments.stopping.rules import RULES, Line
from experiments.stopping.trajectories import file_of
from experiments.stopping.variants import VARIANTS

LEGEND = (
    "share of the best round's success rate that a rule keeps, in the mean over seeds; its limit "
    "keeps the most on the other tasks. The best round is that of each run, found by looking at "
    "its success rates, or the base where no round is better."
)


def recorded(config: Config) -> dict[str, dict[str, list[Line]]]:
    """By variant and task, the runs of the settings that were run last, one a seed."""
    found: dict[str, dict[str, list[Line]]] = {}
    for task in config.tasks:
        lines = [line for line in report.read_json_lines(file_of(config, task)) if line["rates"]]
        runs = latest(lines, lambda line: line["variant"])
        for variant in config.chosen:
            of = runs.get(variant, [])
            rounds = max((len(line["rates"]) for line in of), default=0)
            if whole := [line for line in of if len(line["rates"]) == rounds]:
                found.setdefault(variant, {})[task] = whole
    return found


def reached(by_task: Mapping[str, Sequence[Line]]) -> dict[str, dict[str, Any]]:
    """By task: the base's rate, the last and the best round's, medians over seeds, and when."""
    found = {}
    for task, lines in by_task.items():
        rates = np.array([line["rates"] for line in lines])
        found[task] = {
            "base": lines[0]["base_rate"],
            "last": report.seed_spread(rates[:, -1]),
            "best": report.seed_spread(rates.max(1)),
            "best_round": float(np.median(rates.argmax(1)) + 1),
            "rates": {k: v for k, v in report.seed_spread(rates).items() if k != "values"},
            "seeds": len(lines),
            "stopped": sum("error" in line for line in lines),
        }
    return found


def judged(by_task: Mapping[str, Sequence[Line]]) -> dict[str, dict[str, Any]]:
    """By rule: what it keeps on each task, with which limit; the limit that suits all of them."""
    found: dict[str, dict[str, Any]] = {}
    for name, rule in RULES.items():
        if all(np.isnan(rule.of(line)).all() for lines in by_task.values() for line in lines):
            continue  # nothing of it was seen
        by = rules.elsewhere(rule, by_task)
        mean = float(np.mean([at["kept"] for at in by.values()]))
        limit = rules.chosen(rule, by_task)
        found[name] = {"title": rule.title, "by_task": by, "mean": mean, "limit": limit}
    return found


def main(config: Config) -> None:
    """Writes summary.json and the figure, and prints the tables."""
    started = time.perf_counter()
    output = report.output_folder(config.output)
    found = recorded(config)
    if not found:
        raise ValueError(f"no run is recorded in {output}; run `python -m experiments.stopping`")
    summary: dict[str, Any] = {}
    for variant, by_task in found.items():
        title = VARIANTS[variant].title
        here = {"title": title, "reached": reached(by_task), "rules": judged(by_task)}
        summary[variant] = here
        print(f"{title}\n")
        _print(here)
    print(LEGEND)
    publish(started, output, config, {"variants": summary}, figures.draw)


def _print(of: Mapping[str, Any]) -> None:
    tasks = list(of["reached"])
    shown = [
        {"rate": name, **{task: at[name]["median"] for task, at in of["reached"].items()}}
        for name in ("last", "best")
    ]
    base = {"rate": "base", **{task: at["base"] for task, at in of["reached"].items()}}
    report.print_table([base, *shown], ("rate", *tasks))
    print()
    rows = [
        {"stops by": rule["title"], **{t: at["kept"] for t, at in rule["by_task"].items()}}
        | {"mean": rule["mean"], "limit for all": rule["limit"]}
        for rule in of["rules"].values()
    ]
    report.print_table(rows, ("stops by", *tasks, "mean", "limit for all"))
    print()
