"""What a run's numbers follow from besides its settings: versions, device, mesh, random keys."""

import platform
from typing import Any

import jax
import jax.numpy as jnp
import jaxlib

from banel_jax import hosts, numerics
from banel_jax.types import Key


def environment(key: Key) -> dict[str, Any]:
    """What is in force here and now, as JSON values.

    Args:
      key: the run's, whose kind of generator is named.
    """
    device = next(iter(jnp.zeros(0).devices()))
    kind = platform.machine() if device.platform == "cpu" else device.device_kind
    config: Any = jax.config  # whose values its type does not know
    sizes = {k: size for k, size in jax.sharding.get_abstract_mesh().shape.items() if size > 1}
    sizes |= {} if hosts.alone() else {"processes": jax.process_count()}  # other orders of sums
    return {
        "numerics": numerics.VERSION,
        "jax": jax.__version__,
        "jaxlib": jaxlib.__version__,
        "device": f"{device.platform} {kind}",
        "mesh": " ".join(f"{name}={size}" for name, size in sizes.items()) or "none",
        "prng": str(jax.random.key_impl(key)),
        "threefry_partitionable": config.jax_threefry_partitionable,
        "seed_offset": config.jax_random_seed_offset,
        "x64": config.jax_enable_x64,
        "matmul_precision": config.jax_default_matmul_precision,
        "jit": not config.jax_disable_jit,
        "optimised": not config.read("jax_disable_most_optimizations"),
    }
