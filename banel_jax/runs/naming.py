"""A short name for what binds a run, and how the settings of two differ.

A name is made of what differs from the defaults, so that a new field at its default is no other
run. Where a default changes, the version of the numerics is raised (`tests/test_defaults.py`).
"""

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from banel_jax import numerics
from banel_jax.runs.code_names import digest, text
from banel_jax.runs.plain_values import Fields
from banel_jax.runs.plain_values import plain as plain

MARKS = "identity"  # the key in a configuration that is written down, of what is not its values
MISSING = "(absent)"


def identity(configuration: Mapping[str, Any]) -> str:
    """A short name of what binds a run: equal configurations have the same, others another.

    It is made of the version of the numerics, of the classes, and of what is not at its default.
    What stands under a key `may_change`, at any depth, and under `environment` has no part in it.

    Args:
      configuration: whatever `plain` can name.
    """
    return identity_of_written(written(configuration))


def name_at(
    place: Callable[[str], Path],
    configuration: Mapping[str, Any],
    before: Mapping[str, Any] | None = None,
) -> str:
    """The identity under which something is kept: where there is nothing yet, and something under
    the name by all fields that it once had, that one.

    Args:
      place: of a name.
      configuration: as for `identity`.
      before: what the name by all fields was made of, where that was more.
    """
    now, then = identity(configuration), identity_by_all_fields(before or configuration)
    return then if place(then).exists() and not place(now).exists() else now


def written(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration as it is written down: all of its fields, and under `identity` the version
    of the numerics, the classes of its fields, and those that are at their defaults.

    Raises:
      ValueError: for one with a key of this name.
    """
    if MARKS in configuration:
        raise ValueError(
            f"the configuration has {MARKS}, which is written beside it; choose another name"
        )
    configuration = plain(configuration, "configuration")
    classes, defaults = {}, []
    for path, fields in _fields(configuration):
        if fields.of is not None and "class" not in fields:
            classes[path] = fields.of
        defaults += [_join(path, name) for name in fields.defaults]
    defaults = [name for name in defaults if not _within(name, set(defaults) - {name})]
    marks = {"numerics": numerics.VERSION, "classes": classes, "defaults": sorted(defaults)}
    return json.loads(json.dumps(configuration)) | {MARKS: marks}


def well_marked(configuration: Mapping[str, Any]) -> bool:
    """Whether what is read from a file is what `written` may have returned, now or before."""
    marks = configuration.get(MARKS, {"numerics": 0, "classes": {}, "defaults": []})
    if not isinstance(marks, dict) or marks.keys() != {"numerics", "classes", "defaults"}:
        return False
    parts = (marks["classes"], dict), (marks["defaults"], list)
    return all(
        isinstance(part, kind) and all(isinstance(name, str) for name in part)
        for part, kind in parts
    )


def identity_of_written(configuration: Mapping[str, Any]) -> str:
    """Of what `written` returned; of one that was written before there were defaults in it, the
    name by all fields, which it then had."""
    if MARKS not in configuration:
        return identity_by_all_fields(configuration)
    marks = configuration[MARKS]
    bound = {k: v for k, v in _bound(configuration).items() if k not in (MARKS, "environment")}
    classes = {k: v for k, v in marks["classes"].items() if "may_change" not in k.split(".")}
    told = {
        name: value
        for name, value in entries(bound | {MARKS: marks | {"classes": classes}}).items()
        if not _within(name, marks["defaults"])
    }
    return digest(text([marks["numerics"], told]).encode())


def identity_by_all_fields(configuration: Mapping[str, Any]) -> str:
    """The name that configurations had before defaults were left out of it."""
    bound = _bound(plain(configuration, "configuration"))
    return digest(text({k: v for k, v in bound.items() if k != "environment"}).encode())


def differences(
    there: Mapping[str, Any],
    here: Mapping[str, Any],
    changed: Mapping[str, Any] | None = None,
) -> dict[str, tuple[Any, Any]]:
    """{field: (value there, value here)} of two configurations as `written` returns them.

    A field that only one of them has, and that is at its default there, is no difference.

    Args:
      there, here: the configurations.
      changed: values by field, as `flatten` names them, that have taken the place of those there.
    """
    changed = changed or {}
    a, b = {**entries(there), **changed}, entries(here)
    a = {name: value for name, value in a.items() if value != MISSING}
    defaults = lambda of: of.get(MARKS, {}).get("defaults", ())
    unsaid = lambda name: (
        (name in a and name not in changed and _within(name, defaults(there)))
        or (name in b and _within(name, defaults(here)))
        or (name.endswith(".class") and MARKS not in there)
    )
    return {
        name: (a.get(name, MISSING), b.get(name, MISSING))
        for name in sorted(a.keys() | b.keys())
        if a.get(name, MISSING) != b.get(name, MISSING)
        and not ((name in a) != (name in b) and unsaid(name))
    }


def flatten(configuration: Any, prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}, "c": [{"d": 2}]} as {"a.b": 1, "c[0].d": 2}; lists of values stay whole."""
    flat: dict[str, Any] = {}
    if isinstance(configuration, Mapping) and configuration:
        for name, value in configuration.items():
            flat |= flatten(value, _join(prefix, name))
    elif isinstance(configuration, list | tuple) and _holds_names(configuration):
        for number, value in enumerate(configuration):
            flat |= flatten(value, f"{prefix}[{number}]")
    elif prefix:
        flat[prefix] = configuration
    return flat


def _join(prefix: str, name: str) -> str:
    """Of a field in another; a name that would read as several stands in quotation marks."""
    name = json.dumps(name) if not name or re.search(r'[.\[\]"]', name) else name
    return f"{prefix}.{name}" if prefix else name


def _holds_names(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(map(_holds_names, value))
    return isinstance(value, Mapping)


def _fields(value: Any, path: str = "") -> Iterator[tuple[str, Fields]]:
    """What knows its class and defaults, at any depth, with its name as `flatten` makes it."""
    if isinstance(value, Fields):
        yield path, value
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _fields(item, _join(path, name))
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            yield from _fields(item, f"{path}[{number}]")


def entries(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """All fields and classes of what `written` returned, by name."""
    classes = configuration.get(MARKS, {}).get("classes", {})
    return flatten({k: v for k, v in configuration.items() if k != MARKS}) | {
        _join(path, "class"): name for path, name in classes.items()
    }


def _within(name: str, fields: Collection[str]) -> bool:
    return any(name == field or name.startswith((f"{field}.", f"{field}[")) for field in fields)


def _bound(value: Any) -> Any:
    """Without what may change."""
    if isinstance(value, Mapping):
        return {k: _bound(v) for k, v in value.items() if k != "may_change"}
    return [_bound(v) for v in value] if isinstance(value, list | tuple) else value
