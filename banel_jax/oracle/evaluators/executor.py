"""A function by way of an executor: Dask, Ray, MPI, SLURM, or Python's own pools."""

import secrets
import sys
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from banel_jax.oracle.answers import Outcome, WorkerDied, outcomes
from banel_jax.oracle.calls import Call, ask, taken
from banel_jax.oracle.evaluators.protocol import check_function, check_workers


class executor:
    """A function by way of any `concurrent.futures.Executor`, which stays the caller's to shut.

    With Dask it is `executor(client.get_executor(), fn, workers=16)`. The function, and what this
    module imports, must be there where the executor's workers are. A call out of time is
    cancelled; where it is already being worked for, the work may go on, and its place is taken
    until that ends, as far as the executor tells. (Dask says at once that it has ended.) A timeout
    counts from when the executor was given a call, so `workers` must not be more than it has.

    Args:
      executor: has `submit(fn, *args)`, which gives a future.
      fn: as for `in_place`; its answers come together.
      workers: calls at a time; None for what the executor says of itself.
    """

    can_end = "cancel"
    rows_a_call: int | None = 1

    def __init__(self, executor: Any, fn: Callable, workers: int | None = None):
        check_function(fn, "executor", "let it call asyncio.run")
        if not callable(getattr(executor, "submit", None)):
            kind = type(executor).__name__
            raise ValueError(f"executor was given a {kind}; give a concurrent.futures.Executor")
        if workers is None:
            workers = getattr(executor, "_max_workers", None)
        if workers is None:
            raise ValueError(
                f"workers=None, and a {type(executor).__name__} does not say how many it has; "
                "give workers, the calls at a time"
            )
        self.workers, self.executor, self.fn = check_workers(workers), executor, fn

    def submit(self, call: Call) -> Future:
        # Dask takes equal calls for one, and so would not ask again after a failure.
        return self.executor.submit(_evaluate, self.fn, call, secrets.token_hex(8))

    def end(self, future: Future) -> None:
        future.cancel()

    def close(self) -> None:
        pass


def _begun_before(name: str) -> bool:
    """Whether Dask makes the call a second time: it does where a worker died that made it, or that
    still had its answer, and would pay for it again without telling anybody."""
    distributed = sys.modules.get("distributed")
    try:
        distributed.get_worker()  # type: ignore[union-attr]
    except (AttributeError, ValueError):  # it is not there, or this is none of its workers
        return False
    event = distributed.Event(name)  # type: ignore[union-attr]
    before = event.is_set()
    event.set()
    return before


def _evaluate(fn: Callable, call: Call, name: str) -> list[Outcome]:
    """As outcomes, since neither answers nor exceptions need be such as can be sent."""
    k = len(call.rows)
    if _begun_before(name):
        died = WorkerDied("the worker that had begun it died, and what it found out is lost")
        return outcomes(died, k)
    try:
        return outcomes(taken(ask(fn, call), k), k)
    except Exception as error:
        return outcomes(error, k)
