"""What is asked of an oracle and when: so many calls at a time, retries, what failed later on."""

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from banel_jax.oracle import interrupts
from banel_jax.oracle.answers import Answer, Failed, OracleError, Outcome, Raised, outcomes
from banel_jax.oracle.calls import Call, Row, length
from banel_jax.oracle.config import OracleConfig
from banel_jax.oracle.evaluators.protocol import Evaluator
from banel_jax.oracle.flights import Flights
from banel_jax.oracle.waiting import Task, Waiting

logger = logging.getLogger(__name__)

TICK = 0.25  # seconds after which `stopping` is asked again, whatever happens
Ended = tuple[Row, Outcome, float]


class Schedule:
    """Makes calls of an evaluator, and hands over what becomes of every row.

    Everything happens in the thread that calls `wait_for` or `pump`, the callbacks too, but that
    `add` and `open` may be called from another; `Feeder` has it all happen in a thread of its own.
    Rows that start together are told of together, and so are those that have ended, so that each
    is one commit; what has ended is told of before anything else starts.

    An exception, of a callback's or by a signal, ends the wait. What has arrived until then is
    handed over first, and nothing is handed over twice.

    Args:
      evaluator: does the work.
      config: how it is asked.
      on_start: `on_start(rows)`, before they are asked for.
      on_outcomes: `on_outcomes([(row, outcome, seconds), ...])`, once for every row that was
        started. Only a row that failed is started again after it: where `on_failure="later"`.
        A transient failure that is tried again is no outcome, and its rows are started again.
      stopping: asked several times a second, and after all outcomes; where it says why, nothing
        more is begun, and the wait ends when what is in flight has ended.

    Attributes:
      open: `open(round) -> int`, rows that have not ended for good.
      runs_here: whether the evaluator is a function in the thread of the schedule.
      wake: ends a wait that is going on, from any thread.

    Raises:
      ValueError: for a timeout that the evaluator cannot keep.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        config: OracleConfig,
        on_start: Callable[[list[Row]], None],
        on_outcomes: Callable[[list[Ended]], None],
        stopping: Callable[[], str | None] = lambda: None,
    ):
        self._evaluator, self._config = evaluator, config
        self._on_start, self._on_outcomes, self._stopping = on_start, on_outcomes, stopping
        most = min(evaluator.workers, config.max_concurrent or evaluator.workers)
        self._flights = Flights(evaluator, most, config.timeout)
        size, whole = config.batch_size, getattr(evaluator, "whole_rounds", False)
        self._size = None if whole else size or evaluator.rows_a_call
        self._source: Callable[[Call], Iterator] | None = getattr(evaluator, "source", None)
        self.runs_here = self._source is not None
        self._waiting = Waiting()
        self.open, self.wake = self._waiting.open, self._flights.wake
        self._telling = 0.002  # seconds that a callback takes

    @property
    def in_flight(self) -> list[Row]:
        return [row for call in self._flights.calls for row in call.rows]

    def add(self, call: Call) -> None:
        """Rows of one round to be evaluated, in calls of as many rows as the settings say."""
        self._waiting.add(call, self._size)

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
                if reason is None and not self._waiting:
                    raise OracleError(f"the calls of round {round} were ended")
                if reason is not None:
                    return reason
        return None

    def end_all(self) -> None:
        """Ends all that is in flight now. What has arrived is handed over, the rest never will."""
        try:
            self._collect()
        finally:
            self._flights.end_all()
            self._waiting.clear()

    def close(self) -> None:
        """`end_all`, and the evaluator is closed."""
        try:
            self.end_all()
        finally:
            self._flights.close()

    def pump(self, seconds: float = TICK, idle: bool = False) -> str | None:
        """Takes in what has arrived, begins what can be begun, and waits so long at most for what
        is in flight, or where `idle` for `wake`; returns what `stopping` said."""
        try:
            self._collect()
            reason = self._stopping()
            if reason is None:
                if not len(self._flights):
                    self._waiting.recall()
                self._begin() if self._source is None else self._do_here(self._source)
            now = self._flights.now()
            moment = None if reason is not None else self._waiting.next_moment(now)
            if seconds and (len(self._flights) or idle or (moment and not self._ready(1))):
                soon = [] if moment is None else [moment - now]
                self._flights.wait(min([seconds, *soon]), self._telling)
            self._collect()
        except BaseException:
            self._collect()
            raise
        return reason

    def _ready(self, most: int) -> list[Task]:
        return self._waiting.ready(self._flights.now(), most)

    def _begin(self) -> None:
        if tasks := self._ready(self._flights.free()):
            self._start(tasks)
            self._flights.begin(tasks)

    def _start(self, tasks: list[Task]) -> None:
        self._tell(self._on_start, [row for task in tasks for row in task.call.rows])
        self._waiting.take_out(tasks)

    def _collect(self) -> None:
        """Hands over what has arrived or is out of time."""
        if self._flights.may_have_landed:
            with interrupts.held_back(("what has arrived",)):
                ended: list[Ended] = []
                broken: list[OracleError] = []  # in place of calls whose rows were not asked for
                for task, answer, seconds in self._flights.landed():
                    if isinstance(answer, OracleError):
                        broken.append(answer)
                        continue
                    ended += self._settle(task, outcomes(answer, len(task.call.rows)), seconds)
                self._hand_over(ended)
                for error in broken:
                    raise error

    def _settle(self, task: Task, answers: Sequence[Outcome], seconds: float) -> list[Ended]:
        """What has ended of a call; transient failures are tried again."""
        again, later = [], []
        for i, outcome in enumerate(answers):
            transient = isinstance(outcome, Raised) and outcome.is_one_of(self._config.transient)
            if transient and task.attempts <= self._config.retries:
                again.append(i)
            elif isinstance(outcome, Failed) and self._config.on_failure == "later":
                later.append(i)
            elif isinstance(outcome, Answer):
                self._waiting.note_answer()
        if again:
            earliest = self._flights.now() + self._config.wait_after(task.attempts)
            self._waiting.put_first(Task(task.call.only(again), task.attempts, earliest))
        if later:
            self._waiting.put_last(Task(task.call.only(later)))
        rows, each = task.call.rows, seconds / len(answers)
        return [(rows[i], x, each) for i, x in enumerate(answers) if i not in again]

    def _hand_over(self, ended: list[Ended]) -> None:
        try:
            if ended:
                self._tell(self._on_outcomes, ended)
        finally:
            self._waiting.end([row for row, _, _ in ended])

    def _tell(self, callback: Callable[[list], None], what: list) -> None:
        """A commit, for which it is worth to wait about as long as it takes."""
        begun = self._flights.now()
        callback(what)
        self._telling += 0.2 * (self._flights.now() - begun - self._telling)

    def _do_here(self, source: Callable[[Call], Iterator]) -> None:
        """The next call of a function in this thread."""
        for task in self._ready(1):
            self._start([task])
            task.attempts += 1
            begun = self._flights.now()
            iterators: list[Iterator] = []

            def take(answer: Any, task=task, begun=begun, iterators=iterators) -> None:
                if isinstance(answer, Iterator):
                    iterators.append(answer)
                elif self._answers_for_all(task, answer):
                    self._ask_for_all(task)
                else:
                    answers = outcomes(answer, len(task.call.rows))
                    self._hand_over(self._settle(task, answers, self._flights.now() - begun))

            if interrupts.receive(source(task.call), take) == "ended":
                take(RuntimeError("StopIteration, which is no answer"))
            for iterator in iterators:
                self._take_each(task, iterator)

    def _take_each(self, task: Task, iterator: Iterator) -> None:
        """Every answer of a generator, handed over before the next is worked for."""
        k = len(task.call.rows)
        for i in range(k):
            one, begun = Task(task.call.only([i]), task.attempts), self._flights.now()

            def take(answer: Any, one=one, begun=begun) -> None:
                answers = outcomes([answer], 1)
                self._hand_over(self._settle(one, answers, self._flights.now() - begun))

            how = interrupts.receive(iterator, take)
            if how == "ended":
                take(Failed(f"ended after {i} rewards; it must yield one a row"))
            if how != "came" or self._stopping() is not None:
                if i + 1 < k:
                    self._waiting.put_first(Task(task.call.only(range(i + 1, k))))
                return
        if interrupts.receive(iterator, lambda answer: None) == "came":
            raise OracleError(
                f"the oracle yielded more than {k} rewards for {task.call}; it must yield one a "
                f"row. The first {k} are kept"
            )

    def _answers_for_all(self, task: Task, answer: Any) -> bool:
        """Whether an oracle that was given one row answered for a whole round."""
        by_row = self._config.batch_size is None and self._size == 1
        return by_row and length(answer) == self._waiting.added(task.round) > 1

    def _ask_for_all(self, task: Task) -> None:
        logger.warning(
            "given one row the oracle answers for all %d of a round, so it is given whole rounds, "
            "and an exception costs all of their answers; let it answer for the rows it is given",
            self._waiting.added(task.round),
        )
        self._size = None
        self._waiting.join(task)
