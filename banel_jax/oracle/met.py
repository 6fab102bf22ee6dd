"""What was met before, by sequence: distinct successes, and answers that need not be paid again."""

import hashlib
from typing import NamedTuple

from banel_jax.oracle.store import Store
from banel_jax.oracle.tally import Tally


class Met(NamedTuple):
    """An answer that is known already.

    Attributes:
      reward: 0 or 1; None where it is known to fail.
      score: JSON, or None.
      source: memo where an earlier row was answered so, known where it was given.
    """

    reward: float | None
    score: str | None
    source: str


class Memory:
    """Looks into the file when first asked, and from then on at what is new.

    Args:
      store: the ledger's.
    """

    def __init__(self, store: Store):
        self._store = store
        self._successes = _News(store)
        self._answers = _News(store)
        self._first_round: dict[bytes, int] = {}
        self._row: dict[bytes, int] = {}
        self._given: dict[bytes, int] | None = None

    def distinct_successes(self, rounds: int | None) -> int:
        """How many different sequences of reward 1 the first rounds, or all, have."""
        read = self._successes.read("round, tokens, mask", "reward = 1")
        for round, tokens, mask in read:
            name = key(tokens, mask)
            self._first_round[name] = min(round, self._first_round.get(name, round))
        if rounds is None:
            return len(self._first_round)
        return sum(first < rounds for first in self._first_round.values())

    def answer(self, tokens: bytes, mask: bytes, before: int | None = None) -> Met | None:
        """The answer of the first row with this sequence, before a row, else what was given."""
        name, database = key(tokens, mask), self._store.database
        for row, *sequence in self._answers.read("row, tokens, mask", "state = 'done'"):
            other = key(*sequence)
            self._row[other] = min(row, self._row.get(other, row))
        if name in self._row and (before is None or self._row[name] < before):
            query = "SELECT reward, score FROM evaluations WHERE row = ?"
            ((reward, score),) = database.read(query, self._row[name])
            return Met(reward, score, "memo")
        if self._given is None:
            self._given = {
                key(tokens, mask): number
                for number, tokens, mask in database.read("SELECT number, tokens, mask FROM known")
            }
        if name not in self._given:
            return None
        query = "SELECT reward FROM known WHERE number = ?"
        ((reward,),) = database.read(query, self._given[name])
        return Met(reward, None, "known")

    def forget_given(self) -> None:
        """What is given has changed."""
        self._given = None


class _News:
    """Rows of the file that are done and were not read yet."""

    def __init__(self, store: Store):
        self._store = store
        self._tally: Tally | None = None
        self._position = 0

    def read(self, columns: str, condition: str) -> list[tuple]:
        tally, database = self._store.tally, self._store.database
        query = f"SELECT {columns} FROM evaluations WHERE {condition}"
        if tally is self._tally:
            new = tally.news[self._position :]
            rows = [database.read(f"{query} AND row = ?", row) for row in new]
            read = [row for found in rows for row in found]
        else:  # from the file, at the start and where the tally was made anew
            read = database.read(query)
        self._tally, self._position = tally, len(tally.news)
        return read


def key(tokens: bytes, mask: bytes) -> bytes:
    """Names a sequence; tokens have four bytes each and the mask one, so none is another's."""
    return hashlib.blake2b(tokens + mask, digest_size=16).digest()
