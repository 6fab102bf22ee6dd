"""The guard against versions of the compiler that answer wrongly on CPU."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import jaxlib
import numpy as np
import pytest

from banel_jax import compiler

wrong = pytest.mark.skipif(
    jaxlib.__version__ not in compiler.WRONG, reason="this compiler is not known to be wrong"
)
ROWS = 32_769
PATTERN = f"""
import jax.numpy as jnp
rows = jnp.arange({ROWS}.0)[:, None] * jnp.eye(3)[0]
m = jnp.eye(3)
result = jax.jit(jax.vmap(lambda row: jnp.sum((m @ row) ** 2)))(rows)
"""


def lines_of(program, flags=None):
    """What a process says on stderr; it must not fail."""
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    environment |= {"JAX_PLATFORMS": "cpu"} | ({"XLA_FLAGS": flags} if flags else {})
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, check=True, timeout=120, text=True,
        capture_output=True,
    )  # fmt: skip
    return done.stderr.splitlines()


def test_sums_are_right_under_the_guard():
    names = {"jax": jax}
    exec(PATTERN, names)
    np.testing.assert_array_equal(names["result"], np.arange(ROWS, dtype=np.float32) ** 2)


def test_arrays_of_many_axes_are_summed():
    shape = (3, 1, 2, 2, 8, 8, 8)
    u, v = np.random.default_rng(0).uniform(size=(2, *shape)).astype(np.float32)
    found = jax.jit(lambda u, v: jnp.sum(u * v, axis=3))(u, v)
    np.testing.assert_allclose(found, np.sum(u * v, axis=3), rtol=1e-6)


@wrong
def test_one_import_is_enough_after_jax_and_with_other_flags_or_an_empty_value():
    program = "import jax, os\nimport banel_jax" + PATTERN
    program += f"assert float(result[-1]) == {(ROWS - 1) ** 2}\n"
    check = f"assert os.environ['XLA_FLAGS'] == '{{}}{compiler.FLAG}', os.environ['XLA_FLAGS']"
    assert lines_of(program + check.format("")) == []
    other = "--xla_force_host_platform_device_count=2"
    count = f"{check.format(other + ' ')}\nassert jax.device_count() == 2"
    assert lines_of(program + count, other) == []


@wrong
@pytest.mark.parametrize(
    ("program", "flags"),
    [
        ("import jax\njax.devices()\nimport banel_jax", None),
        ("import banel_jax, jax\njax.devices()", compiler.FLAG + "reduce"),
    ],
)
def test_where_it_cannot_act_it_says_so_in_one_line(program, flags):
    (line,) = lines_of(program, flags)
    assert f"jaxlib {jaxlib.__version__} " in line and f"XLA_FLAGS={compiler.FLAG} " in line


@pytest.mark.parametrize(
    ("flags", "guarded"),
    [
        (None, False),
        ("--other=1", False),
        (compiler.FLAG, True),
        (f"{compiler.FLAG}'' --other=1", True),
        (f"{compiler.FLAG} {compiler.FLAG}reduce", False),  # the last counts
        (f"{compiler.FLAG}reduce {compiler.FLAG}", True),
    ],
)
def test_flags_are_read_from_the_environment_or_a_file(flags, guarded, tmp_path, monkeypatch):
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    if flags:
        monkeypatch.setenv("XLA_FLAGS", flags)
    assert compiler.guarded() == guarded
    (tmp_path / "flags").write_text(f"\n{flags or ''}\n")
    monkeypatch.setenv("XLA_FLAGS", str(tmp_path / "flags"))
    assert compiler.guarded() == guarded
    monkeypatch.setenv("XLA_FLAGS", str(tmp_path / "none"))
    assert not compiler.guarded()


def test_other_versions_are_left_alone(monkeypatch, caplog):
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    for version in ("0.10.1", "0.10.20", "0.11.1", "0.12.0"):
        compiler.guard(version)
    assert "XLA_FLAGS" not in os.environ and not caplog.records
