"""What a compiled function takes of a device's memory, told before it runs."""

import contextlib
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax

from banel_jax.runs.progress import note
from banel_jax.runs.report.numbers import format_value

MEMINFO = Path("/proc/meminfo")


def needed(function: Any, *args: Any) -> int | None:
    """Bytes that one call takes on each of its devices, by the compiler's own account.

    Nothing is run. A later call of `function` with such arguments finds the program compiled.

    Args:
      function: what `jax.jit` gave.
      *args: of the call, or what `jax.ShapeDtypeStruct` says of them.

    Returns:
      Arguments, results, what lies beside them while it runs, and the program itself; None where
      the backend keeps no account.
    """
    account = _account(function, args)
    return None if account is None else account.lasting + account.temporary


def check(call: str, at_once: int, function: Any, *args: Any) -> None:
    """Tells on a terminal what a call takes of the memory; silent where nobody knows.

    Args:
      call: in words, such as `one call of 30 rounds for 20 seeds`.
      at_once: seeds that a device computes as one batch.
      function: what `jax.jit` gave.
      *args: of the call.

    Raises:
      ValueError: where it takes more than there is; says how many seeds_at_once would fit.
    """
    account = _account(function, args)
    if account is None or (room := _room(account)) is None:
        return
    total = account.lasting + account.temporary
    each = f" on each of {len(account.devices)} devices" if len(account.devices) > 1 else ""
    took = f"{call} takes {_size(total)} of {_size(room)}{each}"
    if total <= room:
        return note(took)
    for fewer in range(at_once - 1, 0, -1):
        # What lies in memory while it runs goes with the batch, all else with the seeds.
        less = account.lasting + account.temporary * fewer // at_once
        if at_once % fewer == 0 and less <= room:
            raise ValueError(f"{took}; seeds_at_once={fewer} would take about {_size(less)}")
    raise ValueError(
        f"{took}, and one seed at a time is too much; call it for fewer seeds, or lower "
        "num_candidates or the batch sizes of its fits"
    )


class _Account(NamedTuple):
    """Bytes on each device, and the devices of this process: `given` are the arguments, `lasting`
    they, the results and the program."""

    given: int
    lasting: int
    temporary: int
    devices: Sequence[jax.Device]


def _account(function: Any, args: Sequence[Any]) -> _Account | None:
    program = function.lower(*args).compile()
    try:
        found, executable = program.memory_analysis(), program.runtime_executable()
        devices = executable.local_devices()
    except Exception:  # of whatever kind: not every backend keeps one
        return None
    if found is None:
        return None
    given, results = found.argument_size_in_bytes, found.output_size_in_bytes
    lasting = given + results - found.alias_size_in_bytes + found.generated_code_size_in_bytes
    return _Account(given, lasting, found.temp_size_in_bytes, devices)


def _room(account: _Account) -> int | None:
    """Bytes that there are for it on each device; the devices of a CPU share the machine's."""
    if account.devices[0].platform == "cpu":
        free = _free_bytes()
        return None if free is None else free // len(account.devices) + account.given
    with contextlib.suppress(Exception):  # as above
        return min(device.memory_stats()["bytes_limit"] for device in account.devices)
    return None


def _free_bytes() -> int | None:
    """Of the machine's memory, what may be had; all of it where the system does not tell."""
    with contextlib.suppress(OSError):
        if told := re.search(r"^MemAvailable:\s+(\d+) kB", MEMINFO.read_text(), re.M):
            return int(told[1]) * 1024
    with contextlib.suppress(OSError, ValueError):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def _size(size: int) -> str:
    if size < 2**29:
        return f"{format_value(size / 2**20)} MiB"
    return f"{format_value(size / 2**30)} GiB"
