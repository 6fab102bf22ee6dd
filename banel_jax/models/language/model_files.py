"""The files of a model's folder: what is amiss with one is said in one line that names it."""

import contextlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from banel_jax import files
from banel_jax.checks import one_line
from banel_jax.models.language import torch_files
from banel_jax.models.language.optional import optional

POINTER = b"version https://git-lfs"  # how the files begin that stand in for those of git LFS
FETCH = "it is git LFS's pointer to the file; fetch the file itself with `git lfs pull`"
MEND = "it is damaged or cut short; download or save it anew"
CONVERT = "make a folder of it: python -m experiments.convert FILE FOLDER"  # of GGUF


def existing_folder(folder: Path | str) -> Path:
    """The folder, with `~` expanded.

    Raises:
      FileNotFoundError, NotADirectoryError: where there is none.
    """
    folder = files.expand(folder)
    if not folder.exists():
        raise FileNotFoundError(f"there is no folder {folder}; name that of a model")
    if not folder.is_dir():
        mend = CONVERT if folder.suffix == ".gguf" else "name the folder that holds it"
        raise NotADirectoryError(f"{folder} is a file; {mend}")
    return folder


@contextlib.contextmanager
def errors_of(path: Path, problem: str, mend: str) -> Iterator[None]:
    """Whatever a library raises in the block, as an error of this file.

    Raises:
      OSError: for what the system refuses.
      ValueError: for all else.
    """
    try:
        yield
    except (KeyboardInterrupt, SystemExit, GeneratorExit, MemoryError):
        raise
    except BaseException as error:  # a panic of a library in Rust is no Exception
        code = re.search(r"\(os error (\d+)\)", str(error))
        number = int(code[1]) if code else getattr(error, "errno", None)
        if number is not None:
            raise OSError(number, os.strerror(number), str(path)) from error
        if is_pointer(path):
            mend = FETCH
        raise ValueError(
            f"{path} {problem} ({one_line(error) or type(error).__name__}); {mend}"
        ) from error


def is_pointer(path: Path) -> bool:
    with contextlib.suppress(OSError), open(path, "rb") as file:
        return file.read(len(POINTER)) == POINTER
    return False


def read_json(path: Path) -> dict[str, Any]:
    """The object of a JSON file.

    Raises:
      OSError: if it cannot be read.
      ValueError: if it is no JSON, or no object.
    """
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} is no file; give a JSON file in its place")
    return files.read_object(path, FETCH if is_pointer(path) else "mend it or download it anew")


def write_json(path: Path, values: dict[str, Any]) -> None:
    files.write_atomically(path, json.dumps(values, indent=2) + "\n")


def copy(path: Path, to: Path) -> None:
    """Copies a file, durable on return, with the umask's mode."""
    files.write_atomically(to, path.read_bytes())


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Any]:
    """A file of weights, its tensors not yet read; errors in the block are its own.

    Raises:
      OSError: if it cannot be read.
      ValueError: if it is damaged, or needs a library that is not installed.
    """
    if path.suffix == ".bin":
        torch = torch_files.imported(path)
        with errors_of(path, "cannot be read as PyTorch's weights", MEND):
            found = torch_files.opened(path, torch)
        yield found
        return
    safe_open = optional("safetensors").safe_open
    with errors_of(path, "cannot be read as safetensors", MEND):
        file = safe_open(path, framework="np")
    with file:
        yield file


def write_weights(path: Path, tensors: dict[str, Any]) -> None:
    """Writes tensors as safetensors, durable on return, with the umask's mode.

    Raises:
      OSError: if the disk is full or the folder cannot be written; it names the file.
    """
    save_file = optional("safetensors.numpy").save_file
    path.touch()
    mode = path.stat().st_mode & 0o777  # safetensors has a mode of its own
    with errors_of(path, "cannot be written", "give other weights"):
        save_file(tensors, path, metadata={"format": "pt"})
    path.chmod(mode)
    with open(path, "rb+") as file:
        os.fsync(file.fileno())
