"""Runs of every variant: the success rate after each round, and what could be seen of it."""

import time
from pathlib import Path
from typing import Any

import numpy as np

from banel_jax import files
from experiments.common import report
from experiments.race import methods as race_methods
from experiments.race.cell import short
from experiments.race.entry import Prepared
from experiments.race.measures import Record, identities
from experiments.race.program import Program, Ran, TooLong
from experiments.race.tasks import TASKS
from experiments.stopping.config import Config
from experiments.stopping.variants import VARIANTS

# Of the rounds' metrics. `failure_gap` is there where failures are held out.
SEEN = ("kl_to_base", "entropy", "duplicate_rate", "effective_sample_size", "failure_gap")


def file_of(config: Config, task: str) -> Path:
    return files.expand(config.output) / "runs" / f"{task}.jsonl"


def main(config: Config) -> None:
    """Runs what is not recorded, as far as the minutes go."""
    report.output_file(file_of(config, "any"))
    ends = time.monotonic() + 60 * config.minutes
    for task in config.tasks:
        entry, path = TASKS[task], file_of(config, task)
        lines: list[dict[str, Any]] = report.read_json_lines(path)
        prepared = entry.prepare(entry, report.output_folder(config.runs), config.num_prior)
        for variant in config.chosen:
            program = program_of(config, task, variant, prepared)
            name = program.identity
            done = {line["seed"] for line in lines if line["of"] == name}
            for seed in sorted(set(config.every_seed) - done):
                try:
                    ran = program.run(seed, ends - time.monotonic())
                except TooLong:
                    print("the other runs are left for another call", flush=True)
                    return
                line: dict[str, Any] = {"task": task, "variant": variant, "seed": seed, "of": name}
                line |= {"base_rate": short(prepared.base_rate), **recorded(ran)}
                report.append_json_line(path, line)
                best = report.format_value(max(line["rates"], default=0.0))
                print(f"{task}, {VARIANTS[variant].title}, seed {seed}: best {best}", flush=True)
    print(f"recorded in {file_of(config, '*')}")


def program_of(config: Config, task: str, variant: str, prepared: Prepared) -> Program:
    settings = race_methods.at(TASKS[task].settings, config.num_candidates, config.rounds)
    return Program(prepared, VARIANTS[variant], settings, config.rounds, config.num_evaluated)


def recorded(ran: Ran) -> dict[str, Any]:
    """What is kept of a run: by round its rate, and what can be seen without a success."""
    of = lambda values: [short(float(value)) for value in values]
    seen = {name: of(ran.metrics[name][0]) for name in SEEN if name in ran.metrics}
    seen["repeats"] = of(repeats(ran.record))
    found = {"rates": of(ran.record.rates), "seen": seen, "seconds": short(ran.seconds)}
    return found | {"commit": report.commit()} | ({"error": ran.error} if ran.error else {})


def repeats(record: Record) -> np.ndarray:
    """The share of each round's candidates that were paid for before, in that round or earlier."""
    met: set[bytes] = set()
    shares = []
    for tokens, mask in zip(record.tokens, record.mask, strict=True):
        names = identities(tokens, mask)
        new = set(names) - met
        shares.append(1 - len(new) / len(names))
        met |= new
    return np.array(shares)
