"""A folder is held by one run, and the hold ends with the run's process."""

import contextlib
import errno
import fcntl
import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from banel_jax import files

logger = logging.getLogger(__name__)

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
        with contextlib.nullcontext() if _flock(descriptor, folder) else _held_by_file(folder):
            yield
    finally:
        if descriptor in _held:  # else this is a child, which has closed it
            _held.remove(descriptor)
            os.close(descriptor)


def _flock(descriptor: int, folder: Path) -> bool:
    """Whether the file system could lock it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES):
            return False
        raise ValueError(
            f"another process runs in the folder {folder}; wait for it or choose another"
        ) from error
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
        if not (host == socket.gethostname() and process.isdigit() and _gone(int(process))):
            raise ValueError(
                f"another run holds the folder {path.parent}, process {process or '?'} of host "
                f"{host or '?'}; wait for it or choose another, or delete {path} if it is gone"
            )
        path.unlink()


def _gone(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except OSError:
        pass
    return False
