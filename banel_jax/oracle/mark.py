"""What a ledger held when it was last written, in a file that is not lost with its -wal."""

import contextlib
import json
import os
from pathlib import Path

from banel_jax.files import write_atomically
from banel_jax.oracle.rows import Counts

WIDTH = 256  # bytes, so that one write in one sector replaces all of it


class Mark:
    """The ledger's counts in a file of a fixed size, overwritten after every write of the ledger.

    It is not flushed to the disk each time. After a power cut it may be older than the ledger,
    which is no contradiction.

    Args:
      ledger: the ledger's path; None for one in memory, which has no mark.
    """

    def __init__(self, ledger: Path | None):
        self.path = None if ledger is None else ledger.with_name(f"{ledger.name}.mark")
        self._file: int | None = None

    def contradicted_by(self, counts: Counts, repeated: int) -> Counts | None:
        """The counts of the mark, if a ledger of these counts has lost or changed something.

        Args:
          counts: of all rows.
          repeated: how often the oracle was asked again for a row.
        """
        read = self._read()
        if read is None:
            return None
        marked, asked_again = read
        less = counts.rows < marked.rows or counts.answers < marked.answers
        other = counts.answers == marked.answers and counts.digest != marked.digest
        # Where nothing was asked again since, what failed then is failed or answered now.
        if (counts.rows, repeated) == (marked.rows, asked_again):
            less |= counts.answers + counts.failed < marked.answers + marked.failed
        return marked if less or other or repeated < asked_again else None

    def _read(self) -> tuple[Counts, int] | None:
        if self.path is None or not self.path.exists():
            return None
        try:
            read = json.loads(self.path.read_bytes())
            return Counts(**{k: v for k, v in read.items() if k != "repeated"}), read.get(
                "repeated", 0
            )
        except (ValueError, TypeError, AttributeError):
            return None  # cut short by a power cut: it says nothing

    def write(self, counts: Counts, repeated: int, lasting: bool = False) -> bool:
        """Overwrites the mark; what fails here costs nothing but this witness.

        Args:
          counts, repeated: as above.
          lasting: flush it to the disk, where it must not be older than the ledger.

        Returns:
          Whether that was done.
        """
        if self.path is None:
            return True
        told = {**counts._asdict(), "repeated": repeated}
        text = json.dumps(told).ljust(WIDTH - 1).encode() + b"\n"
        with contextlib.suppress(OSError):
            if self._file is None:
                write_atomically(self.path, text)
                self._file = os.open(self.path, os.O_WRONLY)
            else:
                os.pwrite(self._file, text, 0)
            if lasting:
                os.fsync(self._file)
            return True
        return False

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None
