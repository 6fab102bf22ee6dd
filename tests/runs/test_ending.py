"""Whatever ends a run, what is in flight is awaited, as it was paid for; and forks end as told."""

import logging
import os
import signal
import threading

import pytest
from tiny_run import PRIOR, M, learner, reward, same

from banel_jax.oracle import OracleError, Pending, threads
from banel_jax.runs.loop import RunConfig, run

ALGORITHM, ROUNDS = learner(), 3


class Slow:
    """Rows of the second round answer only when the end of the run waits for them."""

    def __init__(self, misdeed=None):
        self.misdeed, self.at_work, self.let = misdeed, threading.Event(), threading.Event()
        self.asked = []

    def __call__(self, sequences, rows):
        self.asked.append(rows[0].row)
        if rows[0].round == 1:
            self.at_work.set()
            assert self.let.wait(60)
        elif self.misdeed and rows[0].row == 0:
            assert self.at_work.wait(60)
            raise self.misdeed
        return reward(sequences)


class Told(logging.Handler):
    def __init__(self, let):
        super().__init__()
        self.let = let

    def emit(self, record):
        if "in flight" in record.getMessage():
            self.let.set()


def go(folder, oracle, **more):
    config = RunConfig(rounds=ROUNDS, seed=3, rounds_in_flight=2)
    return run(ALGORITHM, PRIOR, threads(oracle, 2), config, folder, report=False, **more)


@pytest.fixture
def ends(tmp_path):
    """Ends a run by an exception, and goes on with it: no row is asked for twice."""
    logger = logging.getLogger("banel_jax.oracle.ending")

    def check(slow, kind, **more):
        told = Told(slow.let)
        logger.addHandler(told)
        try:
            with pytest.raises(kind):
                go(tmp_path / "b", slow, **more)
        finally:
            logger.removeHandler(told)
        slow.let.set()
        rest = Slow()
        rest.let.set()
        assert same(go(tmp_path / "b", rest).state, go(tmp_path / "c", reward).state)
        return slow.asked, rest.asked

    return check


@pytest.mark.parametrize("misdeed", [Pending("the laboratory"), RuntimeError("out of reagent")])
def test_an_end_of_one_round_awaits_the_other(ends, tmp_path, misdeed):
    first, second = ends(Slow(misdeed), OracleError)
    assert set(first) & set(second) == {0}  # whose answer was awaited, or failed
    assert any(row >= M for row in first)


@pytest.mark.parametrize(
    ("number", "kind"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)]
)
def test_a_signal_outside_of_a_wait_awaits_what_is_in_flight(ends, number, kind):
    slow, calls = Slow(), []

    def text(sequences):
        calls.append(1)
        if len(calls) == 3:  # the third round is proposed, the second in flight
            assert slow.at_work.wait(60)
            signal.raise_signal(number)
        return [""] * M

    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        first, second = ends(slow, kind, text=text)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert not set(first) & set(second) and max(first) >= M
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.filterwarnings("ignore:os.fork")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_fork_of_the_oracles_ends_as_it_is_told(tmp_path, number):
    """As the workers of a `multiprocessing.Pool` are, whose end would else be waited for."""
    ends = []

    def oracle(sequences):
        if not ends:
            child = os.fork()
            if not child:
                try:
                    signal.raise_signal(number)
                finally:
                    os._exit(7 if number == signal.SIGTERM else 8)
            ends.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        return reward(sequences)

    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        run(ALGORITHM, PRIOR, oracle, RunConfig(rounds=1), tmp_path / "b", report=False)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert ends == [-signal.SIGTERM if number == signal.SIGTERM else 8]
