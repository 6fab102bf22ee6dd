"""What ended a program, told to a person in one line."""

import sqlite3
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any

from banel_jax import files

EXTRAS = {  # what to install for a package that is missing
    **dict.fromkeys(("safetensors", "transformers", "tokenizers", "jinja2"), "gsm8k"),
    "gguf": "gguf",
    "torch": "benchmark",
    "tensorflow_datasets": "data",
}
PLACES = ("output", "runs", "folder", "cache")  # settings that name where a program writes
SIZES = ("seeds_at_once", "batch", "piece", "batch_size", "num_evaluated", "num_candidates")


def in_one_line(error: BaseException, settings: Mapping[str, Any] | None = None) -> str | None:
    """What to tell of an exception; None for a fault of the program's own.

    Args:
      error: any.
      settings: the program's, by flag.
    """
    text = " ".join(str(error).split()) or type(error).__name__
    known = {name: value for name, value in (settings or {}).items() if value}
    places = [f"{name}={known[name]}" for name in known if name.rpartition(".")[2] in PLACES]
    where = f" ({', '.join(places)})" if places else ""
    if files.is_full(error) and not isinstance(error, ValueError):
        name = getattr(error, "filename", None)
        at = f" at {name}" if name else where
        return f"the disk is full{at}; make room and give the same command again"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else text + where
    if isinstance(error, ImportError):
        package = (error.name or "").partition(".")[0]
        if not package:  # raised by hand, and says what to do
            return text
        extra = f"[{EXTRAS[package]}]" if package in EXTRAS else ""
        return f"{text}; pip install 'banel_jax{extra}' installs what is needed"
    if isinstance(error, MemoryError) or _device_is_full(error, text):
        sizes = [name for name in known if name.rpartition(".")[2] in SIZES]
        return f"out of memory: {text[:200]}; lower {', '.join(sizes) or 'the sizes'}"
    if isinstance(error, ValueError | OSError):
        return text
    if isinstance(error, sqlite3.Error | zipfile.BadZipFile | zlib.error | EOFError):
        return f"a damaged file{where}: {text}"
    return None


def _device_is_full(error: BaseException, text: str) -> bool:
    return type(error).__name__ == "JaxRuntimeError" and "RESOURCE_EXHAUSTED" in text
