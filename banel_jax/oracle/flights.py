"""The calls that an evaluator is working on, and how each of them ends."""

import collections
import concurrent.futures
import contextlib
import functools
import logging
import queue
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, NamedTuple

from banel_jax.oracle import interrupts
from banel_jax.oracle.answers import OracleError, Raised, WorkerDied, outcomes
from banel_jax.oracle.calls import Call, kinds
from banel_jax.oracle.evaluators.protocol import Evaluator
from banel_jax.oracle.waiting import Task

logger = logging.getLogger(__name__)

LAST_WORDS = 1.0  # seconds for a call that was ended to tell which of its rows were answered


@dataclass(eq=False)
class _Flight:
    """A call that is being made, and the moment at which its future was done."""

    task: Task
    future: Future
    submitted: float
    done: float | None = None

    @property
    def begun(self) -> float | None:
        return getattr(self.future, "begun", self.submitted)


class Landed(NamedTuple):
    """A call that has ended: with an answer, or an exception in its place."""

    task: Task
    answer: Any
    seconds: float


class Flights:
    """Calls in flight; all is done from one thread, but that futures may be done in any.

    Args:
      evaluator: does the work.
      most: calls at a time.
      timeout: seconds for a call, from when it is worked for; None for no bound.

    Raises:
      ValueError: for a timeout that the evaluator cannot keep.
    """

    def __init__(self, evaluator: Evaluator, most: int, timeout: float | None):
        if timeout is not None and evaluator.can_end == "no":
            raise ValueError(
                f"timeout={timeout:g}: {type(evaluator).__name__} cannot end a function that takes "
                "too long; use processes(fn), whose workers are ended, or timeout=None"
            )
        self._evaluator, self._most, self._timeout = evaluator, most, timeout
        self._flights: dict[Future, _Flight] = {}
        self._done: collections.deque[_Flight] = collections.deque()
        self._tokens: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._unended: list[Future] = []  # out of time, and still worked for
        self._mean_seconds = 0.0
        self.now: Callable[[], float] = time.monotonic

    def __len__(self) -> int:
        return len(self._flights)

    @property
    def calls(self) -> list[Call]:
        return [flight.task.call for flight in list(self._flights.values())]  # from any thread

    def free(self) -> int:
        """How many calls may be begun now."""
        self._unended = [future for future in self._unended if not future.done()]
        return self._most - len(self._flights) - len(self._unended)

    def check_places(self) -> None:
        """
        Raises:
          OracleError: if no call may ever be begun, as those that cannot be ended have taken all
            places.
        """
        if not self._flights and self.free() <= 0:
            raise OracleError(
                f"all {self._most} workers are at work on calls that are out of time and cannot be "
                "ended from here; end them where they run, and go on with the same command"
            )

    def begin(self, tasks: Sequence[Task]) -> None:
        with interrupts.held_back(("calls that might be begun and not known of",)):
            for task in tasks:
                task.attempts += 1
                try:
                    future = self._evaluator.submit(task.call)
                except Exception as error:
                    future = Future()
                    future.set_exception(error)
                flight = self._flights[future] = _Flight(task, future, self.now())
                future.add_done_callback(functools.partial(self._arrive, flight))

    def _arrive(self, flight: _Flight, future: Future) -> None:
        """From any thread."""
        flight.done = self.now()
        self._done.append(flight)
        self.wake()

    def wake(self) -> None:
        """From any thread: `wait` ends."""
        self._tokens.put(None)

    def wait(self, seconds: float, gather: float) -> None:
        """Until a call has ended, at most so long; and on for what ends with it.

        Args:
          seconds: at most.
          gather: seconds for what ends with it, if that is little beside what a call takes.
        """
        now = self.now()
        if not self._done:
            self._pause(min([seconds, *(end - now for end in self._deadlines())]))
        until = self.now() + min(gather, 0.05 * self._mean_seconds)
        while 0 < len(self._done) < len(self._flights) and (left := until - self.now()) > 0:
            self._pause(left)

    def _deadlines(self) -> list[float]:
        if self._timeout is None:
            return []
        begun = [flight.begun for flight in self._flights.values()]
        return [moment + self._timeout for moment in begun if moment is not None]

    def _pause(self, seconds: float) -> None:
        with contextlib.suppress(queue.Empty):
            self._tokens.get(timeout=max(0.0, seconds))

    def landed(self) -> list[Landed]:
        """What has ended since, calls out of time among them; called with signals held back."""
        while not self._tokens.empty():
            self._tokens.get()
        landed = []
        while self._done:
            flight = self._done.popleft()
            if self._flights.pop(flight.future, None):  # else it was ended before
                landed.append(self._land(flight, _answer(flight.future)))
        late = [f for f in self._flights.values() if self._is_late(f)]
        for flight in late:
            del self._flights[flight.future]
            self._evaluator.end(flight.future)
        if self._evaluator.can_end == "yes":  # a call of several rows may have answers to some
            several = [f.future for f in late if len(f.task.call.rows) > 1 and not f.future.done()]
            concurrent.futures.wait(several, LAST_WORDS)
        return landed + [self._land(flight, self._out_of_time(flight)) for flight in late]

    @property
    def may_have_landed(self) -> bool:
        return bool(self._done) or any(map(self._is_late, self._flights.values()))

    def _is_late(self, flight: _Flight) -> bool:
        begun = flight.begun
        if self._timeout is None or begun is None:
            return False
        return self.now() >= begun + self._timeout

    def _out_of_time(self, flight: _Flight) -> Any:
        future, call = flight.future, flight.task.call
        late = Raised(f"did not answer within timeout={self._timeout:g} s", kinds(TimeoutError))
        if future.done() and not future.cancelled() and future.exception() is None:
            # It came at the last moment, or before the worker was ended.
            each = outcomes(future.result(), len(call.rows))
            return [late if isinstance(one, WorkerDied) else one for one in each]
        if self._evaluator.can_end != "yes" and not future.done():
            self._unended.append(future)
            logger.warning(
                "the oracle did not answer within timeout=%g s for %s, and the work for it may go "
                "on where it is done",
                self._timeout,
                call,
            )
        return late

    def _land(self, flight: _Flight, answer: Any) -> Landed:
        done = self.now() if flight.done is None else flight.done
        begun = done if flight.begun is None else flight.begun
        seconds = max(0.0, done - begun)
        self._mean_seconds += 0.2 * (seconds - self._mean_seconds)
        return Landed(flight.task, answer, seconds)

    def end_all(self) -> list[Task]:
        """Ends all that is in flight now; what comes of it is heard no more.

        Returns:
          The calls that no worker had taken up.
        """
        flights, self._flights = list(self._flights.values()), {}
        for flight in flights:
            self._evaluator.end(flight.future)
        return [one.task for one in flights if one.begun is None and one.future.cancelled()]

    def close(self) -> None:
        self.end_all()
        self._evaluator.close()


def _answer(future: Future) -> Any:
    """What a future that is done holds; what it raised stands in the place of an answer."""
    if future.cancelled():
        return Raised("was cancelled", ("concurrent.futures.CancelledError",))
    error = future.exception()
    return future.result() if error is None else error
