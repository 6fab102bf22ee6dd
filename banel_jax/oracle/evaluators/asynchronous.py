"""A coroutine function, many calls of which wait in one thread."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from banel_jax.oracle.calls import Call, ask, taken
from banel_jax.oracle.evaluators.pool import PATIENCE, Timed
from banel_jax.oracle.evaluators.protocol import check_workers, is_async


class asynchronous:
    """A coroutine function in an event loop of its own; which is what such a function becomes by
    itself.

    A call out of time is cancelled. Where the coroutine does not let go at that, or keeps the loop
    from going on by waiting otherwise than with `await`, nothing can end it.

    Args:
      fn: as for `in_place`, `async def`.
      workers: calls at a time.
    """

    can_end = "yes"
    rows_a_call: int | None = 1

    def __init__(self, fn: Callable, workers: int = 32):
        if not callable(fn) or not is_async(fn):
            kind = getattr(fn, "__name__", type(fn).__name__)
            raise ValueError(f"asynchronous was given {kind}; give a function of `async def`")
        self.fn, self.workers = fn, check_workers(workers)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: dict[Future, asyncio.Task] = {}  # of the loop's thread

    def submit(self, call: Call) -> Future:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            run = self._loop.run_forever
            self._thread = threading.Thread(target=run, name="oracle-loop", daemon=True)
            self._thread.start()
        future = Timed()
        self._loop.call_soon_threadsafe(self._begin, future, call)
        return future

    def _begin(self, future: Timed, call: Call) -> None:
        if future.set_running_or_notify_cancel():
            self._tasks[future] = asyncio.ensure_future(self._work(future, call))

    async def _work(self, future: Future, call: Call) -> None:
        answer: Any = None
        error: BaseException | None = None
        try:
            answer = taken(await ask(self.fn, call), len(call.rows))
        except asyncio.CancelledError:
            error = RuntimeError("it was cancelled")
        except BaseException as failure:
            error = failure
        self._tasks.pop(future, None)
        future.set_result(answer) if error is None else future.set_exception(error)

    def end(self, future: Future) -> None:
        if not future.cancel() and self._loop is not None:
            self._loop.call_soon_threadsafe(self._cancel, future)

    def _cancel(self, future: Future) -> None:
        if task := self._tasks.get(future):
            task.cancel()

    def close(self) -> None:
        loop, self._loop = self._loop, None  # another run may begin with it
        if loop is not None and self._thread.is_alive():
            ended = asyncio.run_coroutine_threadsafe(self._end_all(loop), loop)
            try:
                ended.result(PATIENCE)
            except TimeoutError:
                return  # the thread is a daemon
            loop.call_soon_threadsafe(loop.stop)
            self._thread.join(PATIENCE)
            if not self._thread.is_alive():
                loop.close()

    async def _end_all(self, loop: asyncio.AbstractEventLoop) -> None:
        tasks = [task for task in list(self._tasks.values()) if task.get_loop() is loop]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
