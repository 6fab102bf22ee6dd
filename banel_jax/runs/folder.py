"""A run's folder: held by one process, bound to one configuration, never half-written."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from banel_jax import files
from banel_jax.runs import naming
from banel_jax.runs.lock import hold as hold


def named(folder: Path | str) -> Path:
    """The folder that a person named, as an absolute path.

    Raises:
      ValueError: for a name that is no text in UTF-8.
    """
    try:
        path = files.expand(folder).absolute()
        str(path).encode()
    except (TypeError, UnicodeEncodeError) as error:
        raise ValueError(
            f"a run's folder cannot be named {folder!r}; give it a name in UTF-8"
        ) from error
    return path


def check_unclaimed(folder: Path) -> None:
    """A run may begin in a folder without `config.json` where nothing else looks like a run's.

    With a ledger it goes on: that tells itself whose it is.

    Raises:
      ValueError: naming what is there.
    """
    ledger = folder / "oracle.sqlite"
    if ledger.exists() and ledger.stat().st_size:
        return
    ours = ("metrics.jsonl", "metrics.csv", "timings.jsonl", "summary.json", "status.json")
    for name in (*ours, "successes.jsonl", "controls.json", "report.html", "checkpoints"):
        path = folder / name
        if path.exists() and not (path.is_dir() and not any(path.iterdir())):
            raise ValueError(
                f"{folder} holds {name}, but neither the config.json nor the ledger of a run: it "
                "is another program's, or they are lost; choose another folder"
            )


def check_configuration(
    path: Path, configuration: Mapping[str, Any], accept: Sequence[str] = ()
) -> bool:
    """Whether `config.json` is there already; it must then say the same.

    What may change, and the environment, for which there is `check_environment`, are not compared.

    Args:
      path: of the file.
      configuration: as JSON values.
      accept: fields, or beginnings of their names, that may differ all the same.

    Raises:
      ValueError: naming the fields that differ, with both values.
    """
    if not path.exists():
        return False
    bound = lambda name: not name.startswith("environment.") and "may_change" not in name.split(".")
    differing = {k: v for k, v in _differences(path, configuration, accept).items() if bound(k)}
    if differing:
        raise ValueError(
            f"the folder {path.parent} holds a run of another configuration: {_told(differing)}. "
            "Choose another folder or the same configuration"
        )
    return True


def check_environment(
    path: Path, configuration: Mapping[str, Any], accept: Sequence[str] = ()
) -> None:
    """What `config.json` says of the environment must hold now, as the arguments above.

    Raises:
      ValueError: naming what differs, with both values and the ways to go on.
    """
    differing = _differences(path, configuration, accept)
    differing = {k: v for k, v in differing.items() if k.startswith("environment.")}
    if differing:
        raise ValueError(
            f"the folder {path.parent} was begun under another environment: {_told(differing)}. "
            "Its numbers follow from that: go on under the same (a mesh: on as many devices), or "
            f"say that others will do with accept={list(differing)}, by command "
            f"--accept={','.join(differing)}"
        )


def record_configuration(path: Path, configuration: Mapping[str, Any], done: int = 0) -> None:
    """Writes `config.json`, or adds to it what has changed since, from round `done` on."""
    text = naming.written(configuration)
    if path.exists():
        differing = _differences(path, configuration, ())
        if not differing:
            return
        text = _read(path)
        fields = {name: here for name, (_, here) in differing.items()}
        text["changes"] = [*text.get("changes", []), {"from_round": done, "fields": fields}]
    files.write_atomically(path, json.dumps(text, indent=2, sort_keys=True) + "\n")


def begun_as(path: Path) -> str:
    """The identity of the run that `config.json` was begun for, whatever has changed since."""
    stored = {name: part for name, part in _read(path).items() if name != "changes"}
    return naming.identity_of_written(stored)


def _read(path: Path) -> dict[str, Any]:
    mend = "put it back from a copy, or choose another folder"
    try:
        stored = files.read_object(path, mend)
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}); {mend}") from error
    if not naming.well_marked(stored):
        raise ValueError(f"{path} is damaged in its {naming.MARKS}; {mend}")
    return stored


def in_force(path: Path) -> dict[str, Any]:
    """The settings in a `config.json` by name, such as `run.seed`, after all changes.

    Raises:
      ValueError: where it is damaged or cannot be read; one line that names it.
    """
    stored, changed = _stored(path)
    return naming.entries(stored) | changed


def _stored(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a run was begun with, and what has changed since, by name."""
    stored = _read(path)
    try:
        changes = [dict(change["fields"]) for change in stored.pop("changes", [])]
    except (TypeError, KeyError, ValueError) as error:
        raise ValueError(
            f"{path} is damaged in its changes; put it back from a copy, or choose another folder"
        ) from error
    return stored, {name: value for change in changes for name, value in change.items()}


def _differences(
    path: Path, configuration: Mapping[str, Any], accept: Sequence[str]
) -> dict[str, tuple[Any, Any]]:
    """{field: (there, here)} of what is not accepted, there being after the changes."""
    stored, changed = _stored(path)
    if not stored.keys() & configuration.keys():
        raise ValueError(f"{path} is another program's; choose another folder")
    differing = naming.differences(stored, naming.written(configuration), changed)
    accepted = lambda name: any(f"{name}.".startswith(f"{given}.") for given in accept)
    return {name: values for name, values in differing.items() if not accepted(name)}


def _told(differing: Mapping[str, tuple[Any, Any]], most: int = 8) -> str:
    told = [f"{name} is {a} there and {b} here" for name, (a, b) in list(differing.items())[:most]]
    return "; ".join(told) + (f"; and {len(differing) - most} more" * (len(differing) > most))


def finite(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record with NaN and infinities, which JSON lacks, as strings."""
    fix = lambda x: str(x) if isinstance(x, float) and not math.isfinite(x) else x
    return {name: fix(value) for name, value in record.items()}


def append_record(path: Path, record: Mapping[str, Any]) -> None:
    """Appends one JSON line, durable on return. NaN and infinities become strings."""
    append_records(path, [record])


def append_records(path: Path, records: Sequence[Mapping[str, Any]]) -> None:
    """Appends a JSON line each."""
    lines = "".join(json.dumps(finite(one), allow_nan=False) + "\n" for one in records)
    new = not path.exists()
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(lines)
            file.flush()
            os.fsync(file.fileno())
        if new:
            files.sync_folder(path.parent)
    except OSError as error:
        raise type(error)(error.errno, error.strerror, str(path)) from error


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
    """Cuts the file of a line a round to its first `count`; what was half-written goes.

    Raises:
      ValueError: where what would go was not written by `append_record`; the file stays.
    """
    if not path.exists():
        return
    *lines, rest = path.read_bytes().split(b"\n")
    begin = b'{"round": '
    # After a power cut a file may end in zeros: as long as it was to be, without its content.
    ours = begin.startswith(rest[: len(begin)]) or not rest.strip(b"\0")
    for number, line in enumerate(lines[count:], count):
        ours = ours and _round(line) == number
    if not ours:
        raise ValueError(
            f"{path} holds lines that are not of this run; move it away, or choose another folder"
        )
    with path.open("r+b") as file:
        file.truncate(sum(len(line) + 1 for line in lines[:count]))
        os.fsync(file.fileno())


def _round(line: bytes) -> Any:
    try:
        return json.loads(line)["round"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
