"""The SQLite file under the ledger: patient where it is locked, and its errors in plain words."""

import contextlib
import errno
import fcntl
import logging
import os
import sqlite3
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from banel_jax.checks import one_line
from banel_jax.oracle import interrupts

logger = logging.getLogger(__name__)
T = TypeVar("T")

LOCKED = ("is locked by another program", "close that program")
# By what SQLite says: what is the matter, and how it is mended. Anything else is damage.
TROUBLES = {
    "locked": LOCKED,
    "locking protocol": LOCKED,
    "full": ("cannot be written, as the disk is full", "free some space"),
    "disk I/O": ("cannot be read or written, an input/output error", "check the disk or network"),
    "readonly": ("is read-only", "make the file and its folder writable"),
}


class LedgerError(ValueError):
    """The ledger cannot be used or belongs to another run; the message names the file."""


def can_lock(folder: Path) -> bool:
    """Whether the folder's file system has the locks that SQLite would use."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EINVAL)
    return True


def explained(path: Path | None, error: sqlite3.Error) -> str:
    """What is the matter with a ledger, and how it is mended, in one line."""
    for words, (what, mend) in TROUBLES.items():
        if words in str(error):
            return (
                f"the ledger {path} {what} ({one_line(error)}); {mend}, and run the same "
                "command again"
            )
    return (
        f"the ledger {path} cannot be used: {one_line(error)}; put it back from a copy, "
        "or start anew in another folder"
    )


class LedgerLocked(LedgerError):
    """Another program has locked the ledger, and patience or a signal ended the wait."""


class Database:
    """A connection in WAL mode whose transactions are durable when they return.

    Where the file system has no locks it goes without, and only the run's hold on its folder
    keeps others out.

    Args:
      path: of the file, made where it is missing; None for one in memory.
      patience: seconds to wait for another program that has locked the file.

    Raises:
      LedgerError: if it cannot be opened or is damaged.
    """

    def __init__(self, path: Path | None, patience: float):
        self.path, self.patience = path, patience
        # SQLite itself waits a moment only, as no signal is seen meanwhile.
        name, self._locks = str(path or ":memory:"), path is None or can_lock(path.parent)
        if path and not self._locks:
            name = f"{path.absolute().as_uri()}?vfs=unix-none"
        self._connection = self.do(
            lambda: sqlite3.connect(name, timeout=0.1, uri=not self._locks, check_same_thread=False)
        )
        try:
            self.do(self._prepare)
        except BaseException:
            self.close()
            raise
        self._file = self._where()

    def _prepare(self) -> None:
        if not self._locks:
            self._connection.execute("PRAGMA locking_mode = EXCLUSIVE")  # which WAL needs then
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        damage = self._connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if damage != "ok":
            raise sqlite3.DatabaseError(damage)

    def look(self, action: Callable[[sqlite3.Connection], T]) -> T:
        """What an action reads."""
        return self.do(lambda: action(self._connection))

    def read(self, query: str, *parameters) -> list[tuple]:
        return self.do(lambda: self._connection.execute(query, parameters).fetchall())

    def transaction(
        self, change: Callable[[sqlite3.Connection], T], patience: float | None = None
    ) -> T:
        """Does all of a change or nothing.

        Args:
          change: what is done within the transaction.
          patience: in place of the connection's.

        Raises:
          LedgerError: if it could not be written, or the file is no longer at its path.
        """
        if self._where() != self._file:  # SQLite would go on writing into a deleted file
            raise LedgerError(
                f"the ledger {self.path} was moved or deleted while the run used it; put it back, "
                "and run the same command again"
            )

        def whole():
            if self._connection.in_transaction:  # an interruption came between it and its end
                self._connection.rollback()
            with self._connection:
                self._connection.execute("BEGIN IMMEDIATE")
                return change(self._connection)

        return self.do(whole, patience)

    def do(self, action: Callable[[], T], patience: float | None = None) -> T:
        """What an action returns, tried until no other program has locked the file.

        Raises:
          LedgerError: in one line, for an error of SQLite and where the wait ended.
        """
        patience = self.patience if patience is None else patience
        deadline, told = time.monotonic() + patience, False
        while True:
            try:
                return action()
            except sqlite3.Error as error:
                locked = "lock" in str(error)
                if not locked or time.monotonic() >= deadline or interrupts.pending():
                    kind = LedgerLocked if locked else LedgerError
                    raise kind(explained(self.path, error)) from error
            if not told:
                told = True
                logger.warning(
                    "the ledger %s is locked by another program; waiting for it up to %g seconds",
                    self.path,
                    patience,
                )
            time.sleep(0.02)

    def _where(self) -> tuple[int, int] | None:
        with contextlib.suppress(OSError):
            if self.path is not None:
                at = os.stat(self.path)
                return at.st_dev, at.st_ino
        return None

    def close(self) -> None:
        self._connection.close()
