"""The counted oracle, the ways to evaluate, and the durable ledger."""

from banel_jax.oracle.answers import Answer, Failed, OracleError, Pending, WorkerDied
from banel_jax.oracle.calls import each
from banel_jax.oracle.config import OracleConfig
from banel_jax.oracle.database import LedgerError
from banel_jax.oracle.evaluations import Evaluations
from banel_jax.oracle.evaluators import (
    asynchronous,
    by_hand,
    command,
    executor,
    in_place,
    processes,
    threads,
)
from banel_jax.oracle.ledger import Ledger
from banel_jax.oracle.oracle import Oracle
from banel_jax.oracle.reading import read, status, successes
from banel_jax.oracle.told import AnswersPending, BudgetExceeded, Stopped, Success

__all__ = [
    "Answer", "AnswersPending", "BudgetExceeded", "Evaluations", "Failed", "Ledger", "LedgerError",
    "Oracle", "OracleConfig", "OracleError", "Pending", "Stopped", "Success", "WorkerDied",
    "asynchronous", "by_hand", "command", "each", "executor", "in_place", "processes", "read",
    "status", "successes", "threads",
]  # fmt: skip
