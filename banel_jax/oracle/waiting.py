"""The calls that are still to be made, and how many rows of each round have not ended."""

import collections
import itertools
import threading
from collections.abc import Sequence
from dataclasses import dataclass

from banel_jax.oracle.calls import Call, Row


@dataclass(eq=False)
class Task:
    """A call that is to be made, at the earliest at a moment, and how often it was made before."""

    call: Call
    attempts: int = 0
    earliest: float = 0.0

    @property
    def round(self) -> int:
        return self.call.rows[0].round


class Waiting:
    """Calls in the order in which they are to be made; its methods may be called in any thread."""

    def __init__(self) -> None:
        self._queue: collections.deque[Task] = collections.deque()
        self._later: list[Task] = []
        self._answered = False  # whether anything was, since the rows of `_later` were asked for
        self._added: collections.Counter[int] = collections.Counter()
        self._open: collections.Counter[int] = collections.Counter()
        self._lock = threading.RLock()

    def __len__(self) -> int:
        return len(self._queue) + len(self._later)

    def add(self, call: Call, size: int | None) -> None:
        """Rows of one round, in calls of so many rows; None for one call."""
        rounds = {row.round for row in call.rows}
        if len(rounds) != 1:
            raise ValueError(f"a call has rows of rounds {sorted(rounds)}; it must be of one")
        tasks = list(map(Task, call.split(size)))
        with self._lock:
            for round in rounds:
                self._added[round] += len(call.rows)
                self._open[round] += len(call.rows)
            self._queue.extend(tasks)

    def added(self, round: int) -> int:
        return self._added[round]

    def open(self, round: int) -> int:
        """How many rows of a round have not ended for good."""
        with self._lock:
            return self._open[round]

    def end(self, rows: Sequence[Row]) -> None:
        with self._lock:
            self._open.subtract(row.round for row in rows)

    def ready(self, now: float, most: int) -> list[Task]:
        """The first calls that may be made now."""
        with self._lock:
            ready = (task for task in self._queue if task.earliest <= now)
            return list(itertools.islice(ready, max(most, 0)))

    def next_moment(self, now: float) -> float | None:
        """When the next may be made of those that may not be made now; None if there is none."""
        with self._lock:
            moments = [task.earliest for task in self._queue if task.earliest > now]
        return min(moments, default=None)

    def take_out(self, tasks: Sequence[Task]) -> None:
        with self._lock:
            for task in tasks:
                self._queue.remove(task)

    def put_first(self, task: Task) -> None:
        with self._lock:
            self._queue.appendleft(task)

    def put_last(self, task: Task) -> None:
        """Rows that failed, for when there are no others."""
        with self._lock:
            self._later.append(task)
            self._open[task.round] += len(task.call.rows)  # they have not ended for good

    def note_answer(self) -> None:
        self._answered = True

    def recall(self) -> None:
        """When no other is left: those that failed, if anything was answered since; else they
        have ended."""
        with self._lock:
            if self._later and not self._queue:
                if self._answered:
                    self._queue.extend(self._later)
                else:
                    for task in self._later:
                        self._open[task.round] -= len(task.call.rows)
                self._later, self._answered = [], False

    def join(self, task: Task) -> None:
        """One call of a task's rows and of all that wait of its round."""
        with self._lock:
            same = [task, *(other for other in self._queue if other.round == task.round)]
            rest = [other for other in self._queue if other.round != task.round]
            whole = Task(Call.join([other.call for other in same]))
            self._queue = collections.deque([whole, *rest])

    def clear(self) -> None:
        with self._lock:
            self._queue.clear()
