"""The ways to evaluate, all of which take calls and give futures of their answers."""

from typing import Any

from banel_jax.oracle.evaluators.asynchronous import asynchronous
from banel_jax.oracle.evaluators.by_hand import by_hand
from banel_jax.oracle.evaluators.command import command
from banel_jax.oracle.evaluators.executor import executor
from banel_jax.oracle.evaluators.in_place import in_place
from banel_jax.oracle.evaluators.processes import processes
from banel_jax.oracle.evaluators.protocol import Evaluator, is_async
from banel_jax.oracle.evaluators.threads import threads

__all__ = [
    "Evaluator",
    "as_evaluator",
    "asynchronous",
    "by_hand",
    "command",
    "executor",
    "in_place",
    "processes",
    "threads",
]


def as_evaluator(oracle: Any) -> Evaluator:
    """An oracle as something that evaluates: a function in place, or in a loop if it is `async`.

    Raises:
      ValueError: for what is neither.
    """
    if not isinstance(oracle, type) and isinstance(oracle, Evaluator):
        return oracle
    if callable(oracle):
        return asynchronous(oracle) if is_async(oracle) else in_place(oracle)
    mend = "executor(it, fn, workers)" if hasattr(oracle, "submit") else "a function"
    raise ValueError(f"the oracle is a {type(oracle).__name__}; give {mend}")
