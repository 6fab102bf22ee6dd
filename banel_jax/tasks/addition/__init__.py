"""The addition attack (Appendix B.1): a target model, and what judges a query by it."""

from banel_jax.tasks.addition.task import (
    AdditionOracle,
    GrammarConfig,
    Query,
    Verdict,
    answers_right,
    decode,
    encode,
    exact_sum,
    parse,
    target_length,
)

__all__ = [
    "AdditionOracle",
    "GrammarConfig",
    "Query",
    "Verdict",
    "answers_right",
    "decode",
    "encode",
    "exact_sum",
    "parse",
    "target_length",
]
