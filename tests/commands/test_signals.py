"""The commands as programs: how a signal ends them, and what is then kept."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from banel_jax.oracle import read

ROOT = Path(__file__).parents[2]
SLOW = """
import pathlib, time

def score(x):
    pathlib.Path("asked").open("a").write("".join(f"{t}\\n" for t in x.tokens.tolist()))
    time.sleep({seconds})
    return [0] * len(x.tokens)
"""
WORDS = [
    "run", "run", "--prior=two_circles", "--algorithm=prior_sampling", "--set=num_candidates=6",
    "--rounds=2", "--oracle=slow:score",
]  # fmt: skip


def begun(folder, seconds, *more):
    (folder / "slow.py").write_text(SLOW.replace("{seconds}", str(seconds)))
    process = subprocess.Popen(
        [sys.executable, "-m", "banel_jax", *WORDS, *more], cwd=folder, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    while not (folder / "asked").exists() or not (folder / "asked").read_text().count("\n"):
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    return process


@pytest.mark.parametrize(
    ("number", "more"),
    [
        pytest.param(signal.SIGINT, [], marks=pytest.mark.slow),
        (signal.SIGTERM, ["--workers=2"]),
        pytest.param(signal.SIGTERM, [], marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, ["--workers=2"], marks=pytest.mark.slow),
    ],
)
def test_once_waits_for_what_is_in_flight_and_keeps_it(tmp_path, number, more):
    process = begun(tmp_path, 6, *more)  # longer than a signal that nothing hears has
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number and not out
    assert "in flight; again to end without waiting" in err
    last = err.splitlines()[-1]
    assert last.startswith("stopped; the same command goes on from there: python -m banel_jax run")
    rows = read(tmp_path / "run")
    asked = (tmp_path / "asked").read_text().count("\n")
    assert (rows.state == "done").sum() == asked <= 2
    assert (rows.state == "pending").sum() == 6 - asked and "Traceback" not in err


def test_twice_ends_at_once(tmp_path):
    process = begun(tmp_path, 600, "--workers=2")
    process.send_signal(signal.SIGINT)
    while "again to end" not in process.stderr.readline():
        pass
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)  # and not 600
    assert process.returncode == 130 and err.count("\n") == 1 and "stopped; " in err
    assert "done" not in read(tmp_path / "run").state


def test_an_oracle_that_hears_nothing_is_left_after_the_second(tmp_path):
    process = begun(tmp_path, 600)
    for _ in range(2):
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and err.splitlines()[-1].startswith("stopped; ")
