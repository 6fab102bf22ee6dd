"""Many runs of a program, each in a process of its own, for which JAX is imported only once."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
START = """
import json, os, sys
import jax
from experiments.common import flags
program, cases, folder = json.load(sys.stdin)
codes = []
for number, arguments in enumerate(cases):
    child = os.fork()
    if not child:
        for stream in (1, 2):
            os.dup2(os.open(f"{folder}/{number}.{stream}", os.O_CREAT | os.O_WRONLY), stream)
        sys.argv = ["-c", *arguments]
        break
    codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
else:
    print(json.dumps(codes))
    sys.exit()
exec(program)  # and the process ends as any other
"""


def ends(program: str, cases: list[list[str]], **environment: str) -> list[tuple[int, str, str]]:
    """How the program ends with each of these arguments: (exit code, stdout, stderr)."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-c", START], input=json.dumps([program, cases, folder]), cwd=ROOT,
            env=os.environ | environment, check=True, timeout=300, text=True, capture_output=True,
        )  # fmt: skip
        read = lambda number, stream: Path(folder, f"{number}.{stream}").read_text()
        codes = json.loads(done.stdout)
        return [(code, read(number, 1), read(number, 2)) for number, code in enumerate(codes)]


def module(name: str) -> str:
    """The program of `python -m name`."""
    return f"import runpy; runpy.run_module({name!r}, run_name='__main__', alter_sys=True)"
