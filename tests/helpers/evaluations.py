"""Rows to evaluate, and what becomes of them; it loads no more than an evaluator needs."""

import numpy as np

from banel_jax.oracle.calls import Call, Row
from banel_jax.oracle.config import OracleConfig
from banel_jax.oracle.schedule import Schedule
from banel_jax.types import Sequences


def call(rows, round=0):
    numbers = np.arange(rows, dtype=np.int32)[:, None]
    named = [Row(f"run-{n}", n, round, n) for n in range(rows)]
    texts = [f"text {n}" for n in range(rows)]
    return Call(named, Sequences(numbers, np.ones(numbers.shape, bool)), texts)


def evaluated(evaluator, rows, close=True, **settings):
    """What becomes of each row."""
    outcomes = {}

    def change(ended, rows):
        outcomes.update({row.row: outcome for row, outcome, _ in ended})

    schedule = Schedule(evaluator, OracleConfig(**settings), change)
    schedule.add(call(rows))
    assert schedule.wait_for(0) is None
    if close:
        schedule.close()
    return [outcomes[row] for row in range(rows)]
