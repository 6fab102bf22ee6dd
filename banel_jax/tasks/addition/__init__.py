"""The addition attack (Appendix B.1): a target model, and what judges a query by it."""

from banel_jax.tasks.addition.task import (
    AdditionOracle,
    GrammarConfig,
    Query,
    Verdict,
    answers_right,
    exact_sum,
    parse,
    sequences_of,
    strings_of,
    target_length,
)

__all__ = [
    "AdditionOracle",
    "GrammarConfig",
    "Query",
    "Verdict",
    "answers_right",
    "exact_sum",
    "parse",
    "sequences_of",
    "strings_of",
    "target_length",
]
