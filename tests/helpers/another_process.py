"""Python programs in a process of their own, which may import the tests and their helpers."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def printed(program: str, *arguments: str, devices: int = 0, **environment: str) -> str:
    """What a program with arguments prints on its standard output; it must end well.

    It has so many devices of the host, where their number is given.
    """
    if devices:
        number = f"--xla_force_host_platform_device_count={devices}"
        flags = f"{os.environ.get('XLA_FLAGS', '')} {number}"
        environment |= {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    path = os.pathsep.join([str(ROOT), str(Path(__file__).parent), *sys.path])
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env=os.environ | {"PYTHONPATH": path} | environment,
        cwd=ROOT, check=True, timeout=300, text=True, capture_output=True,
    ).stdout  # fmt: skip
