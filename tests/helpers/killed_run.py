"""A run for a process that is going to be killed; imported before the process is forked."""

import json
import os
import random
import signal
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

import jax
from tiny_run import PRIOR, evaluate, learner, reward

from banel_jax.oracle import OracleConfig
from banel_jax.runs.checkpoint import Checkpoints
from banel_jax.runs.loop import RunConfig, run

CONFIG = RunConfig(rounds=12, seed=11, oracle=OracleConfig(batch_size=2))


def die_after(seconds: float, begun: Callable[[], bool] = lambda: True) -> None:
    """SIGKILL to this very process so long after `begun`, whatever it is doing then."""

    def kill():
        while not begun():
            time.sleep(0)
        time.sleep(seconds)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=kill, daemon=True).start()


class LoggedOracle:
    """Notes which rows it is asked for in a file of its own, durably, before it answers.

    Dies at the given call, after the note (the experiment was begun) or before the answer
    is used.
    """

    def __init__(self, folder: Path, die_at: int | None = None):
        self.folder, self.die_at, self.calls = folder, die_at, 0

    def __call__(self, sequences):
        with sqlite3.connect(self.folder / "oracle.sqlite") as ledger:
            query = "SELECT row FROM evaluations WHERE state = 'running' AND tokens = ?"
            open_rows = [
                [row for (row,) in ledger.execute(query, (t.tobytes(),))] for t in sequences.tokens
            ]
        ledger.close()
        self.calls += 1
        with self.folder.with_suffix(".log").open("a") as log:
            log.write(json.dumps(sorted({row for rows in open_rows for row in rows})) + "\n")
            log.flush()
            os.fsync(log.fileno())
        if self.calls == self.die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return reward(sequences)


def dying_checkpoints(folder: Path, at_save: int, seconds: float) -> None:
    """Makes this process die some moments after the given save began to write."""
    save, saves = Checkpoints.save, iter(range(1, 1000))

    def save_and_die(self, *arguments):
        if next(saves) == at_save:
            old = set(folder.glob("checkpoints/*"))
            die_after(seconds, lambda: bool(set(folder.glob("checkpoints/*")) - old))
            save(self, *arguments)
            self.wait()
            signal.pause()  # the save was quicker: die between it and the next round
        save(self, *arguments)

    Checkpoints.save = save_and_die


def main(folder: Path, cache: Path, moment: str | None, seed: int, seconds: float) -> None:
    """Runs `folder` to its end, or to the moment: `oracle`, `checkpoint`, `any` or None.

    `seconds` is how long a whole run takes.
    """
    jax.config.update("jax_compilation_cache_dir", str(cache))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    rng = random.Random(seed)
    die_at = rng.randint(1, 5) if moment == "oracle" else None
    if moment == "checkpoint":
        dying_checkpoints(folder, rng.randint(1, 2), rng.choice([0, rng.uniform(0, 0.1)]))
    if moment == "any":
        die_after(rng.uniform(0, seconds))
    run(learner(), PRIOR, LoggedOracle(folder, die_at), CONFIG, folder, evaluate=evaluate)
