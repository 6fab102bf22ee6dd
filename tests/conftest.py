"""Shapes and types in the signatures of reusable functions are checked wherever a test calls them.

Modules that define pytrees are left out: JAX rebuilds those with leaves that are no arrays.
"""

import importlib.util
from pathlib import Path

import jax
import pytest
from jaxtyping import install_import_hook

CHECKED = ("diagnostics", "sampling", "scoring", "success_rate", "training")
if importlib.util.find_spec("beartype"):  # a machine that was not set up for tests has none
    install_import_hook([f"banel_jax.{name}" for name in CHECKED], "beartype.beartype")


@pytest.hookimpl(tryfirst=True)  # before xdist reads the marks
def pytest_collection_modifyitems(items):
    """A file's tests share what they compiled, so they go to one worker; the contract's are many
    and share by algorithm."""
    for item in items:
        group = item.path.stem
        parameters = item.callspec.params if hasattr(item, "callspec") else {}
        if group == "test_contract":
            group += str(parameters.get("name", ""))
        item.add_marker(pytest.mark.xdist_group(group))


MOST_MAPS = 20_000  # a third of what Linux allows a process, beyond which the compiler crashes


@pytest.fixture(scope="module", autouse=True)
def room_for_programs():
    """Every compiled program keeps memory maps; all tests of a worker need more than there are."""
    yield
    maps = Path("/proc/self/maps")
    if maps.exists() and len(maps.read_bytes().splitlines()) > MOST_MAPS:
        jax.clear_caches()


@pytest.fixture(scope="module")
def quick_compilation():
    """For tests that spend their time in the compiler and ask nothing of the speed of its code."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder of problems in place of GSM8K's."""
    import made_up_gsm8k

    from banel_jax.tasks.gsm8k import data as gsm8k_data

    folder = tmp_path_factory.mktemp("data")
    made_up_gsm8k.write(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gsm8k_data, "LINES", made_up_gsm8k.LINES)
        yield str(folder)


@pytest.fixture(scope="module")
def stand_in(data, tmp_path_factory):
    """The folder of a small language model."""
    pytest.importorskip("transformers")
    import made_up_gsm8k

    folder = tmp_path_factory.mktemp("gsm8k") / "stand_in"
    made_up_gsm8k.train_stand_in(data, folder)
    return str(folder)
