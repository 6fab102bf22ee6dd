"""A function in threads of this process."""

from collections.abc import Callable
from typing import Any

from banel_jax.oracle.calls import Call, ask, taken
from banel_jax.oracle.evaluators.pool import Pool
from banel_jax.oracle.evaluators.protocol import check_function


class threads(Pool):
    """A function in threads of this process: for what waits, for a server or a file, say.

    Python computes in one thread at a time, so what computes goes to `processes`. Nothing can end
    a thread, so this takes no timeout.

    Args:
      fn: as for `in_place`; it is called from several threads at once. A generator's answers are
        gathered and come together.
      workers: how many threads.
    """

    def __init__(self, fn: Callable, workers: int = 8):
        check_function(fn, "threads", "give it as it is, or to asynchronous(fn)")
        super().__init__(workers, lambda: _Thread(fn))


class _Thread:
    def __init__(self, fn: Callable):
        self.fn = fn

    def work(self, call: Call, begun: Callable[[], bool]) -> Any:
        return taken(ask(self.fn, call), len(call.rows)) if begun() else None

    def end(self) -> None:
        pass

    def close(self) -> None:
        pass
