"""A schedule that goes on while the thread that waits for it does something else."""

import threading
import time
from collections.abc import Callable

from banel_jax.oracle.calls import Call
from banel_jax.oracle.ending import drain, tell
from banel_jax.oracle.schedule import TICK, Schedule


class Feeder:
    """Runs a schedule in a thread of its own, in which its callbacks are called.

    What the schedule raises there ends the thread, and is raised by every `wait_for` from then on.

    Args:
      schedule: is left to the thread until `close`.

    Raises:
      ValueError: for a function that runs in the thread of the schedule, which must be the
        caller's.
    """

    def __init__(self, schedule: Schedule):
        if schedule.runs_here:
            raise ValueError(
                "in_place runs in the thread that waits for it, which has nothing else to do then; "
                "use threads(fn) or processes(fn) to have more than one round in flight"
            )
        self.schedule = schedule
        self._changed = threading.Condition()
        self._quit = False
        self._stopped: str | None = None  # why, once nothing is in flight any more
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._feed, name="oracle-feeder", daemon=True)
        self._thread.start()

    def add(self, call: Call) -> None:
        """As `Schedule.add`."""
        self.schedule.add(call)
        self.schedule.wake()

    def wait_for(self, round: int, timeout: float | None = None) -> str | None:
        """As `Schedule.wait_for`.

        Raises:
          TimeoutError: after so many seconds.
        """
        until = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            while self.schedule.open(round):
                if self._error is not None:
                    raise self._error
                if self._stopped is not None:
                    return self._stopped
                left = TICK if until is None else min(TICK, until - time.monotonic())
                if left <= 0:
                    raise TimeoutError(f"round {round} has not ended within {timeout} s")
                self._changed.wait(left)
            if self._error is not None:
                raise self._error
        return None

    def drain(self, given_up: Callable[[], object]) -> None:
        """Waits for what is in flight, once `stopping` says why nothing more is begun."""
        with self._changed:
            self._stopped = None  # what was said before may have passed
        tell(self.schedule)
        self.schedule.wake()
        with self._changed:
            while self._stopped is None and self._error is None and not given_up():
                self._changed.wait(TICK)
        if self._error is not None:
            self._thread.join()
            drain(self.schedule, given_up)

    def _feed(self) -> None:
        try:
            while not self._quit:
                reason = self.schedule.pump(idle=True)
                with self._changed:
                    self._stopped = None if self.schedule.in_flight else reason
                    self._changed.notify_all()
        except BaseException as error:
            with self._changed:
                self._error = error
                self._changed.notify_all()

    def close(self) -> None:
        """Ends the thread, and closes the schedule from here."""
        self._quit = True
        self.schedule.wake()
        self._thread.join()
        self.schedule.close()

    def __enter__(self) -> "Feeder":
        return self

    def __exit__(self, *_) -> None:
        self.close()
