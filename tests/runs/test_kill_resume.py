"""Real processes, really killed: nothing is lost, repeated or counted twice."""

import itertools
import json
import multiprocessing
import os
import signal
import sqlite3
import time
from pathlib import Path

import killed_run
import pytest
from killed_run import CONFIG
from tiny_run import PRIOR, M, evaluate, learner, same

from banel_jax.runs.loop import run

MOMENTS = ("oracle", "checkpoint", "any")
ATTEMPTS = 240


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """`start(folder, moment, seed, seconds) -> exit code` of a process of its own.

    The server has imported everything and runs nothing, so a fork of it starts at once.
    """
    path = os.pathsep.join([str(Path(killed_run.__file__).parent), str(Path.cwd())])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", path)
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["killed_run"])
        cache = tmp_path_factory.mktemp("compiled")

        def start(folder, moment=None, seed=0, seconds=0.0):
            arguments = (folder, cache, moment, seed, seconds)
            process = context.Process(target=killed_run.main, args=arguments)
            process.start()
            process.join(120)
            if process.exitcode is None:
                process.kill()
                pytest.fail(f"the process hangs (moment {moment}, seed {seed})")
            return process.exitcode

        yield start


def answered(folder):
    """{row: (tokens, mask, reward)} that is durable."""
    if not (folder / "oracle.sqlite").exists():
        return {}
    with sqlite3.connect(folder / "oracle.sqlite") as ledger:
        if not ledger.execute("SELECT 1 FROM sqlite_master").fetchone():
            return {}
        query = "SELECT row, tokens, mask, reward FROM evaluations WHERE reward IS NOT NULL"
        rows = {row: rest for row, *rest in ledger.execute(query)}
    ledger.close()
    return rows


def asked(folder):
    """The rows of each call, from the oracle's own log."""
    log = folder.with_suffix(".log")
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def final(folder):
    def refuse(sequences):
        raise AssertionError("the oracle was asked by a complete run")

    return run(learner(), PRIOR, refuse, CONFIG, folder, evaluate=evaluate)


@pytest.mark.parametrize(
    ("kills_each", "least_half_written"), [(3, 1), pytest.param(8, 3, marks=pytest.mark.slow)]
)
def test_killed_at_any_moment_and_started_again(start, tmp_path, kills_each, least_half_written):
    reference = tmp_path / "reference"
    assert start(reference) == 0
    rows = CONFIG.rounds * M
    assert sorted(itertools.chain(*asked(reference))) == list(range(rows))

    # How long a run takes here once compiled, so that "any" moment lies within it.
    began = time.monotonic()
    assert start(tmp_path / "timed") == 0
    seconds = time.monotonic() - began

    kills = dict.fromkeys(MOMENTS, 0)
    folders = (tmp_path / f"killed_{i}" for i in itertools.count())
    folder, complete = next(folders), []
    half_written = in_flight = 0
    for seed in range(ATTEMPTS):
        before, calls = answered(folder), len(asked(folder))
        enough = min(kills.values()) >= kills_each and half_written >= least_half_written
        # A kill may come too late, so what has been killed least is next.
        moment = None if enough else min(MOMENTS, key=lambda m: kills[m])
        exit_code = start(folder, moment, seed, seconds)
        assert exit_code in (0, -signal.SIGKILL)
        # What was durable stays as it was, and is not asked for again.
        after = answered(folder)
        assert before.items() <= after.items()
        for call in asked(folder)[calls:]:
            assert not set(call) & set(before)
        if exit_code == 0:
            complete.append(folder)
            if enough:
                break
            folder = next(folders)
        else:
            kills[moment] += 1
            half_written += any(folder.glob("checkpoints/*tmp*"))
            in_flight += any(row not in after for call in asked(folder) for row in call)

    assert enough, (kills, half_written)
    assert in_flight >= kills["oracle"]
    expected = final(reference)
    for folder in complete:
        assert answered(folder) == answered(reference)
        assert set(itertools.chain(*asked(folder))) == set(range(rows))
        metrics = (folder / "metrics.jsonl").read_text()
        assert metrics == (reference / "metrics.jsonl").read_text()
        assert same(final(folder).state, expected.state)
    assert expected.metrics[-1]["num_reward_evaluations"] == rows
