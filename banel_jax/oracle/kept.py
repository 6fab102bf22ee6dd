"""Answers that the ledger could not take, in a file until it can."""

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from banel_jax.files import sync_folder
from banel_jax.oracle.rows import outcome_checksum


class Entry(NamedTuple):
    """What is written of a row once something became of it.

    Attributes:
      row: counted over the whole run, from 0.
      reward: 0 or 1 where it is done, else None.
      checksum: of the row with all of this, as the ledger has it.
      state: done or failed; abandoned or pending where it may still be answered.
      score: JSON, or None.
      cost: of all attempts, where the oracle told.
      reason: why it failed, or what is awaited.
      seconds: that the oracle took.
      ended: Unix seconds.
      attempts: how often it was asked at least; 0 for an answer that cost nothing.
      source: oracle, or what else answered.
    """

    row: int
    reward: float | None
    checksum: int
    state: str = "done"
    score: str | None = None
    cost: float | None = None
    reason: str | None = None
    seconds: float | None = None
    ended: float | None = None
    attempts: int = 1
    source: str = "oracle"

    def parameters(self) -> tuple:
        """Of `schema.ENTER`."""
        return (
            self.state, self.reward, self.score, self.cost, self.reason, self.seconds, self.ended,
            self.attempts, self.source, self.checksum, self.row,
        )  # fmt: skip

    def belongs_to(self, base: int) -> bool:
        """Whether it is of the row that has this checksum without what the oracle said."""
        told = (self.score, self.cost, self.reason, self.source)
        return outcome_checksum(base, self.reward, self.state == "failed", *told) == self.checksum


class Kept:
    """The file of answers beside a ledger: a line of JSON each, durable.

    Where the ledger's folder cannot take them (its disk is full), they go to the temporary
    folder, into a file of this ledger and this user.

    Args:
      ledger: the ledger's path; None for one in memory, which has no such file.
    """

    def __init__(self, ledger: Path | None):
        self.places: tuple[Path, ...] = ()
        if ledger is not None:
            ledger = ledger.absolute()
            mark = hashlib.sha256(os.fsencode(ledger)).hexdigest()[:16]
            name = f"banel_jax.{os.getuid()}.{mark}.answers.jsonl"
            beside = ledger.with_name(f"{ledger.name}.answers.jsonl")
            self.places = (beside, Path(tempfile.gettempdir()) / name)

    def keep(self, entries: Sequence[Entry]) -> Path | None:
        """Where the answers are durable now; None if no place could take them."""
        text = "".join(json.dumps(entry._asdict()) + "\n" for entry in entries).encode()
        for place in self.places:
            with contextlib.suppress(OSError):
                _append(place, text)
                return place
        return None

    def read(self) -> list[tuple[Path, Entry]]:
        """The answers, each with its file. A last line without an end was never promised.

        Raises:
          ValueError: naming the file and the line that holds no answer.
        """
        entries = []
        for place in self.places:
            for number, line in enumerate(_complete_lines(place), 1):
                try:
                    entries.append((place, _entry(line)))
                except (ValueError, TypeError, RecursionError) as error:
                    raise ValueError(
                        f"line {number} of {place} holds no answer of the oracle ({error}); mend "
                        "it, or delete it: its row is then paid for again"
                    ) from error
        return entries

    def remove(self) -> None:
        for place in self.places:
            if _mine(place):
                place.unlink()


def _entry(line: bytes) -> Entry:
    entry = Entry(**json.loads(line))
    if entry.state == "done" and entry.reward not in (0, 1):
        raise ValueError(f"its reward is {entry.reward}, neither 0 nor 1")
    if entry.state not in ("done", "failed") or (entry.state == "failed") != (entry.reward is None):
        raise ValueError(f"it is {entry.state} with the reward {entry.reward}")
    return entry


def _append(place: Path, text: bytes) -> None:
    new = not place.exists()
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(place, flags, 0o600), "r+b", buffering=0) as file:
        end = file.read().rfind(b"\n") + 1
        file.truncate(end)  # what is after it was half-written
        file.seek(end)
        try:
            if file.write(text) != len(text):
                raise OSError(f"{place} took a part of the answers only")
            os.fsync(file.fileno())
        except BaseException:
            file.truncate(end)
            raise
    if new:
        sync_folder(place.parent)


def _complete_lines(place: Path) -> list[bytes]:
    return place.read_bytes().split(b"\n")[:-1] if _mine(place) else []


def _mine(place: Path) -> bool:
    """Whether it is there and this user's: anybody may write into the temporary folder."""
    try:
        return os.lstat(place).st_uid == os.getuid()
    except OSError:
        return False
