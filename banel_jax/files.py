"""Files: text in UTF-8 whatever the locale, written whole or not at all, with the umask's modes."""

import contextlib
import errno
import json
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any


@contextlib.contextmanager
def replacing(path: Path | str) -> Iterator[IO[bytes]]:
    """A new file that takes the place of `path` at the end of the block, durable on return.

    A reader, or a process killed here, sees all of it or what was there before; where the block
    raises, nothing is left behind.

    Raises:
      OSError: if the folder cannot be written or the disk is full; it names the file.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name[:100]}.{secrets.token_hex(6)}")
    try:
        # Not tempfile, whose files nobody else may read whatever the umask says.
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError) and error.filename in (None, str(temporary)):
            raise type(error)(error.errno, error.strerror, str(path)) from error
        raise
    sync_folder(path.parent)


def write_atomically(path: Path | str, content: str | bytes) -> None:
    """Writes a file through `replacing`; text as UTF-8."""
    with replacing(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def sweep(folder: Path | str) -> None:
    """Removes what a process left in a folder that was killed within `replacing`.

    For folders that this process alone writes into.
    """
    for name in os.listdir(folder):
        if re.fullmatch(r"\..+\.[0-9a-f]{12}", name):
            with contextlib.suppress(OSError):
                os.unlink(os.path.join(folder, name))


def sync_folder(folder: Path | str) -> None:
    """Makes new names in a folder durable, where its file system can."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:  # some network and FUSE file systems sync no folders
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.ENOSYS):
            raise
    finally:
        os.close(descriptor)


def read_text(path: Path | str) -> str:
    """A text file in UTF-8, with or without a byte order mark, its lines ended by LF or CRLF.

    Raises:
      OSError: if it cannot be read.
      ValueError: if it is not UTF-8; one line that names the file.
    """
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is not text in UTF-8 ({error.reason} at byte {error.start}); convert it"
        ) from error


def expand(path: str | os.PathLike) -> Path:
    """A path that a person gave, with `~` for the home folder."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise ValueError(f"{path}: {error}") from error


def cache_folder(name: str) -> Path:
    """Of this package in the user's cache, which need not exist.

    Raises:
      ValueError: where there is no home folder.
    """
    return expand(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "banel_jax" / name


def writable_folder(path: Path | str, what: str = "folder") -> Path:
    """A folder that a person named, made where it is missing and tried by writing into it.

    Args:
      path: of the folder.
      what: it is, for what is refused.

    Raises:
      ValueError: where that fails; one line that names it.
    """
    folder = expand(path)
    if not str(path).strip():
        raise ValueError(f"{str(path)!r} is no folder to write into; name one")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        trial = folder / f".trial.{secrets.token_hex(6)}"
        try:
            trial.write_bytes(bytes(4096))
        finally:
            trial.unlink(missing_ok=True)
    except OSError as error:
        raise ValueError(
            f"cannot write into the {what} {folder}: {error.strerror}; mend that or choose another"
        ) from error
    return folder


def read_json(path: Path | str, mend: str = "mend or delete it") -> Any:
    """The value in a JSON file, read as `read_text` does.

    Args:
      path: of the file.
      mend: what to do about one that is refused.

    Raises:
      OSError: if it cannot be read.
      ValueError: if it is no JSON; one line that names the file.
    """
    try:
        return json.loads(read_text(path))
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{path} is no JSON ({error}); {mend}") from error


def read_object(path: Path | str, mend: str = "mend or delete it") -> dict[str, Any]:
    """The object in a JSON file, as `read_json` does.

    Raises:
      OSError, ValueError: as there; ValueError also for another value than an object.
    """
    values = read_json(path, mend)
    if not isinstance(values, dict):
        kind = type(values).__name__
        raise ValueError(f"{path} holds a {kind} in place of a JSON object; {mend}")
    return values


def is_full(error: Any) -> bool:
    """Whether an error says that the disk, or a quota, is full: the system's, SQLite's or that of
    what writes checkpoints."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    told = str(error)
    return "disk is full" in told or any(
        f"os_error_code='{code}'" in told for code in (errno.ENOSPC, errno.EDQUOT)
    )
