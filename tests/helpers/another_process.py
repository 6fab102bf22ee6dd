"""Python programs in a process of their own, which may import the tests and their helpers."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def printed(program: str, *arguments: str, devices: int = 0, **environment: str) -> str:
    """What a program with arguments prints on its standard output; it must end well.

    It has so many devices of the host, where their number is given.
    """
    return subprocess.run(
        [sys.executable, "-c", program, *arguments], check=True, timeout=300,
        **_settings(devices, environment),
    ).stdout  # fmt: skip


def started(program: str, *arguments: str, devices: int = 0) -> subprocess.Popen:
    """A program that goes on by itself, as `printed` runs it."""
    return subprocess.Popen([sys.executable, "-c", program, *arguments], **_settings(devices, {}))


def _settings(devices: int, environment: dict[str, str]) -> dict[str, Any]:
    if devices:
        number = f"--xla_force_host_platform_device_count={devices}"
        flags = f"{os.environ.get('XLA_FLAGS', '')} {number}"
        environment = environment | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    path = os.pathsep.join([str(ROOT), str(Path(__file__).parent), *sys.path])
    environment = os.environ | {"PYTHONPATH": path} | environment
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    return dict(env=environment, cwd=ROOT, text=True, **pipes)
