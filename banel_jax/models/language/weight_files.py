"""Which files of a folder hold a model's weights: found, looked through, and written as a set."""

import contextlib
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from banel_jax import files
from banel_jax.models.language import model_files

INDEX = "model.safetensors.index.json"
WEIGHTS = "*.safetensors"
# The forms that are read, the first before the other: index, file that is alone, all files.
FORMS = (
    (INDEX, "model.safetensors", WEIGHTS),
    ("pytorch_model.bin.index.json", "pytorch_model.bin", "pytorch_model*.bin"),
)
ADAPTER = "adapter_config.json"
OTHERS = ("*.bin", "*.pt", "*.pth", "*.gguf", "*.msgpack", "*.h5")  # forms that are not read
FLOATS = ("F64", "F32", "F16", "BF16")
STAGE = ".unfinished"  # folder of what is not yet in place
MOVED = "moved.json"  # in it: the names of what may be
SHARD = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.(safetensors|bin)")


def check_kind(folder: Path) -> None:
    """Raises ValueError for a folder of adapters, which are no model."""
    if (folder / ADAPTER).exists():
        raise ValueError(
            f"{folder / ADAPTER}: these are adapters over another model; merge them into it "
            "(`merge_and_unload` of peft) and name the folder of the merged model"
        )


def find(folder: Path) -> list[Path]:
    """The files of weights: those of the index, or else all; of PyTorch's own where no others are.

    Raises:
      FileNotFoundError: where one is missing, or all are.
      ValueError: if the index is damaged or names files elsewhere, or there are two sets.
    """
    names: list[str] = []
    for index, alone, pattern in FORMS:
        names = sorted(path.name for path in folder.glob(pattern))
        if (folder / index).exists():
            indexed = _listed(folder / index)
            if alone in set(names) - set(indexed):
                raise ValueError(
                    f"{folder} has {alone} and, by {index}, another set of weights; remove what "
                    "is stale"
                )
            names = indexed
        if names:
            break
    absent = sorted({*names, *_siblings(names)} - {path.name for path in folder.iterdir()})
    if absent:
        listed = model_files.one_line(", ".join(absent))
        raise FileNotFoundError(f"{folder} has no {listed}; complete the folder")
    if not names:
        other = sorted(path.name for form in OTHERS for path in folder.glob(form))
        mend = f"convert {other[0]} to safetensors" if other else "complete the folder"
        if other and other[0].endswith(".gguf"):
            mend = model_files.CONVERT
        raise FileNotFoundError(f"{folder} has no {WEIGHTS}; {mend}")
    return [folder / name for name in names]


def _listed(index):
    weight_map = model_files.read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ValueError(f"{index} has no weight_map; download it anew, or remove it")
    for name in weight_map.values():
        if not isinstance(name, str) or name != Path(name).name or not name.isprintable():
            raise ValueError(f"{index} names {name!r}, which is no file of the folder; mend it")
    return sorted(set(weight_map.values()))


def _siblings(names):
    """The names of whole sets of shards, from those of some of each."""
    for match in filter(None, map(SHARD.fullmatch, names)):
        for i in range(1, int(match[3]) + 1):
            yield f"{match[1]}-{i:05}-of-{match[3]}.{match[4]}"


def shapes(paths: list[Path], ignored: str = "") -> dict[str, tuple[int, ...]]:
    """The shape of each tensor in the files, by its name, without reading it.

    Args:
      paths: the files.
      ignored: a pattern of the names that are passed over.

    Raises:
      ValueError: if a file is damaged, two have the same tensor, or one is not of floats.
    """
    found: dict[str, tuple[int, ...]] = {}
    for path in paths:
        with model_files.opened(path) as file:
            for name in sorted(file.keys()):
                if re.fullmatch(ignored, name):
                    continue
                if name in found:
                    raise ValueError(f"{name} is in {path} and in another file; keep one of them")
                tensor = file.get_slice(name)
                if tensor.get_dtype() not in FLOATS:
                    raise ValueError(
                        f"{name} in {path} is of type {tensor.get_dtype()}, and must be one of "
                        f"{', '.join(FLOATS)}; give weights that are not quantised"
                    )
                found[name] = tuple(tensor.get_shape())
    return found


def read(file: Any, path: Path, name: str, dtype: Any) -> np.ndarray:
    """A tensor of an opened file, converted.

    Raises:
      ValueError: if it cannot be read, or is not finite.
    """
    with model_files.errors_of(path, f"cannot give {name}", "download or save it anew"):
        tensor = file.get_tensor(name)
    with np.errstate(over="ignore"):  # `check_finite` finds an infinity
        tensor = np.asarray(tensor, dtype)
    check_finite(tensor, f"{name} in {path}")  # here, for JAX_DEBUG_NANS would not name it
    return tensor


def check_finite(tensor: np.ndarray, what: str) -> None:
    """Raises ValueError where a value is NaN or infinite."""
    if tensor.dtype == np.float32 and np.isfinite(np.vdot(tensor, tensor)):
        return  # quicker, and without memory of its own
    if not np.isfinite(tensor).all():
        raise ValueError(
            f"{what} holds NaN or infinity (as {tensor.dtype.name}); give weights of a training "
            "that did not diverge, or a type that holds them"
        )


def write(
    folder: Path, sizes: dict[str, int], tensor: Callable[[str], np.ndarray], shard_bytes: int
) -> None:
    """Writes weights as one file or, with an index, as several.

    Args:
      folder: that exists.
      sizes: of the tensors in bytes, by name, in the order in which they are written.
      tensor: `tensor(name)` is called for those of a file before it is written.
      shard_bytes: of a file, unless one tensor is larger; writing takes as much memory.

    Raises:
      OSError: if a file cannot be written.
    """
    shards = _shards(sizes, shard_bytes)
    weight_map: dict[str, str] = {}
    for i, names in enumerate(shards, 1):
        several = f"model-{i:05}-of-{len(shards):05}.safetensors"
        file = several if len(shards) > 1 else "model.safetensors"
        tensors = {name: np.ascontiguousarray(tensor(name)) for name in names}
        model_files.write_weights(folder / file, tensors)
        weight_map |= dict.fromkeys(names, file)
    if len(shards) > 1:
        about = {"metadata": {"total_size": sum(sizes.values())}, "weight_map": weight_map}
        model_files.write_json(folder / INDEX, about)


def _shards(sizes, limit):
    """Names in order, in groups whose sizes add up to the limit at most."""
    shards: list[list[str]] = [[]]
    total = 0
    for name, size in sizes.items():
        if shards[-1] and total + size > limit:
            shards, total = [*shards, []], 0
        shards[-1].append(name)
        total += size
    return shards


def check_free(folder: Path | str, like: Path | str | None = None) -> None:
    """That a model can be saved in a folder, to be asked before hours of work on it.

    Args:
      folder: which need not exist; one that a save left unfinished is free.
      like: a folder that is to be read meanwhile.

    Raises:
      ValueError: where the two are the same, by whatever name.
      FileExistsError: where the folder holds weights.
      OSError: where it is no folder or cannot be written.
    """
    folder = files.expand(folder)
    if like and os.path.realpath(folder) == os.path.realpath(files.expand(like)):
        raise ValueError(f"folder={folder} is the model that is read; name another folder")
    if os.path.lexists(folder) and not folder.is_dir():
        raise NotADirectoryError(f"folder={folder} is no folder; name another")
    if folder.is_dir() and not os.access(folder, os.W_OK):
        raise PermissionError(f"folder={folder} cannot be written; name another folder")
    forms = [form for index, _, pattern in FORMS for form in (index, pattern)]
    held = {path.name for form in forms for path in folder.glob(form)}
    if held - set(_moved(folder)):
        raise FileExistsError(
            f"folder={folder} holds a model already; name another folder, or use this one"
        )


def _moved(folder):
    path = folder / STAGE / MOVED
    return model_files.read_json(path)["names"] if path.exists() else []


@contextlib.contextmanager
def staged(folder: Path | str, last: str) -> Iterator[Path]:
    """A new folder within a folder that is free, whose files are moved to it after the block.

    Whenever this is stopped, it can be repeated. An error leaves nothing behind.

    Args:
      folder: made if need be.
      last: the file without which the others are no set.
    """
    folder = files.expand(folder)
    stage = folder / STAGE
    folder.mkdir(parents=True, exist_ok=True)
    _clear(folder)
    stage.mkdir()
    try:
        yield stage
        names = sorted(os.listdir(stage), key=lambda name: name == last)
        weights = [name for name in names if name.endswith(".safetensors") or name == INDEX]
        model_files.write_json(stage / MOVED, {"names": weights})
        for name in names:
            os.replace(stage / name, folder / name)
        files.sync_folder(folder)
    except BaseException:
        _clear(folder)
        raise
    shutil.rmtree(stage, ignore_errors=True)


def _clear(folder):
    """Removes what a save left that did not end."""
    for name in _moved(folder):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / STAGE, ignore_errors=True)
