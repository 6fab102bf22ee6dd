"""Speed of sampling, scoring and training, side by side with PyTorch in one run.

    python -m experiments.benchmark --output=benchmark.json

takes a few minutes on 2 CPU cores. Implementations take turns, so that a noisy machine is
noisy for all of them; each value is a median. Without PyTorch its rows are left out.
"""

import importlib.util
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

# One XLA device a core: two streams of small operations use two cores far better than
# splitting each operation does. This must be set before JAX starts.
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={CORES} " + os.environ.get(
    "XLA_FLAGS", ""
)

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

from banel_jax import parallel, sampling, scoring, training  # noqa: E402
from banel_jax.models.transformer import TransformerConfig, transformer  # noqa: E402
from banel_jax.training import TrainingConfig  # noqa: E402
from banel_jax.types import Sequences  # noqa: E402
from experiments import flags, report  # noqa: E402

MODELS = {
    "A": TransformerConfig(vocab_size=16, length=196, num_layers=4, num_heads=4, width=128),
    "B": TransformerConfig(vocab_size=64, length=32, num_layers=6, num_heads=6, width=192),
}
COUNTS = {"sampling": 500, "scoring": 1000, "training": 250}
BATCH = 50
TORCH_CHUNKS = {
    "sampling": (50, 100, 250, 500),
    "scoring": (5, 10, 25, 50),
    "training": (5, 10, 25, 50),
}
COLUMNS = ("work", "model", "implementation", "value", "unit", "ceiling_fraction", "ratio")


@dataclass(frozen=True)
class Config:
    """Settings of the benchmark.

    Attributes:
      models: which of A and B.
      works: which of sampling, scoring, training.
      repeats: timed runs of each implementation; the median counts.
      compile_torch: try torch.compile too (it needs a C++ compiler).
      output: JSON file for the rows; empty for none.
    """

    models: tuple[str, ...] = tuple(MODELS)
    works: tuple[str, ...] = tuple(COUNTS)
    repeats: int = 5
    compile_torch: bool = True
    output: str = ""

    def __post_init__(self):
        for name, choices in (("models", MODELS), ("works", COUNTS)):
            unknown = set(getattr(self, name)) - set(choices)
            if unknown:
                raise ValueError(
                    f"{name}: {', '.join(sorted(unknown))} is not one of {', '.join(choices)}"
                )
        if self.repeats < 1:
            raise ValueError(f"repeats={self.repeats} must be at least 1")


def flops(model: TransformerConfig, work: str) -> float:
    """FLOPs of the model in one run of the work: two for each multiply-add of its products.

    A token costs 24 D^2 a layer in the projections and the MLP and, attending to (L + 1) / 2
    positions on average, 2 (L + 1) D in attention; 2 D V in the head. A training step costs
    three forward passes.
    """
    width, length = model.width, model.length
    token = model.num_layers * (24 * width**2 + 2 * (length + 1) * width)
    token += 2 * width * model.vocab_size
    return COUNTS[work] * length * token * (3 if work == "training" else 1)


def ceiling() -> float:
    """The machine's float32 matrix product speed through XLA, FLOP/s: the best of some sizes.

    Both on one host device and with the rows of the product split over one device a core.
    """
    best = 0.0
    mesh = parallel.data_mesh(jax.devices()[:CORES])
    rows = jax.NamedSharding(mesh, jax.P(parallel.DATA))
    product = jax.jit(lambda a, b: a @ b)
    for size in (1024, 2048, 4096):
        a = jnp.ones((size, size))
        split = jax.device_put(a, rows), jax.device_put(a, jax.NamedSharding(mesh, jax.P()))
        for operands in ((a, a), split):
            product(*operands).block_until_ready()
            for _ in range(3):
                start = time.perf_counter()
                product(*operands).block_until_ready()
                best = max(best, 2 * size**3 / (time.perf_counter() - start))
    return best


def jax_work(config: TransformerConfig, work: str) -> Callable[[], Any]:
    model = transformer(config)
    params = model.init(jax.random.key(0))
    key = jax.random.key(1)
    if work == "sampling":
        return lambda: sampling.sample(model, key, params, COUNTS[work])
    sequences = random_sequences(config, COUNTS[work])
    if work == "scoring":
        return lambda: scoring.log_likelihood(model, params, sequences)
    settings = TrainingConfig(epochs=1, batch_size=BATCH, learning_rate=1e-4)
    fit = jax.jit(partial(training.fit, model, settings))
    return lambda: fit(key, params, sequences, jnp.ones(COUNTS[work]))


def random_sequences(config: TransformerConfig, n: int) -> Sequences:
    rng = np.random.default_rng(0)
    tokens = rng.integers(config.vocab_size, size=(n, config.length))
    return Sequences(jnp.asarray(tokens, jnp.int32), jnp.ones(tokens.shape, bool))


def on_mesh(run: Callable[[], Any], devices: int) -> Callable[[], Any]:
    def timed():
        with jax.set_mesh(parallel.data_mesh(jax.devices()[:devices])):
            return jax.block_until_ready(run())

    return timed


def torch_works(config: TransformerConfig, work: str, compiled: bool) -> dict[str, Callable]:
    """Alternatives in PyTorch by name, of which the fastest counts."""
    import torch

    from experiments import torch_reference as reference

    torch.set_num_threads(CORES)
    torch.manual_seed(0)
    model = reference.Decoder(
        config.vocab_size, config.length, config.num_layers, config.num_heads, config.width
    )
    tokens = torch.tensor(np.asarray(random_sequences(config, COUNTS[work]).tokens)).long()
    found: dict[str, Callable] = {}
    for chunk in TORCH_CHUNKS[work]:
        if work == "sampling":
            found[f"chunk {chunk}"] = partial(reference.sample, model, COUNTS[work], chunk)
            continue
        forwards = {"": None} | ({", compiled": torch.compile(model)} if compiled else {})
        for suffix, forward in forwards.items():
            if work == "scoring":
                run = partial(reference.score, model, tokens, chunk, forward)
            else:
                adam = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.0)
                run = partial(reference.train_epoch, model, adam, tokens, BATCH, chunk, forward)
            found[f"chunk {chunk}{suffix}"] = run
    return found


def seconds(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


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
            print(f"  left out, PyTorch {name}: {str(error).splitlines()[0]}", flush=True)
    best = min(timed, key=lambda name: timed[name])
    return best, runs[best]


def measure(config: Config, name: str, work: str, with_torch: bool) -> list[dict]:
    model = MODELS[name]
    run = jax_work(model, work)
    runs = {f"banel_jax, {CORES} host devices": on_mesh(run, CORES)}
    runs["banel_jax, 1 host device"] = on_mesh(run, 1)
    if with_torch:
        chosen, alternative = fastest(torch_works(model, work, config.compile_torch))
        runs[f"PyTorch, {chosen}"] = alternative
    for warm_up in runs.values():
        warm_up()
    times: dict[str, list[float]] = {label: [] for label in runs}
    for _ in range(config.repeats):
        for label, timed in runs.items():
            times[label].append(seconds(timed))
    median = {label: statistics.median(values) for label, values in times.items()}
    slowest = median[label] if with_torch else None
    return [
        {
            "work": work,
            "model": name,
            "implementation": label,
            "value": COUNTS[work] / median[label],
            "unit": "sequences/s",
            "flops": flops(model, work) / median[label],
            "ratio": slowest / median[label] if slowest else None,
        }
        for label in runs
    ]


def main(config: Config) -> None:
    started = time.perf_counter()
    with_torch = importlib.util.find_spec("torch") is not None
    # The machine's speed drifts, so its ceiling is taken before, between and after the works.
    peaks, rows = [ceiling()], []
    for work in config.works:
        for name in config.models:
            rows += measure(config, name, work, with_torch)
            peaks.append(ceiling())
            print(f"  {work}, model {name}: done", flush=True)
    peak = max(peaks)
    for row in rows:
        row["ceiling_fraction"] = row.pop("flops") / peak
    print(f"\nfloat32 matrix products through XLA: {peak / 1e9:.0f} GFLOP/s on {CORES} cores\n")
    report.print_table(rows, COLUMNS)
    print(
        "\nceiling_fraction: FLOPs of the model a second over those of a large matrix product;\n"
        "ratio: times the speed of the best PyTorch alternative, measured in turns with it."
    )
    if not with_torch:
        print("PyTorch is not installed, so there is nothing to compare with.")
    if config.output:
        report.write_json(config.output, rows)
        provenance = report.provenance(started) | {"ceiling_flops": peak}
        report.write_json(config.output.removesuffix(".json") + ".provenance.json", provenance)
        print(f"written: {config.output}")


if __name__ == "__main__":
    flags.run(main, Config())
