"""Speed of sampling, scoring and training, side by side with PyTorch and `transformers`.

    python -m experiments.benchmark --output=benchmark.json

takes a few minutes on 2 CPU cores. Implementations take turns, so that a noisy machine is
noisy for all of them; each value is a median. What is not installed is left out.

    python -m experiments.benchmark --models=qwen2_0_5b

is for a GPU of 80 GB: a round's responses from a model of Qwen2.5-0.5B's shape in bfloat16.
`--models=smollm2` are responses from one of SmolLM2-135M's shape, for CPU cores.
"""

import importlib.util
import math
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from experiments.benchmark.case import CORES, Case, seconds

# One XLA device a core: two streams of small operations use two cores far better than
# splitting each operation does. This must be set before JAX starts.
os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={CORES} " + os.environ.get(
    "XLA_FLAGS", ""
)
# PyTorch needs room on the same GPU.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import jax

from banel_jax import checks, parallel
from experiments.benchmark import ceiling as benchmark_ceiling
from experiments.benchmark import compiling, hardware
from experiments.benchmark import qwen2 as benchmark_qwen2
from experiments.benchmark import transformer as benchmark_transformer
from experiments.common import report

WORKS = {name: tuple(benchmark_transformer.COUNTS) for name in benchmark_transformer.MODELS}
WORKS |= {name: benchmark_qwen2.WORKS for name in benchmark_qwen2.MODELS}
COLUMNS = ("work", "model", "implementation", "value", "unit", "ceiling_fraction", "ratio")


@dataclass(frozen=True)
class Config:
    """Settings of the benchmark.

    Attributes:
      models: which of A and B (GPT-2 style), tiny, stand_in and qwen2_0_5b (Qwen2), smollm2.
      works: which of sampling, scoring, training; Qwen2 has the first two.
      repeats: timed runs of each implementation; the median counts.
      compile_torch: try compiled forms too (on a CPU they need a C++ compiler).
      responses, new_tokens: of Qwen2's works; 0 for the model's own number.
      peak_tflops: of the device in bfloat16, for qwen2_0_5b; 0 for what is known of it, or else
        what is measured in float32.
      bandwidth_tb: TB/s of the device's memory; 0 for what is known of it.
      output: JSON file for the rows; empty for none.
    """

    models: tuple[str, ...] = ("A", "B", "tiny", "stand_in")
    works: tuple[str, ...] = ("sampling", "scoring", "training")
    repeats: int = 5
    compile_torch: bool = True
    responses: int = 0
    new_tokens: int = 0
    peak_tflops: float = 0.0
    bandwidth_tb: float = 0.0
    output: str = ""

    def __post_init__(self):
        checks.fields(self)
        checks.integers(self, "repeats", at_least=1)
        checks.integers(self, "responses", "new_tokens", at_least=0)
        checks.reals(self, "peak_tflops", "bandwidth_tb", at_least=0)
        every = [work for works in WORKS.values() for work in works]
        for name, choices in (("models", WORKS), ("works", dict.fromkeys(every))):
            unknown = set(getattr(self, name)) - set(choices)
            if unknown:
                raise ValueError(
                    f"{name}: {', '.join(sorted(unknown))} is not one of {', '.join(choices)}"
                )


def case(config: Config, name: str, work: str) -> Case:
    if name in benchmark_qwen2.MODELS:
        return benchmark_qwen2.case(name, work, config.responses, config.new_tokens)
    return benchmark_transformer.case(name, work)


def on_mesh(run: Callable[[], Any], devices: int) -> Callable[[], Any]:
    def timed():
        with jax.set_mesh(parallel.data_mesh(jax.devices()[:devices])):
            return jax.block_until_ready(run())

    return timed


def fastest(runs: dict[str, Callable]) -> tuple[str, Callable]:
    """The fastest of some alternatives, each run once to warm up and once for its time."""
    timed = {}
    for name, run in runs.items():
        try:
            run()
            timed[name] = seconds(run)
        except Exception as error:  # torch.compile fails in many ways where it cannot work
            if "compiled" not in name:
                raise
            print(f"  left out, {name}: {str(error).splitlines()[0]}", flush=True)
    best = min(timed, key=lambda name: timed[name])
    return best, runs[best]


def measure(config: Config, name: str, work: str) -> list[dict]:
    timed_case = case(config, name, work)
    kind = "host" if jax.default_backend() == "cpu" else jax.default_backend()
    devices = len(jax.devices()[:CORES])
    runs = {
        f"banel_jax, {n} {kind} device{'s' * (n > 1)}": on_mesh(timed_case.run, n)
        for n in dict.fromkeys((devices, 1))
    }
    if timed_case.products:
        runs["its matrix products alone"] = on_mesh(timed_case.products, 1)
    compared = all(importlib.util.find_spec(package) for package in timed_case.needs)
    if compared:
        chosen, alternative = fastest(timed_case.alternatives(config.compile_torch))
        runs[f"{timed_case.library}, {chosen}"] = alternative
    for warm_up in runs.values():
        warm_up()
    times: dict[str, list[float]] = {label: [] for label in runs}
    for _ in range(config.repeats):
        for label, timed in runs.items():
            times[label].append(seconds(timed))
    median = {label: statistics.median(values) for label, values in times.items()}
    slowest = median[label] if compared else None
    rows = [
        {
            "work": work,
            "model": name,
            "implementation": label,
            "value": timed_case.amount / median[label],
            "unit": timed_case.unit,
            "ratio": slowest / median[label] if slowest else None,
            "seconds": median[label],
            "case": timed_case,
        }
        for label in runs
    ]
    ours = next(iter(runs))
    first = compiling.first_calls(runs[ours])
    return rows + [
        {"work": f"compiling of {work}", "model": name, "implementation": f"banel_jax, {label}",
         "value": max(taken - median[ours], 0.0), "unit": "s"}
        for label, taken in first.items()
    ]  # fmt: skip


def told(row: dict[str, Any]) -> None:
    """A line of a row that is done."""
    ratio = f", {row['ratio']:.2f}x" if row.get("ratio") else ""
    value = report.format_value(row["value"])
    what = f"{row['work']}, model {row['model']}: {row['implementation']}"
    print(f"  {what}: {value} {row['unit']}{ratio}", flush=True)


def main(config: Config) -> None:
    started = time.perf_counter()
    output = config.output and str(report.output_file(config.output))
    # The machine's speed drifts, so its ceiling is taken before, between and after the works.
    peaks, rows = [benchmark_ceiling.products()], []
    for work in config.works:
        for name in config.models:
            if work not in WORKS[name]:
                continue
            made = measure(config, name, work)
            for row in made:
                told(row)
            rows += made
            peaks.append(benchmark_ceiling.products())
    peak = max(peaks)
    known = hardware.by_kind(jax.devices()[0].device_kind)
    known_peak, known_bandwidth = (known.bfloat16, known.bandwidth) if known else (peak, math.inf)
    bandwidth = 1e12 * config.bandwidth_tb or known_bandwidth
    for row in rows:
        if "case" not in row:  # what was compiled
            continue
        of, taken = row.pop("case"), row.pop("seconds")
        peak_of = (1e12 * config.peak_tflops or known_peak) if of.bfloat16 else peak
        row["ceiling_fraction"] = max(of.flops / peak_of, of.bytes / bandwidth) / taken
    print(f"\nfloat32 matrix products through XLA: {peak / 1e9:.0f} GFLOP/s on {CORES} cores\n")
    report.print_table(rows, COLUMNS)
    print(
        "\nceiling_fraction: the least time that the model's FLOPs need at the speed of a large\n"
        "matrix product, or its bytes at the memory's, over the time taken;\n"
        "ratio: times the speed of the best alternative, measured in turns with it;\n"
        "compiling: what a first call takes beyond another one."
    )
    if not all(row["ratio"] for row in rows if "ratio" in row):
        print("Where there is no ratio, PyTorch or transformers is not installed.")
    if output:
        report.write_json(output, rows)
        provenance = report.provenance(started) | {"ceiling_flops": peak}
        report.write_json(output.removesuffix(".json") + ".provenance.json", provenance)
        print(f"written: {output}")
