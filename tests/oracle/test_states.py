"""The states of a ledger's rows, and what each counts for."""

import os
import shutil
import sqlite3
import threading

import numpy as np
import pytest

from banel_jax.oracle import Ledger, LedgerError

TOKENS = np.arange(8, dtype=np.int32).reshape(4, 2)
MASK = TOKENS != 3


def opened(path=None, rounds=1):
    ledger = Ledger(path, "a")
    for round in range(rounds):
        assert ledger.propose(round, TOKENS + round, MASK) == 4 * round
    return ledger


def told(ledger):
    """All that a ledger tells of itself."""
    rounds = [None, *range(4)]
    sums = [
        (ledger.counts(r), ledger.cost(r), ledger.states(r), ledger.unfinished(r)) for r in rounds
    ]
    more = [(ledger.totals(r), ledger.unanswered(r), ledger.distinct_successes(r)) for r in rounds]
    one = ledger.first_success(), ledger.repeated_attempts(), ledger.last_round()
    return sums, more, one


def states(ledger):
    return {state: number for state, number in ledger.states().items() if number}


def test_a_row_from_proposal_to_answer(tmp_path):
    ledger = opened(tmp_path / "a")
    assert states(ledger) == {"pending": 4} and ledger.totals() == (0, 0)
    ledger.start([0, 1, 2], worker="one")
    assert states(ledger) == {"pending": 1, "running": 3} and ledger.totals() == (3, 0)
    ledger.record([(1, 1.0), (0, None, {"energy": [1, None]}, 2.5, "no\nconformer", 0.5)])
    assert states(ledger) == {"pending": 1, "running": 1, "done": 1, "failed": 1}
    assert ledger.counts()[:3] == (3, 1, 1) and ledger.counts()[4:] == (1, 3)
    assert ledger.first_success() == 2 and ledger.cost() == 2.5 and ledger.unanswered() == 1
    assert ledger.unfinished() == 2
    ledger.close()
    with sqlite3.connect(tmp_path / "a") as reader:
        query = "SELECT state, reward, score, cost, reason, worker, seconds FROM evaluations"
        rows = reader.execute(query).fetchall()
        times = reader.execute("SELECT ended - started FROM evaluations").fetchall()
    reader.close()
    assert rows == [
        ("failed", None, '{"energy": [1, null]}', 2.5, "no\nconformer", "one", 0.5),
        ("done", 1.0, None, None, None, "one", None),
        ("running", None, None, None, None, "one", None),
        ("pending", None, None, None, None, None, None),
    ]
    assert 0 <= times[0][0] < 60 and times[2:] == [(None,), (None,)]
    # What was running when the program ended is abandoned, and counts once when asked again.
    ledger = Ledger(tmp_path / "a", "a")
    assert states(ledger) == {"pending": 1, "abandoned": 1, "done": 1, "failed": 1}
    ledger.start([2, 3])
    ledger.record([(2, 0), (3, 0)])
    assert ledger.totals() == (4, 1) and ledger.repeated_attempts() == 1
    ledger.close()


def test_rounds_overlap_and_complete_in_any_order(tmp_path):
    ledger = opened(tmp_path / "a", rounds=2)
    ledger.start([0, 5, 4])
    ledger.record([(5, 1), (4, 0)])
    ledger.start([6, 7])
    ledger.record([(6, 0), (7, 1)])
    assert [ledger.counts(r)[:3] for r in (0, 1, 2)] == [(0, 0, 0), (1, 0, 0), (5, 4, 2)]
    assert ledger.first_success() == 3 and ledger.unfinished(1) == 4 == ledger.unfinished()
    ledger.record([(0, 1)])
    ledger.start([1, 2, 3])
    ledger.record([(1, 0), (3, None), (2, 0)])
    assert [ledger.counts(r)[:3] for r in (0, 1, 2)] == [(0, 0, 0), (4, 3, 1), (8, 7, 3)]
    assert ledger.first_success() == 1
    with pytest.raises(ValueError, match="round -1 is out of order"):
        ledger.propose(-1, TOKENS, MASK)
    before = told(ledger)
    ledger.close()
    ledger = Ledger(tmp_path / "a", "a")
    assert told(ledger) == before
    # A row that failed is asked again in a round that was complete.
    ledger.start([3])
    assert ledger.unfinished(1) == 1
    ledger.close()
    ledger = Ledger(tmp_path / "a", "a")
    assert states(ledger) == {"done": 7, "abandoned": 1} and ledger.unfinished(1) == 1
    ledger.record([(3, 1, None, 0.5)])
    before = told(ledger)
    assert ledger.counts(1)[:3] == (4, 4, 2) and ledger.cost(1) == 0.5
    ledger.close()
    ledger = Ledger(tmp_path / "a", "a")
    assert told(ledger) == before
    ledger.close()


def test_the_first_answer_stays_and_a_late_one_is_taken(caplog):
    ledger = opened()
    ledger.start(range(4))
    ledger.record([(0, 1), (0, 0)])
    ledger.record([(0, 0), (1, None, None, None, "too slow")])
    assert ledger.rewards(0)[0] == 1 and caplog.text.count("row 0 was answered before") == 2
    ledger.abandon([2], "took more than 5 s")
    ledger.record([(1, 1), (2, 0), (3, 0)])
    assert ledger.rewards(0).tolist() == [1, 1, 0, 0]
    assert ledger.totals() == (4, 2) and ledger.repeated_attempts() == 0
    with pytest.raises(ValueError, match="row 3 is done"):
        ledger.start([3])
    with pytest.raises(ValueError, match="row 4 was not proposed"):
        ledger.record([(4, 1)])


def test_what_is_awaited_is_not_asked_twice(tmp_path):
    ledger = opened(tmp_path / "a")
    ledger.start([0, 1])
    ledger.postpone([0, 1], "the plate")
    assert states(ledger) == {"pending": 4} and ledger.totals() == (2, 0)
    ledger.close()
    ledger = Ledger(tmp_path / "a", "a")
    assert states(ledger) == {"pending": 4} and ledger.unanswered() == 2
    ledger.start([0])
    ledger.record([(0, 1), (1, 0)])
    assert ledger.totals() == (2, 1) and ledger.repeated_attempts() == 0
    ledger.close()


def test_a_start_that_led_to_nothing_leaves_no_trace(tmp_path):
    """Of rows in any state; and a kill at any moment of it leaves a ledger that goes on."""
    path = tmp_path / "a"
    ledger = opened(path, rounds=2)
    ledger.start([0, 1, 2, 4])
    ledger.record([(0, None, [1], 0.5, "off"), (4, 1), (2, 0)])
    ledger.abandon([1], "late")
    ledger.start([5])
    ledger.postpone([5], "the plate")
    ledger.answer_from("memo", [(3, 0), (6, 0), (7, None, None, None, "known to fail")])
    columns = ledger._database.read("SELECT * FROM evaluations ORDER BY row")
    assert {row[8] for row in columns} == {"failed", "abandoned", "done", "pending"}
    ledger.propose(2, TOKENS, MASK)
    more = told(ledger)
    ledger.start([0, 1, 5, 7, 8], "one")
    ledger.start([9])
    assert ledger.states()["running"] == 6 and ledger.repeated_attempts() == 2
    commit = ledger._store.database.transaction

    def killed(*arguments):
        for name in ("a", "a-wal", "a.mark"):
            shutil.copy(tmp_path / name, tmp_path / f"killed{name[1:]}")
        return commit(*arguments)

    ledger._store.database.transaction = killed
    ledger.undo_start([0, 1, 5, 7, 8, 9, 3])
    ledger.undo_start([0, 9])
    assert told(ledger) == more
    assert ledger._database.read("SELECT * FROM evaluations WHERE row < 8 ORDER BY row") == columns
    again = Ledger(tmp_path / "killed", "a")
    assert states(again)["abandoned"] == 6
    again.close()
    ledger.propose(2, TOKENS + 1, MASK)  # never asked for, so it may still be another
    ledger.close()
    ledger = Ledger(path, "a")
    assert told(ledger) == more and ledger.in_doubt() == 1
    ledger.close()


def test_where_the_mark_cannot_be_lowered_a_start_stays(tmp_path, monkeypatch):
    """As the mark would tell of more than the file has."""
    ledger = opened(tmp_path / "a")
    ledger.start([0])
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", pytest.fail)
        patch.setattr(os, "pwrite", lambda *_: (_ for _ in ()).throw(OSError()))
        ledger.undo_start([0])
    assert ledger.states()["running"] == 1
    ledger.close()
    Ledger(tmp_path / "a", "a").close()


def test_results_and_starts_are_one_commit(tmp_path):
    ledger = opened(tmp_path / "a")
    ledger.start([0, 1])
    seen = []
    ledger._database._connection.set_trace_callback(seen.append)
    ledger.record([(0, 1), (1, None, None, None, "off")], [2, 3])
    assert seen.count("COMMIT") == 1
    assert states(ledger) == {"running": 2, "done": 1, "failed": 1} and ledger.totals() == (4, 1)
    ledger.record([(2, 0), (3, 1)], [1])
    before = told(ledger)
    ledger.record([(1, 0)])
    assert ledger.repeated_attempts() == 1 and ledger.unfinished() == 0 and before != told(ledger)
    before = told(ledger)
    ledger.close()
    ledger = Ledger(tmp_path / "a", "a")
    assert told(ledger) == before
    ledger.close()


def test_what_was_never_asked_for_may_be_proposed_anew():
    ledger = opened()
    ledger.propose(0, TOKENS + 9, MASK)
    ledger.start([1])
    with pytest.raises(LedgerError, match="another sequence for round 0, index 1"):
        ledger.propose(0, TOKENS, MASK)
    with pytest.raises(LedgerError, match="another sequence for round 0, index 1"):
        ledger.propose(0, TOKENS + 9, ~MASK)
    changed = TOKENS + 9
    changed[3] = 0
    ledger.propose(0, changed[[0, 1]], MASK[:2])
    assert len(ledger.states_of(0)) == 2
    ledger.propose(0, changed, MASK)
    kept = ledger._database.read("SELECT tokens FROM evaluations ORDER BY row")
    assert [np.frombuffer(t, "<i4").tolist() for (t,) in kept] == changed.tolist()
    ledger.propose(1, TOKENS, MASK)
    for fewer in (changed[:3], np.concatenate([changed, changed])):
        with pytest.raises(LedgerError, match="another sequence for round 0"):
            ledger.propose(0, fewer, np.ones(fewer.shape, bool))


def test_rows_that_are_answered_from_what_is_known(tmp_path):
    ledger = opened(tmp_path / "a", rounds=2)
    assert ledger.known_answer(TOKENS[1].tobytes(), MASK[1].tobytes()) is None
    ledger.start([1])
    ledger.record([(1, 1, [7])])
    met = ledger.known_answer(TOKENS[1].tobytes(), MASK[1].tobytes())
    assert met[:2] == (1, "[7]")
    ledger.answer_from("memo", [(4, 1)])
    ledger.answer_from("memo", [(5, 0)], counted=True)
    assert ledger.counts()[:3] == (3, 3, 2) and ledger.counts().paid == 2
    assert ledger.first_success() == 1 and ledger.distinct_successes() == 2
    assert ledger.distinct_successes(1) == 1
    before = told(ledger)
    ledger.close()
    ledger = Ledger(tmp_path / "a", "a")
    assert told(ledger) == before
    ledger.answer_from("known", [(0, 1)])
    assert ledger.first_success() == 0  # nothing was paid up to it
    ledger.close()


def test_another_thread_may_record():
    ledger = opened()
    ledger.start(range(4))
    threads = [threading.Thread(target=ledger.record, args=([(row, 1)],)) for row in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ledger.totals() == (4, 4)


@pytest.mark.parametrize(
    "score", [float("nan"), {1: np.float32(2)}, np.arange(3), {3}, "\udc80", object(), [[[]]] * 3]
)
def test_no_answer_is_lost_for_its_score(score):
    ledger = opened()
    ledger.start([0])
    ledger.record([(0, 1, score, float("nan"), "\udc80\0" * 5000)])
    assert ledger.totals() == (1, 1) and ledger.cost() == 0
