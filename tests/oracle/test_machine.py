"""The ledger against a plain dictionary, whatever is done to it and wherever it fails."""

import json
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from faults import FAULTS, Connection, Faults

from banel_jax.oracle import Ledger, LedgerError, reading
from banel_jax.oracle.rows import STATES

pytest.importorskip("hypothesis")
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

LENGTH = 2
TOKENS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1)), min_size=1, max_size=3)
RESULTS = st.lists(
    st.tuples(
        st.integers(0, 40),
        st.sampled_from([0, 1, None]),
        st.sampled_from([None, {"a": [1.5, None]}, "\udc80"]),
        st.sampled_from([None, 0.1, 0.2, 0.7]),
        st.sampled_from([None, "it\nfell"]),
    ),
    min_size=1,
    max_size=4,
)
PICKS = st.lists(st.integers(0, 40), min_size=1, max_size=4)
TROUBLE = st.tuples(
    st.integers(0, 8), st.sampled_from(sorted(FAULTS)), st.booleans(), st.booleans()
)
OPEN = ("pending", "running", "failed", "abandoned")


class Machine(RuleBasedStateMachine):
    """`rows` is what the ledger is to hold: a dictionary a row."""

    def __init__(self):
        super().__init__()
        memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self.folder = Path(tempfile.mkdtemp(dir=memory))
        self.number = 0
        self.rows = []
        self.ledger = self.opened()

    def opened(self):
        folder = self.folder / str(self.number)
        folder.mkdir(exist_ok=True)
        return Ledger(folder / "oracle.sqlite", "a", patience=0.0)

    def teardown(self):
        self.ledger.close()
        shutil.rmtree(self.folder)

    # What is done, to the ledger and to the dictionary.

    def proposed(self, round, tokens):
        """The rows after a proposal: those of the round that were never asked for are others."""
        first = sum(row["round"] < round for row in self.rows)
        fixed = {i: row for i, row in enumerate(self.rows) if row["round"] == round}
        fixed = {i: r for i, r in fixed.items() if r["attempts"] or r["state"] != "pending"}
        new = []
        for i, pair in enumerate(tokens):
            there = fixed.get(first + i)
            if there is not None:
                pair = there["tokens"]
            fresh = {
                "round": round, "tokens": pair, "state": "pending", "reward": None, "attempts": 0,
                "cost": None, "score": None, "reason": None, "source": "oracle",
            }  # fmt: skip
            new.append(there or fresh)
        kept = max((i for i in fixed), default=first - 1)
        new += self.rows[first + len(new) : kept + 1]
        return self.rows[:first] + new

    def propose(self, rows, round):
        tokens = np.array([r["tokens"] for r in rows if r["round"] == round], np.int32)
        self.ledger.propose(round, tokens, tokens > 0)

    @rule(tokens=TOKENS, gap=st.integers(1, 2))
    def propose_a_round(self, tokens, gap):
        round = self.last_round() + gap
        after = self.proposed(round, tokens)
        self.propose(after, round)
        self.rows = after

    @precondition(lambda self: self.rows)
    @rule(tokens=TOKENS)
    def propose_the_last_round_anew(self, tokens):
        after = self.proposed(self.last_round(), tokens)
        self.propose(after, self.last_round())
        self.rows = after

    def pick(self, numbers, states=OPEN):
        """Rows in these states, by numbers that may be any."""
        there = [i for i, row in enumerate(self.rows) if row["state"] in states]
        return sorted({there[number % len(there)] for number in numbers}) if there else []

    def started(self, picked):
        rows = [dict(row) for row in self.rows]
        for i in picked:
            row = rows[i]
            row["attempts"] += not (row["state"] == "pending" and row["attempts"])
            row.update(state="running", score=None, reason=None, source="oracle")
        return rows

    @rule(numbers=PICKS)
    def start(self, numbers):
        picked = self.pick(numbers)
        self.ledger.start(picked)
        self.rows = self.started(picked)

    def told(self, results, attempts=1, source="oracle"):
        rows = [dict(row) for row in self.rows]
        first = {one[0]: one for one in reversed(results)}  # of a row that is told of twice
        for i, reward, score, cost, reason in first.values():
            row = rows[i]
            if row["state"] == "done":
                continue
            costs = [x for x in (row["cost"], cost) if x is not None]
            row.update(
                state="failed" if reward is None else "done", reward=reward, score=score,
                cost=sum(costs) if costs else None, reason=reason, source=source,
                attempts=max(row["attempts"], attempts),
            )  # fmt: skip
        return rows

    def results(self, results):
        """Of rows that there are, done ones among them."""
        there = len(self.rows)
        return [(one[0] % there, *one[1:]) for one in results] if there else []

    @rule(results=RESULTS)
    def record(self, results):
        results = self.results(results)
        self.ledger.record(results)
        self.rows = self.told(results)

    def started_with(self, results, numbers):
        """Rows to start with results of others: those of them that are open."""
        told = {one[0] for one in results}
        return [i for i in self.pick(numbers) if i not in told]

    @rule(results=RESULTS, numbers=PICKS)
    def record_and_start(self, results, numbers):
        results = self.results(results)
        picked = self.started_with(results, numbers)
        self.ledger.record(results, picked)
        self.rows = self.told(results)
        self.rows = self.started(picked)

    @rule(numbers=PICKS)
    def start_and_undo(self, numbers):
        """Which leaves no trace, in whatever state the rows were."""
        whole = lambda: self.ledger._database.read("SELECT * FROM evaluations ORDER BY row")
        picked, before = self.pick(numbers), whole()
        self.ledger.start(picked, "worker")
        for _ in range(2):
            self.ledger.undo_start(picked * 2)
            assert whole() == before

    @rule(results=RESULTS, counted=st.booleans())
    def answer_from(self, results, counted):
        results = self.results(results)
        self.ledger.answer_from("memo", results, counted)
        self.rows = self.told(results, int(counted), "memo")

    @rule(numbers=PICKS, state=st.sampled_from(["pending", "abandoned"]))
    def let_go(self, numbers, state):
        picked = self.pick(numbers, ("running",))
        act = self.ledger.postpone if state == "pending" else self.ledger.abandon
        act(picked, "why")
        for i in picked:
            self.rows[i].update(state=state, reason="why")

    def abandon(self):
        for row in self.rows:
            row["state"] = "abandoned" if row["state"] == "running" else row["state"]

    @rule()
    def close_and_open(self):
        self.ledger.close()
        self.abandon()
        self.ledger = self.opened()

    @rule(half=st.sampled_from([b"", b'{"row": 0, "rew']))
    def kill(self, half):
        """What a kill leaves, half a line among it, is gone on with elsewhere."""
        source = self.folder / str(self.number)
        self.number += 1
        target = self.folder / str(self.number)
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("*-shm"))
        self.ledger.close()
        if half:
            (target / "oracle.sqlite.answers.jsonl").write_bytes(half)
        self.abandon()
        self.ledger = self.opened()

    # What fails, anywhere: a proposal or a start is made or not, an answer is never lost.

    def failing(self, trouble, act):
        at, name, after, reopen = trouble
        database = self.ledger._database
        connection = database._connection
        database._connection = Connection(connection, Faults(at, FAULTS[name], after))
        try:
            act()
        except (LedgerError, KeyboardInterrupt):
            pass
        finally:
            database._connection = connection
        if reopen:
            self.close_and_open()
        else:
            self.ledger.rewards(0)  # where it looks at the file again

    def settle(self, *candidates):
        """Which of these the ledger holds."""
        for rows in candidates:
            self.rows = rows
            if self.holds():
                return
        pytest.fail("the ledger is in a state between two")

    def holds(self):
        expected = [(row["state"], row["attempts"], tuple(row["tokens"])) for row in self.rows]
        read = reading.read(self.ledger.path)
        tokens = map(tuple, read.tokens.tolist())
        found = zip(read.state.tolist(), read.attempts.tolist(), tokens, strict=True)
        return expected == list(found)

    def stopped(self, rows, trouble):
        """As they are where the ledger was opened again."""
        state = lambda row: "abandoned" if row["state"] == "running" else row["state"]
        return [dict(row, state=state(row)) for row in rows] if trouble[3] else rows

    def both(self, trouble, act, after):
        before = self.rows
        self.failing(trouble, act)
        self.settle(*[self.stopped(rows, trouble) for rows in (after, before)])

    @rule(trouble=TROUBLE, tokens=TOKENS)
    def propose_and_fail(self, trouble, tokens):
        round = self.last_round() + 1
        after = self.proposed(round, tokens)
        self.both(trouble, lambda: self.propose(after, round), after)

    @rule(trouble=TROUBLE, numbers=PICKS)
    def start_and_fail(self, trouble, numbers):
        picked = self.pick(numbers)
        self.both(trouble, lambda: self.ledger.start(picked), self.started(picked))

    @rule(trouble=TROUBLE, results=RESULTS)
    def record_and_fail(self, trouble, results):
        results = self.results(results)
        after = self.told(results)
        self.failing(trouble, lambda: self.ledger.record(results))
        self.rows = after
        if trouble[3]:
            self.abandon()
        assert self.holds()
        assert not list(self.ledger.path.parent.glob("*answers*"))

    @rule(trouble=TROUBLE, results=RESULTS, numbers=PICKS)
    def record_and_start_and_fail(self, trouble, results, numbers):
        results = self.results(results)
        picked = self.started_with(results, numbers)
        self.failing(trouble, lambda: self.ledger.record(results, picked))
        self.rows = self.told(results)
        self.settle(*[self.stopped(r, trouble) for r in (self.started(picked), self.rows)])
        assert not list(self.ledger.path.parent.glob("*answers*"))

    @rule(trouble=TROUBLE, numbers=PICKS)
    def undo_and_fail(self, trouble, numbers):
        picked, before = self.pick(numbers), self.rows
        self.ledger.start(picked)
        self.failing(trouble, lambda: self.ledger.undo_start(picked))
        self.settle(*[self.stopped(rows, trouble) for rows in (self.started(picked), before)])

    # What is compared after each.

    def last_round(self):
        return self.rows[-1]["round"] if self.rows else -1

    @invariant()
    def the_counts_are_those_of_the_dictionary(self):
        ledger = self.ledger
        for rounds in (None, *range(self.last_round() + 2)):
            rows = [r for r in self.rows if rounds is None or r["round"] < rounds]
            states = {state: sum(r["state"] == state for r in rows) for state in STATES}
            paid = [r for r in rows if r["attempts"]]
            wins = [r for r in rows if r["reward"] == 1]
            counts = ledger.counts(rounds)
            assert ledger.states(rounds) == states
            assert counts.rows == sum(bool(r["attempts"]) or r["state"] == "done" for r in rows)
            assert ledger.totals(rounds) == (len(paid), len(wins))
            assert (counts.answers, counts.failed) == (states["done"], states["failed"])
            assert ledger.distinct_successes(rounds) == len({tuple(r["tokens"]) for r in wins})
            assert ledger.cost(rounds) == pytest.approx(sum(r["cost"] or 0 for r in rows))
            waiting = [r for r in paid if r["state"] not in ("done", "failed")]
            assert ledger.unanswered(rounds) == len(waiting)
            assert ledger.unfinished(rounds) == len(rows) - states["done"] - states["failed"]
        first = [i for i, row in enumerate(self.rows) if row["reward"] == 1][:1]
        assert ledger.first_success() == (
            sum(row["attempts"] > 0 for row in self.rows[: first[0] + 1]) if first else None
        )
        again = sum(max(row["attempts"] - 1, 0) for row in self.rows)
        assert ledger.repeated_attempts() == again and ledger.last_round() == self.last_round()

    @invariant()
    def the_file_is_the_dictionary(self):
        assert self.holds()
        read = reading.read(self.ledger.path)
        plain = lambda x: json.loads(json.dumps(x))
        assert read.columns()["reward"] == [row["reward"] for row in self.rows]
        assert read.columns()["cost"] == [row["cost"] for row in self.rows]
        assert read.score == [plain(row["score"]) for row in self.rows]
        assert read.reason == [row["reason"] for row in self.rows]
        assert read.source == [row["source"] for row in self.rows]
        status = reading.status(self.ledger.path)
        assert status.states == self.ledger.states()
        assert (status.paid, status.successes) == self.ledger.totals()


TestMachine = Machine.TestCase
TestMachine.settings = settings(
    max_examples=40, stateful_step_count=25, deadline=None, database=None, derandomize=True
)
