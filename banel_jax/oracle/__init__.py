"""The counted oracle and its durable ledger."""

from banel_jax.oracle.answers import OracleError
from banel_jax.oracle.database import LedgerError
from banel_jax.oracle.evaluations import Evaluations
from banel_jax.oracle.ledger import Ledger
from banel_jax.oracle.oracle import BudgetExceeded, Oracle
from banel_jax.oracle.reading import read, status, successes

__all__ = [
    "BudgetExceeded",
    "Evaluations",
    "Ledger",
    "LedgerError",
    "Oracle",
    "OracleError",
    "read",
    "status",
    "successes",
]
