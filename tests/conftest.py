"""Shapes and types in the signatures of reusable functions are checked wherever a test calls them.

Modules that define pytrees are left out: JAX rebuilds those with leaves that are no arrays.
"""

import contextlib
import ctypes
import gc
import importlib.util
import os
import resource
import signal
from pathlib import Path

import contexts
import jax
import jaxlib
import pytest
import scheduling
from jaxtyping import install_import_hook

CHECKED = ("diagnostics", "sampling", "scoring", "success_rate", "training")
if importlib.util.find_spec("beartype"):  # a machine that was not set up for tests has none
    install_import_hook([f"banel_jax.{name}" for name in CHECKED], "beartype.beartype")

# Half of the time to compile, and a seventh less for one piece a program instead of 32.
QUICK = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
KNOWN = ("0.10.1", "0.10.2")  # versions of jaxlib that have these flags; XLA dies of unknown ones


def pytest_configure(config):
    """The tests spend their time in XLA, and ask nothing of the speed of its code: it compiles
    without optimisations, and what it compiled is shared by all workers and kept. Processes that
    tests start inherit it. BANEL_FULL_COMPILER=1 leaves the compiler as users have it."""
    settings = {
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    if cache := getattr(config, "cache", None):
        programs = cache.mkdir("compiled")
        if not hasattr(config, "workerinput"):
            from experiments.common import compilation

            compilation.make_room(programs)
        settings["jax_compilation_cache_dir"] = str(programs)
    if not os.environ.get("BANEL_FULL_COMPILER"):
        settings["jax_disable_most_optimizations"] = True
        flags = os.environ.get("XLA_FLAGS", "")
        if jaxlib.__version__ in KNOWN and QUICK not in flags:
            os.environ["XLA_FLAGS"] = f"{flags} {QUICK}".strip()
        if jaxlib.__version__ in KNOWN:
            contexts.keep()
    for name, value in settings.items():
        os.environ.setdefault(name.upper(), str(value))
        jax.config.update(name, value)
    # A tenth of the time went to looking for garbage among what tracing allocates and lets go of.
    gc.freeze()
    gc.set_threshold(200_000, 20, 100)
    # Where they are started in the background, the shell has Ctrl-C ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: -scheduling.weight(item.nodeid))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers():
    """One more than cores, since tests wait a sixth of their time for disks and processes."""
    return (os.cpu_count() or 1) + 1


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """In place of xdist's own groups, which are made of marks and which pytest 9.2 undoes."""
    return scheduling.by_group(config, log)


MOST_MAPS = 20_000  # a third of what Linux allows a process, beyond which the compiler crashes
MOST_BYTES = 1.6e9  # with what a file takes at most beside it, a worker stays below 3 GB


@pytest.fixture(scope="module", autouse=True)
def room_for_programs():
    """Every compiled program keeps memory and maps of it; all tests of a worker keep too much."""
    yield
    contexts.forget()
    maps, pages = Path("/proc/self/maps"), Path("/proc/self/statm")
    if maps.exists() and (
        len(maps.read_bytes().splitlines()) > MOST_MAPS
        or int(pages.read_text().split()[1]) * resource.getpagesize() > MOST_BYTES
    ):
        jax.clear_caches()
        gc.collect()
        with contextlib.suppress(OSError, AttributeError):  # glibc keeps what is freed
            ctypes.CDLL("libc.so.6").malloc_trim(0)


@pytest.fixture
def compilations():
    """The names of the programs that XLA compiles, as they come."""
    names = []
    listen = lambda event, _, fun_name="", **more: (
        names.append(fun_name) if event == "/jax/core/compile/backend_compile_duration" else None
    )
    jax.monitoring.register_event_duration_secs_listener(listen)
    yield names
    jax.monitoring.unregister_event_duration_listener(listen)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder of problems in place of GSM8K's."""
    import made_up_gsm8k

    with made_up_gsm8k.in_place(tmp_path_factory.mktemp("data")) as folder:
        yield str(folder)


@pytest.fixture(scope="session")
def stand_in(tmp_path_factory):
    """The folder of a small language model."""
    pytest.importorskip("transformers")
    import made_up_gsm8k

    folder = tmp_path_factory.mktemp("gsm8k")
    with made_up_gsm8k.in_place(folder):
        made_up_gsm8k.train_stand_in(folder, folder / "stand_in")
    return str(folder / "stand_in")
