"""What workers do well and badly; imported by them, without JAX."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

TREE = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {0!r}]); {1}"
SLEEP = "import time; time.sleep(600)"


def token(x):
    return int(x.tokens[0, 0])


def odd(x):
    return x.tokens[:, 0] % 2


def with_rows(x, rows, text):
    return [{"reward": row.row % 2, "score": t} for row, t in zip(rows, text, strict=True)]


def one(x, row):
    return row.row % 2


def jax_was_loaded(x):
    return [{"reward": "jax" in sys.modules, "score": os.getsid(0) == os.getpid()}]


def badly(x):
    """One misdeed a row; every row but those of a number above 6 is answered by 1."""
    t = token(x)
    if t == 0:
        print("hello on stdout", flush=True)
        os.write(1, b"\0" * 100)
    if t == 1 and os.fork() == 0:
        return [0]  # the fork answers too
    if t == 2:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        sys.stderr.write("noise\n" * 100_000)
    if t == 3:
        sys.stdin.read()
        subprocess.Popen([sys.executable, "-c", SLEEP])
    if t == 4:
        return [lambda: 0]
    if t == 5:
        raise SystemExit(3)
    if t == 6:
        raise ConnectionError("down\nand out")
    if t == 7:
        sys.stderr.write("bad pose\n")
        sys.stderr.flush()
        os._exit(9)
    if t == 8:
        os.kill(os.getpid(), signal.SIGSEGV)
    return [1]


def hangs(x):
    """Row 0 hangs with a child and one that is in a session of its own, and notes who they are."""
    if token(x) == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        children = [
            subprocess.Popen([sys.executable, "-c", SLEEP], start_new_session=new)
            for new in (False, True)
        ]
        note = Path(os.environ["NOTE"])
        note.with_suffix(".new").write_text(
            " ".join(str(p) for p in (os.getpid(), *(child.pid for child in children)))
        )
        note.with_suffix(".new").rename(note)
        time.sleep(600)
    return [1]
