"""The defaults that names of runs, results and priors leave out."""

import dataclasses
import importlib
import inspect
import json
import pkgutil

import banel_jax
from banel_jax.runs import code_names, plain_values

# Beside the library's, those that a name is made of; others reach it by their values alone.
MORE = ("experiments.common.broadening",)

# No name is made of it: the algorithm that it configures is named by its parts' settings.
NOT_NAMED = (banel_jax.AutoConfig,)


def classes():
    """Settings, by name; each a list of the classes that have it: those called so, and those of
    their defaults."""
    library = pkgutil.walk_packages(banel_jax.__path__, "banel_jax.")
    found = []
    for name in [*(module.name for module in library), *MORE]:
        for of in vars(importlib.import_module(name)).values():
            if inspect.isclass(of) and of.__module__ == name and of.__name__.endswith("Config"):
                found += [of] if of not in NOT_NAMED else []
    for of in found:  # which grows
        nested = [type(value) for value in _given(of).values() if dataclasses.is_dataclass(value)]
        found += [one for one in dict.fromkeys(nested) if one not in found]
    by_name = {}
    for of in found:
        by_name.setdefault(code_names.class_name(of), []).append(of)
    return by_name


def _given(of):
    if not dataclasses.is_dataclass(of):
        return {}
    return {
        field.name: plain_values.default_of(field)
        for field in dataclasses.fields(of)
        if field.compare and not field.metadata.get("may_change")
    }


def defaults():
    """As text, by class and field."""
    found = {name: _defaults(of) for name, (of, *_) in sorted(classes().items())}
    return {name: fields for name, fields in found.items() if fields}


def _defaults(of):
    return {
        name: json.loads(plain_values.spelt(plain_values.plain(value)))
        for name, value in sorted(_given(of).items())
        if value is not dataclasses.MISSING
    }


def changed(kept, found):
    """(fields whose defaults are others, those that are not in the table)."""
    pairs = [(name, field) for name, fields in found.items() for field in fields]
    new = [pair for pair in pairs if pair[1] not in kept.get(pair[0], {})]
    others = [(n, f) for n, f in pairs if (n, f) not in new and kept[n][f] != found[n][f]]
    return [".".join(pair) for pair in others], [".".join(pair) for pair in new]
