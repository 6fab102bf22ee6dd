"""The metrics as a table that any program opens: `metrics.csv`, beside the JSON lines."""

import csv
import io
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from banel_jax import files

logger = logging.getLogger(__name__)


class MetricsCsv:
    """A line a round, a column a metric; what a round lacks is left empty.

    It holds what `metrics.jsonl` does and is made anew from that whenever a run begins or goes
    on. A metric that appears later adds a column, and the file is then written anew. What cannot
    be written is left out, with a warning: no result is withheld for it.

    Args:
      path: of the file.
      records: of the rounds before.
    """

    def __init__(self, path: Path, records: Sequence[Mapping[str, Any]] = ()):
        self.path, self.records = path, list(records)
        self.columns = list(dict.fromkeys(name for record in records for name in record))
        self._whole = False  # what is in the file is what was told so far
        self._warned = False
        if records:
            self._try(self._rewrite)

    def append(self, record: Mapping[str, Any]) -> None:
        """Adds a round."""
        self.records.append(record)
        new = [name for name in record if name not in self.columns]
        self.columns += new
        self._try(self._rewrite if new or not self._whole else lambda: self._add(record))

    def _rewrite(self) -> None:
        header = _line(self.columns)
        lines = (self._of(record) for record in self.records)
        files.write_atomically(self.path, header + "".join(lines))
        self._whole = True

    def _add(self, record: Mapping[str, Any]) -> None:
        with open(self.path, "r+b") as file:  # a file that was moved away is made anew
            file.seek(0, 2)
            file.write(self._of(record).encode())

    def _of(self, record: Mapping[str, Any]) -> str:
        return _line(record.get(name, "") for name in self.columns)

    def _try(self, write: Callable[[], None]) -> None:
        try:
            write()
        except (OSError, UnicodeError) as error:
            self._whole = False
            if not self._warned:
                full = "the disk is full" if files.is_full(error) else error
                logger.warning("%s is left as it is: %s", self.path, full)
            self._warned = True


def _line(values: Iterable[Any]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue()
