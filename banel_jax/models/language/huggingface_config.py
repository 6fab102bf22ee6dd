"""Qwen2's `config.json`, read and written.

Every key is one of four: a field of the model, a key that changes what is computed (of which one
value is supported), one that changes nothing, or one that is not known, which is warned of.
"""

import dataclasses
import logging
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax.numpy as jnp

from banel_jax import checks
from banel_jax.models.language.decoder_config import DecoderConfig
from banel_jax.models.language.model_files import existing_folder, one_line, read_json, write_json

logger = logging.getLogger(__name__)

FIELDS = {  # of config.json, and of DecoderConfig
    "vocab_size": "vocab_size",
    "hidden_size": "width",
    "num_hidden_layers": "num_layers",
    "num_attention_heads": "num_heads",
    "num_key_value_heads": "num_kv_heads",
    "intermediate_size": "mlp_width",
    "rms_norm_eps": "norm_eps",
    "max_position_embeddings": "context",
    "tie_word_embeddings": "tied",
    "rope_theta": "rope_theta",
}
SIZES = [name for name, field in FIELDS.items() if field not in ("norm_eps", "tied", "rope_theta")]
# What `transformers` takes a value that is missing for.
DEFAULTS: dict[str, Any] = {
    "rms_norm_eps": 1e-6,
    "max_position_embeddings": 32768,
    "tie_word_embeddings": False,
    "rope_theta": 10000.0,
}
ARCHITECTURE: dict[str, Any] = {
    "model_type": "qwen2",
    "architectures": ["Qwen2ForCausalLM"],
    "hidden_act": "silu",
    "use_sliding_window": False,
    "attention_dropout": 0.0,
}
# What changes the numbers, or would in models like it, and the value that is as good as none.
SUPPORTED = ARCHITECTURE | {
    "attention_bias": True,
    "mlp_bias": False,
    "qk_norm": False,
    "use_qk_norm": False,
    "is_causal": True,
    "is_encoder_decoder": False,
    "add_cross_attention": False,
    "partial_rotary_factor": 1.0,
    "use_mrope": False,
    "pruned_heads": {},
    "per_layer_config": None,
    "quantization_config": None,
    "compression_config": None,
    "auto_map": None,
}
ROPE = ("rope_scaling", "rope_parameters")  # the older and the newer place of the scaling
ROPE_SUPPORTED = {
    "rope_type": "default", "type": "default", "factor": 1.0, "partial_rotary_factor": 1.0,
}  # fmt: skip
CODE = "auto_map"  # names classes of the folder's own
# Token ids and labels, how a model was trained, how its weights are held, how it is sampled from.
CHANGES_NOTHING = re.compile(
    r"_.*|.*_token_id|(torch_)?dtype|transformers_version|unsloth_.*|name_or_path|model_name"
    r"|use_cache|initializer_range|sliding_window|max_window_layers|attn_implementation"
    r"|id2label|label2id|num_labels|problem_type|finetuning_task|task_specific_params|prefix"
    r"|output_(attentions|hidden_states|scores)|return_dict(_in_generate)?|torchscript"
    r"|chunk_size_feed_forward|gradient_checkpointing|pretraining_tp|tokenizer_class|is_decoder"
    r"|tie_last_hidden_states|use_bfloat16|tf_legacy_loss|(min|max)_length|do_sample|early_stopping"
    r"|num_beams|temperature|top_[kp]|typical_p|repetition_penalty|length_penalty"
    r"|no_repeat_ngram_size|num_return_sequences|layer_types"
)


def read_config(folder: str | Path, **settings: Any) -> DecoderConfig:
    """The configuration of a folder's model; keys that are not known are warned of in one line.

    Args:
      folder: with `config.json`. A value of null is one that is missing.
      **settings: fields of DecoderConfig that the folder does not fix.

    Raises:
      FileNotFoundError: without it.
      ValueError: where the model is of another architecture, or of a kind that is not supported,
        or a value is none that a field can have.
    """
    path, found = _found(folder)
    config = _config(path, found)
    known = {*FIELDS, *SUPPORTED, *ROPE, "head_dim"}
    unknown = [n for n in found if n not in known and not CHANGES_NOTHING.fullmatch(n)]
    if unknown:
        names = one_line(", ".join(map(repr, unknown)))
        logger.warning("%s: %s not known here and passed over", path, names)
    return dataclasses.replace(config, **settings)


def vocab_size(folder: str | Path) -> int:
    """The rows of the embedding of a folder's model; errors as of `read_config`."""
    return _config(*_found(folder)).vocab_size


def _found(folder):
    path = existing_folder(folder) / "config.json"
    if not path.exists():
        raise FileNotFoundError(f"{folder} has no config.json; complete the folder")
    return path, {name: value for name, value in read_json(path).items() if value is not None}


def _config(path, found):
    if CODE in found:
        raise ValueError(
            f"{path}: {CODE} names code of the folder's own, which is never run; give a folder of "
            "Qwen2 as `transformers` has it"
        )
    problems = [
        f"{name}={_shown(found.get(name))} is not supported, only {value!r} is"
        for name, value in SUPPORTED.items()
        if found.get(name, None if name == "model_type" else value) != value
    ]
    values = DEFAULTS | found
    values.setdefault("num_key_value_heads", values.get("num_attention_heads"))
    problems += _rope_problems(values)
    if set(_list(values.get("layer_types", []))) - {"full_attention"}:
        shown = _shown(values["layer_types"])
        problems.append(f"layer_types={shown} is not supported, only 'full_attention' is")
    problems += [f"{name} is missing" for name in FIELDS if values.get(name) is None]
    if problems:
        raise ValueError(one_line(f"{path}: " + "; ".join(problems)))
    try:
        config = _checked(values)
    except ValueError as error:
        text = str(error)
        for name, field in FIELDS.items():
            text = text.replace(f"{field}=", f"{name}=")
        raise ValueError(one_line(f"{path}: {text}")) from error
    if values.get("head_dim", config.head_width) != config.head_width:
        shown = _shown(values["head_dim"])
        raise ValueError(f"{path}: head_dim={shown} is not supported, only {config.head_width} is")
    return config


def _checked(values):
    named = SimpleNamespace(**{name: values[name] for name in FIELDS})
    checks.integers(named, *SIZES, at_least=1, below=2**31)
    checks.reals(named, "rms_norm_eps", "rope_theta", above=0)
    if not isinstance(named.tie_word_embeddings, bool):
        shown = _shown(named.tie_word_embeddings)
        raise ValueError(f"tie_word_embeddings={shown} must be true or false")
    return DecoderConfig(**{field: getattr(named, name) for name, field in FIELDS.items()})


def _rope_problems(values):
    """What scales the positions; the base of their wavelengths goes to `rope_theta`."""
    problems = []
    for key in reversed(ROPE):
        rope = values.get(key, {})
        given = dict(rope) if isinstance(rope, dict) else {key: rope}
        given = {name: value for name, value in given.items() if value is not None}
        given.pop("original_max_position_embeddings", None)  # says nothing without a scaling
        values["rope_theta"] = given.pop("rope_theta", values["rope_theta"])
        others = [n for n, v in given.items() if n not in ROPE_SUPPORTED or v != ROPE_SUPPORTED[n]]
        if others:
            problems.append(
                f"{key}={_shown(rope)} is not supported for its {others[0]!r}, only a rope_theta "
                "and the rope_type 'default' are"
            )
    return problems


def _list(value):
    return [str(x) for x in value] if isinstance(value, list) else [str(value)]


def _shown(value):
    text = repr(value)
    return text if len(text) <= 100 else text[:100] + "..."


def write_config(folder: Path, config: DecoderConfig, dtype: Any, others: dict[str, Any]) -> None:
    """Writes `config.json`.

    Args:
      folder: to write it to.
      config: of the model.
      dtype: of its weights.
      others: values to keep that say nothing of the architecture, such as token ids.
    """
    values = {name: getattr(config, field) for name, field in FIELDS.items()} | ARCHITECTURE
    # Both forms of theta and of the type, since older readers know the one alone.
    rope = {"rope_theta": config.rope_theta, "rope_type": "default"}
    values |= {"rope_scaling": None, "rope_parameters": rope}
    values["torch_dtype"] = jnp.dtype(dtype).name
    dropped = {"dtype", "layer_types", "head_dim", *SUPPORTED}
    kept = {name: value for name, value in others.items() if name not in dropped}
    write_json(folder / "config.json", kept | values)
