"""What the device can do at most: large matrix products, and its memory."""

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from banel_jax import parallel
from experiments.benchmark.case import CORES

SIZES = (1024, 2048, 4096)
LARGE_SIZES = (4096, 8192)  # of an accelerator
RUNS = 5  # of one product, without waiting between them


def products(
    dtype: Any = jnp.float32, precision: str = "highest", sizes: tuple[int, ...] | None = None
) -> float:
    """FLOP/s of square matrix products of random numbers through XLA: the best of some sizes.

    Both on one device and, where there are several, with the rows split over one a core.
    """
    best = 0.0
    sizes = sizes or (SIZES if jax.default_backend() == "cpu" else LARGE_SIZES)
    mesh = parallel.data_mesh(jax.devices()[:CORES])
    rows = jax.NamedSharding(mesh, jax.P(parallel.DATA))
    product = jax.jit(lambda a, b: jnp.matmul(a, b, precision=precision))
    for size in sizes:
        # Not of ones or zeros, over which some devices run faster.
        a = jax.random.normal(jax.random.key(size), (size, size)).astype(dtype)
        operands = [(a, a)]
        if mesh.size > 1:
            operands.append(
                (jax.device_put(a, rows), jax.device_put(a, jax.NamedSharding(mesh, jax.P())))
            )
        for pair in operands:
            run = lambda pair=pair: product(*pair)
            best = max(best, 2 * size**3 / fastest(run))
    return best


def copying(size: int | None = None) -> float:
    """Bytes a second of reading and writing one array of `size` float32 numbers, 1 GiB of them
    (on a CPU 256 MiB)."""
    size = size or 2 ** (26 if jax.default_backend() == "cpu" else 28)
    x = jax.random.normal(jax.random.key(0), (size,))
    negative = jax.jit(jnp.negative)
    return 2 * x.nbytes / fastest(lambda: negative(x))


def fastest(run: Callable[[], jax.Array], turns: int = 3) -> float:
    """Seconds of one run, the least of some turns of a few runs each, after one to warm up."""
    run().block_until_ready()
    best = float("inf")
    for _ in range(turns):
        start = time.perf_counter()
        for _ in range(RUNS):
            last = run()
        last.block_until_ready()
        best = min(best, (time.perf_counter() - start) / RUNS)
    return best
