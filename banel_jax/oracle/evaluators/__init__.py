"""The ways to evaluate, all of which take calls and give futures of their answers."""

from typing import Any

from banel_jax.oracle.evaluators.executor import executor
from banel_jax.oracle.evaluators.in_place import in_place
from banel_jax.oracle.evaluators.protocol import Evaluator
from banel_jax.oracle.evaluators.threads import threads

__all__ = ["Evaluator", "as_evaluator", "executor", "in_place", "threads"]


def as_evaluator(oracle: Any) -> Evaluator:
    """An oracle as something that evaluates: a function is called in place.

    Raises:
      ValueError: for what is neither.
    """
    if not isinstance(oracle, type) and isinstance(oracle, Evaluator):
        return oracle
    if callable(oracle):
        return in_place(oracle)
    mend = "executor(it, fn, workers)" if hasattr(oracle, "submit") else "a function"
    raise ValueError(f"the oracle is a {type(oracle).__name__}; give {mend}")
