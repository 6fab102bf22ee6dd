"""What an oracle may answer: exactly one finite reward a row, 0 or 1."""

import contextlib
from dataclasses import dataclass
from typing import Any

import numpy as np


class OracleError(ValueError):
    """The oracle raised or answered wrongly; the message names the row."""


@dataclass(frozen=True)
class Rows:
    """The rows of one call of the oracle.

    Attributes:
      round: from 0.
      first_row: global number of the round's first row, from 0.
      indices: int64 [k], the rows' places in the round, from 0.
    """

    round: int
    first_row: int
    indices: np.ndarray

    def name(self, position: int) -> str:
        index = int(self.indices[position])
        return f"row {self.first_row + index} (round {self.round}, index {index})"

    def only(self, position: int) -> "Rows":
        return Rows(self.round, self.first_row, self.indices[position : position + 1])

    def __str__(self) -> str:
        k = len(self.indices)
        return self.name(0) if k == 1 else f"the {k} rows from {self.name(0)} to {self.name(k - 1)}"


def one_line(error: Any) -> str:
    return " ".join(str(error).split())[:300]


def as_rewards(answer: Any, rows: Rows) -> np.ndarray:
    """An answer of the right type and count as float64 [k]; nothing is broadcast.

    Raises:
      OracleError: if it is not k numbers.
    """
    k = len(rows.indices)
    try:
        numbers = _numbers(answer)
    except Exception as error:
        raise OracleError(
            f"the oracle answered {type(answer).__name__} {one_line(answer)[:60]} for {rows}: "
            f"{one_line(error)}. It must return {k} rewards, each 0 or 1"
        ) from error
    if numbers.shape != (k,):
        raise OracleError(
            f"the oracle answered with shape {numbers.shape} for {rows}; it must return one "
            f"reward a row, shape ({k},)"
        )
    return numbers


def each_reward(answer: Any, rows: Rows) -> np.ndarray:
    """As `as_rewards`, but where one of k answers is no number the others are not lost.

    Returns:
      float64 [k], NaN for what is no number.

    Raises:
      OracleError: if nothing in the answer can be told to belong to a row.
    """
    try:
        return as_rewards(answer, rows)
    except OracleError:
        if not isinstance(answer, list | tuple) or len(answer) != len(rows.indices):
            raise
        rewards = np.full(len(answer), np.nan)
        for i, one in enumerate(answer):
            with contextlib.suppress(Exception):
                number = _numbers(one)
                rewards[i] = number if number.shape == () else np.nan
        if not sound(rewards).any():
            raise
        return rewards


def _numbers(answer: Any) -> np.ndarray:
    array = np.asarray(answer)
    if array.dtype.kind not in "biufV":  # V: bfloat16 and its like
        raise TypeError("it holds no real numbers")
    return array.astype(np.float64)


def sound(rewards: np.ndarray) -> np.ndarray:
    """bool [k]: which rewards are 0 or 1 (NaN is neither)."""
    return (rewards == 0) | (rewards == 1)
