"""How a program ends: one line at any moment, whatever ends it."""

import errno
import os
import random
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import forked
import pytest

from banel_jax.runs import mistakes

ROOT = Path(__file__).parents[2]
PROGRAM = """
import dataclasses, os, sys, time
import jax, jax.numpy as jnp
from experiments.common import flags, report

class Swallows:
    def __del__(self):
        time.sleep(60)

def compiling():  # nothing listens in a compiler
    print("ready", flush=True)
    for n in range(1, 1000):
        def f(x):
            for i in range(300):
                x = jnp.sin(x) * (i + n)
            return x
        jax.jit(f)(jnp.ones(3)).block_until_ready()

def running():  # nor in a call
    f = jax.jit(lambda x: jax.lax.while_loop(lambda x: x[0] < 9, jnp.sin, x))
    print("ready", flush=True)
    f(jnp.ones(3)).block_until_ready()

def swallowing():
    print("ready", flush=True)
    Swallows()
    time.sleep(60)

def told():
    print("ready")  # a line is seen when it is written, through a pipe as well
    try:
        time.sleep(60)
    finally:
        print("put down", flush=True)

def talking():
    for i in range(100_000):
        print("line", i)

def text():
    print("5 \\u00d7 3")

def raising():
    raise {"file": OSError(28, "No space left on device", "/a/b"), "disk": OSError(28, "full"),
           "gone": FileNotFoundError(2, "No such file or directory", "/a"),
           "lines": ValueError("two\\nlines"), "memory": MemoryError("Unable to allocate 9 TiB"),
           "extra": ModuleNotFoundError("No module named 'torch'", name="torch")}[kind]

@dataclasses.dataclass(frozen=True)
class Config:
    what: str = "compiling"
    seeds_at_once: int = 3
    output: str = "runs/x"
    def __post_init__(self):
        if self.seeds_at_once < 1:
            raise ValueError(f"seeds_at_once={self.seeds_at_once} must be at least 1")

def main(config):
    global kind
    what, _, kind = config.what.partition(":")
    globals()[what]()

flags.run(main, Config(), {"small": Config()}, resumes=False)
"""


def start(*arguments, **settings):
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, *arguments], cwd=ROOT, **(streams | settings))


def end(*arguments, **settings):
    process = start("-c", PROGRAM, *arguments, **settings)
    out, err = process.communicate(timeout=100)
    return process.returncode, out, err


def stopped(process, number=signal.SIGINT):
    process.send_signal(number)
    out, err = process.communicate(timeout=25)  # and not minutes
    assert process.returncode == 128 + number
    assert err.count("\n") == 1 and err.startswith("stopped; ") and "python" in err
    return out, err


@pytest.mark.parametrize(
    ("what", "number"),
    [
        ("compiling", signal.SIGINT),
        pytest.param("running", signal.SIGINT, marks=pytest.mark.slow),
        ("running", signal.SIGTERM),
        pytest.param("swallowing", signal.SIGINT, marks=pytest.mark.slow),
        ("told", signal.SIGTERM),
    ],
)
def test_a_signal_ends_it_with_one_line(what, number):
    environment = {name: of for name, of in os.environ.items() if name != "PYTHONUNBUFFERED"}
    process = start("-c", PROGRAM, f"--what={what}", env=environment)
    assert process.stdout.readline() == "ready\n"
    time.sleep(random.uniform(0, 2))
    out, err = stopped(process, number)
    assert "the same command starts anew" in err and f"--what={what}" in err
    assert ("put down" in out) == (what == "told")


def wait_until_heard(process):
    """Until Python has started and its signals are handled; before, there is nobody to hear."""
    wanted = 1 << (signal.SIGTERM - 1)
    for _ in range(600):
        status = Path(f"/proc/{process.pid}/status").read_text()
        caught = next(line for line in status.splitlines() if line.startswith("SigCgt"))
        if int(caught.split()[1], 16) & wanted:
            return
        time.sleep(0.05)
    raise AssertionError("no signal is handled")


@pytest.mark.parametrize("latest", [0.3, 4.0])
def test_a_signal_ends_it_while_it_is_imported(tmp_path, latest):
    process = start("-m", "experiments.two_circles", f"--output={tmp_path}")
    wait_until_heard(process)
    time.sleep(random.uniform(0, latest))
    _, err = stopped(process)
    assert err.endswith(f"python -m experiments.two_circles --output={tmp_path}\n")


def test_a_second_signal_ends_it_at_once():
    process = start("-c", PROGRAM, "--what=running")
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    before = time.monotonic()
    stopped(process)
    assert time.monotonic() - before < 1.5  # where a first one waits for two seconds


MISTAKES = [
    (["--what=raising:file"], "the disk is full at /a/b; make room and give the same command"),
    (["--what=raising:disk", "--output=o"], "the disk is full (output=o); make room"),
    (["--what=raising:gone"], "No such file or directory: /a"),
    (["--what=raising:lines"], "two lines"),
    (["--what=raising:memory"], "out of memory: Unable to allocate 9 TiB; lower seeds_at_once"),
    (["--what=raising:extra"], "No module named 'torch'; pip install 'banel_jax[benchmark]'"),
    (["--unknown=1"], "Unknown command line flag 'unknown'"),
    (["--seeds_at_once=x"], "flag --seeds_at_once=x: invalid literal"),
    (["--seeds_at_once="], "flag --seeds_at_once=: invalid literal"),
    (["--seeds_at_once=-1"], "seeds_at_once=-1 must be at least 1"),
    (["--preset=foo"], "'--preset=foo' names no preset; give --preset=NAME with one of small"),
    (["more"], "unknown argument 'more'"),
]


@pytest.fixture(scope="module")
def ended():
    return forked.ends(PROGRAM, [arguments for arguments, _ in MISTAKES])


@pytest.mark.parametrize("number", range(len(MISTAKES)), ids=lambda n: " ".join(MISTAKES[n][0]))
def test_a_mistake_is_one_line(ended, number):
    code, out, err = ended[number]
    assert code == 1 and not out
    assert err.startswith(f"error: {MISTAKES[number][1]}") and err.count("\n") == 1


def test_an_unknown_device_is_a_mistake():
    code, _, err = end("--what=text", env=os.environ | {"JAX_PLATFORMS": "abacus"})
    assert code == 1 and err.startswith("error: JAX cannot start: ") and err.count("\n") == 1


def shell(line, **settings):
    environment = os.environ | {"PROGRAM": PROGRAM, "PY": sys.executable}
    return subprocess.run(
        ["bash", "-c", line], cwd=ROOT, env=environment | settings, capture_output=True,
        text=True, timeout=100,
    )  # fmt: skip


def test_the_reader_may_leave_and_the_streams_may_be_closed():
    left = shell('"$PY" -c "$PROGRAM" --what=talking | head -1; echo ${PIPESTATUS[0]}')
    assert (left.stdout, left.stderr) == ("line 0\n141\n", "")
    closed = shell('"$PY" -c "$PROGRAM" --what=text 1>&- 2>&- 0<&-; echo $?')
    assert (closed.stdout, closed.stderr) == ("0\n", "")
    full = shell('"$PY" -c "$PROGRAM" --what=text > /dev/full; echo $?')
    assert full.stderr.startswith("error: the output cannot be written: No space left")
    plain = {
        "LC_ALL": "C",
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
        "TERM": "",
        "HOME": "/no",
    }
    ascii_ = shell('env -u HOME "$PY" -c "$PROGRAM" --what=text', **plain)
    assert (ascii_.stdout, ascii_.stderr) == ("5 \\xd7 3\n", "")


def test_what_is_no_mistake_has_no_line_and_what_names_nothing_names_the_places():
    told = mistakes.in_one_line
    assert told(AssertionError("x")) is None and told(TypeError("x")) is None
    settings = {"output": "o", "a.runs": "r", "seeds": 3}
    assert told(OSError(5, "Input/output error"), settings) == (
        "[Errno 5] Input/output error (output=o, a.runs=r)"
    )
    assert told(zipfile.BadZipFile("no zip"), settings).startswith("a damaged file (output=o, ")
    assert told(OSError(errno.EDQUOT, "Quota", "/a")).startswith("the disk is full at /a")
