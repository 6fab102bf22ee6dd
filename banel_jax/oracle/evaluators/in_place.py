"""A function that runs in the caller's own thread, one call at a time."""

import functools
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

from banel_jax.oracle.calls import Call, ask
from banel_jax.oracle.evaluators.protocol import check_function, gives_each


class in_place:
    """A function in the caller's thread, which is what a plain function becomes by itself.

    It is given one row a call, so that an exception costs no other row's answer; all rows of a
    round where it is seen to be a generator, whose every answer is on disk before the next is
    worked for, or a function of `jax.jit`, by which nothing is lost. One that answers for a whole
    round when it is given one row is given whole rounds from then on.

    Nothing can end it but itself and Ctrl-C, so it takes no timeout.

    Args:
      fn: `fn(sequences [k]) -> k answers`, see `answers.outcomes`; with parameters named `rows`
        or `text` it is given the `Row`s and the texts as well.
    """

    workers = 1
    can_end = "no"

    def __init__(self, fn: Callable):
        check_function(fn, "in_place", "give it as it is, or to asynchronous(fn)")
        self.fn = fn
        whole = fn
        while isinstance(whole, functools.partial):
            whole = whole.func
        stages = getattr(sys.modules.get("jax"), "stages", None)  # if it is not loaded, fn is none
        compiled = stages is not None and isinstance(whole, stages.Wrapped)
        self.gives_each = gives_each(fn)
        self.rows_a_call: int | None = None if compiled or self.gives_each else 1

    def source(self, call: Call) -> Iterator[Any]:
        """The call as an iterator of one answer, which asks for it when it is asked for it."""
        return map(functools.partial(ask, self.fn), [call])

    def submit(self, call: Call) -> Future:
        future: Future = Future()
        future.set_result(next(self.source(call)))
        return future

    def end(self, future: Future) -> None:
        pass

    def close(self) -> None:
        pass
