"""GSM8K: problems, answers and what counts as right (Section 5.3)."""

from banel_jax.tasks.gsm8k.task import (
    GsmOracle,
    has_answer,
    is_right,
    reward,
    strict_answer,
)

__all__ = [
    "GsmOracle",
    "has_answer",
    "is_right",
    "reward",
    "strict_answer",
]
