"""A case: a run by one way to evaluate, with its faults, started until it is done."""

import contextlib
import functools
import importlib.util
import json
import os
import pickle
import random
import shutil
import sys
import time
import traceback
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path

import hand
import jax
import jax.numpy as jnp
import misdeeds
import numpy as np
import verdict
import world
from tiny_run import PRIOR, M, learner

from banel_jax import oracle as ways
from banel_jax.oracle import OracleConfig
from banel_jax.runs.loop import RunConfig, run

ROUNDS, MOST_STARTS, TIMEOUT = 3, 40, 0.6
CLUSTER = "FAULT_CLUSTER"  # the address of Dask's scheduler
INTERRUPTED = 3  # exit status: what JAX was importing is broken in such a process
PLAIN = learner()


def _tell(key, state, candidates, rewards, answered=None):
    """A row without an answer has weight 0."""
    known = rewards if answered is None else jnp.where(answered, rewards, 0.5)
    return PLAIN.tell(key, state, candidates, known)


ALGORITHM = PLAIN._replace(tell=_tell)
PROGRAM = [sys.executable, "-S", misdeeds.__file__]
WAYS = {
    "in_place": lambda case: misdeeds.evaluate,
    "generator": lambda case: misdeeds.generate,
    "threads": lambda case: ways.threads(misdeeds.evaluate, 3),
    "asynchronous": lambda case: misdeeds.wait,
    "processes": lambda case: ways.processes("misdeeds:evaluate", 2),
    "command": lambda case: ways.command(PROGRAM, 2),
    "command per call": lambda case: ways.command(PROGRAM, 2, per_call=True),
    "executor": lambda case: ways.executor(case.executor, misdeeds.evaluate, 3),
    "by_hand": lambda case: ways.by_hand(case.path / "hand"),
}
if importlib.util.find_spec("distributed"):
    import distributed

    WAYS["dask"] = lambda case: ways.executor(case.executor, misdeeds.elsewhere(), 2)
ENDS = ("processes", "command", "command per call")
# Misdeeds by what becomes of them: those that pass by themselves, and those that are failures.
PASSING = {
    **{way: ["transient", "kill_run", "kill_run_after", "pending"] for way in WAYS},
    "asynchronous": ["transient", "kill_run", "kill_run_after", "pending", "hang", "late"],
    "processes": ["transient", "kill_run", "kill_run_after", "pending", "hang", "exit", "killed"],
    "executor": ["transient", "kill_run", "kill_run_after", "pending", "hang", "late"],
    "dask": ["transient", "kill_run", "kill_run_after", "pending", "exit", "killed"],
    "by_hand": [],
}
for _name in ENDS[1:]:
    PASSING[_name] = [
        "kill_run", "kill_run_after", "pending", "hang", "exit", "killed", "garbage", "other_row",
        "half", "noise", "reorder", "repeat", "twice",
    ]  # fmt: skip
FAILING = ["raise", "failed", "nan", "two", "text", "none", "count"]


class Case:
    """Drawn from a seed; its folder holds the run's, and beside it plan and log.

    Args:
      root: of all cases.
      seed: of this one.
    """

    def __init__(self, root: Path, seed: int):
        self.seed, self.path = seed, root / f"case_{seed}"
        self.folder = self.path / "run"
        self.root = root
        rng = random.Random(seed)
        self.way = list(WAYS)[seed % len(WAYS)]
        self.policy = rng.choice(["stop", "stop", "later", "drop", "zero"])
        here = self.way in ("in_place", "generator")
        self.ahead = 1 if here else rng.choice([1, 1, 2])
        self.memo = rng.choice(["off", "off", "free", "counted"])
        self.permanent = self.policy in ("drop", "zero") and self.way != "by_hand"
        self.run_seed, self.report = rng.randrange(2), rng.random() < 0.1
        self.batch = rng.choice([None, 1, 2, 3])
        self.deeds = self._deeds(rng)
        hangs = {"hang", "late"} & {deed for each in self.deeds.values() for deed in each}
        self.timeout = TIMEOUT if hangs else None
        self.starts_with_faults = rng.choice([1, 2, 3])
        self.executor: Executor | None = None

    def _deeds(self, rng):
        deeds = list(PASSING[self.way])
        if self.policy in ("stop", "later") and self.way != "by_hand":
            deeds += [d for d in FAILING if not (d == "count" and self.way in ENDS[1:])]
            deeds += ["no_id"] * (self.way in ENDS[1:] and self.batch == 1)
        rows = rng.sample(range(ROUNDS * M), rng.choice([0, 1, 2, 4])) if deeds else []
        return {str(row): [rng.choice(deeds)] for row in rows}

    def begin(self):
        """Writes the plan, once."""
        if not (self.path / "plan.json").exists():
            (self.path / "log").mkdir(parents=True, exist_ok=True)
            (self.path / "tmp").mkdir(exist_ok=True)
            plan = {"deeds": self.deeds, "permanent": self.permanent, "timeout": TIMEOUT}
            (self.path / "plan.json").write_text(json.dumps(plan))

    def config(self):
        oracle = OracleConfig(
            batch_size=self.batch,
            timeout=self.timeout,
            retries=4,
            backoff=0.01,
            transient=("ConnectionError", "TimeoutError", "WorkerDied", "KilledWorker"),
            on_failure=self.policy,
            memo=self.memo,
        )
        return RunConfig(
            rounds=ROUNDS, seed=self.run_seed, oracle=oracle, rounds_in_flight=self.ahead,
            ledger_patience=0.3,
        )  # fmt: skip

    @property
    def reference(self) -> Path:
        """The undisturbed run that this one must equal."""
        policy = self.policy if self.permanent else "any"
        return self.root / f"reference_{self.run_seed}_{self.ahead}_{policy}_{self.memo}"

    def name(self):
        return (
            f"seed {self.seed} ({self.way}, {self.policy}, {self.ahead} in flight, memo "
            f"{self.memo}, batch {self.batch})"
        )


def state_of(result) -> bytes:
    data = lambda x: jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x
    return pickle.dumps([np.asarray(data(x)).tobytes() for x in jax.tree.leaves(result.state)])


def make_reference(case: Case) -> None:
    if (case.reference / "state").exists():
        return

    def oracle(sequences):
        fail = [case.permanent and misdeeds.fails(t) for t in sequences.tokens.tolist()]
        return [
            misdeeds.VALUES["failed"] if bad else misdeeds.truth(t)
            for bad, t in zip(fail, sequences.tokens.tolist(), strict=True)
        ]

    shutil.rmtree(case.reference, ignore_errors=True)
    fn = ways.threads(oracle, 2) if case.ahead > 1 else oracle
    oracle_config = OracleConfig(on_failure=case.policy, memo=case.memo)
    config = RunConfig(
        rounds=ROUNDS, seed=case.run_seed, oracle=oracle_config, rounds_in_flight=case.ahead
    )
    result = run(ALGORITHM, PRIOR, fn, config, case.reference, report=False)
    (case.reference / "state").write_bytes(state_of(result))


def start(case: Case, number: int) -> str:
    """Starts the run once more; returns `done`, or how it ended."""
    rng = random.Random(f"{case.seed}/{number}")
    faulty = number < case.starts_with_faults
    during = rng.choice(list(world.DURING)) if faulty else None
    if case.way == "dask" and during == "clock":  # its client waits for ever then
        during = None
    if faulty and number and rng.random() < 0.3:
        between, during = rng.choice(list(world.BETWEEN)), None
        world.copied(case.folder, case.path / "copy") if case.folder.exists() else None
        if case.folder.exists() and world.BETWEEN[between](case.folder, rng):
            verdict.injected(case, between)
            verdict.told(case, damaged=between)
    verdict.told(case, start=number, during=during)
    os.environ |= {misdeeds.CASE: str(case.path), misdeeds.SESSION: str(number)}
    os.environ[misdeeds.RUN] = str(os.getpid())
    note = functools.cache(lambda: verdict.injected(case, during))  # once a start
    context = world.DURING[during](case, rng, note) if during else contextlib.nullcontext()
    try:
        with engine(case), context:
            result = run(
                ALGORITHM, PRIOR, WAYS[case.way](case), case.config(), case.folder,
                report=case.report,
            )  # fmt: skip
        (case.path / "state").write_bytes(state_of(result))
        return "done"
    except (ValueError, OSError) as error:
        if len(str(error).splitlines()) != 1:
            verdict.trouble(case, f"more than one line: {error!r}")
        return f"{type(error).__name__}: {error}"
    except (KeyboardInterrupt, SystemExit) as error:
        return type(error).__name__
    except BaseException:
        verdict.trouble(case, f"another exception: {traceback.format_exc()}")
        return "another exception"


@contextlib.contextmanager
def engine(case: Case):
    """What an executor's calls are made by, for a start of the run."""
    if case.way == "executor":
        with ThreadPoolExecutor(3) as case.executor:
            yield
    elif case.way == "dask":
        with distributed.Client(os.environ[CLUSTER], set_as_default=False) as client:
            case.executor = client.get_executor(retries=0)
            yield
    else:
        yield


def go_on(case: Case) -> None:
    """Starts the run until it is done, and judges; goes on where a process was killed."""
    case.begin()
    make_reference(case)
    while (number := verdict.starts(case)) < MOST_STARTS:
        end = start(case, number)
        verdict.told(case, end=end)
        if verdict.was_damaged(case):
            world.copied(case.path / "copy", case.folder)
        verdict.after_a_start(case)
        if end == "done":
            break
        if case.way == "by_hand":
            hand.fill_in(case, random.Random(f"{case.seed}/{number}/hand"), end)
        if end in ("KeyboardInterrupt", "SystemExit"):
            os._exit(INTERRUPTED)
    verdict.at_the_end(case)
    verdict.told(case, judged=time.time())
