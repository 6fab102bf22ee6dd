"""A row of the ledger: the states it goes through, its checksum, and what it counts for."""

import json
import operator
import struct
import zlib
from typing import NamedTuple

# pending: proposed, or asked and awaited; running: the oracle works on it; done: it has a reward;
# failed: it has none and the oracle said why; abandoned: asked, and nobody knows what became of it.
STATES = ("pending", "running", "done", "failed", "abandoned")

_PLACE = struct.Struct("<qqqq")
_REWARDS = {None: b"?", 0.0: b"0", 1.0: b"1"}


class Counts(NamedTuple):
    """What was paid and met.

    Attributes:
      rows: that were asked for or answered.
      answers: how many rows have a reward.
      successes: how many of these are 1.
      digest: the sum of the answered rows' checksums.
      failed: how many rows failed.
      paid: how many rows the oracle was asked for, or that count as such.
    """

    rows: int = 0
    answers: int = 0
    successes: int = 0
    digest: int = 0
    failed: int = 0
    paid: int = 0

    def plus(self, other: "Counts") -> "Counts":
        return Counts(*map(operator.add, self, other))

    def agrees_with(self, stored: dict[str, int]) -> bool:
        """Whether counts that were written down, by whatever version, are these."""
        now = self._asdict()
        return all(now.get(name) == count for name, count in stored.items())


class Stored(NamedTuple):
    """A row as it is in the file; the names are its columns there."""

    row: int
    round: int
    index_in_round: int
    tokens: bytes
    mask: bytes
    reward: float | None
    attempts: int
    checksum: int
    state: str
    score: str | None
    cost: float | None
    reason: str | None
    source: str

    def base(self, seed: int) -> int:
        """Its checksum without what the oracle said, after checking that it is as it was written.

        Raises:
          ValueError, TypeError, struct.error: if it is not.
        """
        base = row_checksum(seed, self.row, self.round, self.index_in_round, self.tokens, self.mask)
        if self.state not in STATES or (self.state == "done") == (self.reward is None):
            raise ValueError(f"row {self.row} is {self.state} with the reward {self.reward!r}")
        if self.reward not in _REWARDS:
            raise ValueError(f"the reward of row {self.row} is {self.reward!r}, neither 0 nor 1")
        told = (self.score, self.cost, self.reason, self.source)
        if outcome_checksum(base, self.reward, self.state == "failed", *told) != self.checksum:
            raise ValueError(f"row {self.row} has another checksum than when it was written")
        return base

    def counts(self) -> Counts:
        done = self.state == "done"
        return Counts(
            self.attempts > 0 or done,
            done,
            self.reward == 1,
            done * self.checksum,
            self.state == "failed",
            self.attempts > 0,
        )


COLUMNS = ", ".join(Stored._fields)


def row_checksum(seed: int, row: int, round: int, index: int, tokens: bytes, mask: bytes) -> int:
    """CRC-32 of a row without what the oracle said of it; `seed` stands for the run."""
    return zlib.crc32(tokens + mask + _PLACE.pack(row, round, index, len(tokens)), seed)


def outcome_checksum(
    base: int,
    reward: float | None,
    failed: bool = False,
    score: str | None = None,
    cost: float | None = None,
    reason: str | None = None,
    source: str = "oracle",
) -> int:
    """CRC-32 of a row with what the oracle said of it.

    Raises:
      KeyError: for a reward that is neither 0, 1 nor None.
    """
    checksum = zlib.crc32(b"!" if failed else _REWARDS[reward], base)
    if score is None and cost is None and reason is None and source == "oracle":
        return checksum  # as in format 2, which knew no more
    return zlib.crc32(json.dumps([score, cost, reason, source]).encode(), checksum)
