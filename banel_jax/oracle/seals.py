"""A round whose rows are all done or failed is sealed: its sums, and a CRC-32 of all of its rows.

So a ledger of a million rows is checked on opening at the speed of SQLite, without a look at
each row in Python. A round that was changed is then read row by row, to tell which row it was.
"""

import math
import sqlite3
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from banel_jax.oracle.rows import COLUMNS, Counts, Stored

CHUNK = 1 << 24  # bytes of rows that SQLite joins at once
# A row as text for the CRC-32: short where it is as most are, which is twice as quick.
PLAIN = (
    "round = :round AND index_in_round = row - :first AND state = 'done' AND attempts = 1 "
    "AND score IS NULL AND cost IS NULL AND reason IS NULL AND source = 'oracle' "
    "AND typeof(reward) = 'real'"
)
WHOLE = "||' '||".join(
    f"quote({name})"
    for name in ("row", "round", "index_in_round", "state", "attempts", "reward", "score", "cost",
                 "reason", "source", "typeof(tokens)", "typeof(mask)")
)  # fmt: skip
CONTENT = (
    "SELECT CAST(group_concat(tokens || mask || checksum || "
    f"CASE WHEN reward = 0 AND {PLAIN} THEN '0' WHEN reward = 1 AND {PLAIN} THEN '1' "
    f"ELSE {WHOLE} END, '') AS BLOB) FROM evaluations WHERE row >= :start AND row < :stop"
)


class Seal(NamedTuple):
    """The row of a round in the table `rounds`; the names are its columns there."""

    round: int
    first_row: int
    proposed: int
    rows: int
    answers: int
    successes: int
    digest: int
    failed: int
    paid: int
    repeated: int
    first_success: int | None
    cost: float
    bytes: int
    content: int
    checksum: int = 0

    @property
    def end(self) -> int:
        return self.first_row + self.proposed

    def counts(self) -> Counts:
        return Counts(*(getattr(self, name) for name in Counts._fields))

    def signed(self, seed: int) -> "Seal":
        text = " ".join(map(repr, self[:-1]))
        return self._replace(checksum=zlib.crc32(text.encode(), seed))


PUT = f"INSERT OR REPLACE INTO rounds VALUES ({', '.join('?' * len(Seal._fields))})"
BREAK = "DELETE FROM rounds WHERE round = ?"


def read(database: sqlite3.Connection) -> Iterator[Seal]:
    columns = ", ".join(Seal._fields)
    return map(Seal._make, database.execute(f"SELECT {columns} FROM rounds ORDER BY round"))


def seal(database: sqlite3.Connection, seed: int, round: int, first: int, end: int) -> None:
    """Seals a round, each of whose rows is checked for the last time.

    Raises:
      sqlite3.DatabaseError: if one is not as it was written.
    """
    rows = list(stored(database, first, end))
    for row in rows:
        row.base(seed)
    counts = Counts(*map(sum, zip(*(row.counts() for row in rows), strict=True)))
    repeated = sum(max(row.attempts - 1, 0) for row in rows)
    first_success = next((row.row for row in rows if row.reward == 1), None)
    cost = math.fsum(row.cost for row in rows if row.cost is not None)
    lengths = (map(len, (x.tokens, x.mask, x.score or "", x.reason or "")) for x in rows)
    size = sum(map(sum, lengths))
    content = checksum(database, round, first, end, size)
    new = Seal(
        round, first, end - first, *counts, repeated, first_success, cost, size, content
    ).signed(seed)
    database.execute(PUT, new)


def holds(database: sqlite3.Connection, seed: int, seal: Seal) -> bool:
    """Whether a round, and its seal, are as they were."""
    if seal.signed(seed) != seal:
        return False
    at = (seal.round, seal.first_row, seal.end, seal.bytes)
    return checksum(database, *at) == seal.content


def checksum(database: sqlite3.Connection, round: int, first: int, end: int, size: int) -> int:
    """CRC-32 of all that is in a round's rows but workers and times."""
    step = max(1, (end - first) * CHUNK // max(size, CHUNK))
    crc = 0
    for start in range(first, end, step):
        stop = min(start + step, end)
        query = {"round": round, "first": first, "start": start, "stop": stop}
        (content,) = database.execute(CONTENT, query).fetchone()
        crc = zlib.crc32(content or b"", crc)
    return crc


def stored(database: sqlite3.Connection, first: int, end: int, only: str = "") -> Iterator[Stored]:
    query = f"SELECT {COLUMNS} FROM evaluations WHERE row >= ? AND row < ? {only} ORDER BY row"
    return map(Stored._make, database.execute(query, (first, end)))
