"""A folder is held by one run, and the hold ends with the run's process."""

import contextlib
import errno
import fcntl
import logging
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from banel_jax import files

logger = logging.getLogger(__name__)
PATIENCE = 0.2  # seconds; whoever asks whether a folder is held has it for a moment

# What is open for a hold. A forked child would share the lock and keep it for its own lifetime,
# so it closes its copies, which leaves the parent's.
_held: set[int] = set()


def _let_go() -> None:
    for descriptor in _held:
        with contextlib.suppress(OSError):
            os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_let_go)


@contextlib.contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Makes the folder if need be and holds it; the hold ends with the process, however it ends.

    A worker that the process forked, and that outlives it, holds nothing. Where the file system
    has no `flock`, a file `.held` that names the host and the process takes its place.

    Raises:
      ValueError: if the folder cannot be made or written, or another run holds it.
    """
    files.writable_folder(folder, "run's folder")
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise ValueError(
            f"cannot write into the run's folder {folder}: {error.strerror}; choose another"
        ) from error
    _held.add(descriptor)
    try:
        with contextlib.nullcontext() if _locked(descriptor, folder) else _held_by_file(folder):
            yield
    finally:
        if descriptor in _held:  # else this is a child, which has closed it
            _held.remove(descriptor)
            os.close(descriptor)


def is_held(folder: Path) -> bool:
    """Whether a run holds the folder, as far as can be seen from this host."""
    if (folder / ".held").exists():
        with contextlib.suppress(OSError):
            return not _is_left_behind((folder / ".held").read_text("utf-8", "replace"))
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return False
    _held.add(descriptor)
    try:
        return not _flock(descriptor, fcntl.LOCK_SH)
    except OSError:  # no flock here, and no file that stands for it
        return False
    finally:
        if descriptor in _held:
            _held.remove(descriptor)
            os.close(descriptor)


def _flock(descriptor: int, kind: int) -> bool:
    """Whether the lock was free.

    Raises:
      OSError: where the file system has none.
    """
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES):
            raise
        return False
    return True


def _locked(descriptor: int, folder: Path) -> bool:
    """Whether the file system could lock it."""
    deadline = time.monotonic() + PATIENCE
    try:
        while not _flock(descriptor, fcntl.LOCK_EX):
            if time.monotonic() > deadline:
                raise ValueError(
                    f"another process runs in the folder {folder}; wait for it or choose another"
                )
            time.sleep(0.02)
    except OSError:
        return False
    return True


@contextlib.contextmanager
def _held_by_file(folder: Path) -> Iterator[None]:
    path = folder / ".held"
    me = f"{socket.gethostname()} {os.getpid()}"
    while True:
        try:
            with open(path, "x", encoding="utf-8") as file:
                file.write(me)
            break
        except FileExistsError:
            _remove_left_behind(path)
        except OSError as error:
            raise ValueError(
                f"cannot hold the run's folder {folder}: {error.strerror}; choose another"
            ) from error
    logger.warning(
        "the file system of %s has no flock; %s holds the folder, delete it if it is left behind",
        folder,
        path,
    )
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            if me.endswith(f" {os.getpid()}"):  # not in a forked child
                path.unlink()


def _remove_left_behind(path: Path) -> None:
    """Removes the file of a process of this host that is gone.

    Raises:
      ValueError: if it may still run.
    """
    with contextlib.suppress(FileNotFoundError):
        holder = path.read_text(encoding="utf-8", errors="replace")
        host, _, process = holder.rpartition(" ")
        if not _is_left_behind(holder):
            raise ValueError(
                f"another run holds the folder {path.parent}, process {process or '?'} of host "
                f"{host or '?'}; wait for it or choose another, or delete {path} if it is gone"
            )
        path.unlink()


def _is_left_behind(holder: str) -> bool:
    """Whether the file of a hold is of a process of this host that is gone."""
    host, _, process = holder.rpartition(" ")
    return host == socket.gethostname() and process.isdigit() and _gone(int(process))


def _gone(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except OSError:
        pass
    return False
