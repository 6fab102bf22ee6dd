"""Answers that the ledger could not take, in a file until it can."""

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from banel_jax.files import sync_folder


@dataclass(frozen=True)
class Answer:
    """What the oracle said of a row.

    Attributes:
      row: counted over the whole run, from 0.
      reward: 0 or 1.
      checksum: of the row with this reward, as the ledger has it.
    """

    row: int
    reward: float
    checksum: int


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

    def keep(self, answers: Sequence[Answer]) -> Path | None:
        """Where the answers are durable now; None if no place could take them."""
        text = "".join(json.dumps(asdict(answer)) + "\n" for answer in answers).encode()
        for place in self.places:
            with contextlib.suppress(OSError):
                _append(place, text)
                return place
        return None

    def read(self) -> list[tuple[Path, Answer]]:
        """The answers, each with its file. A last line without an end was never promised.

        Raises:
          ValueError: naming the file and the line that holds no answer.
        """
        answers = []
        for place in self.places:
            for number, line in enumerate(_complete_lines(place), 1):
                try:
                    answer = Answer(**json.loads(line))
                    if answer.reward not in (0, 1):
                        raise ValueError(f"its reward is {answer.reward}, neither 0 nor 1")
                    answers.append((place, answer))
                except (ValueError, TypeError) as error:
                    raise ValueError(
                        f"line {number} of {place} holds no answer of the oracle ({error}); mend "
                        "it, or delete it: its row is then paid for again"
                    ) from error
        return answers

    def remove(self) -> None:
        for place in self.places:
            if _mine(place):
                place.unlink()


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
