"""What is there, and whether its compiler and its matrix products are right."""

import contextlib
import os
import platform
import subprocess
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.accelerator.section import Section, within
from experiments.benchmark.case import CORES

ROWS = 32_769  # above the size from which some compilers of CPUs fused wrongly


def run(section: Section) -> None:
    section.part("versions", versions)
    section.part("accelerator", partial(accelerator, section.smoke))
    section.part("nvidia_smi", nvidia_smi)
    for backend in backends():
        with jax.default_device(jax.devices(backend)[0]):
            for name, pattern in PATTERNS.items():
                section.part(f"compiler_{name}_{backend}", partial(compiler, pattern))
    for dtype, precision, limit in PRECISIONS:
        name = f"product_{jnp.dtype(dtype).name}_{precision}"
        section.part(name, partial(product, dtype, precision, limit))


def versions() -> dict[str, Any]:
    device = jax.devices()[0]
    memory = None
    with contextlib.suppress(Exception):  # not on every backend
        memory = (device.memory_stats() or {}).get("bytes_limit")
    return {
        "device": f"{jax.device_count()} x {device.device_kind}",
        "backend": jax.default_backend(),
        "platform_version": device.client.platform_version,
        "memory_bytes": memory,
        "cpu_cores": CORES,
        "machine": platform.machine(),
        "jax": jax.__version__,
        "python": platform.python_version(),
        "random_numbers": {
            "implementation": jax.config.jax_default_prng_impl,  # type: ignore[attr-defined]
            "partitionable": jax.config.jax_threefry_partitionable,  # type: ignore[attr-defined]
        },
        "environment": {k: v for k, v in os.environ.items() if k.startswith(("XLA_", "JAX_"))},
    }


def accelerator(smoke: bool) -> dict[str, Any]:
    """Whether there is one: JAX goes on with the CPU where it cannot start the device."""
    backend = jax.default_backend()
    return {"passed": smoke or backend != "cpu", "backend": backend}


def backends() -> list[str]:
    """The default one, and the CPU beside it if JAX may use that."""
    found = [jax.default_backend()]
    with contextlib.suppress(RuntimeError):
        found += [name for name in ("cpu",) if jax.devices(name) and name not in found]
    return found


def nvidia_smi() -> dict[str, Any]:
    try:
        found = subprocess.run(["nvidia-smi"], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.SubprocessError) as error:
        return {"lines": [f"none: {error}"]}
    return {"lines": found.stdout.splitlines()}


def log_likelihoods(xp, x):
    largest = x.max(-1, keepdims=True)
    return x[:, 1] - largest[:, 0] - xp.log(xp.exp(x - largest).sum(-1))


def many_axes(xp, x):
    x = x[: 2**15].reshape(2, 4, 8, 4, 8, 4, 4, 3)
    return (x * x.swapaxes(1, 3)).sum((1, 4, 6))


PATTERNS = {  # pattern(numpy or jax.numpy, x [ROWS, 3])
    # Sums of squares of small products, which jaxlib 0.10.2 compiles wrongly for a CPU.
    "squares": lambda xp, x: (
        ((x @ xp.eye(3, dtype=x.dtype)) ** 2).sum(1)
        if xp is np
        else jax.vmap(lambda row: jnp.sum((jnp.eye(3) @ row) ** 2))(x)
    ),
    "log_likelihoods": log_likelihoods,
    "total": lambda xp, x: (x * x).sum(),
    "many_axes": many_axes,
}


def compiler(pattern) -> dict[str, Any]:
    """A compiled function of many rows against float64 NumPy."""
    x = np.random.default_rng(0).standard_normal((ROWS, 3)).astype(np.float32) + 3
    found = np.asarray(jax.jit(partial(pattern, jnp))(jnp.asarray(x)), np.float64)
    expected = pattern(np, x.astype(np.float64))
    return within(np.max(np.abs(found - expected) / (1 + np.abs(expected))), 2e-5)


# The errors that float32, TF32 and bfloat16 products of this size have, and some room.
PRECISIONS = (
    (jnp.float32, "highest", 1e-5),
    (jnp.float32, "default", 3e-3),
    (jnp.bfloat16, "highest", 1e-2),
)


def product(dtype, precision: str, limit: float) -> dict[str, Any]:
    """The error of a matrix product relative to float64's, by their norms."""
    rng = np.random.default_rng(1)
    a, b = (rng.standard_normal((512, 512)).astype(np.float32) for _ in range(2))
    matmul = jax.jit(lambda a, b: jnp.matmul(a, b, precision=precision))
    found = np.asarray(matmul(jnp.asarray(a, dtype), jnp.asarray(b, dtype)).astype(jnp.float32))
    expected = a.astype(np.float64) @ b
    return within(np.linalg.norm(found - expected) / np.linalg.norm(expected), limit)
