"""What the first call of a program takes: compiled, and taken from what was kept on disk."""

import tempfile
from collections.abc import Callable
from typing import Any

import jax
from jax.experimental.compilation_cache import compilation_cache

from experiments.benchmark.case import seconds
from experiments.common import compilation

FOLDER, ENABLED = "jax_compilation_cache_dir", f"jax_{compilation.ENABLED}"
SHORTEST = "jax_persistent_cache_min_compile_time_secs"


def first_calls(run: Callable[[], Any]) -> dict[str, float]:
    """Seconds of a first call by what it finds; the setting of what is kept is as before, after.

    `run` must make its arrays before, or they count as well.
    """
    before = {name: getattr(jax.config, name) for name in (FOLDER, ENABLED, SHORTEST)}
    try:
        with tempfile.TemporaryDirectory() as folder:
            jax.config.update(ENABLED, True)
            compilation.keep(folder)
            found = {}
            for label in ("compiled", "kept on disk"):
                compilation_cache.reset_cache()
                jax.clear_caches()
                found[label] = seconds(run)
    finally:
        for name, value in before.items():
            jax.config.update(name, value)
        compilation_cache.reset_cache()
    return found
