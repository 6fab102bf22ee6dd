"""One cell of the race: a method on a task, from one seed, and what is recorded of it."""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from experiments.common import report
from experiments.common.search import with_fields
from experiments.race import methods
from experiments.race.config import Config
from experiments.race.entry import Prepared
from experiments.race.program import Program
from experiments.race.tasks import TASKS

Line = Mapping[str, Any]
DIGITS = 4  # of what is not counted


class Kind(NamedTuple):
    """Cells that differ in their seeds alone, and run one program."""

    task: str
    algorithm: str
    num_candidates: int

    @property
    def where(self) -> dict[str, Any]:
        return {"task": self.task, "algorithm": self.algorithm, "m": self.num_candidates}

    def __str__(self):
        return f"{self.task}, {methods.METHODS[self.algorithm].title}, m = {self.num_candidates}"


def prepare(config: Config, task: str) -> Prepared:
    entry = TASKS[task]
    return entry.prepare(entry, report.output_folder(config.runs), config.num_prior)


def program_of(
    config: Config, kind: Kind, prepared: Prepared, changes: Mapping[str, Any]
) -> Program:
    """What the cells of a kind have in common, with some settings changed."""
    rounds = config.rounds(kind.task, kind.num_candidates)
    settings = methods.at(TASKS[kind.task].settings, kind.num_candidates, rounds)
    settings = with_fields(settings, dict(changes))
    method = methods.METHODS[kind.algorithm]
    return Program(prepared, method, settings, rounds, config.num_evaluated)


def measured(program: Program, seed: int, seconds_left: float = np.inf) -> dict[str, Any]:
    """The measures of a run, as they are recorded; what ended it before its end is told.

    Raises:
      TooLong: where it would take longer than is left.
    """
    ran = program.run(seed, seconds_left)
    found = {name: short(value) for name, value in program.measured(ran).items()}
    return found | {"commit": report.commit()} | ({"error": ran.error} if ran.error else {})


def short(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    return json.loads(f"{value:.{DIGITS}g}") if np.isfinite(value) else None


def in_words(found: Line) -> str:
    """A cell on one line."""
    at = lambda name: "never" if found[name] is None else f"after {found[name]:,}"
    rate = report.format_value(found["final"])
    stopped = f", stopped: {found['error']}" if "error" in found else ""
    return (
        f"first success {at('to_first')}, half {at('to_0.5')}, {found['distinct']} distinct, "
        f"ends at {rate}, {found['seconds']:.0f} s{stopped}"
    )
