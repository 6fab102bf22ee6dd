"""How far the formulas of `plan` are from what is measured here.

    python -m experiments.benchmark.plan_check --output=experiments/results/benchmark/plan.json

Memory: programs of a decoder with adapters, compiled for meshes of 8 virtual devices, by XLA's own
account. Seconds: the same programs run on this machine, one device; each shape is predicted by the
speed that was fitted to the others. Ten minutes on 2 idle CPU cores.
"""

import json
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8 " + os.environ.get(
    "XLA_FLAGS", ""
)

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize

from banel_jax import parallel
from experiments.benchmark import cost_memory, cost_model
from experiments.benchmark.case import seconds
from experiments.benchmark.cost_model import Load, Speed
from experiments.benchmark.plan_cases import MEMORY, SECONDS, WORKS, Measured, programs
from experiments.common import flags, report


@dataclass(frozen=True)
class Config:
    """Settings of the check.

    Attributes:
      memory_shapes: how many of those for memory.
      timed_shapes: how many of those that are timed, two or more.
      repeats: runs of each; the fastest counts.
      measured: the JSON file of an earlier check, whose measurements are taken; empty to measure.
      output: JSON file; empty for none.
    """

    memory_shapes: int = len(MEMORY)
    timed_shapes: int = len(SECONDS)
    repeats: int = 3
    measured: str = ""
    output: str = ""


def formulas(case: Measured, work: str) -> tuple[list[Load], float]:
    """The loads of a work, and its bytes beside its arguments."""
    shape, n = case.shape(), case.rows
    own = -(-n // shape.data)
    loads = {
        "sampling": lambda: cost_model.sampling(shape, n, own),
        "scoring": lambda: cost_model.scoring(shape, n, own),
        "training": lambda: cost_model.training(shape, n, own, n),
    }[work]()
    return loads, cost_memory.BUFFERED * sum(getattr(cost_memory, work)(shape, own).values())


def memory_rows(cases: Iterable[Measured]) -> list[dict[str, Any]]:
    rows = []
    for case in cases:
        shape = case.shape()
        devices = jax.devices()[: shape.data * shape.parts]
        with jax.set_mesh(parallel.mesh(case.mesh, devices)):
            for work, (program, arguments) in programs(case).items():
                account: Any = program.lower(*arguments).compile().memory_analysis()
                rows.append(memory_row(case, work, account.temp_size_in_bytes / 1e6))
    return rows


def memory_row(case: Measured, work: str, measured: float) -> dict[str, Any]:
    return _row(case, work, "MB", measured, formulas(case, work)[1] / 1e6)


def _row(case, work, unit, measured, formula):
    row = {"work": work, **case._asdict(), "unit": unit, "measured": measured, "formula": formula}
    print(f"  {work}, {unit} {measured:.4g}, by formula {formula:.4g}", flush=True)
    return row | {"ratio": formula / measured}


def timed(case: Measured, repeats: int) -> dict[str, float]:
    """Seconds of each work, on one device."""
    found = {}
    for work, (program, shapes) in programs(case).items():
        rng = np.random.default_rng(0)

        def made(x, rng=rng):
            if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
                return jax.random.key(1)
            if x.dtype == jnp.int32:
                return jnp.asarray(rng.integers(case.vocab, size=x.shape), jnp.int32)
            if x.dtype == bool:
                return jnp.ones(x.shape, bool)
            return jnp.asarray(0.02 * rng.standard_normal(x.shape, np.float32))

        arguments = jax.tree.map(made, shapes)
        if work == "training":
            arguments = (*arguments[:3], jnp.ones(case.rows), arguments[4])
        run = lambda program=program, arguments=arguments: jax.block_until_ready(
            program(*arguments)
        )
        run()
        found[work] = min(seconds(run) for _ in range(repeats))
    return found


def fitted(measured: list[tuple[list[Load], float]]) -> Speed:
    """The speed at which the formulas are nearest to measured seconds, by their logarithms."""

    def speed(x):
        flops, moved, step = np.exp(x)
        return Speed(flops, moved, 1.0, step, overlaps=False)

    def wrong(x):
        return [np.log(cost_model.seconds(loads, speed(x)) / taken) for loads, taken in measured]

    start = np.log([1e11, 1e10, 1e-6])
    return speed(scipy.optimize.least_squares(wrong, start, loss="soft_l1").x)


def all_timed(cases: Iterable[Measured], repeats: int) -> list[dict[str, float]]:
    """Seconds of each work, of each case."""
    taken = []
    with jax.set_mesh(parallel.data_mesh(jax.devices()[:1])):
        for case in cases:
            taken.append(timed(case, repeats))
            print(f"  {case}: {taken[-1]}", flush=True)
    return taken


def second_rows(
    cases: Sequence[Measured], taken: Sequence[dict[str, float]]
) -> tuple[list[dict[str, Any]], dict[str, Speed]]:
    """Rows of all, each by the speed fitted to the others, and by work the speed fitted to all."""
    rows, speeds = [], {}
    for work in WORKS:
        pairs = [(formulas(case, work)[0], t[work]) for case, t in zip(cases, taken, strict=True)]
        speeds[work] = fitted(pairs)
        for i, (case, (loads, measured)) in enumerate(zip(cases, pairs, strict=True)):
            others = fitted(pairs[:i] + pairs[i + 1 :])
            rows.append(_row(case, work, "seconds", measured, cost_model.seconds(loads, others)))
    return rows, speeds


def again(path: str) -> tuple[list[dict[str, Any]], list[Measured], list[dict[str, float]]]:
    """What an earlier check measured: memory by the formulas of today, cases and their seconds."""
    memory: list[dict[str, Any]] = []
    taken: dict[Measured, dict[str, float]] = {}
    for row in json.loads(Path(path).read_text())["rows"]:
        case = Measured(*(row[name] for name in Measured._fields))
        if row["unit"] == "MB":
            memory.append(memory_row(case, row["work"], row["measured"]))
        else:
            taken.setdefault(case, {})[row["work"]] = row["measured"]
    return memory, list(taken), list(taken.values())


def main(config: Config) -> None:
    started = time.perf_counter()
    output = config.output and str(report.output_file(config.output))
    cases: Sequence[Measured]
    if config.measured:
        memory, cases, taken = again(config.measured)
    else:
        memory, cases = memory_rows(MEMORY[: config.memory_shapes]), SECONDS[: config.timed_shapes]
        taken = all_timed(cases, config.repeats)
    timings, speeds = second_rows(cases, taken)
    rows = memory + timings
    columns = ("work", "width", "layers", "vocab", "rows", "prompt", "new", "mesh", "unit")
    report.print_table(rows, (*columns, "measured", "formula", "ratio"))
    for name, some in {"memory": memory, "seconds": timings}.items():
        off = [max(r["ratio"], 1 / r["ratio"]) - 1 for r in some]
        if off:
            print(f"{name}: off by {np.median(off):.0%} in the median, {max(off):.0%} at most")
    if output:
        reached = {work: speed._asdict() for work, speed in speeds.items()}
        made = {"rows": rows, "speeds": reached, **report.provenance(started)}
        report.write_json(output, made)
        print(f"written: {output}")


if __name__ == "__main__":
    flags.run(main, Config(), resumes=False)
