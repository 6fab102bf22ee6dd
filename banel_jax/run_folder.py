"""A run's folder: held by one process, bound to one configuration, never half-written."""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from banel_jax.files import sync_folder
from banel_jax.lock import hold as hold
from banel_jax.naming import flatten


def check_configuration(path: Path, configuration: Mapping[str, Any]) -> bool:
    """Whether `config.json` is there already; it must then say the same.

    Raises:
      ValueError: naming every field that differs, with both values.
    """
    if not path.exists():
        return False
    try:
        stored = flatten(json.loads(path.read_text()))
    except (ValueError, AttributeError, OSError) as error:
        raise ValueError(
            f"{path} cannot be read ({error}); put it back from a copy, or choose another folder"
        ) from error
    current = flatten(json.loads(json.dumps(configuration)))
    missing = "(absent)"
    differences = [
        f"{name} is {stored.get(name, missing)} there and {current.get(name, missing)} here"
        for name in sorted(stored.keys() | current.keys())
        if stored.get(name, missing) != current.get(name, missing)
    ]
    if differences:
        raise ValueError(
            f"the folder {path.parent} holds a run of another configuration: "
            f"{'; '.join(differences)}. Choose another folder or the same configuration"
        )
    return True


def finite(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record with NaN and infinities, which JSON lacks, as strings."""
    fix = lambda x: str(x) if isinstance(x, float) and not math.isfinite(x) else x
    return {name: fix(value) for name, value in record.items()}


def append_record(path: Path, record: Mapping[str, Any]) -> None:
    """Appends one JSON line, durable on return. NaN and infinities become strings."""
    line = json.dumps(finite(record), allow_nan=False)
    new = not path.exists()
    with path.open("a") as file:
        file.write(line + "\n")
        file.flush()
        os.fsync(file.fileno())
    if new:
        sync_folder(path.parent)


def read_records(path: Path | str) -> list[dict[str, float]]:
    """The complete lines of a file that `append_record` wrote: numbers by name."""
    path = Path(path)
    if not path.exists():
        return []
    lines = path.read_bytes().split(b"\n")[:-1]
    number = lambda x: float(x) if isinstance(x, str) else x
    try:
        return [{k: number(v) for k, v in json.loads(line).items()} for line in lines]
    except (ValueError, AttributeError) as error:
        raise ValueError(
            f"{path} is damaged ({error}); delete its lines from the damaged one on, or choose "
            "another folder"
        ) from error


def keep_records(path: Path, count: int) -> None:
    """Cuts the file to its first `count` lines; what was half-written goes."""
    if path.exists():
        lines = path.read_bytes().split(b"\n")[:-1][:count]
        with path.open("r+b") as file:
            file.truncate(sum(len(line) + 1 for line in lines))
            os.fsync(file.fileno())
