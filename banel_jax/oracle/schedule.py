"""What is asked of an oracle and when: so many calls at a time, retries, what failed later on."""

import contextlib
from collections.abc import Callable, Sequence

from banel_jax.oracle import interrupts
from banel_jax.oracle.answers import Answer, Failed, OracleError, Outcome, Raised, outcomes
from banel_jax.oracle.calls import Call, Row
from banel_jax.oracle.config import OracleConfig
from banel_jax.oracle.evaluators.protocol import Evaluator
from banel_jax.oracle.flights import Flights
from banel_jax.oracle.here import Here
from banel_jax.oracle.waiting import Task, Waiting

TICK = 0.25  # seconds after which `stopping` is asked again, whatever happens
Ended = tuple[Row, Outcome, float]


class Schedule:
    """Makes calls of an evaluator, and hands over what becomes of every row.

    Everything happens in the thread that calls `wait_for` or `pump`, the callbacks too, but that
    `add` and `open` may be called from another; `Feeder` has it all happen in a thread of its own.
    What has ended is told of together, and with it what starts in its place, so that all of it is
    one commit.

    An exception, of a callback's or by a signal, ends the wait. What has arrived until then is
    handed over first, and nothing is handed over twice.

    Args:
      evaluator: does the work.
      config: how it is asked.
      on_change: `on_change([(row, outcome, seconds), ...], rows)`: what became of rows, once for
        each that was started; and rows that are asked for when it has returned. Only a row that
        failed is started again after it: where `on_failure="later"`. A transient failure that is
        tried again is no outcome, and its rows are started again.
      stopping: asked several times a second, and after all outcomes; where it says why, nothing
        more is begun, and the wait ends when what is in flight has ended.
      on_unasked: `on_unasked(rows)`: rows that were started are not asked for after all.

    Attributes:
      open: `open(round) -> int`, rows that have not ended for good.
      runs_here: whether the evaluator is a function in the thread of the schedule.
      wake: ends a wait that is going on, from any thread.
      reason: what `stopping` said last.

    Raises:
      ValueError: for a timeout that the evaluator cannot keep.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        config: OracleConfig,
        on_change: Callable[[list[Ended], list[Row]], None],
        stopping: Callable[[], str | None] = lambda: None,
        on_unasked: Callable[[list[Row]], None] = lambda rows: None,
    ):
        self.config, self._stopping = config, stopping
        self._on_change, self._on_unasked = on_change, on_unasked
        most = min(evaluator.workers, config.max_concurrent or evaluator.workers)
        self._flights = Flights(evaluator, most, config.timeout)
        size, whole = config.batch_size, getattr(evaluator, "whole_rounds", False)
        self.size = None if whole else size or evaluator.rows_a_call
        source = getattr(evaluator, "source", None)
        by_row = getattr(evaluator, "gives_each", False)
        self._here = Here(self, source, by_row) if source else None
        self.runs_here = source is not None
        self.waiting = Waiting()
        self.open, self.wake = self.waiting.open, self._flights.wake
        self._telling = 0.002  # seconds that `on_change` takes
        self.reason: str | None = None
        self.started: list[Row] = []  # told of, and not asked for yet

    def now(self) -> float:
        return self._flights.now()

    @property
    def in_flight(self) -> list[Row]:
        return [row for call in self._flights.calls for row in call.rows]

    def add(self, call: Call) -> None:
        """Rows of one round to be evaluated, in calls of as many rows as the settings say."""
        self.waiting.add(call, self.size)

    def wait_for(self, round: int) -> str | None:
        """Until all rows of a round have ended.

        Returns:
          None; or, where some have not, what `stopping` said.

        Raises:
          OracleError: if all workers are taken up by calls that are out of time and go on, or a
            generator yields too much.
        """
        while self.open(round):
            reason = self.pump()
            if self.open(round) and not len(self._flights):
                if reason is None and not self.waiting and not self.started:
                    raise OracleError(f"the calls of round {round} were ended")
                if reason is not None:
                    return reason
        return None

    def end_all(self) -> None:
        """Ends all that is in flight now. What has arrived is handed over, the rest never will."""
        try:
            self._take_in(begin=False)
        finally:
            never_begun = [row for task in self._flights.end_all() for row in task.call.rows]
            self.waiting.clear()
            if self._here:
                self._here.tasks = []
            self._unask([*self.started, *never_begun])

    def close(self) -> None:
        """`end_all`, and the evaluator is closed."""
        try:
            self.end_all()
        finally:
            self._flights.close()

    def pump(self, seconds: float = TICK, idle: bool = False) -> str | None:
        """Waits so long at most for what is in flight, or where `idle` for `wake`; takes in what
        has arrived and begins what can be begun. Returns what `stopping` said."""
        try:
            if self._here and self._here.tasks:
                self._here.do_next()
            else:
                self._wait(seconds, idle)
                self._take_in()
        except BaseException:
            self._take_in(begin=False)
            raise
        return self.reason

    def _wait(self, seconds: float, idle: bool) -> None:
        now, moment = self.now(), None
        if self.reason is None:
            if self.waiting.ready(now, self._flights.free()):
                return
            moment = self.waiting.next_moment(now)
        if seconds and (len(self._flights) or idle or moment is not None):
            soon = [] if moment is None else [moment - now]
            self._flights.wait(min([seconds, *soon]), self._telling)

    def _take_in(self, begin: bool = True) -> None:
        """Hands over what has arrived or is out of time, and begins others in its place."""
        arrived = self._flights.may_have_landed
        if not begin and not arrived:
            return
        with interrupts.held_back((1,)) if arrived else contextlib.nullcontext():
            ended: list[Ended] = []
            broken: list[tuple[Task, OracleError]] = []  # whose rows were not asked for
            for task, answer, seconds in self._flights.landed():
                if isinstance(answer, OracleError):
                    broken.append((task, answer))
                else:
                    ended += self.settle(task, outcomes(answer, len(task.call.rows)), seconds)
            tasks = self.change(ended, begin and not broken)
            if self._here:
                self._here.tasks = tasks
            elif tasks:
                self._flights.begin(tasks)
                self.started = []
            for task, _ in broken:
                self._unask(list(task.call.rows))
            for _, error in broken:
                raise error
        if begin and self.reason is None and self.waiting:
            self._flights.check_places()

    def change(
        self, ended: list[Ended], begin: bool = True, then: Task | None = None
    ) -> list[Task]:
        """Tells of rows that have ended, and of those that start now.

        Args:
          ended: with their outcomes.
          begin: whether any may start.
          then: what starts; None for what waits.

        Returns:
          The calls that are to be made now.
        """
        if begin and not ended:
            self.reason = self._stopping()
        tasks: list[Task] = []
        if begin and self.reason is None and not interrupts.pending():
            tasks = [then] if then else self._choose()
        one_by_one = self._here is not None and self._here.by_row
        rows = [row for task in tasks for row in task.call.rows[: 1 if one_by_one else None]]
        try:
            if ended or rows:
                begun, self.started = self.now(), rows
                self._on_change(ended, rows)
                self._telling += 0.2 * (self.now() - begun - self._telling)
        finally:
            self.waiting.end([row for row, _, _ in ended])
        if ended:
            self.reason = self._stopping()
        if self.reason is not None:
            self._unask(rows)
            return []
        if then is None:
            self.waiting.take_out(tasks)
        return tasks

    def _choose(self) -> list[Task]:
        if not len(self._flights):
            self.waiting.recall()
        return self.waiting.ready(self.now(), self._flights.free() if not self._here else 1)

    def _unask(self, rows: list[Row]) -> None:
        self.started = []
        if rows:
            self._on_unasked(rows)

    def settle(self, task: Task, answers: Sequence[Outcome], seconds: float) -> list[Ended]:
        """What has ended of a call; transient failures are tried again."""
        again, later = [], []
        for i, outcome in enumerate(answers):
            transient = isinstance(outcome, Raised) and outcome.is_one_of(self.config.transient)
            if transient and task.attempts <= self.config.retries:
                again.append(i)
            elif isinstance(outcome, Failed) and self.config.on_failure == "later":
                later.append(i)
            elif isinstance(outcome, Answer):
                self.waiting.note_answer()
        if again:
            earliest = self.now() + self.config.wait_after(task.attempts)
            self.waiting.put_first(Task(task.call.only(again), task.attempts, earliest))
        if later:
            self.waiting.put_last(Task(task.call.only(later)))
        rows, each = task.call.rows, seconds / len(answers)
        return [(rows[i], x, each) for i, x in enumerate(answers) if i not in again]
