"""Whatever fails, and wherever: what the oracle answered is kept and paid for once."""

import contextlib
import errno
import logging
import os
import signal
import sqlite3
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from faults import FAULTS, Connection, Faults, injected

from banel_jax import oracle as package
from banel_jax.oracle import Ledger, LedgerError, Oracle, OracleConfig
from banel_jax.oracle.kept import Kept
from banel_jax.types import Sequences

ROUNDS, M = 2, 3


@pytest.fixture
def tmp_path(tmp_path):
    """In memory where that can be: no power fails here, and a disk takes its time to sync."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        yield Path(folder)


def candidates(round):
    tokens = np.arange(M * 2, dtype=np.int32).reshape(M, 2) + 10 * round
    return Sequences(tokens, np.ones((M, 2), bool))


def truth(tokens):
    return float(tokens[0] % 3 == 0)


class Answering:
    """An oracle that keeps what it returned, so row by row."""

    def __init__(self):
        self.returned = []

    def __call__(self, sequences):
        self.returned += [tuple(row) for row in sequences.tokens.tolist()]
        return [truth(row) for row in sequences.tokens]


class Yielding(Answering):
    def __call__(self, sequences):
        for row in sequences.tokens:
            self.returned.append(tuple(row.tolist()))
            yield truth(row)


def go(path, reward_fn, batch_size=None):
    ledger = Ledger(path, "run", patience=0.0)
    with contextlib.closing(ledger):
        oracle = Oracle(
            reward_fn, budget=ROUNDS * M, ledger=ledger, config=OracleConfig(batch_size=batch_size)
        )
        return [oracle.evaluate(round, candidates(round)).tolist() for round in range(ROUNDS)]


EXPECTED = [[truth(row) for row in candidates(round).tokens] for round in range(ROUNDS)]


FULL = FAULTS["full"]


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("lasting", [False, True], ids=["once", "lasting"])
@pytest.mark.parametrize(
    ("oracle", "batch_size"),
    [
        pytest.param(Answering, None, marks=pytest.mark.slow),
        pytest.param(Answering, M, marks=pytest.mark.slow),
        (Yielding, None),
    ],
)
def test_sqlite_fails_anywhere(tmp_path, fault, after, lasting, oracle, batch_size):
    number = Faults(None, None)
    with injected(number, files=False):
        assert go(tmp_path / "counted", oracle(), batch_size) == EXPECTED
    assert number.count > 10
    for at in range(number.count):
        path = tmp_path / str(at) / "oracle.sqlite"
        path.parent.mkdir()
        first, rest = oracle(), oracle()
        faults = Faults(at, FAULTS[fault], after, lasting)
        with injected(faults, files=False), contextlib.suppress(LedgerError, KeyboardInterrupt):
            go(path, first, batch_size)
        assert go(path, rest, batch_size) == EXPECTED
        assert len(set(first.returned + rest.returned)) == ROUNDS * M
        assert len(first.returned + rest.returned) == ROUNDS * M, at
        assert not list(path.parent.glob("*answers*"))


@pytest.mark.parametrize("error", [KeyboardInterrupt, lambda: OSError(errno.ENOSPC, "full")])
def test_files_fail_anywhere(tmp_path, error):
    number = Faults(None, None)
    with injected(number):
        go(tmp_path / "counted", Answering())
    for at in range(number.count):
        path = tmp_path / str(at)
        first, rest = Answering(), Answering()
        with injected(Faults(at, error)), contextlib.suppress(Exception, KeyboardInterrupt):
            go(path, first)
        assert go(path, rest) == EXPECTED
        assert len(first.returned + rest.returned) == ROUNDS * M, at


@pytest.mark.parametrize("elsewhere", [True, False])
def test_where_the_folder_is_full_another_place_keeps_the_answers(tmp_path, elsewhere):
    """The ledger's disk is full, and then every disk is."""
    path = tmp_path / "run" / "oracle.sqlite"
    path.parent.mkdir()
    append = package.kept._append

    def full(place, text):
        if place.parent == path.parent or not elsewhere:
            raise OSError(errno.ENOSPC, "No space left on device")
        append(place, text)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(tmp_path))
        ledger = Ledger(path, "run")
        patch.setattr(package.kept, "_append", full)
        ledger.propose(0, candidates(0).tokens, candidates(0).mask)
        ledger.start(range(M))
        connection = ledger._database._connection
        patch.setattr(ledger._database, "_connection", Connection(connection, Faults(0, FULL)))
        with pytest.raises(LedgerError, match=r"the disk is full.*free some space") as caught:
            ledger.record(enumerate(EXPECTED[0]))
        ledger.close()
        assert "\n" not in str(caught.value) and "from a copy" not in str(caught.value)
        if not elsewhere:
            told = ", ".join(f"{i}: {reward:g}" for i, reward in enumerate(EXPECTED[0]))
            assert str(caught.value).endswith(f"by row, {told}")
            return
        (place,) = tmp_path.glob("*.answers.jsonl")
        assert f"3 answers in hand are kept in {place}" in str(caught.value)
        assert place.stat().st_mode & 0o777 == 0o600
        again = Ledger(path, "run")
        assert again.unanswered() == 0 and not place.exists()
        assert Oracle(pytest.fail, ledger=again).evaluate(0, candidates(0)).tolist() == EXPECTED[0]
        again.close()


def test_another_program_locks_the_ledger(tmp_path, caplog):
    path = tmp_path / "oracle.sqlite"
    other = sqlite3.connect(path, isolation_level=None)

    def oracle(sequences):
        other.execute("BEGIN IMMEDIATE")
        return [truth(row) for row in sequences.tokens]

    ledger = Ledger(path, "run", patience=0.3)
    with pytest.raises(LedgerError, match=r"is locked by another program.*close that.*3 answers"):
        Oracle(oracle, ledger=ledger, config=OracleConfig(batch_size=M)).evaluate(0, candidates(0))
    assert caplog.text.count("waiting for it up to 0.3 seconds") == 1
    with pytest.raises(LedgerError, match="is locked by another program"):
        Ledger(path, "run", patience=0.0)
    with pytest.raises(LedgerError, match=r"locked.*The oracle was not asked"):
        ledger._database.patience = 0.0
        ledger.start([0])
    other.execute("ROLLBACK")
    # The same object goes on too, and asks for nothing.
    assert Oracle(pytest.fail, ledger=ledger).evaluate(0, candidates(0)).tolist() == EXPECTED[0]
    other.close()


def test_it_waits_until_the_lock_is_gone(tmp_path, caplog):
    path = tmp_path / "oracle.sqlite"
    left = [FAULTS["locked"]] * 4

    class Busy(Connection):
        def executemany(self, statement, rows):
            if "ended = ?" in statement and left:
                assert kept_at[0].exists() or len(left) == 4  # durable before it waits
                raise left.pop()()
            return self.connection.executemany(statement, rows)

    ledger = Ledger(path, "run")
    kept_at = Kept(path).places
    ledger._database._connection = Busy(ledger._database._connection, Faults(None, None))
    oracle = Oracle(Answering(), ledger=ledger)
    assert oracle.evaluate(0, candidates(0)).tolist() == EXPECTED[0]
    assert not left and not kept_at[0].exists()


def lines_after_the_first_answer(act):
    """A trace function that calls `act(number)` at each line of the oracle package from then on."""
    folder, count = str(Path(package.__file__).parent), [0]

    def trace(frame, event, argument):
        if not frame.f_code.co_filename.startswith(folder):
            return None
        if event == "line" and answered:
            count[0] += 1
            act(count[0] - 1)
        return trace

    answered: list = []
    return trace, answered, count


# The first waits for the answers, the second does not.
@pytest.mark.parametrize("times", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_ctrl_c_at_any_line_loses_no_answer(tmp_path, monkeypatch, times):
    """A real SIGINT at every line that runs between the oracle's first answer and the end."""

    def traced(path, at):
        def act(n):
            if n == at:
                for _ in range(times):
                    signal.raise_signal(signal.SIGINT)

        trace, answered, count = lines_after_the_first_answer(act)
        first = Answering()

        def oracle(sequences):
            answer = first(sequences)
            answered.append(1)
            return answer

        before = sys.gettrace()
        interrupted = False
        ledger = Ledger(path, "run")
        sys.settrace(trace)
        try:
            Oracle(oracle, ledger=ledger, config=OracleConfig(batch_size=2)).evaluate(
                0, candidates(0)
            )
        except KeyboardInterrupt:
            interrupted = True
        finally:
            sys.settrace(before)
            ledger.close()
        return first.returned, count[0], interrupted

    _, number, _ = traced(tmp_path / "counted", None)
    assert number > 50
    interruptions = 0
    for at in range(0, number, times):
        path = tmp_path / str(at)
        returned, _, interrupted = traced(path, at)
        interruptions += interrupted
        rest = Answering()
        ledger = Ledger(path, "run")
        assert Oracle(rest, ledger=ledger).evaluate(0, candidates(0)).tolist() == EXPECTED[0]
        assert sorted(returned + rest.returned) == [tuple(r) for r in candidates(0).tokens.tolist()]
        ledger.close()
    assert interruptions > number / times - 5
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_in_the_oracle_ends_it(tmp_path):
    def oracle(sequences):
        signal.raise_signal(signal.SIGINT)
        pytest.fail("the signal was held back")

    ledger = Ledger(tmp_path / "oracle.sqlite")
    with pytest.raises(KeyboardInterrupt):
        Oracle(oracle, ledger=ledger).evaluate(0, candidates(0))
    assert ledger.unanswered() == 1


def test_ctrl_c_ends_the_wait_for_a_lock(tmp_path, caplog):
    path = tmp_path / "oracle.sqlite"
    other = sqlite3.connect(path, isolation_level=None)

    class Interrupting:
        def __array__(self, *arguments, **more):  # while the answer is being taken
            signal.raise_signal(signal.SIGINT)
            return np.array([1.0])

    def oracle(sequences):
        other.execute("BEGIN IMMEDIATE")
        return Interrupting()

    ledger = Ledger(path, "run", patience=3600.0)
    with caplog.at_level(logging.WARNING), pytest.raises(KeyboardInterrupt):
        Oracle(oracle, ledger=ledger).evaluate(0, candidates(0))
    assert "1 answers in hand are kept in" in caplog.text
    other.close()
    ledger.close()
    again = Ledger(path, "run")
    assert again.totals() == (1, 1) and again.unanswered() == 0


def test_kept_answers_of_another_ledger_are_not_taken_up(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    for path, shift in ((one, 0), (other, 1)):
        ledger = Ledger(path, "run")
        shifted = candidates(shift)
        ledger.propose(0, shifted.tokens[:1], shifted.mask[:1])
        ledger.start([0])
        if path == one:
            base = ledger._store.tally.open[0].base
            answer = package.kept.Entry(0, 1.0, package.rows.outcome_checksum(base, 1.0))
        ledger.close()
    Kept(other).keep([answer])
    with pytest.raises(LedgerError, match=r"answers.jsonl holds an answer for row 0 of another"):
        Ledger(other, "run")
    Kept(other).remove()
    Kept(one).places[0].write_text('{"row": 0, "reward": 0.5, "checksum": 1}\n')
    with pytest.raises(LedgerError, match=r"line 1 of .*answers.jsonl holds no answer.*0.5"):
        Ledger(one, "run")
    Kept(one).places[0].write_text('{"row": 0, "rew')  # a power cut in the midst of it
    Ledger(one, "run").close()
    Kept(one).places[0].write_text('{"row": 0, "rew')
    Kept(one).keep([answer])
    assert [kept for _, kept in Kept(one).read()] == [answer]
