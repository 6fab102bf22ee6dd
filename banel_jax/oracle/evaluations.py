"""A ledger's rows as arrays, lists or a pandas frame."""

import json
from dataclasses import dataclass, fields
from typing import Any, cast

import numpy as np

from banel_jax.types import Sequences

# Columns by the names below: in a file of format 3, and what stands for them in one of format 2.
COLUMNS = {
    "row": ("row", "row"),
    "round": ("round", "round"),
    "index": ("index_in_round", "index_in_round"),
    "tokens": ("tokens", "tokens"),
    "mask": ("mask", "mask"),
    "reward": ("reward", "reward"),
    "state": ("state", "CASE WHEN reward IS NULL THEN 'abandoned' ELSE 'done' END"),
    "score": ("score", "NULL"),
    "cost": ("cost", "NULL"),
    "reason": ("reason", "NULL"),
    "attempts": ("attempts", "attempts"),
    "seconds": ("seconds", "NULL"),
    "worker": ("worker", "NULL"),
    "source": ("source", "'oracle'"),
}


@dataclass(frozen=True)
class Evaluations:
    """Rows of a ledger, k of them, by row.

    Attributes:
      tokens: int32 [k, length]; shorter sequences are filled up with 0.
      mask: bool [k, length]; False where filled up.
      reward: float64 [k], NaN where there is none.
      row: int64 [k], counted over the whole run, from 0.
      round: int64 [k], from 0.
      index: int64 [k], place in the round.
      state: str [k], of `rows.STATES`.
      score: list [k] of what the oracle said beside the reward, None where it said nothing.
      cost: float64 [k], NaN where the oracle did not tell.
      reason: list [k], why a row failed or what is awaited, else None.
      attempts: int64 [k], how often the oracle was asked; it is paid where above 0.
      seconds: float64 [k] that the oracle took, NaN where not known.
      worker: list [k], which was asked last, or None.
      source: list [k]: oracle, memo or known.
      text: list [k] of what a person sees, None where nothing renders it.
    """

    tokens: np.ndarray
    mask: np.ndarray
    reward: np.ndarray
    row: np.ndarray
    round: np.ndarray
    index: np.ndarray
    state: np.ndarray
    score: list
    cost: np.ndarray
    reason: list
    attempts: np.ndarray
    seconds: np.ndarray
    worker: list
    source: list
    text: list[str] | None = None

    def __len__(self) -> int:
        return len(self.row)

    @property
    def sequences(self) -> Sequences:
        return Sequences(cast(Any, self.tokens), cast(Any, self.mask))

    def columns(self) -> dict[str, list]:
        """A list of Python's own values for each attribute that is there, None for NaN."""
        plain = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None:
                plain[field.name] = list(value) if isinstance(value, list) else value.tolist()
        for name in ("reward", "cost", "seconds"):
            plain[name] = [None if x != x else x for x in plain[name]]
        return plain

    def frame(self) -> Any:
        """A pandas DataFrame of the columns: numbers as they are here, NaN included, and lists of
        Python's own for tokens, mask and what the oracle said.

        Raises:
          ImportError: where pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise ImportError("pandas is not installed; pip install pandas") from error
        arrays = {k: v for k, v in vars(self).items() if isinstance(v, np.ndarray) and v.ndim == 1}
        return pandas.DataFrame(self.columns() | arrays)


def gathered(rows: list[tuple]) -> Evaluations:
    """Rows of `COLUMNS`."""
    columns = dict(
        zip(COLUMNS, zip(*rows, strict=True) if rows else [()] * len(COLUMNS), strict=True)
    )
    tokens, mask = columns.pop("tokens"), columns.pop("mask")
    length = max(map(len, mask), default=0)
    whole = lambda parts, width: b"".join(part.ljust(width * length, b"\0") for part in parts)
    number = lambda name: np.array([np.nan if x is None else x for x in columns[name]], np.float64)
    integer = lambda name: np.array(columns[name], np.int64)
    told: dict[str, Any] = {
        "tokens": np.frombuffer(whole(tokens, 4), "<i4").astype(np.int32),
        "mask": np.frombuffer(whole(mask, 1), np.uint8).astype(bool),
    }
    told = {name: array.reshape(len(rows), length) for name, array in told.items()}
    told |= {name: number(name) for name in ("reward", "cost", "seconds")}
    told |= {name: integer(name) for name in ("row", "round", "index", "attempts")}
    told |= {name: list(columns[name]) for name in ("reason", "worker", "source")}
    told["score"] = [None if score is None else json.loads(score) for score in columns["score"]]
    told["state"] = np.array(columns["state"], np.str_)
    return Evaluations(**told)
