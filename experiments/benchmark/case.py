"""What `experiments.benchmark` times: one work of one model, beside another library's."""

import os
import time
from collections.abc import Callable
from typing import Any, NamedTuple

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Case(NamedTuple):
    """One work of one model.

    Attributes:
      amount, unit: what one run gets done, such as 500 sequences.
      flops: of the model in one run.
      bytes: that it reads of memory at the least, weights and caches once a step; 0 where
        neither counts.
      bfloat16: whether it computes in it.
      run: ours.
      library: that it is compared with.
      needs: the packages of that.
      alternatives: `alternatives(compiled) -> {name: run}`, the same in that library, of which
        the fastest counts.
      products: the matrix products of ours without all else, with as many rows in each; None
        where that is not taken.
    """

    amount: int
    unit: str
    flops: float
    bytes: float
    bfloat16: bool
    run: Callable[[], Any]
    library: str
    needs: tuple[str, ...]
    alternatives: Callable[[bool], dict[str, Callable[[], Any]]]
    products: Callable[[], Any] | None = None


def seconds(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start
