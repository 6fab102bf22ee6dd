"""Threads that hand calls to workers, one call at a time each."""

import contextlib
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from typing import Any, Protocol

from banel_jax.oracle.calls import Call
from banel_jax.oracle.evaluators.protocol import check_workers

PATIENCE = 2.0  # seconds that idle workers have to end in order


class Timed(Future):
    """A future that knows since when it is worked for."""

    begun: float | None = None

    def set_running_or_notify_cancel(self) -> bool:
        self.begun = time.monotonic()
        return super().set_running_or_notify_cancel()


class Worker(Protocol):
    """Does one call after another, all from one thread."""

    def work(self, call: Call, begun: Callable[[], bool]) -> Any:
        """The answer of a call; `begun()` says that it is being worked for from now on, and is
        False where nobody wants it any more."""

    def end(self) -> None:
        """From any thread: makes `work` return or raise soon, where that can be done."""

    def close(self) -> None:
        """In order, when idle."""


class Pool:
    """Workers that are begun when they are needed.

    Args:
      workers: how many at most.
      make: a new worker.

    The threads are daemons, so a worker that never returns does not keep the process from ending.
    """

    can_end = "no"
    rows_a_call: int | None = 1

    def __init__(self, workers: int, make: Callable[[], Worker]):
        self.workers = check_workers(workers)
        self._make = make
        self._lock = threading.RLock()
        self._at_work: dict[Future, Worker] = {}
        self._empty()

    def _empty(self) -> None:
        self._calls: queue.SimpleQueue[tuple[Future, Call] | None] = queue.SimpleQueue()
        self._open: set[Future] = set()
        self._threads: list[threading.Thread] = []
        self._all: list[Worker] = []

    def submit(self, call: Call) -> Future:
        future = Timed()
        with self._lock:
            self._open.add(future)
            if len(self._open) > len(self._threads) < self.workers:
                name, mine = f"oracle-{len(self._threads)}", (self._calls, self._all)
                thread = threading.Thread(target=self._run, name=name, args=mine, daemon=True)
                self._threads.append(thread)
                thread.start()
            self._calls.put((future, call))
        return future

    def _run(self, calls: queue.SimpleQueue, workers: list[Worker]) -> None:
        worker = self._make()
        with self._lock:
            workers.append(worker)
        while (item := calls.get()) is not None:
            future, call = item
            with self._lock:
                self._at_work[future] = worker
            try:
                answer, error = worker.work(call, future.set_running_or_notify_cancel), None
            except BaseException as failure:
                answer, error = None, failure
            with self._lock:  # before anybody hears of it, who may then end another call's work
                del self._at_work[future]
                self._open.discard(future)
            with contextlib.suppress(InvalidStateError):  # cancelled before it was begun
                future.set_result(answer) if error is None else future.set_exception(error)
            del future, call, item, answer, error
        worker.close()

    def end(self, future: Future) -> None:
        future.cancel()
        with self._lock:
            worker = self._at_work.get(future)
            if worker:
                worker.end()

    def close(self) -> None:
        with self._lock:
            futures, threads, calls, workers = (
                list(self._open), self._threads, self._calls, self._all
            )  # fmt: skip
            self._empty()  # another run may begin with it
        for future in futures:
            self.end(future)
        for _ in threads:
            calls.put(None)
        if self.can_end == "yes":
            for thread in threads:
                thread.join(PATIENCE)
            for worker in workers:
                worker.end()
