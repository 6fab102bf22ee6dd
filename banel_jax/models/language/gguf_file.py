"""A GGUF file: its metadata, and its tensors, which are dequantised one at a time.

The header is read here, each length in it held against the size of the file, so that a damaged one
costs neither memory nor time. What the bytes of a tensor mean is known by the `gguf` package.
"""

import math
import mmap
import struct
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from banel_jax import files
from banel_jax.checks import one_line
from banel_jax.models.language.model_files import FETCH, errors_of, is_pointer
from banel_jax.models.language.optional import optional

MAGIC, VERSIONS, ALIGNMENT = b"GGUF", (2, 3), 32
NUMBERS = {  # types of the metadata, as NumPy has them
    0: "<u1", 1: "<i1", 2: "<u2", 3: "<i2", 4: "<u4", 5: "<i4", 6: "<f4", 7: "?",
    10: "<u8", 11: "<i8", 12: "<f8",
}  # fmt: skip
STRING, ARRAY = 8, 9
# As which a tensor is kept; what is quantised becomes float32, which holds it exactly.
STORED = {"F16": np.float16, "BF16": ml_dtypes.bfloat16}
ANEW = "convert the model to GGUF anew"
AGAIN = "it is damaged or cut short; download it anew"


class Tensor(NamedTuple):
    """Where a tensor stands.

    Attributes:
      kind: a `gguf.GGMLQuantizationType`.
      shape: slowest dimension first as NumPy has it; the file has it last.
      row_bytes: of the fastest dimension.
      start: its first byte in the file.
    """

    kind: Any
    shape: tuple[int, ...]
    row_bytes: int
    start: int

    @property
    def dtype(self) -> np.dtype:
        """As which it is read."""
        return np.dtype(STORED.get(self.kind.name, np.float32))


class GgufFile(NamedTuple):
    """A file that was looked through, its tensors not yet read.

    Attributes:
      path: of the file.
      metadata: by key: texts and numbers, lists of texts, and arrays of numbers.
      tensors: by name.
      data: the whole of the file, mapped into memory.
    """

    path: Path
    metadata: dict[str, Any]
    tensors: dict[str, Tensor]
    data: Any

    def text(self, key: str, default: str = "") -> str:
        """Of the metadata.

        Raises:
          ValueError: for a value of another kind.
        """
        value = self.metadata.get(key, default)
        if not isinstance(value, str):
            shown = one_line(repr(value))[:100]
            raise ValueError(f"{self.path}: {key}={shown} must be a text; {ANEW}")
        return value

    def number(self, key: str, default: float | None = None) -> Any:
        """Of the metadata; one for each layer is taken for one, where all are the same.

        Raises:
          ValueError: for a value of another kind, and where there is none, nor a default.
        """
        value = self.metadata.get(key, default)
        if isinstance(value, np.ndarray):
            if len(set(value.tolist())) != 1:
                raise ValueError(
                    f"{self.path}: {key} is not the same in all layers, which is not supported; "
                    "give a model whose layers are alike"
                )
            value = value[0].item()
        if value is None:
            raise ValueError(f"{self.path} has no {key} in its metadata; {ANEW}")
        if isinstance(value, bool) or not isinstance(value, int | float):
            shown = one_line(repr(value))[:100]
            raise ValueError(f"{self.path}: {key}={shown} must be a number; {ANEW}")
        # As it was before it became a float32.
        return float(str(np.float32(value))) if isinstance(value, float) else value

    def read(self, name: str) -> np.ndarray:
        """A tensor, dequantised: float16 and bfloat16 as they are, float32 for all else.

        Raises:
          ValueError: if it cannot be.
        """
        kind, shape, row_bytes, start = self.tensors[name]
        with errors_of(self.path, f"cannot give {name}", AGAIN):
            rows = (*shape[:-1], row_bytes)
            stored = np.frombuffer(self.data, np.uint8, math.prod(rows), start).reshape(rows)
            values = optional("gguf", "gguf").dequantize(stored, kind)
            return np.asarray(values.reshape(shape), self.tensors[name].dtype)


def read(path: str | Path) -> GgufFile:
    """Looks through a GGUF file; its tensors stay on disk.

    Raises:
      OSError: where it cannot be read.
      ValueError: for another kind of file, another version or byte order, one that is damaged, cut
        short or a part of several, and a tensor of a type that is not known.
    """
    path = files.expand(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; name the file of GGUF in it")
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}; name one of GGUF")
    _check_start(path)
    with errors_of(path, "cannot be read as GGUF", AGAIN):
        with open(path, "rb") as file:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        header = _Header(data)
        num_tensors, num_values = header.number("<u8"), header.number("<u8")
        metadata = {header.text(): header.value(header.number("<u4")) for _ in range(num_values)}
        found = {header.text(): header.tensor() for _ in range(num_tensors)}
        if (len(metadata), len(found)) != (num_values, num_tensors):
            raise ValueError("it has two entries of one name")
        begin = header.aligned(metadata.get("general.alignment", ALIGNMENT))
    if metadata.get("split.count", 1) not in (0, 1):
        raise ValueError(
            f"{path} is one of several parts; join them by llama.cpp's `llama-gguf-split --merge` "
            "and name what it writes"
        )
    tensors = {name: _tensor(path, name, begin, *parts) for name, parts in found.items()}
    for name, tensor in tensors.items():
        if tensor.start + math.prod((*tensor.shape[:-1], tensor.row_bytes)) > len(data):
            raise ValueError(f"{path} ends before the end of its {one_line(name)}; {AGAIN}")
    return GgufFile(path, metadata, tensors, data)


def _check_start(path):
    with open(path, "rb") as file:
        start = file.read(8)
    if start[:4] != MAGIC:
        mend = FETCH if is_pointer(path) else "name a file of GGUF"
        raise ValueError(f"{path} is no GGUF, whose first letters are GGUF; {mend}")
    version = int.from_bytes(start[4:], "little")
    if len(start) == 8 and version % 2**16 == 0:
        raise ValueError(f"{path} is big-endian; give a little-endian file")
    if len(start) == 8 and version not in VERSIONS:
        raise ValueError(
            f"{path} is of version {version} of GGUF, and only 2 and 3 are supported; {ANEW}"
        )


class _Header:
    """Read from its first byte to its last."""

    def __init__(self, data):
        self.data, self.at = data, 8  # after what `_check_start` has seen

    def take(self, count: int) -> int:
        """Where the next so many bytes begin."""
        start = self.at
        if count > len(self.data) - start:
            raise ValueError("it ends within its header")
        self.at += count
        return start

    def number(self, kind: str) -> Any:
        return self.numbers(kind, 1)[0].item()

    def numbers(self, kind: str, count: int) -> np.ndarray:
        start = self.take(np.dtype(kind).itemsize * count)
        return np.frombuffer(self.data, kind, count, start)

    def text(self) -> str:
        (count,) = struct.unpack_from("<Q", self.data, self.take(8))
        start = self.take(count)
        return self.data[start : start + count].decode()

    def value(self, kind: int) -> Any:
        if kind == STRING:
            return self.text()
        if kind != ARRAY:
            return self.number(NUMBERS[kind])
        kind, count = self.number("<u4"), self.number("<u8")
        if kind == STRING:
            return [self.text() for _ in range(count)]
        return self.numbers(NUMBERS[kind], count)

    def tensor(self) -> tuple[tuple[int, ...], int, int]:
        """(shape, type, offset)."""
        shape = tuple(self.numbers("<u8", self.number("<u4"))[::-1].tolist())
        return shape, self.number("<u4"), self.number("<u8")

    def aligned(self, to: int) -> int:
        return -(-self.at // to) * to


def _tensor(path, name, begin, shape, number, offset):
    package, name = optional("gguf", "gguf"), one_line(name)
    try:
        kind = package.GGMLQuantizationType(number)
        block, size = package.GGML_QUANT_SIZES[kind]
        package.dequantize(np.zeros((1, size), np.uint8), kind)
    except (ValueError, KeyError, NotImplementedError) as error:
        shown = error.args[0] if isinstance(error, NotImplementedError) else f"type {number}"
        raise ValueError(
            f"{path}: {name} is of a type that is not known ({shown}); give the model in another, "
            "such as F16, Q8_0 or Q4_K"
        ) from error
    if not shape or shape[-1] % block or not all(shape):
        raise ValueError(
            f"{path}: {name} is {list(shape)}, which is no shape of {kind.name}; {AGAIN}"
        )
    return Tensor(kind, shape, shape[-1] // block * size, begin + offset)
