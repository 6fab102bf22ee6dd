"""Qwen2's weights in the folders that Hugging Face's `transformers` reads and writes.

A folder holds `config.json` and the weights in one or several `*.safetensors`, most often beside
the tokenizer's files. `safetensors` is needed for it, PyTorch is not.
"""

import shutil
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from banel_jax.models.huggingface_config import read_config, read_json, write_config, write_json
from banel_jax.models.optional import optional
from banel_jax.models.qwen2 import Decoder, Qwen2Config
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
INDEX = "model.safetensors.index.json"


def load(folder: str | Path, **settings: Any) -> tuple[Qwen2Config, Params]:
    """The model of a folder. Weights are read one by one: memory stays near one copy of them.

    Args:
      folder: with `config.json` and the weights.
      **settings: fields of Qwen2Config that the folder does not fix, such as dtype, and
        param_dtype, which the weights are converted to.

    Raises:
      ValueError: for another architecture, or weights that are not those of the configuration.
      FileNotFoundError: without a configuration or weights.
    """
    folder = Path(folder)
    config = read_config(folder, **settings)
    paths = _weight_files(folder)
    places = _places(config)
    _check(folder, config, _shapes(paths))
    flat = {}
    for path in paths:
        with optional("safetensors").safe_open(path, framework="np") as file:
            for name in sorted(set(file.keys()) & places.keys()):
                tensor = np.asarray(file.get_tensor(name), config.param_dtype)
                flat[places[name]] = jnp.array(_turned(places[name], tensor)).block_until_ready()
    if config.tied:
        _check_head(paths, flat["embedding"])
    return config, traverse_util.unflatten_dict(flat, sep="/")


def save(
    folder: str | Path,
    config: Qwen2Config,
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
      FileExistsError: for a folder that holds weights.
      ValueError: for parameters that are not those of the configuration.
    """
    folder = Path(folder)
    flat = traverse_util.flatten_dict(params, sep="/")
    places = _places(config)
    found = {name: _file_shape(p, flat[p].shape) for name, p in places.items() if p in flat}
    extra = {place: flat[place].shape for place in flat.keys() - set(places.values())}
    _check("the parameters", config, found | extra)
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.glob("*.safetensors")):
        raise FileExistsError(f"{folder} holds weights already; name another folder")
    shards = _shards({name: flat[place].nbytes for name, place in places.items()}, shard_bytes)
    weight_map: dict[str, str] = {}
    for i, names in enumerate(shards, 1):
        several = f"model-{i:05}-of-{len(shards):05}.safetensors"
        file = several if len(shards) > 1 else "model.safetensors"
        tensors = {
            name: np.ascontiguousarray(_turned(places[name], np.asarray(flat[places[name]])))
            for name in names
        }
        optional("safetensors.numpy").save_file(tensors, folder / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(names, file)
    if len(shards) > 1:
        size = sum(leaf.nbytes for leaf in flat.values())
        write_json(folder / INDEX, {"metadata": {"total_size": size}, "weight_map": weight_map})
    known = Path(like) / "config.json" if like else None
    others = read_json(known) if known and known.exists() else {}
    write_config(folder, config, flat["embedding"].dtype, others)
    for path in Path(like).iterdir() if like else ():
        if path.suffix in (".json", ".txt", ".jinja") and path.name not in ("config.json", INDEX):
            shutil.copyfile(path, folder / path.name)


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


def _weight_files(folder):
    if (folder / INDEX).exists():
        names = sorted(set(read_json(folder / INDEX)["weight_map"].values()))
        paths = [folder / name for name in names]
    else:
        paths = sorted(folder.glob("*.safetensors"))
    absent = [path.name for path in paths if not path.exists()]
    if absent or not paths:
        what = ", ".join(absent) if absent else "*.safetensors"
        raise FileNotFoundError(f"{folder} has no {what}; complete the folder")
    return paths


def _shapes(paths):
    """The shape of each tensor in the files, by its name, without reading it."""
    shapes = {}
    for path in paths:
        with optional("safetensors").safe_open(path, framework="np") as file:
            for name in sorted(file.keys()):
                if name in shapes:
                    raise ValueError(f"{name} is in {path} and in another file; keep one of them")
                shapes[name] = tuple(file.get_slice(name).get_shape())
    return shapes


def _check(where, config, found):
    """That the tensors found, by name and shape, are those of the configuration."""
    expected = _expected(config)
    problems = [f"{name} is missing" for name in expected.keys() - found.keys()]
    for name, shape in found.items():
        if name not in expected and not (config.tied and name == HEAD):
            problems.append(f"{name} is not of this model")
        elif name in expected and shape != expected[name]:
            problems.append(f"{name} is {list(shape)}, not {list(expected[name])}")
    if problems:
        raise ValueError(
            f"{where}: {len(problems)} tensors do not fit the configuration: "
            + "; ".join(sorted(problems))
        )


def _check_head(paths, embedding):
    for path in paths:
        with optional("safetensors").safe_open(path, framework="np") as file:
            if HEAD in file.keys():  # noqa: SIM118
                head = jnp.array(file.get_tensor(HEAD), embedding.dtype)
                if head.shape != embedding.shape or not jnp.array_equal(head, embedding):
                    raise ValueError(
                        f"{HEAD} in {path} is not the embedding; set tie_word_embeddings=false"
                    )


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
