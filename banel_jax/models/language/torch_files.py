"""`pytorch_model.bin`: weights as PyTorch writes them, read where PyTorch is installed.

Of such a file nothing but tensors is unpickled, so no code of it runs.
"""

import importlib
import pickle
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

OLDEST = (2, 6)  # older ones can be made to run code even so (CVE-2025-32434)
TYPES = {"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16"}


class Slice(NamedTuple):
    """What is known of a tensor without reading it, asked as of those of safetensors."""

    dtype: str
    shape: tuple[int, ...]

    def get_dtype(self) -> str:
        return self.dtype

    def get_shape(self) -> tuple[int, ...]:
        return self.shape


class TorchFile:
    """Tensors by name, as `safetensors.safe_open` gives them."""

    def __init__(self, tensors: dict[str, Any], torch: Any):
        self._tensors, self._torch = tensors, torch

    def keys(self) -> list[str]:
        return list(self._tensors)

    def get_slice(self, name: str) -> Slice:
        tensor = self._tensors[name]
        kind = str(tensor.dtype).removeprefix("torch.")
        return Slice(TYPES.get(kind, kind), tuple(tensor.shape))

    def get_tensor(self, name: str) -> np.ndarray:
        tensor = self._tensors[name].detach()
        if self.get_slice(name).dtype == "BF16":  # which NumPy has no name for
            return tensor.view(self._torch.int16).numpy().view(jnp.bfloat16)
        return tensor.numpy()


def imported(path: Path) -> Any:
    """PyTorch.

    Raises:
      ValueError: where it is missing or too old, naming the file that needs it.
    """
    mend = f"pip install 'torch>={'.'.join(map(str, OLDEST))}', or convert it to safetensors"
    try:
        torch = importlib.import_module("torch")
    except ImportError as error:
        raise ValueError(f"{path} needs PyTorch to be read ({error}); {mend}") from error
    if tuple(map(int, torch.__version__.split(".")[:2])) < OLDEST:
        raise ValueError(f"{path} is not read by PyTorch {torch.__version__}; {mend}")
    return torch


def opened(path: Path, torch: Any) -> TorchFile:
    """A file, of which the system reads what is asked for where its form allows it.

    Raises:
      ValueError: if it holds anything but tensors by name.
    """
    try:
        # The form of old, which is no archive, is read as a whole.
        tensors = torch.load(
            path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
        )
    except pickle.UnpicklingError as error:  # whose text says how to run what it holds
        raise ValueError("it holds more than tensors, which is never unpickled") from error
    if not isinstance(tensors, dict) or not all(
        isinstance(name, str) and isinstance(x, torch.Tensor) for name, x in tensors.items()
    ):
        raise ValueError("it holds something else than tensors by name")
    return TorchFile(tensors, torch)
