"""When calls are made and what is handed over, with futures that the tests complete themselves
and a clock that they set."""

import collections
import signal
import threading
from concurrent.futures import Future

import numpy as np
import pytest

from banel_jax.oracle.answers import Answer, Failed, OracleError, Pending, WorkerDied
from banel_jax.oracle.calls import Call, Row
from banel_jax.oracle.config import OracleConfig
from banel_jax.oracle.evaluators import as_evaluator, threads
from banel_jax.oracle.feeder import Feeder
from banel_jax.oracle.schedule import Schedule
from banel_jax.types import Sequences

ONE, ZERO = Answer(1.0), Answer(0.0)


def call(rows, round=0, first=0):
    """Rows of a round, whose tokens are their numbers."""
    numbers = np.arange(first, first + rows, dtype=np.int32)[:, None]
    named = [Row(f"run-{n}", int(n), round, i) for i, n in enumerate(numbers[:, 0])]
    return Call(named, Sequences(numbers, np.ones(numbers.shape, bool)))


class ByTest:
    """Its futures are completed by the test, which is asked whenever the schedule waits."""

    can_end, rows_a_call, closed = "yes", 1, False

    def __init__(self, workers):
        self.workers, self.open, self.ended = workers, {}, []

    def submit(self, call):
        future = Future()
        for row in call.rows:
            self.open[row.row] = future
        return future

    def end(self, future):
        self.ended += [row for row, other in self.open.items() if other is future]

    def close(self):
        self.closed = True

    def answer(self, answers):
        """Completes calls of one row each."""
        for row, answer in answers.items():
            future = self.open.pop(row)
            if isinstance(answer, BaseException):
                future.set_exception(answer)
            else:
                future.set_result([answer])


class Watched:
    """A schedule under a clock that a script of (seconds to pass, answers to come) sets.

    The script is gone through while the schedule waits, one entry a wait; None ends by a
    KeyboardInterrupt.
    """

    def __init__(self, evaluator, script=(), stopping=lambda: None, **settings):
        self.events, self.outcomes, self.time, self.script = [], {}, 0.0, collections.deque(script)
        self.starts = collections.Counter()
        self.evaluator = evaluator
        config = OracleConfig(**settings)
        self.schedule = Schedule(evaluator, config, self.change, stopping, self.unasked)
        self.schedule._flights.now = lambda: self.time
        self.schedule._flights._pause = self.pause

    def change(self, ended, rows):
        if ended:
            self.end(ended)
        if rows:
            self.start(rows)

    def unasked(self, rows):
        self.events.append(("unasked", [row.row for row in rows]))
        self.starts.subtract(row.row for row in rows)

    def start(self, rows):
        self.events.append(("start", [row.row for row in rows]))
        self.starts.update(row.row for row in rows)

    def end(self, ended):
        self.events.append(("end", sorted(row.row for row, _, _ in ended)))
        for row, outcome, _ in ended:
            self.outcomes.setdefault(row.row, []).append(outcome)

    def pause(self, seconds):
        assert seconds >= 0
        if not self.script:
            raise AssertionError(f"nothing more comes, and the wait goes on: {self.events}")
        passes, answers = self.script.popleft()
        self.time += seconds if passes is None else passes
        if answers is None:
            raise KeyboardInterrupt
        if answers:
            self.evaluator.answer(answers)

    def run(self, rows, round=0):
        self.schedule.add(call(rows, round))
        return self.schedule.wait_for(round)


def test_so_many_at_a_time_and_each_that_ends_makes_room():
    watched = Watched(
        ByTest(8), [(0, {1: 1}), (0, {0: 0, 2: 1}), (0, {3: 0}), (0, {4: 1})], max_concurrent=2
    )
    assert watched.run(5) is None
    assert watched.events == [
        ("start", [0, 1]), ("end", [1]), ("start", [2]), ("end", [0, 2]), ("start", [3, 4]),
        ("end", [3]), ("end", [4]),
    ]  # fmt: skip
    assert watched.outcomes == {0: [ZERO], 1: [ONE], 2: [ONE], 3: [ZERO], 4: [ONE]}


def test_what_ends_together_is_told_of_together():
    watched = Watched(ByTest(32), [(0.05, dict.fromkeys(range(32), 1))] * 2)
    watched.evaluator.answer = lambda answers, answer=watched.evaluator.answer: answer(
        dict.fromkeys(list(watched.evaluator.open), 0)
    )
    watched.run(64)
    assert [kind for kind, rows in watched.events if len(rows) == 32] == ["start", "end"] * 2


def test_what_ends_at_nearly_the_same_time_is_waited_for():
    """About as long as a commit takes, once it is known that a call takes much longer."""
    script = [(1.0, {0: 1, 1: 1}), (1.0, {2: 1}), (0.001, {3: 1})]
    watched = Watched(ByTest(2), script)
    watched.run(4)
    assert watched.events[-1] == ("end", [2, 3]) and not watched.script


def ticks(seconds):
    """The schedule's own waits, of a quarter of a second at most."""
    return [(None, {})] * int(seconds * 4)


def test_a_call_out_of_time_is_ended_and_the_next_begins_at_once():
    watched = Watched(ByTest(1), [*ticks(5), (0, {1: 1})], timeout=5.0)
    assert watched.run(2) is None
    assert watched.evaluator.ended == [0] and watched.time == 5.0
    assert str(watched.outcomes[0][0]) == "did not answer within timeout=5 s"
    assert watched.outcomes[1] == [ONE]
    assert watched.events == [("start", [0]), ("end", [0]), ("start", [1]), ("end", [1])]


def test_what_an_ended_call_answers_later_is_heard_no_more():
    watched = Watched(ByTest(1), [*ticks(5), (0, {0: 1}), (0, {1: 0})], timeout=5.0)
    watched.run(2)
    assert len(watched.outcomes[0]) == 1 and isinstance(watched.outcomes[0][0], Failed)


def test_an_answer_at_the_last_moment_counts():
    class LastMoment(ByTest):
        def end(self, future):
            future.set_result([1])

    watched = Watched(LastMoment(1), ticks(5), timeout=5.0)
    watched.run(1)
    assert watched.outcomes == {0: [ONE]}


def test_a_worker_that_was_ended_is_out_of_time_however_soon_it_is_heard_of():
    class Ended(ByTest):
        def end(self, future):
            future.set_result([WorkerDied("the worker ended by signal 9")])

    watched = Watched(Ended(1), ticks(5), timeout=5.0)
    watched.run(1)
    assert str(watched.outcomes[0][0]) == "did not answer within timeout=5 s"


def test_time_counts_from_when_a_worker_has_taken_a_call_up():
    class Slow(ByTest):
        def submit(self, call):
            future = super().submit(call)
            future.begun = None
            return future

        def answer(self, answers):
            if answers == "begun":
                for future in self.open.values():
                    future.begun = watched.time
            else:
                super().answer(answers)

    watched = Watched(Slow(1), [(60, {}), (0, "begun"), *ticks(5)], timeout=5.0)
    watched.run(1)
    assert watched.time == 65 and watched.evaluator.ended == [0]


class Cancelled(ByTest):
    can_end = "cancel"

    def end(self, future):
        self.ended.append(future)


def test_work_that_goes_on_keeps_its_place(caplog):
    """Two workers, one at work on a call out of time: one call at a time is left."""
    script = [(0, {1: 1}), (5, {2: 1}), (0.9, {3: 1}), (0.1, {}), (0, {4: 1})]
    watched = Watched(Cancelled(2), script, timeout=6.0)
    watched.schedule.add(call(5))
    watched.schedule.wait_for(0)
    assert [rows for kind, rows in watched.events if kind == "start"] == [[0, 1], [2], [3], [4]]
    assert "row 0 (round 0, index 0), and the work for it may go on" in caplog.text


def test_when_all_places_are_taken_for_good_it_says_so():
    watched = Watched(Cancelled(1), ticks(5), timeout=5.0)
    with pytest.raises(OracleError, match=r"all 1 workers are at work on calls .* out of time"):
        watched.run(2)
    assert isinstance(watched.outcomes[0][0], Failed)


def test_a_timeout_that_cannot_be_kept_is_refused_before_anything_is_asked():
    with pytest.raises(ValueError, match=r"timeout=3: in_place cannot end .*use processes\(fn\)"):
        Watched(as_evaluator(lambda x: 1), timeout=3)


def test_transient_failures_are_tried_again_and_later_each_time():
    down = ConnectionError("down")
    script = [(0, {0: down}), *ticks(1), (0, {0: down}), *ticks(2), (0, {0: down})]
    watched = Watched(ByTest(1), script, transient=OSError, retries=2)
    watched.run(1)
    assert watched.time == 3 and watched.starts == {0: 3}
    assert watched.events[-1] == ("end", [0]) and len(watched.outcomes[0]) == 1
    assert str(watched.outcomes[0][0]) == "raised ConnectionError: down"


def test_others_are_asked_while_a_failure_waits():
    script = [(0, {0: OSError()}), (0, {1: 1}), (0, {2: 1}), *ticks(1), (0, {0: 1})]
    watched = Watched(ByTest(1), script, transient="OSError", retries=1)
    watched.run(3)
    assert [rows for kind, rows in watched.events if kind == "start"] == [[0], [1], [2], [0]]


def test_other_failures_are_not_tried_again():
    watched = Watched(ByTest(1), [(0, {0: ValueError("no")})], transient=OSError, retries=9)
    watched.run(1)
    assert watched.starts == {0: 1} and str(watched.outcomes[0][0]) == "raised ValueError: no"


def test_only_the_rows_that_failed_are_tried_again():
    def fn(x):
        asked.append(x.tokens[:, 0].tolist())
        return [OSError("busy") if t == 1 and len(asked) == 1 else 1 for t in asked[-1]]

    asked = []
    watched = Watched(as_evaluator(fn), ticks(1), transient=OSError, retries=1, batch_size=3)
    watched.run(3)
    assert asked == [[0, 1, 2], [1]]
    assert watched.outcomes == {0: [ONE], 1: [ONE], 2: [ONE]}


def test_later_asks_again_after_all_others_as_long_as_that_helps():
    off = Failed("off")
    script = [(0, {0: off}), (0, {1: off}), (0, {2: 1}), (0, {0: off}), (0, {1: 1}), (0, {0: off})]
    watched = Watched(ByTest(1), script, on_failure="later")
    assert watched.run(3) is None
    assert [rows for kind, rows in watched.events if kind == "start"] == [
        [0],
        [1],
        [2],
        [0],
        [1],
        [0],
    ]
    assert watched.outcomes == {0: [off] * 3, 1: [off, ONE], 2: [ONE]}


@pytest.mark.parametrize("on_failure", ["drop", "zero", "stop"])
def test_failures_and_what_is_pending_are_handed_over_as_they_are(on_failure):
    watched = Watched(
        ByTest(3), [(0, {0: Failed("off"), 1: Pending("x"), 2: 5})], on_failure=on_failure
    )
    watched.run(3)
    assert watched.outcomes[0] == [Failed("off")] and watched.outcomes[1] == [Pending("x")]
    assert watched.outcomes[2] == [Failed("answered 5; a reward is 0 or 1")]


def test_when_it_is_to_stop_what_is_in_flight_is_awaited_and_nothing_begun():
    reasons = []
    watched = Watched(
        ByTest(2), [(0, {0: 1}), (0, {2: 1}), (0, {1: 1})], lambda: reasons[0] if reasons else None
    )
    end = watched.end
    watched.end = lambda ended: (end(ended), reasons.append("enough"))
    watched.script[1] = (0, {})
    assert watched.run(4) == "enough"
    assert watched.events == [
        ("start", [0, 1]), ("end", [0]), ("start", [2]), ("unasked", [2]), ("end", [1]),
    ]  # fmt: skip
    assert watched.starts[2] == 0 and set(watched.evaluator.open) == set()


def test_the_last_answer_ends_a_round_even_when_it_is_to_stop():
    reasons = []
    watched = Watched(ByTest(1), [(0, {0: 1})], lambda: reasons[0] if reasons else None)
    watched.end = lambda ended: reasons.append("a success")
    assert watched.run(1) is None


def test_what_has_arrived_is_handed_over_when_the_wait_is_interrupted():
    watched = Watched(ByTest(3), [(0, {0: 1})])
    pause = watched.pause

    def interrupted(seconds):
        pause(seconds)
        watched.evaluator.answer({1: 0})
        raise KeyboardInterrupt

    watched.schedule._flights._pause = interrupted
    with pytest.raises(KeyboardInterrupt):
        watched.run(3)
    assert watched.outcomes == {0: [ONE], 1: [ZERO]}
    watched.evaluator.answer({2: 1})
    watched.schedule.close()
    assert watched.outcomes == {0: [ONE], 1: [ZERO], 2: [ONE]} and watched.evaluator.closed


def test_a_callback_that_raises_is_given_nothing_twice():
    handed = []

    def full(ended):
        handed.append([row.row for row, _, _ in ended])
        raise OSError("full")

    watched = Watched(ByTest(2), [(0, {0: 1})])
    watched.end = full
    with pytest.raises(OSError, match="full"):
        watched.run(2)
    watched.evaluator.answer({1: 1})
    with pytest.raises(OSError, match="full"):
        watched.schedule.close()
    assert handed == [[0], [1]] and watched.evaluator.closed


def test_a_signal_while_outcomes_are_handed_over_comes_after_it():
    watched = Watched(ByTest(1), [(0, {0: 1})])
    end = watched.end

    def interrupted(ended):
        signal.raise_signal(signal.SIGINT)
        end(ended)

    watched.end = interrupted
    with pytest.raises(KeyboardInterrupt):
        watched.run(2)
    assert watched.outcomes == {0: [ONE]}


def test_a_signal_interrupts_a_wait():
    evaluator = ByTest(1)
    schedule = Schedule(evaluator, OracleConfig(), lambda ended, rows: None)
    schedule.add(call(1))
    main = threading.main_thread().ident
    threading.Timer(0.05, lambda: signal.pthread_kill(main, signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        schedule.wait_for(0)


def test_a_call_that_no_worker_had_taken_up_was_not_asked_for():
    class Queued(ByTest):
        def submit(self, call):
            future = super().submit(call)
            future.begun = 1.0 if call.rows[0].row == 0 else None
            return future

        def end(self, future):
            super().end(future)
            future.cancel()

    watched = Watched(Queued(2), [(0, None)])
    with pytest.raises(KeyboardInterrupt):
        watched.run(5)
    watched.schedule.close()
    assert watched.events == [("start", [0, 1]), ("unasked", [1])]


def test_an_interruption_between_a_start_and_the_question_leaves_nothing_in_doubt():
    def start(rows):
        Watched.start(watched, rows)
        raise KeyboardInterrupt

    for evaluator in (ByTest(2), as_evaluator(lambda x: pytest.fail("it was asked"))):
        watched = Watched(evaluator)
        watched.start = start
        with pytest.raises(KeyboardInterrupt):
            watched.run(2)
        watched.schedule.close()
        started = watched.events[0][1]
        assert watched.events == [("start", started), ("unasked", started)]


def test_end_all_ends_what_is_in_flight_and_asks_nothing_more():
    watched = Watched(ByTest(2), [(0, None)])
    with pytest.raises(KeyboardInterrupt):
        watched.run(5)
    assert [row.row for row in watched.schedule.in_flight] == [0, 1]
    watched.schedule.end_all()
    assert watched.evaluator.ended == [0, 1] and watched.schedule.in_flight == []
    assert watched.outcomes == {} and not watched.schedule.waiting
    with pytest.raises(OracleError, match="the calls of round 0 were ended"):
        watched.schedule.wait_for(0)


def test_rounds_are_in_flight_together():
    watched = Watched(ByTest(2), [(0, {10: 1}), (0, {0: 1}), (0, {11: 0})])
    watched.schedule.add(call(1))
    watched.schedule.add(call(2, round=1, first=10))
    assert watched.schedule.wait_for(0) is None
    assert watched.outcomes == {10: [ONE], 0: [ONE]}
    assert watched.schedule.wait_for(1) is None
    assert watched.outcomes == {10: [ONE], 0: [ONE], 11: [ZERO]}


def test_pump_takes_in_and_begins_without_waiting():
    watched = Watched(ByTest(1))
    watched.schedule.add(call(2))
    watched.schedule.pump(0)
    watched.evaluator.answer({0: 1})
    watched.schedule.pump(0)
    assert watched.events == [("start", [0]), ("end", [0]), ("start", [1])]


def test_what_cannot_be_submitted_has_failed():
    class Broken(ByTest):
        def submit(self, call):
            raise RuntimeError("shut")

    watched = Watched(Broken(2), [(0, {})] * 2)
    watched.run(2)
    assert [str(o) for [o] in watched.outcomes.values()] == ["raised RuntimeError: shut"] * 2


def test_seconds_are_of_a_row():
    watched = Watched(ByTest(1), [(3, {0: 1})], batch_size=2)
    watched.evaluator.answer = lambda answers: watched.evaluator.open[0].set_result([1, 0])
    seconds = []
    watched.end = lambda ended: seconds.extend(s for _, _, s in ended)
    watched.run(2)
    assert seconds == [1.5, 1.5]


# A function in this thread


def test_a_generator_that_raises_costs_its_row_and_is_called_again_for_the_rest():
    def fn(x):
        asked.append(x.tokens[:, 0].tolist())
        for t in asked[-1]:
            if t in bad:
                raise bad[t]
            yield t == 4

    asked, bad = [], {1: ValueError("odd"), 3: Pending("plate"), 4: Failed("off")}
    watched = Watched(as_evaluator(fn))
    watched.run(6)
    assert asked == [[0, 1, 2, 3, 4, 5], [2, 3, 4, 5], [4, 5], [5]]
    assert [str(o) if isinstance(o, Exception) else o for [o] in watched.outcomes.values()] == [
        ZERO, "raised ValueError: odd", ZERO, "plate", "off", ZERO,
    ]  # fmt: skip


def test_yielded_failures_are_no_end():
    watched = Watched(
        as_evaluator(lambda x: iter([Failed("off"), ValueError("no"), 1])), batch_size=3
    )
    watched.run(3)
    assert watched.starts == {0: 1, 1: 1, 2: 1} and watched.outcomes[2] == [ONE]


def test_a_generator_is_left_where_it_is_to_stop():
    reasons, yielded = [], []

    def fn(x):
        for t in x.tokens[:, 0]:
            yielded.append(int(t))
            yield 1

    watched = Watched(as_evaluator(fn), (), lambda: reasons[0] if reasons else None)
    end = watched.end
    watched.end = lambda ended: (
        end(ended),
        yielded == [0, 1] and reasons.append("x"),
    )
    assert watched.run(5) == "x"
    assert yielded == [0, 1] and watched.outcomes == {0: [ONE], 1: [ONE]}


def test_rows_and_texts_are_given_to_whom_asks_for_them():
    def fn(x, text, rows):
        seen.extend(zip(x.tokens[:, 0].tolist(), text, [row.id for row in rows], strict=True))
        x.tokens[:] = 9
        return [1] * len(text)

    seen = []
    watched = Watched(as_evaluator(fn), batch_size=2)
    three = call(3)
    watched.schedule.add(Call(three.rows, three.sequences, ["a", "b", "c"]))
    watched.schedule.wait_for(0)
    assert seen == [(0, "a", "run-0"), (1, "b", "run-1"), (2, "c", "run-2")]
    assert three.sequences.tokens[:, 0].tolist() == [0, 1, 2]


# In a thread of its own


def fed(evaluator, outcomes, stopping=lambda: None):
    def change(ended, rows):
        assert threading.current_thread() is not threading.main_thread()
        outcomes.update({row.row: outcome for row, outcome, _ in ended})

    return Feeder(Schedule(evaluator, OracleConfig(), change, stopping))


def test_a_feeder_goes_on_while_nobody_waits():
    outcomes, last = {}, threading.Event()
    with fed(threads(lambda x: [x.tokens[0, 0] == 3 and (last.set() or 1)], 2), outcomes) as feeder:
        feeder.add(call(4))
        assert last.wait(60)
        assert feeder.wait_for(0) is None
        assert outcomes == {0: ZERO, 1: ZERO, 2: ZERO, 3: ONE}
        feeder.add(call(1, round=1, first=3))
        assert feeder.wait_for(1, timeout=60) is None


def test_what_a_feeder_meets_is_raised_where_somebody_waits():
    with fed(threads(lambda x: [1]), {}) as feeder:
        feeder.schedule._on_change = lambda ended, rows: 1 / 0
        feeder.add(call(1))
        for _ in range(2):
            with pytest.raises(ZeroDivisionError):
                feeder.wait_for(0)


def test_a_feeder_says_why_it_stops_and_when_there_is_nothing_yet():
    hold, reasons = threading.Event(), []
    evaluator = threads(lambda x: [hold.wait(60)], 1)
    with fed(evaluator, {}, lambda: reasons[0] if reasons else None) as feeder:
        feeder.add(call(2))
        with pytest.raises(TimeoutError):
            feeder.wait_for(0, timeout=0.01)
        reasons.append("enough")
        with pytest.raises(TimeoutError):  # what is in flight is waited for
            feeder.wait_for(0, timeout=0.5)
        hold.set()
        assert feeder.wait_for(0) == "enough"
        assert not feeder.schedule.in_flight


def test_closing_a_feeder_hands_over_what_has_arrived():
    outcomes, evaluator = {}, ByTest(2)
    change = lambda ended, rows: outcomes.update({row.row: outcome for row, outcome, _ in ended})
    feeder = Feeder(Schedule(evaluator, OracleConfig(), change))
    feeder.add(call(2))
    while len(evaluator.open) < 2:
        pass
    evaluator.answer({1: 1})
    feeder.close()
    feeder.close()
    assert outcomes == {1: ONE} and evaluator.ended == [0] and evaluator.closed


def test_a_function_of_the_callers_thread_has_no_feeder():
    with pytest.raises(ValueError, match="in_place runs in the thread"):
        fed(as_evaluator(lambda x: 1), {})
