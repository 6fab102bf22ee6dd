"""Questions to a ledger's file, beside the run that writes it; files of earlier formats too."""

import bisect
import contextlib
import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

SHOWN = 24  # rows of the latest round, and of each other list
TOKENS = 96  # of a row that is shown
LATEST = 200  # rows of which the seconds are taken

# What stands for a column in files of an earlier format, which lack it.
LACKING = {
    "state": "CASE WHEN reward IS NULL THEN 'running' ELSE 'done' END",
    "score": "NULL", "reason": "NULL", "started": "NULL", "seconds": "NULL",
}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """A row of the ledger, cut to what a person reads.

    Attributes:
      row, round, index: its place in the run and in the round, from 0.
      tokens: the first of them.
      length: how many it has.
      state: pending, running, done, failed or abandoned.
      reward: 0 or 1, None where there is none.
      score: what the oracle said beside it, or None.
      reason: why it failed or what is awaited, or None.
      attempts: how often the oracle was asked.
      started: unix seconds, or None.
    """

    row: int
    round: int
    index: int
    tokens: tuple[int, ...]
    length: int
    state: str
    reward: float | None
    score: Any
    reason: str | None
    attempts: int
    started: float | None


class Table:
    """The questions, over a range of rows [start, end), end None for all from `start` on."""

    def __init__(self, database: sqlite3.Connection, lacking: dict[str, str]):
        self.database = database
        more = "".join(f", {value} AS {name}" for name, value in lacking.items())
        self.source = f"(SELECT *{more} FROM evaluations)" if lacking else "evaluations"

    def _ask(self, query: str, *values: Any) -> list[tuple]:
        return self.database.execute(query.replace("evaluations", self.source), values).fetchall()

    def first_open(self, start: int, told: int) -> int:
        """The first row from `start` on that may change, or the one after the last."""
        last = self._ask("SELECT MAX(row) FROM evaluations")[0][0]
        end = 0 if last is None else last + 1
        of = "SELECT round FROM evaluations WHERE row >= ? ORDER BY row LIMIT 1"
        rows = range(start, end)  # whose rounds ascend, so that none of the told ones is read
        begin = start + bisect.bisect_left(rows, told, key=lambda row: self._ask(of, row)[0][0])
        query = (
            "SELECT row FROM evaluations WHERE row >= ? AND state <> 'done' ORDER BY row LIMIT 1"
        )
        found = self._ask(query, begin)
        return found[0][0] if found else end

    def sums(self, start: int, end: int | None) -> list[tuple]:
        return self._over(
            "round, state, reason, SUM(reward), SUM(attempts > 0), COUNT(*), MAX(row)",
            start,
            end,
            "",
            "1, 2, 3",
        )

    def successes(self, start: int, end: int | None) -> list[tuple]:
        return self._over("row, round, tokens, mask", start, end, "AND reward = 1")

    def _over(self, what: str, start: int, end: int | None, where: str, group="") -> list[tuple]:
        group = f"GROUP BY {group}" if group else ""
        query = f"SELECT {what} FROM evaluations WHERE row >= ? AND row < ? {where} {group}"
        return self._ask(query, start, 2**63 - 1 if end is None else end)

    def latest(self, first: int, end: int) -> tuple[Row, ...]:
        """Rows of [first, end) that were answered, successes before others."""
        found: dict[int, Row] = {}
        for which in ("reward = 1", "state = 'done'"):
            found |= {
                row.row: row for row in self._rows(f"{which} AND row >= ? AND row < ?", first, end)
            }
        return tuple(found.values())[:SHOWN]

    def named(self, rows: Sequence[int]) -> tuple[Row, ...]:
        return self._rows(f"row IN ({', '.join(map(str, rows))})")

    def open(self, start: int) -> tuple[Row, ...]:
        """Rows from `start` on that wait for an answer, those that the oracle has before others."""
        where = "state IN ('running', 'pending', 'abandoned') AND row >= ?"
        return self._rows(where, start, order="state = 'pending', row")

    def seconds(self, end: int) -> float | None:
        """Median of what the oracle took for the newest rows before `end`."""
        query = (
            "SELECT seconds FROM evaluations WHERE row >= ? - ? AND row < ? "
            "AND state = 'done' AND seconds IS NOT NULL"
        )
        taken = [seconds for (seconds,) in self._ask(query, end, LATEST, end)]
        return max(0.0, float(np.median(taken))) if taken else None

    def _rows(self, where: str, *values: Any, order: str = "row") -> tuple[Row, ...]:
        query = (
            "SELECT row, round, index_in_round, substr(tokens, 1, ?), length(tokens) / 4, state, "
            f"reward, score, reason, attempts, started FROM evaluations WHERE {where} "
            f"ORDER BY {order} LIMIT ?"
        )
        return tuple(map(_row, self._ask(query, 4 * TOKENS, *values, SHOWN)))


def _row(found: tuple) -> Row:
    row, round, index, tokens, length, state, reward, score, *rest = found
    with contextlib.suppress(ValueError, TypeError):
        score = json.loads(score) if isinstance(score, str) else score
    return Row(row, round, index, tuple(np.frombuffer(tokens, "<i4").tolist()), length, state,
               reward, score, *rest)  # fmt: skip
