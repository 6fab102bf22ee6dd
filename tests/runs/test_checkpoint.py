"""Checkpoints where there is no room: one line, whatever writes them, and what was saved stays."""

import os
import shutil
import subprocess
import sys
from collections import namedtuple
from contextlib import closing
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from tiny_run import same

from banel_jax.runs import packing
from banel_jax.runs.checkpoint import Checkpoints

STATE = {"x": jnp.arange(1000.0), "key": jax.random.key(3), "none": jnp.zeros((0, 2))}


def test_a_full_disk_is_one_line_and_what_was_saved_stays(tmp_path, monkeypatch):
    folder = tmp_path / "checkpoints"
    with closing(Checkpoints(folder)) as checkpoints:
        checkpoints.save(1, STATE)
        checkpoints.wait()
        usage = namedtuple("usage", "total used free")
        with monkeypatch.context() as patch:
            patch.setattr(shutil, "disk_usage", lambda _: usage(9e9, 9e9, 2000))
            with pytest.raises(ValueError, match="the disk is full at the checkpoints") as caught:
                checkpoints.save(2, STATE)
        assert str(folder) in str(caught.value) and "\n" not in str(caught.value)
    with closing(Checkpoints(folder)) as checkpoints:
        done, state = checkpoints.restore_latest(jax.eval_shape(lambda: STATE))
        assert done == 1
        np.testing.assert_array_equal(state["x"], STATE["x"])
        checkpoints.save(2, STATE)
        checkpoints.wait()
        assert checkpoints.restore_latest(jax.eval_shape(lambda: STATE))[0] == 2


MIXED = {
    "half": jnp.arange(5, dtype=jnp.bfloat16), "yes": jnp.array([True, False]),
    "none": jnp.zeros((0, 2)), "small": jnp.int8(-3), "large": jnp.arange(2.0**18) + 0.5,
    "keys": jax.random.split(jax.random.key(3), 2), "last": jnp.arange(6.0).reshape(2, 3),
}  # fmt: skip


@pytest.mark.parametrize("earlier", [False, True])
def test_arrays_of_all_kinds_come_back(tmp_path, monkeypatch, earlier):
    """Also from a checkpoint of an earlier version, where each array stands by itself."""
    if earlier:
        monkeypatch.setattr(packing, "pack", lambda leaves, below=0: dict(leaves))
        save = ocp.args.JsonSave
        without = lambda about: save({k: v for k, v in about.items() if k != "packed_below"})
        monkeypatch.setattr(ocp.args, "JsonSave", without)
    with closing(Checkpoints(tmp_path)) as checkpoints:
        checkpoints.save(1, MIXED)
        checkpoints.wait()
    monkeypatch.undo()
    with closing(Checkpoints(tmp_path)) as checkpoints:
        done, state = checkpoints.restore_latest(jax.eval_shape(lambda: MIXED))
    assert done == 1 and same(state, MIXED)


def test_a_checkpoint_has_few_arrays(tmp_path):
    """As each costs as much as a megabyte does."""
    state = {str(i): jnp.arange(9.0) + i for i in range(50)} | {"large": MIXED["large"]}
    with closing(Checkpoints(tmp_path)) as checkpoints:
        checkpoints.save(1, state)
        checkpoints.wait()
        kept = checkpoints._manager.restore(
            1, args=ocp.args.Composite(state=ocp.args.StandardRestore())
        )
    assert len(kept["state"]) == 2


LIMITED = """
import resource, signal, sys
import jax.numpy as jnp
from banel_jax.runs.checkpoint import Checkpoints
from banel_jax.runs import border
border.install()  # what libraries print from their threads
checkpoints = Checkpoints(sys.argv[1])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    checkpoints.save(1, {str(i): jnp.arange(2.0**18) + i for i in range(20)})
    checkpoints.wait()
except ValueError as error:
    print(error)
try:
    checkpoints.close()
except ValueError as error:
    print(error)
"""


def test_what_fails_while_it_is_written_is_told_once_and_not_by_every_thread(tmp_path):
    ended = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path)], cwd=Path(__file__).parents[2],
        env=os.environ | {"JAX_ENABLE_COMPILATION_CACHE": "0"},  # or it keeps half of a program
        capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    first = ended.stdout.splitlines()[0]
    assert first.startswith(f"the checkpoints {tmp_path} cannot be written: ")
    assert first.endswith("the same command goes on from the checkpoint before")
    assert ended.stderr == "" and ended.returncode == 0
