"""What a ledger knows without reading its file again: counts, states, what was met before."""

import functools
import threading

from banel_jax.oracle.known import Known
from banel_jax.oracle.met import Memory, Met
from banel_jax.oracle.rows import STATES, Counts
from banel_jax.oracle.store import Store


def one_at_a_time(method):
    """Threads take turns, as what they look at changes with what they write."""

    @functools.wraps(method)
    def whole(self, *arguments, **more):
        with self._lock:
            return method(self, *arguments, **more)

    return whole


class Counted:
    """The part of a `Ledger` that asks.

    Args:
      store: the ledger's file and its counts.
    """

    def __init__(self, store: Store):
        self._store = store
        self._memory = Memory(store)
        self._lock = threading.RLock()
        self.run = store.run

    def name_of(self, row: int) -> str:
        """A name that no other row has, of this ledger or another: an idempotency key."""
        return "-".join(part for part in (self.run or "row", self._store.salt, str(row)) if part)

    @one_at_a_time
    def totals(self, rounds: int | None = None) -> tuple[int, int]:
        """(rows paid, successes) of the first `rounds` rounds, or of all."""
        counts = self.counts(rounds)
        return counts.paid, counts.successes

    @one_at_a_time
    def counts(self, rounds: int | None = None) -> Counts:
        """What was paid and met in the first `rounds` rounds, or in all."""
        tally = self._store.tally
        return tally.now if rounds is None else tally.before(rounds)

    @one_at_a_time
    def states(self, rounds: int | None = None) -> dict[str, int]:
        """How many rows of the first `rounds` rounds, or of all, are in each of `rows.STATES`."""
        numbers = dict.fromkeys(STATES, 0) | {"done": self.counts(rounds).answers}
        for row in self._store.tally.open.values():
            numbers[row.state] += rounds is None or row.round < rounds
        return numbers

    @one_at_a_time
    def cost(self, rounds: int | None = None) -> float:
        """What the first `rounds` rounds, or all, cost as far as the oracle told."""
        return self._store.tally.cost(rounds)

    @one_at_a_time
    def first_success(self) -> int | None:
        """How many rows were paid up to the first success, that one included; None if none."""
        row = self._store.tally.first_success
        if row is None:
            return None
        if self.counts().paid == self._store.tally.proposed:
            return row + 1
        query = "SELECT count(*) FROM evaluations WHERE row <= ? AND attempts > 0"
        return self._store.database.read(query, row)[0][0]

    @one_at_a_time
    def distinct_successes(self, rounds: int | None = None) -> int:
        """How many different sequences of reward 1 the first `rounds` rounds, or all, have."""
        return self._memory.distinct_successes(rounds)

    @one_at_a_time
    def known_answer(self, tokens: bytes, mask: bytes, before: int | None = None) -> Met | None:
        """What is known of a sequence already: of the first row that has it, else what was given.

        Args:
          tokens, mask: int32 [length] and bool [length], as bytes.
          before: look at the rows before this one alone; None for all.
        """
        return self._memory.answer(tokens, mask, before)

    @one_at_a_time
    def first_row(self, round: int) -> int:
        """The number of rows of the rounds before this one."""
        return self._store.tally.first_row(round)

    @one_at_a_time
    def known(self) -> Known:
        """What was given as known before, and not paid for."""
        return self._store.given()

    @one_at_a_time
    def unfinished(self, rounds: int | None = None) -> int:
        """Rows of the first `rounds` rounds, or of all, that are neither done nor failed."""
        numbers = self._store.tally.unfinished.items()
        return sum(number for round, number in numbers if rounds is None or round < rounds)

    @one_at_a_time
    def unanswered(self, rounds: int | None = None) -> int:
        """Rows that were started and have no answer: in flight, left so, or awaited."""
        rows = self._store.tally.open.values()
        return sum(row.unanswered and (rounds is None or row.round < rounds) for row in rows)

    @one_at_a_time
    def in_doubt(self) -> int:
        """Rows that were in flight when the run was stopped."""
        return sum(row.in_doubt for row in self._store.tally.open.values())

    @one_at_a_time
    def repeated_attempts(self) -> int:
        """How often the oracle was asked again for a row."""
        return self._store.tally.repeated

    @one_at_a_time
    def last_round(self) -> int:
        """The latest round with a row, -1 where there is none."""
        return self._store.tally.last_round
