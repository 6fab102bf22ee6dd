"""A command whose lines are seen as they come and which ends in time."""

import contextlib
import os
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]


def follow(
    command: Sequence[str],
    seconds: float,
    say: Callable[[str], None],
    environment: Mapping[str, str] | None = None,
    group: bool = False,
) -> int | None:
    """Runs a command from the repository's root; `say` gets each line of what it prints.

    Args:
      group: whether the command is to lead a process group, of which nothing outlives it.

    Returns:
      Its exit code, or None where its time was up and it was killed.
    """
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
        text=True, errors="replace", cwd=ROOT, env=environment,
        process_group=0 if group else None,
    )  # fmt: skip

    def read():
        for line in process.stdout or ():
            say(line.rstrip("\n"))

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    code = None
    try:
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = process.wait(max(seconds, 0))
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if group:
                os.killpg(process.pid, 9)
        process.kill()
        process.wait()
        reader.join(5)  # what it left behind may hold the pipe
    return code
