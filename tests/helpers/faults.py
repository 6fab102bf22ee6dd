"""Errors of SQLite and of files, at the n-th of the operations on them."""

import contextlib
import os
import sqlite3

import pytest


class Faults:
    """Raises at the n-th of the operations on files, before or after it was done.

    Args:
      at: which, from 0; None to count them alone.
      error: makes what is raised.
      lasting: whether all later ones fail too.
    """

    def __init__(self, at, error, after=False, lasting=False):
        self.at, self.error, self.after, self.lasting, self.count = at, error, after, lasting, 0

    def __call__(self, operation, *arguments):
        number, self.count = self.count, self.count + 1
        hit = self.at is not None and (number == self.at or (self.lasting and number > self.at))
        if hit and not self.after:
            raise self.error()
        result = operation(*arguments)
        if hit:
            raise self.error()
        return result


class Connection:
    """An SQLite connection whose calls may fail."""

    def __init__(self, connection, faults):
        self.connection, self.faults = connection, faults

    def __getattr__(self, name):
        return getattr(self.connection, name)

    def execute(self, *arguments):
        return self.faults(self.connection.execute, *arguments)

    def executemany(self, *arguments):
        return self.faults(self.connection.executemany, *arguments)

    def __enter__(self):
        return self.connection.__enter__()

    def __exit__(self, kind, *more):
        leave = lambda: self.connection.__exit__(kind, *more)
        return leave() if kind else self.faults(leave)

    def close(self):
        self.connection.close()


@contextlib.contextmanager
def injected(faults, files=True):
    """The ledger's SQLite and the package's writes to files go through the faults."""
    connect = sqlite3.connect
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite3, "connect", lambda *a, **k: Connection(connect(*a, **k), faults))
        for name in ("fsync", "pwrite") if files else ():
            real = getattr(os, name)
            patch.setattr(os, name, lambda *a, real=real: faults(real, *a))
        yield


FAULTS = {
    "locked": lambda: sqlite3.OperationalError("database is locked"),
    "full": lambda: sqlite3.OperationalError("database or disk is full"),
    "interrupted": KeyboardInterrupt,
}
