"""Priors in their files: arrays by name, what they were made of, and how well they fit."""

import dataclasses
import json
import os
import zipfile
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from banel_jax import files
from banel_jax.runs import naming
from banel_jax.types import Params, SequenceModel

CONFIG, METRICS, PARAMS = "config", "metrics", "params"  # names of the arrays in a file
TRAINING, VERSION = "training", "numerics"  # names in the configuration that is kept


def with_model(file: str | os.PathLike) -> tuple[SequenceModel, Params]:
    """The model and the parameters in a file that `prior_cache.pretrained` wrote.

    Raises:
      ValueError: for a file that is damaged, none of these, or of a model that is neither a
        `transformer` nor a `table`; one line that names it.
    """
    file = files.expand(file)
    mend = "name another"
    found, _, arrays = _read(file, mend)
    model = _model(found.get(TRAINING, {}).get("model"))
    if model is None:
        raise ValueError(
            f"the prior {file} does not say that it is a transformer or a table, so that its "
            "model must be given in Python"
        )
    like = jax.eval_shape(model.init, jax.random.key(0))
    return model, _restored(file, arrays, like, mend)


def _model(settings: Any) -> SequenceModel | None:
    """The model of these settings, as they are written down."""
    from banel_jax.models.table import table
    from banel_jax.models.transformer import TransformerConfig, transformer

    if isinstance(settings, list) and settings[:1] == ["table"]:
        return table(*settings[1:])
    names = {field.name for field in dataclasses.fields(TransformerConfig)}
    if not isinstance(settings, dict) or not settings.keys() <= names:
        return None
    return transformer(TransformerConfig(**settings | {"dtype": jnp.dtype(settings["dtype"])}))


def load(file, known_by, like, mend, of_any_version=False):
    found, metrics, arrays = _read(file, mend)
    differences = _differences(found, known_by, of_any_version)
    if differences:
        raise ValueError(f"the prior {file} is of another configuration: {differences}; {mend}")
    return _restored(file, arrays, like, mend), metrics


def _read(file, mend):
    """(configuration, metrics, arrays by name) of a file."""
    try:
        with np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        found, metrics = json.loads(str(arrays.pop(CONFIG))), json.loads(str(arrays.pop(METRICS)))
        if not naming.well_marked(found):
            raise ValueError(naming.MARKS)
        _differences(found, {}, False)  # which fails where it is no configuration
    except (OSError, ValueError, KeyError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise ValueError(f"the cached prior {file} cannot be read; {mend}") from error
    return found, metrics, arrays


def _restored(file, arrays, like, mend):
    """The parameters."""
    wanted = {array_name(path): (leaf.shape, jnp.dtype(leaf.dtype)) for path, leaf in leaves(like)}
    if wanted != {name: (array.shape, array.dtype) for name, array in arrays.items()}:
        raise ValueError(f"the cached prior {file} is of another model; {mend}")
    restore = lambda path, _: jnp.asarray(arrays[array_name(path)])
    return jax.tree_util.tree_map_with_path(restore, like)


def _differences(found, wanted, of_any_version):
    """What the two differ in, as 'width is 32 there and 64 here'; by the caller's names, if any.

    Where the version does not matter, neither does what only one of the two has.
    """
    differ = naming.differences(found, naming.written(wanted))
    if of_any_version:
        differ = {
            name: values
            for name, values in differ.items()
            if naming.MISSING not in values and name != VERSION
        }
    own = {name: v for name, v in differ.items() if not name.startswith(f"{TRAINING}.")}
    return ", ".join(
        f"{name} is {there} there and {here} here"
        for name, (there, here) in (own or differ).items()
    )


def leaves(tree):
    return jax.tree_util.tree_leaves_with_path(tree)


def array_name(path):
    return PARAMS + jax.tree_util.keystr(path)
