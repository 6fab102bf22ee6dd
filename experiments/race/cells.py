"""The cells of the race: each a task, a method, a number of candidates and a seed.

A cell is a line in its task's file, added when it has ended: one that is killed is computed again,
and none is half recorded.
"""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from banel_jax import files
from experiments.common import report
from experiments.race import search
from experiments.race.cell import Kind, Line, in_words, measured, prepare, program_of, short
from experiments.race.config import Config
from experiments.race.program import TooLong


def file_of(config: Config, task: str) -> Path:
    return files.expand(config.output) / "cells" / f"{task}.jsonl"


def kinds(config: Config, task: str) -> Iterator[Kind]:
    for num_candidates in config.num_candidates:
        for algorithm in config.chosen:
            yield Kind(task, algorithm, num_candidates)


def main(config: Config) -> None:
    """Runs what is not recorded, as far as the minutes go."""
    report.output_file(file_of(config, "any"))
    ends = time.monotonic() + 60 * config.minutes
    left_out: list[str] = []
    run = 0
    for task in config.chosen_tasks:
        if time.monotonic() >= ends:
            left_out.append(task)
            continue
        run += _task(config, task, ends, left_out)
    print(f"\n{run} cells run; recorded in {file_of(config, '*')}")
    if left_out:
        print(f"left for another call: {'; '.join(left_out)}", flush=True)


def _task(config: Config, task: str, ends: float, left_out: list[str]) -> int:
    path = file_of(config, task)
    lines: list[dict[str, Any]] = report.read_json_lines(path)
    chosen = search.chosen(config, task)
    prepared = prepare(config, task)
    print(
        f"{task}: success rate of the base {prepared.base_rate:.3g}; settings searched for: "
        f"{', '.join(chosen) or 'none'}",
        flush=True,
    )
    run = 0
    for kind in kinds(config, task):
        changes = chosen.get(kind.algorithm)  # None where nothing was searched
        program = program_of(config, kind, prepared, changes or {})
        identity = program.identity
        done = {line["seed"] for line in lines if line["of"] == identity and _is(line, kind)}
        for seed in config.every_seed:
            if seed in done:
                continue
            left = ends - time.monotonic()
            if (needed := predicted(lines, kind)) > left:
                left_out.append(f"{kind}, seeds from {seed} on ({needed:.0f} s each)")
                break
            try:
                found = measured(program, seed, left)
            except TooLong as error:
                left_out.append(f"{kind}, seeds from {seed} on ({error.args[0]:.0f} s each)")
                break
            line = kind.where | {"seed": seed, "of": identity, "changes": changes}
            line |= {"budget": config.budget_of(task), "base_rate": short(prepared.base_rate)}
            lines.append(line | found)
            report.append_json_line(path, lines[-1])
            run += 1
            print(f"  {kind}, seed {seed}: {in_words(found)}", flush=True)
    return run


def predicted(lines: Sequence[Line], kind: Kind) -> float:
    """Seconds that a cell will take, by those that are like it; 0 where none is.

    One of another m is taken to need as much a round.
    """
    alike = [line for line in lines if line["algorithm"] == kind.algorithm]
    same = [line["seconds"] for line in alike if line["m"] == kind.num_candidates]
    others = [line["seconds"] * line["m"] / kind.num_candidates for line in alike]
    return max(same or others, default=0.0)


def _is(line: Line, kind: Kind) -> bool:
    return all(line[name] == value for name, value in kind.where.items())
