"""Python programs in a process of their own, which may import the tests and their helpers."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def printed(program: str, **environment: str) -> str:
    """What a program prints on its standard output; it must end well."""
    path = os.pathsep.join([str(ROOT), str(Path(__file__).parent), *sys.path])
    return subprocess.run(
        [sys.executable, "-c", program], env=os.environ | {"PYTHONPATH": path} | environment,
        cwd=ROOT, check=True, timeout=120, text=True, capture_output=True,
    ).stdout  # fmt: skip
