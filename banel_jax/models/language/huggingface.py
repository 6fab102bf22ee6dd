"""Qwen2's weights in the folders that Hugging Face's `transformers` reads and writes.

A folder holds `config.json` and the weights in one or several `*.safetensors`, most often beside
the tokenizer's files. `safetensors` is needed for it, PyTorch is not.
"""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from banel_jax.models.language import model_files, weight_files
from banel_jax.models.language.decoder import Decoder
from banel_jax.models.language.decoder_config import DecoderConfig
from banel_jax.models.language.huggingface_config import read_config, write_config
from banel_jax.models.language.model_files import read_json
from banel_jax.models.language.weight_files import INDEX
from banel_jax.types import Params

# Where each tensor stands in the parameters. Linear weights are [out, in] in a file and
# [in, out] in a `kernel`; all else is as it is.
LAYER = "model.layers.{}."
NAMES = {
    "model.embed_tokens.weight": "embedding",
    LAYER + "input_layernorm.weight": "layer_{}/attention_norm/scale",
    LAYER + "self_attn.q_proj.weight": "layer_{}/q/kernel",
    LAYER + "self_attn.q_proj.bias": "layer_{}/q/bias",
    LAYER + "self_attn.k_proj.weight": "layer_{}/k/kernel",
    LAYER + "self_attn.k_proj.bias": "layer_{}/k/bias",
    LAYER + "self_attn.v_proj.weight": "layer_{}/v/kernel",
    LAYER + "self_attn.v_proj.bias": "layer_{}/v/bias",
    LAYER + "self_attn.o_proj.weight": "layer_{}/attention_out/kernel",
    LAYER + "post_attention_layernorm.weight": "layer_{}/mlp_norm/scale",
    LAYER + "mlp.gate_proj.weight": "layer_{}/gate/kernel",
    LAYER + "mlp.up_proj.weight": "layer_{}/up/kernel",
    LAYER + "mlp.down_proj.weight": "layer_{}/down/kernel",
    "model.norm.weight": "final_norm/scale",
    "lm_head.weight": "head",
}
HEAD = "lm_head.weight"  # of a tied model it may be there, and is then the embedding
COPIED = (".json", ".txt", ".jinja")  # of a folder whose tokenizer is taken over
LISTED = 10  # of what is amiss with the tensors


def load(folder: str | Path, **settings: Any) -> tuple[DecoderConfig, Params]:
    """The model of a folder. Weights are read one by one: memory stays near one copy of them.

    Args:
      folder: with `config.json` and the weights.
      **settings: fields of DecoderConfig that the folder does not fix, such as dtype, and
        param_dtype, which the weights are converted to.

    Raises:
      ValueError: for another architecture, files that are damaged, weights that are not those of
        the configuration, or one that is NaN or infinite.
      OSError: without a configuration or weights, or where they cannot be read.
    """
    folder = model_files.existing_folder(folder)
    weight_files.check_kind(folder)
    config = read_config(folder, **settings)
    paths = weight_files.find(folder)
    _check(folder, config, weight_files.shapes(paths))
    places, flat = _places(config), {}
    for path in paths:
        with model_files.opened(path) as file:
            for name in sorted(set(file.keys()) & places.keys()):
                tensor = weight_files.read(file, path, name, config.param_dtype)
                flat[places[name]] = jnp.array(_turned(places[name], tensor)).block_until_ready()
    if config.tied:
        _check_head(paths, flat["embedding"])
    return config, traverse_util.unflatten_dict(flat, sep="/")


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
      ValueError: for `like` itself, and for parameters that are not those of the configuration or
        not finite.
      OSError: if a file cannot be written; the save can be repeated.
    """
    weight_files.check_free(folder, like)
    like = model_files.existing_folder(like) if like else None
    flat = traverse_util.flatten_dict(params, sep="/")
    places = _places(config)
    found = {name: _file_shape(p, flat[p].shape) for name, p in places.items() if p in flat}
    extra = {place: flat[place].shape for place in flat.keys() - set(places.values())}
    _check("the parameters", config, found | extra)
    for name, place in places.items():
        weight_files.check_finite(np.asarray(flat[place]), f"{name} of the parameters")
    known = like / "config.json" if like else None
    others = read_json(known) if known and known.exists() else {}
    sizes = {name: flat[place].nbytes for name, place in places.items()}
    with weight_files.staged(folder, last="config.json") as stage:
        for path in like.iterdir() if like else ():
            taken = path.suffix in COPIED and path.name not in ("config.json", INDEX)
            if taken and path.is_file():
                model_files.copy(path, stage / path.name)
        tensor = lambda name: _turned(places[name], np.asarray(flat[places[name]]))
        weight_files.write(stage, sizes, tensor, shard_bytes)
        write_config(stage, config, flat["embedding"].dtype, others)


def _places(config):
    """Where each tensor of a model stands in the parameters, by its name."""
    places = {}
    for name, place in NAMES.items():
        for i in range(config.num_layers if "{}" in name else 1):
            places[name.format(i)] = place.format(i)
    if config.tied:
        del places[HEAD]
    return places


def _expected(config):
    """The shape of each tensor in a file, by its name."""
    start = jax.ShapeDtypeStruct((1,), jnp.int32)
    shapes = jax.eval_shape(Decoder(config).init, jax.random.key(0), start)["params"]
    flat = traverse_util.flatten_dict(shapes, sep="/")
    return {name: _file_shape(p, flat[p].shape) for name, p in _places(config).items()}


def _is_linear(place):
    return place.endswith("/kernel")


def _turned(place, tensor):
    """From a file's form to that of the parameters, and back."""
    return tensor.T if _is_linear(place) else tensor


def _file_shape(place, shape):
    return tuple(reversed(shape)) if _is_linear(place) else tuple(shape)


def _check(where, config, found):
    """That the tensors found, by name and shape, are those of the configuration."""
    if config.num_layers > len(found):  # each has several; no need to spell out what is missing
        raise ValueError(
            f"{where}: {len(found)} tensors are too few for num_hidden_layers={config.num_layers} "
            "of the configuration; mend config.json or complete the weights"
        )
    expected = _expected(config)
    problems = [f"{name} is missing" for name in expected.keys() - found.keys()]
    for name, shape in found.items():
        if name not in expected and not (config.tied and name == HEAD):
            problems.append(f"{name} is not of this model")
        elif name in expected and shape != expected[name]:
            problems.append(f"{name} is {list(shape)}, not {list(expected[name])}")
    if problems:
        more = f"; and {len(problems) - LISTED} more" if len(problems) > LISTED else ""
        listed = "; ".join(" ".join(problem.split()) for problem in sorted(problems)[:LISTED])
        raise ValueError(
            f"{where}: {len(problems)} tensors do not fit the configuration: {listed}{more}"
        )


def _check_head(paths, embedding):
    for path in paths:
        with model_files.opened(path) as file:
            if HEAD in file.keys():  # noqa: SIM118
                head = jnp.array(weight_files.read(file, path, HEAD, embedding.dtype))
                if head.shape != embedding.shape or not jnp.array_equal(head, embedding):
                    raise ValueError(
                        f"{HEAD} in {path} is not the embedding; set tie_word_embeddings=false"
                    )
