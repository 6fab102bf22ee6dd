"""Qwen2's `config.json`, read and written."""

import json
from pathlib import Path
from typing import Any

import jax.numpy as jnp

from banel_jax.models.qwen2 import Qwen2Config

FIELDS = {  # of config.json, and of Qwen2Config
    "vocab_size": "vocab_size",
    "hidden_size": "width",
    "num_hidden_layers": "num_layers",
    "num_attention_heads": "num_heads",
    "num_key_value_heads": "num_kv_heads",
    "intermediate_size": "mlp_width",
    "rms_norm_eps": "norm_eps",
    "max_position_embeddings": "context",
    "tie_word_embeddings": "tied",
}
# What `transformers` takes a value that is missing for.
DEFAULTS: dict[str, Any] = {
    "hidden_act": "silu",
    "use_sliding_window": False,
    "rope_scaling": None,
    "attention_dropout": 0.0,
    "rms_norm_eps": 1e-6,
    "max_position_embeddings": 32768,
    "tie_word_embeddings": False,
    "rope_theta": 10000.0,
}
SUPPORTED: dict[str, Any] = {
    "model_type": "qwen2",
    "hidden_act": "silu",
    "use_sliding_window": False,
    "rope_scaling": None,
    "attention_dropout": 0.0,
}


def read_json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def write_json(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def read_config(folder: str | Path, **settings: Any) -> Qwen2Config:
    """The configuration of a folder's model.

    Args:
      folder: with `config.json`.
      **settings: fields of Qwen2Config that the folder does not fix.

    Raises:
      FileNotFoundError: without it.
      ValueError: where the model is of another architecture, or of a kind that is not supported.
    """
    path = Path(folder) / "config.json"
    if not path.exists():
        raise FileNotFoundError(f"{folder} has no config.json; complete the folder")
    found = DEFAULTS | read_json(path)
    rope = found.get("rope_parameters") or {}  # where newer files keep theta and scaling
    if rope.get("rope_type", "default") != "default":
        found["rope_scaling"] = rope
    theta = rope.get("rope_theta", found["rope_theta"])
    problems = [
        f"{name}={found.get(name)!r} is not supported, only {value!r} is"
        for name, value in SUPPORTED.items()
        if found.get(name) != value
    ]
    problems += [f"{name} is missing" for name in FIELDS if name not in found]
    if not problems:
        width = found["hidden_size"] // found["num_attention_heads"]
        if found.get("head_dim") not in (None, width):
            problems.append(f"head_dim={found['head_dim']} is not supported, only {width} is")
    if problems:
        raise ValueError(f"{path}: " + "; ".join(problems))
    fields = {field: found[name] for name, field in FIELDS.items()}
    return Qwen2Config(**fields, rope_theta=theta, **settings)


def write_config(folder: Path, config: Qwen2Config, dtype: Any, others: dict[str, Any]) -> None:
    """Writes `config.json`.

    Args:
      folder: to write it to.
      config: of the model.
      dtype: of its weights.
      others: values to keep that say nothing of the architecture, such as token ids.
    """
    values = {name: getattr(config, field) for name, field in FIELDS.items()}
    rope = {"rope_theta": config.rope_theta, "rope_type": "default"}
    # Both forms of theta and of the type, since older readers know the one alone.
    values |= SUPPORTED | {"rope_theta": config.rope_theta, "rope_parameters": rope}
    values |= {"architectures": ["Qwen2ForCausalLM"], "torch_dtype": jnp.dtype(dtype).name}
    dropped = ("dtype", "layer_types", "head_dim")
    kept = {name: value for name, value in others.items() if name not in dropped}
    write_json(folder / "config.json", kept | values)
