"""A GGUF file, as llama.cpp and its like distribute models, made a Hugging Face folder.

Weights are dequantised to float32, which holds them exactly; float16 and bfloat16 stay as they are.
The folder is read by `huggingface.load` and by `transformers`.
"""

import math
from pathlib import Path

import numpy as np

from banel_jax.models.language import (
    gguf_families,
    gguf_file,
    gguf_tokenizer,
    huggingface_config,
    tensors,
    weight_files,
)
from banel_jax.models.language.families import FAMILIES
from banel_jax.models.language.model_files import write_json

ENDS = ("eos", "eot", "eom")  # of a text, a turn, a message


def convert(path: str | Path, folder: str | Path, shard_bytes: int = 2_000_000_000) -> None:
    """Writes the model of a GGUF file as a folder. It can be repeated whenever it was stopped.

    Args:
      path: of the file, of the architecture llama, qwen2, qwen3 or gpt2.
      folder: made if need be.
      shard_bytes: of a file of weights, unless one tensor is larger; as much memory is taken.

    Raises:
      FileExistsError: for a folder that holds a model.
      ValueError: for a file that is damaged, or of a model, a tokenizer or a type that is not
        supported; one line that names it.
      OSError: where one of the two cannot be read or written.
    """
    weight_files.check_free(folder)
    file = gguf_file.read(path)
    values = gguf_families.config(file)
    sources = gguf_families.sources(file, values)
    shapes = {name: source.shape for name, source in sources.items()}
    config = huggingface_config.parse(file.path, values)
    tensors.check(file.path, FAMILIES[values["model_type"]], config, shapes)

    def read(name: str) -> np.ndarray:
        source = sources[name]
        tensor = file.read(source.name)
        weight_files.check_finite(tensor, f"{source.name} in {file.path}")
        return np.ascontiguousarray(source.turned(tensor))

    sizes = {
        name: file.tensors[source.name].dtype.itemsize * math.prod(source.shape)
        for name, source in sources.items()
    }
    ids = _ids(file.metadata)
    with weight_files.staged(folder, last="config.json") as stage:
        gguf_tokenizer.write(stage, file, values["vocab_size"])
        write_json(stage / "generation_config.json", ids)
        weight_files.write(stage, sizes, read, shard_bytes)
        huggingface_config.write_config(stage, config, _dtype(file), values | ids)


def _ids(metadata):
    """Of the tokens that begin, end and fill up a text; several may end it."""
    get = lambda name: metadata.get(f"{gguf_tokenizer.KEY}{name}_token_id")
    found = {"bos_token_id": get("bos"), "pad_token_id": get("padding")}
    ends = list(dict.fromkeys(get(name) for name in ENDS if get(name) is not None))
    found["eos_token_id"] = ends[0] if len(ends) == 1 else ends or None
    return {name: value for name, value in found.items() if value is not None}


def _dtype(file):
    """That of the matrices, or float32 where they differ."""
    kinds = {tensor.dtype.name for tensor in file.tensors.values() if len(tensor.shape) == 2}
    return kinds.pop() if len(kinds) == 1 else "float32"
