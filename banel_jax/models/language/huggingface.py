"""Models in the folders that Hugging Face's `transformers` reads and writes.

A folder holds `config.json` and the weights in one or several `*.safetensors`, most often beside
the tokenizer's files. `safetensors` is needed for it; PyTorch is for a `pytorch_model.bin` alone.
"""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from banel_jax.models.language import model_files, stacking, tensors, weight_files
from banel_jax.models.language.decoder_config import DecoderConfig
from banel_jax.models.language.families import HEAD
from banel_jax.models.language.huggingface_config import (
    family_for,
    family_of,
    read_config,
    write_config,
)
from banel_jax.models.language.model_files import read_json
from banel_jax.types import Params

COPIED = (".json", ".txt", ".jinja")  # of a folder whose tokenizer is taken over


def load(folder: str | Path, **settings: Any) -> tuple[DecoderConfig, Params]:
    """The model of a folder. Weights are read one by one: memory stays near one copy of them.

    Args:
      folder: with `config.json` and the weights.
      **settings: fields of DecoderConfig that the folder does not fix, such as dtype, and
        param_dtype, which the weights are converted to.

    Raises:
      ValueError: for a family that is not supported, files that are damaged or need a library that
        is not installed, weights that are not those of the configuration, or one that is NaN or
        infinite.
      OSError: without a configuration or weights, or where they cannot be read.
    """
    folder = model_files.existing_folder(folder)
    weight_files.check_kind(folder)
    family, config = family_of(folder), read_config(folder, **settings)
    paths = weight_files.find(folder)
    found = weight_files.shapes(paths, family.ignored)
    tensors.check(folder, family, config, found)
    places, shapes = tensors.tensors(family, config, found), tensors.shapes_of(config)
    flat: dict[str, Any] = {}
    for path in paths:
        with model_files.opened(path) as file:
            for name in sorted(set(file.keys()) & places.keys()):
                tensor = weight_files.read(file, path, name, config.param_dtype)
                for place, part in places[name].in_params(tensor, shapes).items():
                    flat[place] = np.array(part)
    if config.tied:
        _check_head(paths, flat["embedding"])
    return config, stacking.stacked(flat)


def save(
    folder: str | Path,
    config: DecoderConfig,
    params: Params,
    like: str | Path | None = None,
    shard_bytes: int = 2_000_000_000,
) -> None:
    """Writes a model as `load` and `transformers` read it, in the type that its weights have.

    Args:
      folder: made if need be.
      config: of the model.
      params: its parameters.
      like: a folder whose tokenizer is taken over, and whatever its configuration, where it has
        one, says beside the architecture.
      shard_bytes: of a file of weights, unless one tensor is larger; writing takes as much memory.

    Raises:
      FileExistsError: for a folder that holds weights, unless a save of them was interrupted.
      ValueError: for `like` itself, for a configuration that no family has, and for parameters that
        are not those of the configuration or not finite.
      OSError: if a file cannot be written; the save can be repeated.
    """
    weight_files.check_free(folder, like)
    like = model_files.existing_folder(like) if like else None
    flat = stacking.by_layer(jax.tree.map(np.asarray, params))
    known = like / "config.json" if like else None
    others = read_json(known) if known and known.exists() else {}
    family = family_for(config, others.get("model_type"))
    places = tensors.tensors(family, config)
    _check_params(family, config, places, flat)
    sizes = {name: sum(flat[p].nbytes for p in x.paths) for name, x in places.items()}
    indices = [index for index, *_ in weight_files.FORMS]
    with weight_files.staged(folder, last="config.json") as stage:
        for path in like.iterdir() if like else ():
            taken = path.suffix in COPIED and path.name not in ("config.json", *indices)
            if taken and path.is_file():
                model_files.copy(path, stage / path.name)
        tensor = lambda name: places[name].in_file(flat)
        weight_files.write(stage, sizes, tensor, shard_bytes)
        write_config(stage, config, flat["embedding"].dtype, others)


def _check_params(family, config, places, flat):
    """That the parameters are those of the configuration, and finite."""
    shapes = {path: x.shape for path, x in flat.items()}
    of_tensors = {path for tensor in places.values() for path in tensor.paths}
    found = {n: x.shape(shapes) for n, x in places.items() if shapes.keys() >= set(x.paths)}
    extra = {path: shape for path, shape in shapes.items() if path not in of_tensors}
    tensors.check("the parameters", family, config, found | extra)
    for name, tensor in places.items():
        for path in tensor.paths:
            weight_files.check_finite(np.asarray(flat[path]), f"{name} of the parameters")


def _check_head(paths, embedding):
    for path in paths:
        with model_files.opened(path) as file:
            if HEAD in file.keys():  # noqa: SIM118
                head = jnp.array(weight_files.read(file, path, HEAD, embedding.dtype))
                if head.shape != embedding.shape or not jnp.array_equal(head, embedding):
                    raise ValueError(
                        f"{HEAD} in {path} is not the embedding; set tie_word_embeddings=false"
                    )
