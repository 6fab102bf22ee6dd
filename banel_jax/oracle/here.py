"""Calls of a function in the thread of the schedule, one at a time."""

import logging
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from banel_jax.oracle import interrupts
from banel_jax.oracle.answers import Failed, OracleError, outcomes
from banel_jax.oracle.calls import Call, length
from banel_jax.oracle.waiting import Task

if TYPE_CHECKING:
    from banel_jax.oracle.schedule import Schedule

logger = logging.getLogger(__name__)


class Here:
    """Makes the calls that the schedule has told of.

    Args:
      schedule: whose thread it is.
      source: `source(call)` is an iterator of one answer, which is worked for when it is asked for.
      by_row: whether the function is a generator, whose rows start one after another.

    Attributes:
      tasks: what was told of as started, one call at most.
    """

    def __init__(self, schedule: "Schedule", source: Callable[[Call], Iterator], by_row: bool):
        self._schedule, self._source, self.by_row = schedule, source, by_row
        self.tasks: list[Task] = []

    def do_next(self) -> None:
        """Makes a call, and hands over what comes of it."""
        task, schedule = self.tasks.pop(), self._schedule
        task.attempts += 1
        begun = schedule.now()
        iterators: list[Iterator] = []

        def take(answer: Any, how: str) -> None:
            if isinstance(answer, Iterator):
                iterators.append(answer)
                return
            ended: list[Any] = []
            if self._answers_for_all(task, answer):
                self._ask_for_all(task)
            else:
                answers = outcomes(answer, len(task.call.rows))
                ended = schedule.settle(task, answers, schedule.now() - begun)
            self.tasks = schedule.change(ended)

        schedule.started = []
        if interrupts.receive(self._source(task.call), take) == "ended":
            take(RuntimeError("StopIteration, which is no answer"), "ended")
        for iterator in iterators:
            self._take_each(task, iterator)

    def _take_each(self, task: Task, iterator: Iterator) -> None:
        """Every answer of a generator, handed over before the next is worked for."""
        k = len(task.call.rows)
        for i in range(k):
            rest = Task(task.call.only(range(i + 1, k))) if i + 1 < k else None
            one = Task(task.call.only([i]), task.attempts)
            if not self._take_one(one, iterator, i, rest):
                if rest is not None:
                    self._schedule.waiting.put_first(rest)
                return
        if interrupts.receive(iterator, lambda answer, how: None) == "came":
            raise OracleError(
                f"the oracle yielded more than {k} rewards for {task.call}; it must yield one a "
                f"row. The first {k} are kept"
            )

    def _take_one(self, one: Task, iterator: Iterator, i: int, rest: Task | None) -> bool:
        """Whether the generator is to be asked for more."""
        schedule, onward = self._schedule, False
        begun = schedule.now()

        def take(answer: Any, how: str) -> None:
            nonlocal onward
            ended = schedule.settle(one, outcomes([answer], 1), schedule.now() - begun)
            if how == "came" and self.by_row and rest:
                onward = bool(schedule.change(ended, then=rest))
            else:
                schedule.change(ended, begin=False)
                onward = how == "came" and (rest is None or schedule.reason is None)

        schedule.started = []
        if interrupts.receive(iterator, take) == "ended":
            take(Failed(f"ended after {i} rewards; it must yield one a row"), "ended")
        return onward

    def _answers_for_all(self, task: Task, answer: Any) -> bool:
        """Whether an oracle that was given one row answered for a whole round."""
        schedule = self._schedule
        by_row = schedule.config.batch_size is None and schedule.size == 1
        return by_row and length(answer) == schedule.waiting.added(task.round) > 1

    def _ask_for_all(self, task: Task) -> None:
        waiting = self._schedule.waiting
        logger.warning(
            "given one row the oracle answers for all %d of a round, so it is given whole rounds, "
            "and an exception costs all of their answers; let it answer for the rows it is given",
            waiting.added(task.round),
        )
        self._schedule.size = None
        waiting.join(task)
