"""Sampling, scoring and training against the device's own speed, and which chunks are best.

The roofline of a case is the least time that its FLOPs take at the speed of large matrix
products, or its bytes at the memory's, whichever is longer; both ceilings are measured first.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax.numpy as jnp

from experiments.accelerator import chunks
from experiments.accelerator.chunks import SHORT
from experiments.accelerator.section import Section, timed
from experiments.benchmark import ceiling as benchmark_ceiling
from experiments.benchmark import qwen2 as benchmark_qwen2
from experiments.benchmark import transformer as benchmark_transformer
from experiments.benchmark.case import Case


def run(section: Section) -> None:
    ceilings = section.part("ceilings", partial(measured_ceilings, section.smoke))
    # Without them there are speeds, but no fractions.
    ceilings = ceilings or dict.fromkeys(("float32", "bfloat16", "bytes"), float("nan"))
    smoke, measure = section.smoke, partial(against_roofline, ceilings)
    name = "tiny" if smoke else "qwen2_0_5b"
    rows, new = (4, 8) if smoke else (0, 0)
    large = partial(benchmark_qwen2.case, name)
    for model in ("A", "B"):
        for work in ("sampling", "scoring", "training"):
            case = partial(benchmark_transformer.case, model, work, rows)
            if not smoke or work == "scoring":
                section.part(f"{work}_{model}", partial(measure, case), needs=10)
    section.part(f"scoring_{name}", partial(measure, partial(large, "scoring", rows, new)), 15)
    case = partial(large, "sampling", rows, SHORT)
    section.part(f"sampling_{SHORT}_tokens_{name}", partial(measure, case), 20)
    found = partial(roofline, ceilings)
    chunks.sweep(section, found, "A", partial(chunks.of_transformer, smoke), 20)
    chunks.sweep(section, found, name, partial(chunks.of_qwen2, name, smoke), 40)
    section.part(f"training_{name}", partial(measure, partial(large, "training", rows, new)), 25)
    if not smoke:
        wide = partial(benchmark_qwen2.case, f"{name}_float32")
        scored = partial(wide, "scoring", 0, 0)
        section.part(f"scoring_{name}_float32", partial(measure, scored), 20)
        drawn = partial(wide, "sampling", 0, SHORT)
        section.part(f"sampling_{SHORT}_tokens_{name}_float32", partial(measure, drawn), 20)
    # Last, since its compilation may take all the time that is left.
    section.part(f"sampling_{name}", partial(measure, partial(large, "sampling", rows, new)), 60)


def measured_ceilings(smoke: bool) -> dict[str, float]:
    """FLOP/s of large matrix products, and bytes a second of copying."""
    sizes, copied = ((512,), 2**22) if smoke else (None, None)
    products = partial(benchmark_ceiling.products, sizes=sizes)
    return {
        "float32": products(jnp.float32, "highest"),
        "float32_default": products(jnp.float32, "default"),
        "bfloat16": products(jnp.bfloat16, "default"),
        "bfloat16_highest": products(jnp.bfloat16, "highest"),
        "bytes": benchmark_ceiling.copying(copied),
    }


def roofline(ceilings: dict[str, float], case: Case, seconds: float) -> dict[str, Any]:
    """Both bounds of a case, and the fraction of the longer one that was reached."""
    peak = ceilings["bfloat16" if case.bfloat16 else "float32"]
    compute, memory = case.flops / peak, case.bytes / ceilings["bytes"]
    return {
        "value": case.amount / seconds,
        "unit": case.unit,
        "compute_bound_seconds": compute,
        "memory_bound_seconds": memory,
        "bound": "compute" if compute > memory else "memory",
        "roofline_fraction": max(compute, memory) / seconds,
    }


def against_roofline(ceilings: dict[str, float], make: Callable[[], Case]) -> dict[str, Any]:
    case = make()
    found = timed(case.run)
    return roofline(ceilings, case, found["seconds"]) | found
