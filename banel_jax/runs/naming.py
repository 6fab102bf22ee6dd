"""Settings as JSON values, and a short name for all of them.

What a run's numbers follow from is written down in its folder and compared when the run goes on.
So equal settings must be named alike in every process, and others otherwise: nothing is named by
its address in memory.
"""

import dataclasses
import enum
import functools
import hashlib
import inspect
import json
import math
import os
import re
import sys
import types
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

OWN = ("banel_jax", "experiments")


def plain(value: Any, name: str = "settings") -> Any:
    """Settings as JSON values that name them soundly.

    Dataclasses become dicts, with the fields of MAY_CHANGE in a dict `may_change` of their own.
    Arrays are named by type and content, functions by module and name (those of this project by
    package and name), and one made on the spot (a lambda, a nested function) by its code and what
    it closes over as well; a partial by its function and arguments. Whatever has an attribute
    `settings` is named by that.

    Args:
      value: the settings.
      name: of the field, for what is refused.

    Raises:
      ValueError: for an object that nothing but its address tells from others; one line that
        names its field.
    """
    return _Namer().plain(value, name)


class _Namer:
    """Goes through a value; knows the containers and functions that it is within."""

    def __init__(self) -> None:
        self.within: list[Any] = []

    def plain(self, value: Any, name: str) -> Any:
        if isinstance(value, enum.Enum):
            return f"{type(value).__qualname__}.{value.name}"
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            return str(value)
        if isinstance(value, int):
            return int(value)
        if isinstance(value, float):  # JSON has no others
            return float(value) if math.isfinite(value) else str(float(value))
        if isinstance(value, os.PathLike):
            return os.fsdecode(value)
        if (dtype := _dtype(value)) is not None:
            return dtype
        if any(value is outer for outer in self.within):
            return "(itself)"
        self.within.append(value)
        try:
            return self.composed(value, name)
        finally:
            self.within.pop()

    def composed(self, value: Any, name: str) -> Any:
        if isinstance(value, jax.core.Tracer):
            raise ValueError(f"{name} is traced; settings must be known before anything is traced")
        if isinstance(value, np.generic | np.ndarray | jax.Array):
            return self.array(value, name)
        if isinstance(value, Mapping):
            return self.mapping(value, name)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return self.fields(value, name)
        if not isinstance(value, type) and getattr(value, "settings", None) is not None:
            return self.plain(value.settings, f"{name}.settings")
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            return {k: self.plain(v, f"{name}.{k}") for k, v in value._asdict().items()}  # type: ignore[attr-defined]
        if isinstance(value, list | tuple):
            return [self.plain(item, f"{name}[{i}]") for i, item in enumerate(value)]
        if isinstance(value, set | frozenset):
            return sorted((self.plain(item, name) for item in value), key=_text)
        if isinstance(value, bytes | bytearray):
            return f"bytes[{len(value)}] {_digest(value)}"
        if isinstance(value, types.ModuleType):
            return value.__name__
        if isinstance(value, functools.partial):
            parts = {"partial": value.func, "args": value.args, "kwargs": value.keywords}
            return {k: self.plain(v, f"{name}.{k}") for k, v in parts.items()}
        if isinstance(value, type) or callable(value):
            return self.function(value, name)
        return self.described(value, name)

    def array(self, value: Any, name: str) -> Any:
        kind = value.dtype
        if jnp.issubdtype(kind, jax.dtypes.prng_key):
            value = np.asarray(jax.random.key_data(value))
        value = np.asarray(value)
        if value.dtype == object:
            return self.plain(value.tolist(), name)
        if value.ndim == 0 and isinstance(value.item(), bool | int | float | str):
            return self.plain(value.item(), name)
        shape = ",".join(map(str, value.shape))
        return f"{kind}[{shape}] {_digest(np.ascontiguousarray(value).tobytes())}"

    def mapping(self, value: Mapping[Any, Any], name: str) -> dict[str, Any]:
        plain: dict[str, Any] = {}
        for key, item in value.items():
            text = key if isinstance(key, str) else _text(self.plain(key, f"a key of {name}"))
            if text in plain:
                raise ValueError(f"{name} has two keys {text}; rename one")
            plain[text] = self.plain(item, f"{name}.{text}")
        return plain

    def fields(self, value: Any, name: str) -> dict[str, Any]:
        """Fields that take no part in comparisons, such as a Flax module's parent, say nothing."""
        parts: dict[str, Any] = {"class": _name(type(value))} if callable(value) else {}
        may_change: dict[str, Any] = {}
        for field in dataclasses.fields(value):
            if not field.compare or (field.name == "parent" and hasattr(value, "bind")):
                continue
            item = self.plain(getattr(value, field.name), f"{name}.{field.name}")
            (may_change if field.metadata.get("may_change") else parts)[field.name] = item
        return parts | ({"may_change": may_change} if may_change else {})

    def function(self, value: Any, name: str) -> Any:
        owner = getattr(value, "__self__", None)
        if owner is not None and not isinstance(owner, types.ModuleType | type):
            return {"method": value.__qualname__, "of": self.plain(owner, f"{name}.self")}
        inner = getattr(value, "__wrapped__", None)
        if inner is not None and not inspect.isfunction(value):  # of jax.jit and its like
            return self.plain(inner, name)
        if not isinstance(getattr(value, "__qualname__", None), str):
            return self.described(value, name)
        code = getattr(value, "__code__", None)
        if code is None or not re.search(r"<lambda>|<locals>", value.__qualname__):
            return _name(value)
        cells = zip(code.co_freevars, value.__closure__ or (), strict=True)
        closure = {k: _content(cell) for k, cell in cells}
        closure |= {"defaults": value.__defaults__, "kwdefaults": value.__kwdefaults__}
        given = {k: self.plain(v, f"{name}.{k}") for k, v in closure.items() if v is not None}
        return {"function": _name(value), "code": _digest(_code(code)), **given}

    def described(self, value: Any, name: str) -> str:
        if type(value) is object:  # a mark that says nothing
            return "object"
        text = repr(value)
        if type(value).__repr__ is object.__repr__ or re.search(r" at 0x[0-9a-fA-F]+", text):
            raise ValueError(
                f"{name} is an object of {_name(type(value))} that nothing but its address in "
                "memory tells from others, so that its run could never be resumed; make it a "
                "frozen dataclass, or give it an attribute `settings` of plain values"
            )
        return text


def _name(value: Any) -> str:
    module = getattr(value, "__module__", None)
    if module == "__main__":  # what `python -m` runs has another name where it is imported
        module = getattr(sys.modules["__main__"].__spec__, "name", module)
    package = str(module).split(".")[0]
    # By their package alone, so that what was begun goes on where they have moved within it.
    return f"{package if package in OWN else module}.{value.__qualname__}"


def _dtype(value: Any) -> str | None:
    """The name of a NumPy or JAX type of numbers, whichever object stands for it."""
    numeric = isinstance(value, type) and issubclass(value, np.generic)
    if numeric or isinstance(value, np.dtype | type(jnp.float32)):
        return jnp.dtype(value).name
    return None


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None


def _code(code: types.CodeType) -> bytes:
    """What a function does, whatever its file and lines."""
    parts: list[Any] = [code.co_code, code.co_names, code.co_varnames, code.co_freevars]
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            parts.append(_code(constant))
        else:
            parts.append(
                sorted(map(repr, constant)) if isinstance(constant, frozenset) else constant
            )
    return repr(parts).encode()


def _digest(data: Any) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def identity(configuration: Mapping[str, Any]) -> str:
    """A short name of what binds a run: equal configurations have the same, others another.

    What stands under a key `may_change`, at any depth, and under `environment` has no part in it.
    """

    def bound(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {k: bound(v) for k, v in value.items() if k != "may_change"}
        return [bound(v) for v in value] if isinstance(value, list | tuple) else value

    return _digest(
        _text({k: bound(v) for k, v in configuration.items() if k != "environment"}).encode()
    )


def flatten(configuration: Any, prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}, "c": [{"d": 2}]} as {"a.b": 1, "c[0].d": 2}; lists of values stay whole."""
    flat: dict[str, Any] = {}
    if isinstance(configuration, Mapping) and configuration:
        for name, value in configuration.items():
            flat |= flatten(value, f"{prefix}.{name}" if prefix else name)
    elif isinstance(configuration, list | tuple) and _holds_names(configuration):
        for number, value in enumerate(configuration):
            flat |= flatten(value, f"{prefix}[{number}]")
    elif prefix:
        flat[prefix] = configuration
    return flat


def _holds_names(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(map(_holds_names, value))
    return isinstance(value, Mapping)
