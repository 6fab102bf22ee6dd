"""A folder is held by one run at a time, and by no run that is gone."""

import errno
import fcntl
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from banel_jax.oracle import Ledger
from banel_jax.runs import lock
from banel_jax.runs.lock import hold


def refused(folder):
    with pytest.raises(ValueError, match=r"in the folder|holds the folder") as caught, hold(folder):
        pass
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def no_flock(monkeypatch):
    def flock(*arguments):
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", flock)


def held_twice(folder):
    with hold(folder), hold(folder / "other"):
        refused(folder)
        refused(folder / "other")
        threads = [threading.Thread(target=refused, args=(folder,)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    with hold(folder):
        pass


def test_two_runs_exclude_each_other_in_one_process_too(tmp_path):
    held_twice(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["other"]


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EBADF, errno.EINVAL])
def test_without_flock_a_file_holds(tmp_path, monkeypatch, caplog, number):
    def flock(*arguments):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    held_twice(tmp_path)
    assert "has no flock" in caplog.text
    assert [p.name for p in tmp_path.iterdir()] == ["other"]


def forked(act):
    """A forked child that does something and then sleeps until it is killed."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            act()
            os.write(write, b"ready")
            time.sleep(60)
        finally:
            os._exit(0)
    os.close(write)
    assert os.read(read, 5) == b"ready"
    os.close(read)
    return child


@pytest.mark.filterwarnings("ignore:.*fork.*")
@pytest.mark.parametrize("way", ["flock", "file"])
def test_a_worker_that_lives_on_holds_nothing(tmp_path, request, way):
    if way == "file":
        request.getfixturevalue("no_flock")
    with hold(tmp_path):
        child = forked(lambda: None)
        try:
            refused(tmp_path)  # and what the child closed is still the parent's
        except BaseException:
            os.kill(child, signal.SIGKILL)
            raise
    try:
        with hold(tmp_path):
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


@pytest.mark.filterwarnings("ignore:.*fork.*")
@pytest.mark.parametrize("way", ["flock", "file"])
def test_a_child_that_leaves_the_block_does_not_end_the_hold(tmp_path, request, way):
    if way == "file":
        request.getfixturevalue("no_flock")
    parent = os.getpid()
    with hold(tmp_path):
        try:
            with hold(tmp_path / "other"):
                child = os.fork()
                if not child:
                    raise KeyboardInterrupt  # it leaves the inner block
        except KeyboardInterrupt:
            pass
        if os.getpid() != parent:
            os._exit(len(lock._held))
        assert os.waitpid(child, 0)[1] == 0
        refused(tmp_path)


def test_the_file_of_a_process_that_is_gone_is_taken_over(tmp_path, no_flock):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    (tmp_path / ".held").write_text(f"{socket.gethostname()} {gone.pid}")
    with hold(tmp_path):
        assert (tmp_path / ".held").read_text() == f"{socket.gethostname()} {os.getpid()}"
    for holder in (f"elsewhere {gone.pid}", "", f"{socket.gethostname()} 1"):
        (tmp_path / ".held").write_text(holder)
        assert "delete" in refused(tmp_path) and ".held" in refused(tmp_path)


def test_the_ledger_goes_without_locks_where_there_are_none(tmp_path, monkeypatch):
    path, tokens = tmp_path / "a ledger?#%", np.zeros((1, 2), np.int32)
    Ledger(path).close()  # made where there were locks

    def lockf(*arguments):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", lockf)
    for round in range(2):
        ledger = Ledger(path)
        ledger.start([ledger.propose(round, tokens, tokens == 0)])
        ledger.record([(round, 1.0)])
        ledger.close()
    monkeypatch.undo()
    assert Ledger(path).totals() == (2, 2)


def test_a_folder_that_vanishes_is_one_line(tmp_path, monkeypatch):
    real = os.open

    def vanished(path, *arguments, **more):
        if path == tmp_path:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(path))
        return real(path, *arguments, **more)

    monkeypatch.setattr(os, "open", vanished)
    with pytest.raises(ValueError, match="cannot write into the run's folder"), hold(tmp_path):
        pass
