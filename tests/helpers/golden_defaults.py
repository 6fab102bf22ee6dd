"""The defaults that names of runs, results and priors leave out."""

import dataclasses
import importlib
import inspect
import json
import pkgutil

from flax import linen as nn

import banel_jax
from banel_jax.runs import code_names, plain_values

# Beside the library's, those that a name is made of; others reach it by their values alone.
MORE = ("experiments.common.broadening",)


def classes():
    """Of what has defaults, by name; each a list of the classes that have it."""
    found = {}
    library = pkgutil.walk_packages(banel_jax.__path__, "banel_jax.")
    for name in [*(module.name for module in library), *MORE]:
        for of in vars(importlib.import_module(name)).values():
            if inspect.isclass(of) and of.__module__ == name and _has_fields(of):
                found.setdefault(code_names.class_name(of), []).append(of)
    return found


def _has_fields(of):
    """Whether it is of settings: neither a state nor a module."""
    frozen = dataclasses.is_dataclass(of) and of.__dataclass_params__.frozen
    return frozen and not hasattr(of, "_flax_dataclass") and not issubclass(of, nn.Module)


def defaults():
    """As text, by class and field."""
    found = {name: _defaults(of) for name, (of, *_) in sorted(classes().items())}
    return {name: fields for name, fields in found.items() if fields}


def _defaults(of):
    given = {
        field.name: plain_values.default_of(field)
        for field in dataclasses.fields(of)
        if field.compare and not field.metadata.get("may_change")
    }
    return {
        name: json.loads(plain_values.spelt(plain_values.plain(value)))
        for name, value in sorted(given.items())
        if value is not dataclasses.MISSING
    }


def changed(kept, found):
    """(fields whose defaults are others, those that are not in the table)."""
    pairs = [(name, field) for name, fields in found.items() for field in fields]
    new = [pair for pair in pairs if pair[1] not in kept.get(pair[0], {})]
    others = [(n, f) for n, f in pairs if (n, f) not in new and kept[n][f] != found[n][f]]
    return [".".join(pair) for pair in others], [".".join(pair) for pair in new]
