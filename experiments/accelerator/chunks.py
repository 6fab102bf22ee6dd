"""Which chunk sizes of sampling and scoring are fastest on the device."""

import concurrent.futures
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from banel_jax import sampling, scoring
from banel_jax.models.transformer import TransformerConfig, transformer
from banel_jax.types import Params, SequenceModel, Sequences
from experiments.accelerator.section import Section, timed
from experiments.benchmark import qwen2 as benchmark_qwen2
from experiments.benchmark import transformer as benchmark_transformer
from experiments.benchmark.case import CORES, Case

# The compiler takes long over a large model's sampler, of which each eighth of the response is a
# program of its own; short responses have fewer.
SHORT = 16


class Work(NamedTuple):
    """One work of one model, as programs that differ in the chunk alone.

    Attributes:
      case: what a run of any of them does.
      lowered: the programs by chunk, not yet compiled.
      arguments: of each of them.
    """

    case: Case
    lowered: dict[int, Any]
    arguments: tuple


def sweep(
    section: Section,
    roofline: Callable,
    name: str,
    make: Callable[[], dict[str, Work]],
    needs: float,
) -> None:
    """Times the programs of `make`, works by name, and names the best chunk of each work."""
    compiled: dict[str, tuple[Work, dict[int, concurrent.futures.Future]]] = {}

    def compile_all():
        """On all cores at once: nothing is timed meanwhile."""
        with concurrent.futures.ThreadPoolExecutor(CORES) as pool:
            for key, work in make().items():
                programs = {chunk: pool.submit(p.compile) for chunk, p in work.lowered.items()}
                compiled[key] = work, programs
        return {"programs": sum(len(programs) for _, programs in compiled.values())}

    def time_one(work, program):
        seconds = timed(partial(program.result(), *work.arguments))
        return roofline(work.case, seconds["seconds"]) | seconds

    if section.part(f"compile_chunks_{name}", compile_all, needs) is None:
        return
    for key, (work, programs) in compiled.items():
        found = {}
        for chunk, program in programs.items():
            run = partial(time_one, work, program)
            if one := section.part(f"{key}_{name}_chunk_{chunk}", run, 5):
                found[chunk] = one["value"]
        if found:
            best = max(found, key=lambda chunk: found[chunk])
            result = {"best": best, "unit": work.case.unit, "by_chunk": found}
            section.part(f"{key}_{name}_best_chunk", partial(dict, result))


def of_transformer(smoke: bool) -> dict[str, Work]:
    config = benchmark_transformer.MODELS["A"]
    if smoke:
        config = TransformerConfig(vocab_size=16, length=12, num_layers=1, num_heads=2, width=16)
    n, model = 24 if smoke else 8192, transformer(config)
    params = model.init(jax.random.key(0))
    tokens = benchmark_transformer.random_sequences(config, n)

    def case(work):
        flops = benchmark_transformer.flops(config, work, n)
        bytes_ = benchmark_transformer.bytes_read(config, work, n)
        return only_counted(n, "sequences/s", flops, bytes_, False)

    return {
        "sampling": drawing(case("sampling"), model, params, n, sizes(n, 512, 2048, 8192)),
        "scoring": scored(case("scoring"), model, params, tokens, sizes(n, 128, 668, 4096)),
    }


def of_qwen2(name: str, smoke: bool) -> dict[str, Work]:
    config, given = benchmark_qwen2.MODELS[name]
    n, new, short = (8, 8, 8) if smoke else (2048, given.new_tokens, SHORT)
    m = n if smoke else n // 4
    brief, long = given._replace(new_tokens=short), given._replace(new_tokens=new)
    drawn, _ = benchmark_qwen2.conditioned(config, brief)
    read, _ = benchmark_qwen2.conditioned(config, long)
    params = jax.jit(drawn.init)(jax.random.key(0))
    weights = sum(x.nbytes for x in jax.tree.leaves(params))

    def case(work, counts, rows):
        flops = benchmark_qwen2.flops(config, counts, rows)
        bytes_ = benchmark_qwen2.bytes_read(config, counts, rows, work, weights)
        bfloat16 = config.dtype == jnp.bfloat16
        return only_counted(rows * counts.new_tokens, "tokens/s", flops, bytes_, bfloat16)

    ids = np.random.default_rng(1).integers(config.vocab_size, size=(m, new))
    tokens = Sequences(jnp.asarray(ids, jnp.int32), jnp.ones(ids.shape, bool))
    to_draw, to_score = case("sampling", brief, n), case("scoring", long, m)
    return {
        "sampling": drawing(to_draw, drawn, params, n, sizes(n, 128, 512, 2048)),
        "scoring": scored(to_score, read, params, tokens, sizes(m, 32, 128, 512)),
    }


def only_counted(amount: int, unit: str, flops: float, bytes_: float, bfloat16: bool) -> Case:
    """A case without anything to run."""
    return Case(amount, unit, flops, bytes_, bfloat16, lambda: None, "", (), lambda _: {})


def sizes(n: int, *of_chunks: int) -> list[int]:
    """Those up to n; for fewer sequences than the smallest, n and its half."""
    return [size for size in of_chunks if size <= n] or [n // 2, n]


def drawing(case: Case, model: SequenceModel, params: Params, n: int, chunks: list[int]) -> Work:
    key = jax.random.key(1)
    lower = lambda chunk: sampling.sample.lower(model, key, params, n, chunk)
    return Work(case, {chunk: lower(chunk) for chunk in chunks}, (key, params))


def scored(
    case: Case, model: SequenceModel, params: Params, tokens: Sequences, chunks: list[int]
) -> Work:
    lower = lambda chunk: scoring.log_likelihood.lower(model, params, tokens, chunk)
    return Work(case, {chunk: lower(chunk) for chunk in chunks}, (params, tokens))
