"""Any number of sequences in calls of one shape: nothing is compiled anew for another number."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from banel_jax.runs.progress import progress
from banel_jax.types import Sequences


def in_batches(function: Callable[[int], Any], number: int, piece: int, description: str) -> Any:
    """Rows of `function(i)`, each of `piece` rows, to `number` of them, as NumPy arrays."""
    calls = -(-number // piece)
    parts = [
        jax.tree.map(np.asarray, function(i)) for i in progress(range(calls), calls, description)
    ]
    return jax.tree.map(lambda *x: np.concatenate(x)[:number], *parts)


def over(
    function: Callable[[Sequences], Any], sequences: Sequences, piece: int, description: str
) -> Any:
    """What a function gives for sequences [n], in calls of `piece` of them; the last is filled."""
    n = len(sequences.tokens)
    rows = np.arange(-(-n // piece) * piece) % n
    take = lambda i: jax.tree.map(lambda x: x[rows[i * piece : (i + 1) * piece]], sequences)
    return in_batches(lambda i: function(take(i)), n, piece, description)
