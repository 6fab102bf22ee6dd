"""What goes wrong around a run, in the process that runs it or between two of its starts."""

import contextlib
import errno
import os
import resource
import shutil
import signal
import sqlite3
import threading
import time
from pathlib import Path

import pytest
from disk import DATABASE, Disk, tear
from faults import Faults, injected

OPERATIONS = 60  # about as many as a run of SQLite's and of synced files
SECONDS = 0.5  # about as long as a run takes


def _die():
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


def _later(seconds, act):
    """A thread that acts after so long; what it returns keeps it from acting."""
    over = threading.Event()

    def wait():
        if not over.wait(seconds):
            act()

    threading.Thread(target=wait, daemon=True).start()
    return over


@contextlib.contextmanager
def killed_at_a_time(case, rng, note):
    note()
    _later(rng.uniform(0, SECONDS), _die)
    yield


@contextlib.contextmanager
def killed_at_an_operation(case, rng, note):
    def die():
        note()
        _die()

    with injected(Faults(rng.randrange(OPERATIONS), die, rng.random() < 0.5)):
        yield


@contextlib.contextmanager
def power_cut(case, rng, note):
    def cut():
        (case.path / "cut").touch()
        note()
        _die()

    with pytest.MonkeyPatch.context() as patch:
        at = rng.randrange(1, 3 * OPERATIONS)
        Disk(case.folder, case.path / "image", at, cut).watch(patch)
        yield


def signals(*numbers):
    @contextlib.contextmanager
    def sent(case, rng, note):
        seconds = rng.uniform(0, SECONDS)
        between = rng.uniform(0, 0.05)

        def send():
            note()
            for number in numbers:
                if over.is_set():
                    return
                os.kill(os.getpid(), number)
                time.sleep(between)

        over = _later(seconds, send)
        try:
            yield
        finally:
            over.set()

    return sent


def errors(error, files, lasting):
    @contextlib.contextmanager
    def failing(case, rng, note):
        def make():
            note()
            return error()

        after = rng.random() < 0.5
        with injected(Faults(rng.randrange(OPERATIONS), make, after, lasting), files=files):
            yield

    return failing


@contextlib.contextmanager
def small_disk(case, rng, note):
    """No file grows beyond a few kilobytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    largest = max((p.stat().st_size for p in case.folder.glob("*") if p.is_file()), default=0)
    resource.setrlimit(
        resource.RLIMIT_FSIZE, (max(8192, largest + rng.randrange(30_000)), before[1])
    )
    note()
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextlib.contextmanager
def locked(case, rng, note):
    """Another program locks the ledger for a while, or for long."""
    over, length = threading.Event(), rng.choice([0.05, 0.2, 20.0])
    begin = rng.uniform(0, SECONDS)

    def hold():
        path = case.folder / DATABASE
        if over.wait(begin) or not path.exists():
            return
        other = sqlite3.Connection(path, isolation_level=None, timeout=0.0)
        with contextlib.closing(other), contextlib.suppress(sqlite3.Error):
            other.execute("BEGIN IMMEDIATE")
            note()
            over.wait(length)

    thread = threading.Thread(target=hold, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextlib.contextmanager
def clock(case, rng, note):
    """The time of day jumps, by years, at every look at it."""
    real = time.time
    note()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "time", lambda: max(0.0, real() + rng.choice([-1, 0, 1]) * 1e8))
        yield


SQLITE = sqlite3.OperationalError
DURING = {
    "killed at a time": killed_at_a_time,
    "killed at an operation": killed_at_an_operation,
    "power cut": power_cut,
    "SIGTERM": signals(signal.SIGTERM),
    "SIGINT": signals(signal.SIGINT),
    "SIGINT twice": signals(signal.SIGINT, signal.SIGINT),
    "ledger: locked": errors(lambda: SQLITE("database is locked"), False, False),
    "ledger: disk full": errors(lambda: SQLITE("database or disk is full"), False, False),
    "ledger: full from then on": errors(lambda: SQLITE("database or disk is full"), False, True),
    "ledger: I/O error": errors(lambda: SQLITE("disk I/O error"), False, False),
    "files: disk full": errors(lambda: OSError(errno.ENOSPC, "No space left"), True, False),
    "files: read-only": errors(lambda: OSError(errno.EROFS, "Read-only file system"), True, True),
    "files: interrupted": errors(KeyboardInterrupt, True, False),
    "small disk": small_disk,
    "locked by another": locked,
    "clock": clock,
}
ENDS_AT_ONCE = {
    "killed at a time", "killed at an operation", "power cut", "SIGINT twice", "small disk",
    "files: disk full", "files: read-only", "files: interrupted",
}  # fmt: skip


def torn_end(folder: Path, rng) -> bool:
    """Garbage where the next transaction would be written."""
    wal = folder / f"{DATABASE}-wal"
    if wal.exists():
        with wal.open("ab") as file:
            file.write(rng.randbytes(rng.randrange(1, 5000)))
    return wal.exists()


def flipped(folder: Path, rng) -> bool:
    """A bit of the ledger is another."""
    paths = [p for p in folder.glob(f"{DATABASE}*") if p.stat().st_size and "-shm" not in p.name]
    if not paths:
        return False
    path = rng.choice(sorted(paths))
    data = bytearray(path.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)
    return True


def lost_wal(folder: Path, rng) -> bool:
    wal = folder / f"{DATABASE}-wal"
    if there := wal.exists() and wal.stat().st_size > 0:
        wal.unlink()
    return there


def half_line(folder: Path, rng) -> bool:
    path = folder / "metrics.jsonl"
    if there := path.exists():
        with path.open("ab") as file:
            file.write(b'{"round": 7, "num_rew'[: rng.randrange(1, 20)])
    return there


def torn_checkpoint(folder: Path, rng) -> bool:
    steps = [path for path in folder.glob("checkpoints/*") if path.is_dir()]
    for step in steps:
        tear(step, rng)
    return bool(steps)


def cut_mark(folder: Path, rng) -> bool:
    path = folder / f"{DATABASE}.mark"
    if there := path.exists():
        path.write_bytes(path.read_bytes()[: rng.randrange(100)])
    return there


BETWEEN = {
    "torn end of the ledger": torn_end,
    "a bit of the ledger": flipped,
    "lost -wal": lost_wal,
    "half a line of metrics": half_line,
    "torn checkpoint": torn_checkpoint,
    "mark cut short": cut_mark,
}


def copied(folder: Path, to: Path) -> None:
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(folder, to)
