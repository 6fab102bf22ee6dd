"""A ledger's counts, in memory: one look at the file, then nothing that grows with it."""

import bisect
import struct
import zlib
from collections.abc import Iterable
from typing import NamedTuple

_PLACE = struct.Struct("<qqqq")
_REWARDS = {None: b"?", 0.0: b"0", 1.0: b"1"}


def row_checksum(seed: int, row: int, round: int, index: int, tokens: bytes, mask: bytes) -> int:
    """CRC-32 of a row without its reward; `seed` stands for the run."""
    return zlib.crc32(tokens + mask + _PLACE.pack(row, round, index, len(tokens)), seed)


def with_reward(checksum: int, reward: float | None) -> int:
    """CRC-32 of a row with its reward.

    Raises:
      KeyError: for a reward that is neither 0, 1 nor None.
    """
    return zlib.crc32(_REWARDS[reward], checksum)


class Counts(NamedTuple):
    """What was paid and met.

    Attributes:
      rows: that were started.
      answers: how many of them have a reward.
      successes: how many of these are 1.
      digest: the sum of the answered rows' checksums.
    """

    rows: int = 0
    answers: int = 0
    successes: int = 0
    digest: int = 0


class Tally:
    """The counts of the rows so far, in all and before each round.

    Rows come in their order, and rounds one after another; the answers of a round may come in
    any order.

    Attributes:
      now: Counts of all rows.
      in_flight: the checksum without reward of each row that has no answer, by row.
      first_success: the first row of reward 1, or None.
      repeated: how often the oracle was asked again for a row.
    """

    def __init__(self):
        self.now = Counts()
        self.in_flight: dict[int, int] = {}
        self.first_success: int | None = None
        self.repeated = 0
        self._rounds: list[int] = []
        self._before: list[Counts] = []

    @property
    def last_round(self) -> int:
        return self._rounds[-1] if self._rounds else -1

    def before(self, round: int) -> Counts:
        """Of the rounds before this one."""
        i = bisect.bisect_left(self._rounds, round)
        return self._before[i] if i < len(self._rounds) else self.now

    def start(self, row: int, round: int, checksum: int) -> None:
        """A row was written before the oracle was asked; its checksum is without reward."""
        if row in self.in_flight:
            self.repeated += 1
            return
        if round != self.last_round:
            self._rounds.append(round)
            self._before.append(self.now)
        self.in_flight[row] = checksum
        self.now = self.now._replace(rows=self.now.rows + 1)

    def answer(self, row: int, reward: float) -> None:
        """The reward of a row in flight was written."""
        checksum = with_reward(self.in_flight.pop(row), reward)
        rows, answers, successes, digest = self.now
        success = reward == 1
        self.now = Counts(rows, answers + 1, successes + success, digest + checksum)
        if success and (self.first_success is None or row < self.first_success):
            self.first_success = row

    def read(self, rows: Iterable[tuple], seed: int) -> None:
        """Takes up a file's rows, each checked.

        Args:
          rows: (row, round, index, tokens, mask, reward, attempts, checksum) by row.
          seed: of the checksums.

        Raises:
          ValueError, TypeError, struct.error: for the first row that is not as it was written.
        """
        count = answers = successes = digest = first = 0
        last = -1
        for row, round, index, tokens, mask, reward, attempts, checksum in rows:
            if round != last:
                self._rounds.append(round)
                self._before.append(Counts(count, answers, successes, digest))
                if round < last:
                    raise ValueError(f"row {row} of round {round} stands after a later round")
                first, last = count, round
            if row != count or index != row - first:
                raise ValueError(f"row {count} is missing, or not in its place")
            if reward not in _REWARDS:
                raise ValueError(f"the reward of row {row} is {reward!r}, neither 0 nor 1")
            base = row_checksum(seed, row, round, index, tokens, mask)
            if with_reward(base, reward) != checksum:
                raise ValueError(f"row {row} has another checksum than when it was written")
            count += 1
            self.repeated += attempts - 1
            if reward is None:
                self.in_flight[row] = base
                continue
            answers += 1
            digest += checksum
            if reward:
                successes += 1
                if self.first_success is None:
                    self.first_success = row
        self.now = Counts(count, answers, successes, digest)
