"""Classes and functions by name and by what they do; short names of bytes."""

import hashlib
import json
import sys
import types
from typing import Any

OWN = ("banel_jax", "experiments")


def class_name(of: type) -> str:
    """A class by module and name; this library's by package and name, each of which it has once,
    so that what was begun goes on where they have moved within it."""
    return name_of(of) if of.__module__.split(".")[0] == "banel_jax" else _full_name(of)


def _full_name(value: Any) -> str:
    return f"{_module(value)}.{value.__qualname__}"


def _module(value: Any) -> str:
    module = getattr(value, "__module__", None)
    if module == "__main__":  # what `python -m` runs has another name where it is imported
        module = getattr(sys.modules["__main__"].__spec__, "name", module)
    return str(module)


def name_of(value: Any) -> str:
    package = _module(value).split(".")[0]
    # By their package alone, so that what was begun goes on where they have moved within it.
    return f"{package}.{value.__qualname__}" if package in OWN else _full_name(value)


def content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None


def code_of(code: types.CodeType) -> bytes:
    """What a function does, whatever its file and lines."""
    parts: list[Any] = [code.co_code, code.co_names, code.co_varnames, code.co_freevars]
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            parts.append(code_of(constant))
        else:
            parts.append(
                sorted(map(repr, constant)) if isinstance(constant, frozenset) else constant
            )
    return repr(parts).encode()


def digest(data: Any) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
