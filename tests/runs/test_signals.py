"""A first Ctrl-C or SIGTERM lets what is in flight end and keeps it; a second ends at once."""

import contextlib
import os
import signal
import threading

import numpy as np
import pytest
from tiny_run import PRIOR, M, learner, reward, same

from banel_jax.oracle import read, signals, threads
from banel_jax.runs.loop import RunConfig, run

ALGORITHM, WORKERS = learner(), 4


class Blocking:
    """Answers when it is let; a signal comes once all workers are at work."""

    def __init__(self, numbers):
        self.numbers, self.begun = list(numbers), 0
        self.lock, self.let = threading.Lock(), threading.Event()

    def __call__(self, sequences):
        with self.lock:
            self.begun += 1
            full = self.begun == WORKERS
        if full:
            threading.Thread(target=self.send, daemon=True).start()
        assert self.let.wait(60)
        return reward(sequences)

    def send(self):
        for number in self.numbers[:1]:
            os.kill(os.getpid(), number)
        while not signals.awaited():
            pass
        for number in self.numbers[1:]:
            os.kill(os.getpid(), number)
        if not self.numbers[1:]:
            self.let.set()


def go(folder, oracle):
    return run(ALGORITHM, PRIOR, threads(oracle, WORKERS), RunConfig(rounds=2, seed=3), folder)


@pytest.fixture
def default_sigterm():
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize(
    ("number", "end"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)]
)
def test_once_ends_in_order(tmp_path, number, end, default_sigterm, capfd):
    oracle = Blocking([number])
    with pytest.raises(end):
        go(tmp_path / "b", oracle)
    assert oracle.begun == WORKERS  # nothing more was begun
    states = read(tmp_path / "b").state
    assert (states == "done").sum() == WORKERS and (states == "pending").sum() == M - WORKERS
    assert "4 evaluations that are in flight" in capfd.readouterr().err
    assert same(go(tmp_path / "b", reward).state, go(tmp_path / "c", reward).state)
    assert (read(tmp_path / "b").attempts == 1).all()


def test_twice_ends_at_once(tmp_path, caplog):
    oracle = Blocking([signal.SIGINT, signal.SIGINT])
    with pytest.raises(KeyboardInterrupt):
        go(tmp_path / "b", oracle)
    oracle.let.set()
    assert same(go(tmp_path / "b", reward).state, go(tmp_path / "c", reward).state)
    assert f"{WORKERS} reward evaluations were in flight" in caplog.text
    assert sorted(set(read(tmp_path / "b").attempts)) == [1, 2]


def test_outside_of_a_wait_a_signal_is_as_it_was():
    before = signal.getsignal(signal.SIGINT)
    with signals.in_order(lambda: 0):
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before
    heard = []
    with contextlib.suppress(KeyboardInterrupt), signals.in_order(lambda: 0) as noted:
        os.kill(os.getpid(), signal.SIGINT)
        np.zeros(1)  # a moment for Python to hear
        heard.append(noted.reason())
    assert heard == ["stopped by SIGINT"] and not signals.awaited()


def test_in_another_thread_signals_are_left_alone(tmp_path):
    results = []
    thread = threading.Thread(target=lambda: results.append(go(tmp_path / "b", reward)))
    thread.start()
    thread.join()
    assert len(results[0].metrics) == 2
