"""Runs one section in this process.

python -m experiments.accelerator.alone NAME FOLDER SIZE SECONDS
"""

import importlib
import os
import sys
from pathlib import Path
from typing import Any

from experiments.accelerator.section import Section


def main(name: str, folder: str, size: str, seconds: str) -> None:
    section = Section(name, Path(folder), size, float(seconds))
    found: dict[str, Any] = {}

    def imports():  # a package that is missing is a part that was skipped
        found["module"] = importlib.import_module(f"experiments.accelerator.{name}")
        return {}

    section.part("imports", imports)
    if found:
        found["module"].run(section)


if __name__ == "__main__":
    main(*sys.argv[1:])
    sys.stdout.flush()
    os._exit(0)  # all is on disk, and a device may hang when it is let go of
