"""`config.json` of every family of models, read and written.

Every key is one of four: a field of the model, a key that changes what is computed (of which one
value is supported), one that changes nothing, or one that is not known and therefore refused.
"""

import dataclasses
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax.numpy as jnp

from banel_jax import checks
from banel_jax.checks import one_line
from banel_jax.models.language import huggingface_rope as rope
from banel_jax.models.language.decoder_config import DecoderConfig
from banel_jax.models.language.families import (
    ACTIVATIONS,
    CHANGES_NOTHING,
    FAMILIES,
    SUPPORTED,
    Family,
)
from banel_jax.models.language.model_files import existing_folder, read_json, write_json

CODE = "auto_map"  # names classes of the folder's own
WINDOW, LAYERS = "sliding_window", "layer_types"
REALS, TRUTHS = ("norm_eps",), ("tied", "qkv_bias", "mlp_bias")  # all others are whole numbers


def read_config(folder: str | Path, **settings: Any) -> DecoderConfig:
    """The configuration of a folder's model.

    Args:
      folder: with `config.json`. A value of null is one that is missing.
      **settings: fields of DecoderConfig that the folder does not fix.

    Raises:
      FileNotFoundError: without it.
      ValueError: where the model is of a family that is not supported, or a key is not known or
        has a value that is not supported, or a value is none that a field can have.
    """
    return dataclasses.replace(parse(*_found(folder)), **settings)


def vocab_size(folder: str | Path) -> int:
    """The rows of the embedding of a folder's model; errors as of `read_config`."""
    return parse(*_found(folder)).vocab_size


def family_of(folder: str | Path) -> Family:
    """The family of a folder's model; errors as of `read_config`."""
    return _family(*_found(folder))


def family_for(config: DecoderConfig, preferred: Any = None) -> Family:
    """The family that has models of a configuration, `preferred` (its model_type) before others.

    Raises:
      ValueError: if there is none.
    """
    order = sorted(FAMILIES.values(), key=lambda family: family.model_type != preferred)
    for family in order:
        try:
            fields = _fields(family, _values(family, config))
            read = DecoderConfig(**fields)
        except ValueError:
            continue
        if all(getattr(config, name) == getattr(read, name) for name in fields):
            return family
    raise ValueError(
        f"no family of models ({', '.join(sorted(FAMILIES))}) has a model of this configuration, "
        f"so it cannot be written: {config}"
    )


def _found(folder):
    path = existing_folder(folder) / "config.json"
    if not path.exists():
        raise FileNotFoundError(f"{folder} has no config.json; complete the folder")
    return path, read_json(path)


def _family(path, found):
    """The family; that it is none of those supported is the one thing to say of such a folder."""
    kind, heads = found.get("model_type"), found.get("architectures")
    if not isinstance(kind, str) or kind not in FAMILIES:
        raise ValueError(
            f"{path}: model_type={_shown(kind)} is not supported, only the families "
            f"{', '.join(sorted(FAMILIES))} are"
        )
    family = FAMILIES[kind]
    if heads not in (None, [family.architecture]):
        raise ValueError(
            f"{path}: architectures={_shown(heads)} is not supported, only "
            f"{[family.architecture]} is"
        )
    if found.get(CODE) is not None:
        raise ValueError(
            f"{path}: {CODE} names code of the folder's own, which is never run; give a folder of "
            f"{kind} as `transformers` has it"
        )
    return family


def parse(path: Path, found: dict[str, Any]) -> DecoderConfig:
    """The configuration that values of config.json are, or would be; `path` is what is named.

    Raises:
      ValueError: as `read_config`.
    """
    family = _family(path, found)
    try:
        return DecoderConfig(**_fields(family, found))
    except ValueError as error:
        text = str(error)
        for key, names in family.fields.items():
            for name in names:
                text = re.sub(rf"\b{name}=", f"{key}=", text)
        raise ValueError(one_line(f"{path}: {text}")) from error


def _fields(family, found):
    """The fields of DecoderConfig that config.json fixes; ValueError for what is amiss with it."""
    values = family.defaults | {name: value for name, value in found.items() if value is not None}
    heads, width = values.get("num_attention_heads"), values.get("n_embd")
    values.setdefault("num_key_value_heads", heads)
    values.setdefault("n_inner", 4 * width if isinstance(width, int) else None)
    problems = _problems(family, found, values)
    if problems:
        raise ValueError("; ".join(problems))
    named = SimpleNamespace(**{key: values[key] for key in family.fields})
    fields = dict(family.fixed)
    if "rope_scaling" not in fields:
        named.rope_theta, fields["rope_scaling"] = rope.read(values)
        checks.reals(named, "rope_theta", above=0)
        fields["rope_theta"] = named.rope_theta
    for key, names in family.fields.items():
        _check(named, key, names[0])
        fields |= dict.fromkeys(names, getattr(named, key))
    return fields


def _check(named, key, field):
    value = getattr(named, key)
    if field in REALS:
        checks.reals(named, key, above=0)
    elif field in TRUTHS:
        if not isinstance(value, bool):
            raise ValueError(f"{key}={_shown(value)} must be true or false")
    elif field == "activation":
        if not isinstance(value, str) or value not in ACTIVATIONS:
            known = ", ".join(ACTIVATIONS)
            raise ValueError(f"{key}={_shown(value)} is not supported, only {known} are")
        setattr(named, key, ACTIVATIONS[value])
    else:
        checks.integers(named, key, at_least=1, below=2**31, none=field == "head_dim")


def _problems(family, found, values):
    only = SUPPORTED | family.only
    problems = [
        f"{name}={_shown(values[name])} is not supported, only {value!r} is"
        for name, value in only.items()
        if values.get(name, value) != value
    ]
    window = found.get(WINDOW, family.defaults.get(WINDOW))
    context = values.get(family.key("context"))
    if WINDOW in family.defaults and window is not None and not _covers(window, context):
        problems.append(
            f"{WINDOW}={_shown(window)} is not supported, only null or one of "
            f"{family.key('context')} or more is"
        )
    layers = values.get(LAYERS, [])
    kinds = {str(x) for x in layers} if isinstance(layers, list) else {str(layers)}
    if kinds - {"full_attention"}:
        problems.append(f"{LAYERS}={_shown(layers)} is not supported, only 'full_attention' is")
    problems += [
        f"{key} is missing"
        for key in family.fields
        if key not in family.defaults and values.get(key) is None
    ]
    known = {*family.fields, *only, "model_type", "architectures", CODE, LAYERS, WINDOW}
    if "rope_scaling" not in family.fixed:
        known |= set(rope.KEYS)
    given = [name for name, value in found.items() if value is not None]
    unknown = [n for n in given if n not in known and not CHANGES_NOTHING.fullmatch(n)]
    if unknown:
        names = ", ".join(map(repr, unknown))
        problems.append(
            f"{names} not known here, and might change the numbers; remove from it what does not"
        )
    return problems


def _covers(window, context):
    """Whether a window is all of the context."""
    numbers = all(isinstance(x, int) and not isinstance(x, bool) for x in (window, context))
    return numbers and window >= context


def _shown(value):
    text = repr(value)
    return text if len(text) <= 100 else text[:100] + "..."


def _values(family, config):
    """What config.json says of a configuration, as far as the family can."""
    values = {key: getattr(config, names[0]) for key, names in family.fields.items()}
    key = family.key("activation")
    values[key] = next(name for name, own in ACTIVATIONS.items() if own == config.activation)
    if family.fixed["positions"] == "rotary":
        values |= rope.written(config.rope_theta, config.rope_scaling)
        if family.defaults["head_dim"] is not None:
            values["head_dim"] = config.head_width
        elif config.head_dim is None:
            del values["head_dim"]
    if WINDOW in family.defaults:
        values[WINDOW] = None  # a missing one is a window
    return values | family.only


def write_config(folder: Path, config: DecoderConfig, dtype: Any, others: dict[str, Any]) -> None:
    """Writes `config.json`.

    Args:
      folder: to write it to.
      config: of the model.
      dtype: of its weights.
      others: values to keep that say nothing of the architecture, such as token ids; the family
        that its model_type names is written where it has such models.

    Raises:
      ValueError: if no family has models of this configuration.
    """
    family = family_for(config, others.get("model_type"))
    kept = {name: value for name, value in others.items() if CHANGES_NOTHING.fullmatch(name)}
    kept.pop("dtype", None)
    kept |= {"model_type": family.model_type, "architectures": [family.architecture]}
    values = kept | _values(family, config) | {"torch_dtype": jnp.dtype(dtype).name}
    write_json(folder / "config.json", values)
