"""How far the formulas of `plan` are from what is measured here.

    python -m experiments.benchmark.plan_check --output=experiments/results/benchmark/plan.json

Memory: programs of a decoder with adapters, compiled for meshes of 8 virtual devices, by XLA's own
account. Seconds: the same programs run on this machine, one device; the speed that is reached is
fitted to half of the shapes, and the others are predicted. Ten minutes on 2 idle CPU cores.
"""

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
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
from experiments.benchmark.cost_model import Load, Speed
from experiments.benchmark.plan_cases import MEMORY, SECONDS, WORKS, Measured, programs
from experiments.common import flags, report


@dataclass(frozen=True)
class Config:
    """Settings of the check.

    Attributes:
      memory_shapes: how many of those for memory.
      timed_shapes: how many of those that are timed; half of them are fitted to.
      repeats: runs of each; the fastest counts.
      output: JSON file; empty for none.
    """

    memory_shapes: int = len(MEMORY)
    timed_shapes: int = len(SECONDS)
    repeats: int = 3
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
        with jax.set_mesh(_mesh(case)):
            for work, (program, arguments) in programs(case).items():
                account = program.lower(*arguments).compile().memory_analysis()
                formula = formulas(case, work)[1]
                rows.append(_row(case, work, "MB", account.temp_size_in_bytes / 1e6, formula / 1e6))
    return rows


def _mesh(case: Measured) -> jax.sharding.Mesh:
    shape = case.shape()
    return parallel.mesh(
        f"data:{shape.data},model:{shape.parts}", jax.devices()[: shape.data * shape.parts]
    )


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
        times = []
        for _ in range(repeats + 1):
            start = time.perf_counter()
            jax.block_until_ready(program(*arguments))
            times.append(time.perf_counter() - start)
        found[work] = min(times[1:])
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


def timed_rows(
    cases: list[Measured], repeats: int
) -> tuple[list[dict[str, Any]], dict[str, Speed]]:
    taken = []
    with jax.set_mesh(parallel.data_mesh(jax.devices()[:1])):
        for case in cases:
            taken.append(timed(case, repeats))
            print(f"  {case}: {taken[-1]}", flush=True)
    half, rows, speeds = len(cases) // 2, [], {}
    for work in WORKS:
        pairs = [(formulas(case, work)[0], t[work]) for case, t in zip(cases, taken, strict=True)]
        speeds[work] = fitted(pairs[:half])
        for i, (case, (loads, measured)) in enumerate(zip(cases, pairs, strict=True)):
            row = _row(case, work, "seconds", measured, cost_model.seconds(loads, speeds[work]))
            rows.append(row | {"fitted_to": i < half})
    return rows, speeds


def main(config: Config) -> None:
    started = time.perf_counter()
    output = config.output and str(report.output_file(config.output))
    rows = memory_rows(MEMORY[: config.memory_shapes])
    seconds, speeds = timed_rows(list(SECONDS[: config.timed_shapes]), config.repeats)
    rows += seconds
    columns = ("work", "width", "layers", "vocab", "rows", "prompt", "new", "mesh", "unit")
    report.print_table(rows, (*columns, "measured", "formula", "ratio", "fitted_to"))
    parts = {
        "memory": [row for row in rows if row["unit"] == "MB"],
        "seconds that were predicted": [row for row in seconds if not row["fitted_to"]],
    }
    for name, some in parts.items():
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
