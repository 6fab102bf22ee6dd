"""The counted oracle and its durable ledger."""

from banel_jax.oracle.answers import OracleError
from banel_jax.oracle.database import LedgerError
from banel_jax.oracle.ledger import Ledger
from banel_jax.oracle.oracle import BudgetExceeded, Oracle

__all__ = ["BudgetExceeded", "Ledger", "LedgerError", "Oracle", "OracleError"]
