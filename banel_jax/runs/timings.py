"""Seconds of each round and phase: a side file, which never withholds a result."""

import logging
import math
import os
from pathlib import Path
from typing import Any

from banel_jax import files
from banel_jax.runs import folder as run_folder

logger = logging.getLogger(__name__)


class Timings:
    """The records in `timings.jsonl`.

    What cannot be read is set aside, and what cannot be written is left out, with a warning.

    Args:
      path: the file.
      done: rounds that are done; records of others go.
    """

    def __init__(self, path: Path, done: int):
        self.path = path
        self.records: list[dict[str, Any]] = []
        try:
            self._take_up(done)
        except Exception as error:  # whatever is in the file
            self._warn(error)

    def _take_up(self, done: int) -> None:
        if not self.path.exists():
            return
        try:
            run_folder.keep_records(self.path, done)
            records = run_folder.read_records(self.path)
            if not all(map(_sound, records)):
                raise ValueError("it holds other things than seconds by round and phase")
        except (ValueError, TypeError, RecursionError, OSError) as error:
            target = self.path.with_name(f"{self.path.name}.damaged")
            number = 1
            while target.exists():
                target, number = target.with_name(f"{self.path.name}.damaged.{number}"), number + 1
            os.replace(self.path, target)
            logger.warning("%s cannot be used (%s); moved to %s", self.path, error, target.name)
            return
        self.records = records

    def append(self, record: dict[str, Any]) -> None:
        self.records.append(record)
        try:
            run_folder.append_record(self.path, record)
        except OSError as error:
            self._warn(error)

    def seconds(self) -> dict[str, float]:
        """The sum of each phase over the rounds of which it is known."""
        names = list(dict.fromkeys(k for record in self.records for k in record if k != "round"))
        return {k: round(sum(record.get(k, 0.0) for record in self.records), 3) for k in names}

    def _warn(self, error: Exception) -> None:
        full = "the disk is full" if files.is_full(error) else error
        logger.warning("%s is left as it is: %s", self.path, full)


def _sound(record: dict[str, Any]) -> bool:
    numbers = [value for value in record.values() if isinstance(value, int | float)]
    return len(numbers) == len(record) and "round" in record and all(map(math.isfinite, numbers))
