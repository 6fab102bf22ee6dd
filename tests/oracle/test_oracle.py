import functools
import logging
import sqlite3
from concurrent.futures import Future

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from banel_jax.oracle import (
    BudgetExceeded,
    Ledger,
    LedgerError,
    Oracle,
    OracleConfig,
    OracleError,
    Stopped,
    threads,
)
from banel_jax.types import Sequences


def rows(*firsts):
    """Sequences of two tokens [n, 2], the first as given, the second 9."""
    tokens = np.array([[f, 9] for f in firsts], np.int32).reshape(-1, 2)
    return Sequences(tokens, np.ones(tokens.shape, bool))


class Recording:
    """Rewards the token 1, and keeps what it was asked."""

    def __init__(self, fail_at=None):
        self.asked, self.fail_at = [], fail_at

    def __call__(self, sequences):
        for first in sequences.tokens[:, 0]:
            if len(self.asked) == self.fail_at:
                raise RuntimeError("the instrument is off")
            self.asked.append(int(first))
        return [float(first == 1) for first in sequences.tokens[:, 0]]


def test_rows_are_counted_duplicates_included():
    oracle = Oracle(Recording(), config=OracleConfig(batch_size=2))
    np.testing.assert_array_equal(oracle.evaluate(0, rows(1, 1, 0)), [1, 1, 0])
    np.testing.assert_array_equal(oracle.evaluate(1, rows(0, 1)), [0, 1])
    assert (oracle.num_reward_evaluations, oracle.num_successes) == (5, 3)
    assert oracle.reward_fn.asked == [1, 1, 0, 0, 1]


def test_rewards_are_float32_and_come_from_jax_functions_too():
    oracle = Oracle(lambda s: jnp.asarray(s.tokens)[:, 0] == 1)
    rewards = oracle.evaluate(0, rows(0, 1))
    assert rewards.dtype == np.float32
    np.testing.assert_array_equal(rewards, [0, 1])


@pytest.mark.parametrize("dtype", [jnp.bfloat16, np.float64, np.int8, bool])
def test_any_numeric_type_will_do(dtype):
    answer = jnp.array([1, 0]).astype(dtype) if dtype == jnp.bfloat16 else np.array([1, 0], dtype)
    np.testing.assert_array_equal(
        Oracle(lambda s: answer, config=OracleConfig(batch_size=2)).evaluate(0, rows(4, 4)), [1, 0]
    )


def test_budget_is_in_rows_and_refused_before_any_evaluation():
    reward_fn = Recording()
    oracle = Oracle(reward_fn, budget=5)
    oracle.evaluate(0, rows(0, 0, 0))
    with pytest.raises(BudgetExceeded, match=r"asks for 3 reward evaluations after 3.*budget=5"):
        oracle.evaluate(1, rows(0, 0, 0))
    assert len(reward_fn.asked) == oracle.num_reward_evaluations == 3
    oracle.evaluate(1, rows(0, 0))
    assert oracle.num_reward_evaluations == 5


def test_a_recorded_round_costs_nothing():
    oracle = Oracle(Recording(), budget=2)
    first = oracle.evaluate(0, rows(1, 0))
    np.testing.assert_array_equal(oracle.evaluate(0, rows(1, 0)), first)
    assert oracle.reward_fn.asked == [1, 0]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (
            1.0,
            r"answered 1.0: shape \(\) .*shape \(3,\) for the 3 rows from row 2 \(round 1, ",
        ),
        ([1.0], r"shape \(1,\) .* to row 4 \(round 1, index 2\)"),
        ([[0.0, 1.0]] * 3, r"answered \[0.0, 1.0\]; a reward is 0 or 1 for the 3 rows"),
        ([0.0, 1.0, 0.0, 1.0], r"shape \(4,\)"),
        ([0.0, np.nan, 0.0], r"answered nan; a reward is 0 or 1 for row 3 \(round 1, index 1\)"),
        ([0.0, 0.0, np.inf], r"answered inf; a reward is 0 or 1 for row 4 \(round 1, index 2\)"),
        ([0.5, 0.0, 0.0], r"answered 0.5; a reward is 0 or 1 for row 2 \(round 1, index 0\)"),
        ([0.0, 0.0, -1.0], r"answered -1.0; a reward is 0 or 1 for row 4"),
        (None, "answered None: shape .* for the 3 rows"),
        (["0", "1", "0"], "answered '0'; a reward is 0 or 1 for the 2 rows from row 2"),
        ([0.0, None, 1.0], r"answered None; a reward is 0 or 1 for row 3 \(round 1, index 1\)"),
        ([0.0, None, "1"], r"answered None; a reward is 0 or 1 for row 3 \(round 1, index 1\)"),
        ([1 + 2j, 0, 0], r"answered \(1\+2j\); a reward is 0 or 1 for row 2"),
        ([[1.0], [1.0, 0.0], 0.0], r"answered \[1.0, 0.0\]; a reward is 0 or 1 for row 3"),
    ],
)
def test_wrong_answers_name_the_row(answer, message):
    oracle = Oracle(
        lambda s: answer if s.tokens.shape[0] == 3 else [0.0, 1.0],
        config=OracleConfig(batch_size=3),
    )
    oracle.evaluate(0, rows(7, 1))
    with pytest.raises(OracleError, match=message) as caught:
        oracle.evaluate(1, rows(0, 1, 0))
    assert "\n" not in str(caught.value)


def test_nothing_is_broadcast_in_single_rows():
    oracle = Oracle(lambda s: 1.0, config=OracleConfig(batch_size=1))
    np.testing.assert_array_equal(oracle.evaluate(0, rows(0, 1)), [1, 1])  # one answer for one row
    with pytest.raises(OracleError, match=r"shape \(\) for 2 rows"):
        Oracle(lambda s: 1.0, config=OracleConfig(batch_size=2)).evaluate(0, rows(0, 1))


@pytest.mark.parametrize("kind", [list, tuple, np.array])
def test_an_oracle_that_answers_for_a_whole_round_is_given_whole_rounds(kind, caplog):
    asked = []

    def whole(sequences):
        asked.append(len(sequences.tokens))
        return kind([0.0, 1.0, 0.0])

    oracle = Oracle(whole)
    for round in range(2):
        np.testing.assert_array_equal(oracle.evaluate(round, rows(4, 5, 6)), [0, 1, 0])
    assert asked == [1, 3, 3]
    assert (oracle.num_reward_evaluations, oracle.num_successes) == (6, 2)
    (record,) = caplog.records
    assert "answers for all 3 of a round" in record.message and "\n" not in record.message


def test_in_single_rows_other_numbers_of_answers_are_refused():
    with pytest.raises(OracleError, match=r"shape \(2,\) for 1 rows.* for row 0"):
        Oracle(lambda s: [0.0, 1.0]).evaluate(0, rows(4, 5, 6))


def test_sound_answers_beside_a_wrong_one_are_kept():
    answers = iter([[1.0, np.nan, 0.0], [1.0]])
    seen = []

    def reward_fn(sequences):
        seen.append(sequences.tokens[:, 0].tolist())
        return next(answers)

    oracle = Oracle(reward_fn, config=OracleConfig(batch_size=3))
    with pytest.raises(OracleError, match="index 1"):
        oracle.evaluate(0, rows(5, 6, 7))
    np.testing.assert_array_equal(oracle.evaluate(0, rows(5, 6, 7)), [1, 1, 0])
    assert seen == [[5, 6, 7], [6]]


class Calls:
    """Rewards the token 1, and keeps how many rows each call had."""

    def __init__(self):
        self.sizes = []

    def __call__(self, sequences):
        self.sizes.append(len(sequences.tokens))
        return [float(first == 1) for first in sequences.tokens[:, 0]]

    def yielding(self, sequences):
        self.sizes.append(len(sequences.tokens))
        for first in sequences.tokens[:, 0]:
            yield first == 1


class Yielder(Calls):
    def __call__(self, sequences):
        yield from self.yielding(sequences)


def test_how_many_rows_a_call_has():
    calls, yielder = Calls(), Yielder()
    traced = lambda s: calls.sizes.append(len(s.tokens)) or s.tokens[:, 0] == 1
    partial = functools.partial
    for reward_fn, batch_size, sizes in [
        (calls, None, [1, 1, 1]),  # an exception costs its own row only
        (calls, 2, [2, 1]),
        (calls, 9, [3]),
        (calls.yielding, None, [3]),
        (partial(calls.yielding), None, [3]),
        (yielder, None, [3]),
        (calls.yielding, 2, [2, 1]),
        (lambda s: calls.yielding(s), None, [1, 1, 1]),  # nobody can see that it is one
        (lambda s: map(float, calls(s)), 3, [3]),
        (jax.jit(traced), None, [3]),
        (partial(jax.jit(lambda s: traced(s))), None, [3]),
        (jax.jit(traced), 1, [1]),  # traced once, for one row
    ]:
        calls.sizes, yielder.sizes = [], []
        rewards = Oracle(reward_fn, config=OracleConfig(batch_size=batch_size)).evaluate(
            0, rows(1, 5, 1)
        )
        assert (calls.sizes + yielder.sizes, rewards.tolist()) == (sizes, [1, 0, 1])


def test_an_exception_costs_its_own_row_only():
    for reward_fn in (Recording(fail_at=200), yielded(Recording(fail_at=200))):
        oracle = Oracle(reward_fn)
        message = r"raised RuntimeError: the instrument is off for row 200 \(round 0, index 200\)"
        with pytest.raises(OracleError, match=message):
            oracle.evaluate(0, rows(*range(250)))
        assert oracle.ledger.counts().answers == 200
        rest = Recording()
        oracle = Oracle(rest, ledger=oracle.ledger)
        oracle.evaluate(0, rows(*range(250)))
        assert rest.asked == list(range(200, 250))


def yielded(one_row):
    """A function of rows as a generator."""

    def generator(sequences):
        for i in range(len(sequences.tokens)):
            yield from one_row(Sequences(sequences.tokens[i : i + 1], sequences.mask[i : i + 1]))

    return generator


def test_each_yielded_reward_is_on_disk_before_the_next_is_worked_for(tmp_path):
    path, seen = tmp_path / "oracle.sqlite", []

    def reward_fn(sequences):
        for _ in sequences.tokens:
            with sqlite3.connect(path) as other:
                seen.append(other.execute("SELECT count(reward) FROM evaluations").fetchone()[0])
            other.close()
            yield 1

    Oracle(reward_fn, ledger=Ledger(path)).evaluate(0, rows(0, 1, 2))
    assert seen == [0, 1, 2]


def in_the_file(path, condition):
    with sqlite3.connect(path) as other:
        query = f"SELECT row FROM evaluations WHERE {condition}"
        found = [row for (row,) in other.execute(query)]
    other.close()
    return found


@pytest.mark.parametrize("batch_size", [None, 2])
def test_a_generator_is_asked_for_a_row_at_a_time(tmp_path, caplog, batch_size):
    """So that where it ends early, or is killed, no other row is in doubt."""
    path, config = tmp_path / "oracle.sqlite", OracleConfig(batch_size=batch_size)
    bad = [2]

    def generator(x):
        for token in x.tokens[:, 0].tolist():
            assert in_the_file(path, "state = 'running'") == [token]
            assert in_the_file(path, "attempts > 0") == list(range(token + 1))
            if token in bad:
                raise RuntimeError
            yield 1

    ledger = Ledger(path)
    with pytest.raises(OracleError, match="raised RuntimeError for row 2"):
        Oracle(generator, ledger=ledger, config=config).evaluate(0, rows(0, 1, 2, 3, 4))
    assert ledger.states() == dict(pending=2, running=0, done=2, failed=1, abandoned=0)
    assert ledger.totals() == (3, 2)
    ledger.close()
    ledger, bad[:] = Ledger(path), []
    oracle = Oracle(generator, ledger=ledger, config=config)
    assert not caplog.text and oracle.evaluate(0, rows(0, 1, 2, 3, 4)).tolist() == [1] * 5
    assert ledger.repeated_attempts() == 1


class Broken(threads):
    """Cannot do its work from a row on."""

    def __init__(self, at):
        super().__init__(lambda x: [1], 1)
        self.at = at

    def submit(self, call):
        if call.rows[0].row < self.at:
            return super().submit(call)
        future = Future()
        future.set_exception(OracleError("no worker begins"))
        return future


def test_what_a_broken_evaluator_was_not_asked_for_is_not_in_doubt(tmp_path):
    path = tmp_path / "oracle.sqlite"
    ledger = Ledger(path)
    with pytest.raises(OracleError, match="no worker begins"):
        Oracle(Broken(1), ledger=ledger).evaluate(0, rows(0, 1, 2))
    assert ledger.states() == dict(pending=2, running=0, done=1, failed=0, abandoned=0)
    assert ledger.totals() == (1, 1) and ledger.in_doubt() == 0
    oracle = Oracle(Broken(9), ledger=ledger)
    assert oracle.evaluate(0, rows(0, 1, 2)).tolist() == [1] * 3
    assert ledger.repeated_attempts() == 0
    oracle.close()


def test_a_rule_that_ends_a_run_leaves_no_row_in_doubt():
    """What was to start with the answer that ended it was not asked for."""
    for reward_fn in (Recording(), yielded(Recording()), threads(lambda x: x.tokens[:, 0] == 1, 1)):
        ledger = Ledger()
        stop = lambda ledger=ledger: "enough" if ledger.totals()[1] else None
        oracle = Oracle(reward_fn, ledger=ledger, stopping=stop)
        with pytest.raises(Stopped, match="enough"):
            oracle.evaluate(0, rows(0, 1, 2, 3))
        assert ledger.states() == dict(pending=2, running=0, done=2, failed=0, abandoned=0)
        assert ledger.totals() == (2, 1)
        oracle.close()


@pytest.mark.parametrize("how", ["a function", "a generator", "threads"])
def test_an_answer_and_what_starts_in_its_place_are_one_commit(tmp_path, how):
    ways = {
        "a function": lambda fn: fn,
        "a generator": yielded,
        "threads": lambda fn: threads(fn, 1),
    }
    reward_fn = ways[how](Recording())
    ledger, seen = Ledger(tmp_path / "oracle.sqlite"), []
    ledger._database._connection.set_trace_callback(seen.append)
    oracle = Oracle(reward_fn, ledger=ledger)
    oracle.evaluate(0, rows(0, 1, 2, 3, 4))
    assert seen.count("COMMIT") == 7  # the proposal, the first start, and five answers
    oracle.close()


@pytest.mark.parametrize(
    ("answers", "message", "kept"),
    [
        ([], r"ended after 0 rewards.* for row 0 \(round 0, index 0\)", 0),
        ([1, 0], r"ended after 2 rewards.* for row 2 \(round 0, index 2\)", 2),
        ([1, 0, 0, 1], "yielded more than 3 rewards for the 3 rows .*first 3 are kept", 3),
        ([1, 0.5, 0], r"answered 0.5; a reward is 0 or 1 for row 1 \(round 0, index 1\)", 1),
        ([1, None, 0], r"answered None; a reward is 0 or 1 for row 1", 1),
        ([1, [1, 0], 0], r"answered \[1, 0\]; a reward is 0 or 1 for row 1", 1),
        ([1, "1", 0], r"answered '1'; a reward is 0 or 1 for row 1", 1),
    ],
)
def test_what_a_generator_yields_wrongly_names_the_row(answers, message, kept):
    oracle = Oracle(lambda s: iter(answers), config=OracleConfig(batch_size=3))
    with pytest.raises(OracleError, match=message) as caught:
        oracle.evaluate(0, rows(5, 6, 7))
    assert "\n" not in str(caught.value)
    assert oracle.ledger.counts().answers == kept
    rest = Recording()
    Oracle(rest, ledger=oracle.ledger).evaluate(0, rows(5, 6, 7))
    assert rest.asked == [5, 6, 7][kept:]


def test_a_stop_iteration_of_the_oracle_is_no_end():
    with pytest.raises(OracleError, match=r"raised .*StopIteration.* for row 0"):
        Oracle(lambda s: next(iter(()))).evaluate(0, rows(1))


def test_an_oracle_cannot_change_what_is_recorded():
    def vandal(sequences):
        sequences.tokens[:] = 0
        return np.zeros(len(sequences.tokens))

    candidates = rows(1, 2)
    oracle = Oracle(vandal)
    oracle.evaluate(0, candidates)
    assert candidates.tokens[:, 0].tolist() == [1, 2]
    (kept,) = oracle.ledger._database.read("SELECT tokens FROM evaluations WHERE row = 1")
    assert np.frombuffer(kept[0], "<i4").tolist() == [2, 9]


def test_candidates_of_wrong_shape_are_refused():
    flat = Sequences(np.zeros(3, np.int32), np.ones(3, bool))
    with pytest.raises(ValueError, match=r"tokens \(3,\) and mask \(3,\)"):
        Oracle(Recording()).evaluate(0, flat)


@pytest.mark.parametrize(
    "setting", [{"budget": -1}, {"batch_size": 0}, {"budget": 2.5}, {"batch_size": True}]
)
def test_settings_are_checked(setting):
    name, value = next(iter(setting.items()))
    with pytest.raises(ValueError, match=f"{name}={value}"):
        Oracle(Recording(), **setting) if name == "budget" else OracleConfig(**setting)


def test_each_batch_is_on_disk_before_the_next_is_asked(tmp_path):
    path = tmp_path / "oracle.sqlite"
    seen = []

    def reward_fn(sequences):
        with sqlite3.connect(path) as other:
            seen.append(
                other.execute("SELECT reward FROM evaluations WHERE attempts > 0").fetchall()
            )
        return [1.0] * len(sequences.tokens)

    Oracle(reward_fn, ledger=Ledger(path), config=OracleConfig(batch_size=2)).evaluate(
        0, rows(0, 1, 2)
    )
    # What another connection reads is committed: the started rows, and all answers before them.
    assert seen == [[(None,)] * 2, [(1.0,), (1.0,), (None,)]]


def test_the_ledger_can_be_read_by_anyone(tmp_path):
    path = tmp_path / "oracle.sqlite"
    oracle = Oracle(Recording(), ledger=Ledger(path))
    oracle.evaluate(0, rows(3, 1))
    oracle.evaluate(1, rows(1))
    oracle.ledger.close()
    with sqlite3.connect(path) as reader:
        stored = reader.execute(
            "SELECT row, round, index_in_round, tokens, mask, reward, attempts FROM evaluations"
        ).fetchall()
    pair = lambda first: np.array([first, 9], "<i4").tobytes()
    assert stored == [
        (0, 0, 0, pair(3), b"\1\1", 0.0, 1),
        (1, 0, 1, pair(1), b"\1\1", 1.0, 1),
        (2, 1, 0, pair(1), b"\1\1", 1.0, 1),
    ]


def test_after_a_failure_only_the_rest_is_paid(tmp_path, caplog):
    path = tmp_path / "oracle.sqlite"
    broken = Oracle(
        Recording(fail_at=3), ledger=Ledger(path, "a"), config=OracleConfig(batch_size=1)
    )
    message = r"raised RuntimeError: the instrument is off for row 3 \(round 0, index 3\)"
    with pytest.raises(OracleError, match=message):
        broken.evaluate(0, rows(1, 0, 1, 1, 0))
    broken.ledger.close()

    with caplog.at_level(logging.WARNING):
        mended = Oracle(
            Recording(), budget=5, ledger=Ledger(path, "a"), config=OracleConfig(batch_size=1)
        )
    assert not caplog.text  # what became of row 3 is known
    np.testing.assert_array_equal(mended.evaluate(0, rows(1, 0, 1, 1, 0)), [1, 0, 1, 1, 0])
    assert mended.reward_fn.asked == [1, 0]  # rows 3 and 4
    assert mended.num_reward_evaluations == 5
    assert mended.ledger.repeated_attempts() == 1
    assert mended.ledger.unanswered() == 0


def test_rows_in_flight_are_within_the_budget():
    oracle = Oracle(Recording(fail_at=1), budget=2, config=OracleConfig(batch_size=1))
    with pytest.raises(OracleError):
        oracle.evaluate(0, rows(1, 1))
    with pytest.raises(BudgetExceeded):
        oracle.evaluate(0, rows(1, 1, 1))


@pytest.mark.parametrize(
    "other", [rows(1, 5), rows(1), Sequences(rows(1, 0).tokens, np.eye(2, dtype=bool))]
)
def test_other_sequences_than_the_recorded_are_refused(other):
    oracle = Oracle(Recording())
    oracle.evaluate(0, rows(1, 0))
    with pytest.raises(LedgerError, match="another sequence for round 0, index"):
        oracle.evaluate(0, other)
    assert oracle.reward_fn.asked == [1, 0]


def test_rounds_are_paid_in_order():
    oracle = Oracle(Recording())
    oracle.evaluate(2, rows(1))
    with pytest.raises(ValueError, match="round 1 is out of order"):
        oracle.evaluate(1, rows(1))
    broken = Oracle(Recording(fail_at=0))
    with pytest.raises(OracleError):
        broken.evaluate(0, rows(1))
    with pytest.raises(ValueError, match="round 1 is out of order"):
        broken.evaluate(1, rows(1))


def test_a_ledger_of_another_run_is_refused(tmp_path):
    Ledger(tmp_path / "oracle.sqlite", "first").close()
    with pytest.raises(LedgerError, match=r"oracle.sqlite belongs to a run .*first.*second"):
        Ledger(tmp_path / "oracle.sqlite", "second")


def filled(path):
    ledger = Ledger(path, "a")
    Oracle(Recording(), ledger=ledger, config=OracleConfig(batch_size=2000)).evaluate(
        0, rows(*range(2000))
    )
    ledger.close()


def garbage(path):
    path.write_bytes(b"not a database at all " * 100)


def overwritten(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 8192] = b"\xff" * 8192
    path.write_bytes(data)


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def foreign(path):
    path.unlink()
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE holidays (day TEXT)")


def directory(path):
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("damage", [garbage, overwritten, cut, foreign, directory])
def test_a_damaged_ledger_is_one_clear_line(tmp_path, damage):
    path = tmp_path / "oracle.sqlite"
    filled(path)
    damage(path)
    with pytest.raises(LedgerError, match=r"oracle.sqlite cannot be used: .*from a copy") as caught:
        Ledger(path, "a")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("lose", [lambda p: p.unlink(), lambda p: p.write_bytes(b"")])
def test_a_lost_ledger_is_not_begun_anew(tmp_path, lose):
    path = tmp_path / "oracle.sqlite"
    filled(path)
    lose(path)
    with pytest.raises(LedgerError, match="missing or empty"):
        Ledger(path, "a", must_exist=True)
