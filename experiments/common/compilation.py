"""What was compiled is kept on disk, so that a second start begins at once."""

import contextlib
import hashlib
import os
import platform
import warnings
from pathlib import Path

import jax

from banel_jax import files

MOST_BYTES = 2**30  # in the folder; beyond them what is oldest goes
ENABLED = "enable_compilation_cache"


def default_folder() -> Path:
    """In the user's cache, one for each kind of machine: compiled programs fit no other."""
    return files.cache_folder("compiled") / _machine()


def keep(folder: str | None) -> None:
    """Has JAX keep what it compiles, and take from there what it compiled before.

    Args:
      folder: where; empty for nowhere, None for JAX's own setting (JAX_COMPILATION_CACHE_DIR) or
        else `default_folder`, where that can be written. One that is given must be writable, or
        this is a ValueError.
    """
    if folder is None:
        own = [getattr(jax.config, f"jax_{name}") for name in ("compilation_cache_dir", ENABLED)]
        if own[0] or not own[1]:
            return
        try:
            place = files.writable_folder(default_folder())
        except (ValueError, RuntimeError):  # no home, or a read-only one
            return
    elif not folder:
        jax.config.update(f"jax_{ENABLED}", False)
        return
    else:
        place = files.writable_folder(folder)
    make_room(place)
    # Half of a program, where a process was killed or the disk was full, costs its compilation.
    about = "Error (reading|writing) persistent compilation cache entry"
    warnings.filterwarnings("ignore", about, UserWarning)
    jax.config.update("jax_compilation_cache_dir", str(place))
    # Whatever is compiled: a start is hundreds of small programs.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def _machine() -> str:
    about = [platform.machine(), platform.processor()]
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
        about += [line for line in dict.fromkeys(lines) if line.startswith(("flags", "Features"))]
    return hashlib.sha256("\n".join(about).encode()).hexdigest()[:8]


def make_room(folder: Path) -> None:
    """Where there are more than MOST_BYTES, the older half goes."""
    with contextlib.suppress(OSError):  # another process may be about the same
        kept = sorted((e.stat().st_mtime, e.stat().st_size, e.path) for e in os.scandir(folder))
        total = sum(size for _, size, _ in kept)
        goal = total if total <= MOST_BYTES else MOST_BYTES // 2
        for _, size, path in kept:
            if total <= goal:
                break
            os.unlink(path)
            total -= size
