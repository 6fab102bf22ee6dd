"""What can evaluate: anything that takes calls and gives futures of their answers."""

import functools
import inspect
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Protocol, runtime_checkable

from banel_jax.oracle.calls import Call


@runtime_checkable
class Evaluator(Protocol):
    """One way to evaluate.

    Attributes:
      workers: how many calls it works on at once.
      can_end: "yes" where `end` ends the work itself; "cancel" where it may go on without anybody
        waiting for it; "no" where nothing can be done about it, so that a timeout is refused.
      rows_a_call: how many rows a call should have where the user says nothing; None for all of
        a round. Where it has an attribute `whole_rounds` that is true, it is given all of a round
        whatever the user says.
    """

    workers: int
    can_end: str
    rows_a_call: int | None

    def submit(self, call: Call) -> Future:
        """Begins a call, and does not wait for it. The future holds what `answers.outcomes` takes;
        where it has an attribute `begun`, of `time.monotonic` and None until a worker has taken
        the call up, a timeout counts from then, else from now. An `OracleError` in it ends the
        run: the evaluator cannot do its work, and none of the rows was asked for."""

    def end(self, future: Future) -> None:
        """Ends the work for a future now, with the worker and its children."""

    def close(self) -> None:
        """Ends all workers: in order where they are idle, now where they are at work. Another run
        may begin with the evaluator afterwards."""


def gives_each(fn: Callable) -> bool:
    """Whether a function is seen to be a generator, which answers row by row."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    return any(map(inspect.isgeneratorfunction, (fn, type(fn).__call__)))


def is_async(fn: Callable) -> bool:
    while isinstance(fn, functools.partial):
        fn = fn.func
    return any(map(inspect.iscoroutinefunction, (fn, type(fn).__call__)))


def check_workers(workers: Any) -> int:
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
        raise ValueError(f"workers={workers!r} must be a whole number of at least 1")
    return workers


def check_function(fn: Any, where: str, mend: str) -> None:
    """Refuses what this way to evaluate cannot call."""
    if not callable(fn):
        raise ValueError(f"{where} was given a {type(fn).__name__}; give a function")
    if is_async(fn):
        raise ValueError(f"{where} was given a coroutine function; {mend}")
