"""Settings as JSON values.

What a run's numbers follow from is written down in its folder and compared when the run goes on.
So equal settings must be named alike in every process, and others otherwise: nothing is named by
its address in memory.
"""

import dataclasses
import enum
import functools
import inspect
import math
import os
import re
import types
from collections.abc import Collection, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from banel_jax.runs.code_names import class_name, code_of, content, digest, name_of, text


class Fields(dict[str, Any]):
    """The fields of a dataclass or a named tuple as JSON values, and what these do not say.

    Attributes:
      of: name of the class; None where the fields say it, or are a part of another's.
      defaults: names of the fields that are at their defaults.
    """

    def __init__(
        self, fields: Mapping[str, Any], of: str | None = None, defaults: Collection[str] = ()
    ):
        super().__init__(fields)
        self.of, self.defaults = of, frozenset(defaults)

    def __or__(self, others: Any) -> Any:
        return Fields({**self, **others}, self.of, self.defaults - set(others))

    def without(self, names: Collection[str]) -> "Fields":
        """All fields but some."""
        kept = {name: value for name, value in self.items() if name not in names}
        return Fields(kept, self.of, self.defaults - set(names))


def plain(value: Any, name: str = "settings") -> Any:
    """Settings as JSON values that name them soundly.

    Dataclasses and named tuples become dicts, which know their classes and what is at its default
    (`Fields`), with the fields of MAY_CHANGE in a dict `may_change` of their own.
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
            parts = {k: self.plain(v, f"{name}.{k}") for k, v in value._asdict().items()}  # type: ignore[attr-defined]
            defaults = type(value)._field_defaults  # type: ignore[attr-defined]
            kept = [k for k in defaults if self.same(parts[k], getattr(value, k), defaults[k])]
            return Fields(parts, class_name(type(value)), kept)
        if isinstance(value, list | tuple):
            return [self.plain(item, f"{name}[{i}]") for i, item in enumerate(value)]
        if isinstance(value, set | frozenset):
            return sorted((self.plain(item, name) for item in value), key=text)
        if isinstance(value, bytes | bytearray):
            return f"bytes[{len(value)}] {digest(value)}"
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
        return f"{kind}[{shape}] {digest(np.ascontiguousarray(value).tobytes())}"

    def mapping(self, value: Mapping[Any, Any], name: str) -> dict[str, Any]:
        plain: dict[str, Any] = {}
        for key, item in value.items():
            word = key if isinstance(key, str) else text(self.plain(key, f"a key of {name}"))
            if word in plain:
                raise ValueError(f"{name} has two keys {word}; rename one")
            plain[word] = self.plain(item, f"{name}.{word}")
        return Fields(plain, value.of, value.defaults) if isinstance(value, Fields) else plain

    def fields(self, value: Any, name: str) -> Fields:
        """Fields that take no part in comparisons, such as a Flax module's parent, say nothing."""
        of = class_name(type(value))
        parts: dict[str, Any] = {"class": name_of(type(value))} if callable(value) else {}
        may_change: dict[str, Any] = {}
        defaults = []
        for field in dataclasses.fields(value):
            if not field.compare or (field.name == "parent" and hasattr(value, "bind")):
                continue
            given = getattr(value, field.name)
            item = self.plain(given, f"{name}.{field.name}")
            (may_change if field.metadata.get("may_change") else parts)[field.name] = item
            if self.same(item, given, default_of(field)):
                defaults.append(field.name)
        if may_change:
            parts["may_change"] = Fields(may_change, None, may_change.keys() & set(defaults))
        return Fields(parts, of, parts.keys() & set(defaults))

    def same(self, item: Any, given: Any, default: Any) -> bool:
        """Whether a value, named `item`, is the default."""
        if default is dataclasses.MISSING or default is given:
            return default is given
        try:
            return spelt(self.plain(default, "a default")) == spelt(item)
        except ValueError:  # a default that nothing names
            return False

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
            return name_of(value)
        cells = zip(code.co_freevars, value.__closure__ or (), strict=True)
        closure = {k: content(cell) for k, cell in cells}
        closure |= {"defaults": value.__defaults__, "kwdefaults": value.__kwdefaults__}
        given = {k: self.plain(v, f"{name}.{k}") for k, v in closure.items() if v is not None}
        return {"function": name_of(value), "code": digest(code_of(code)), **given}

    def described(self, value: Any, name: str) -> str:
        if type(value) is object:  # a mark that says nothing
            return "object"
        shown = repr(value)
        if type(value).__repr__ is object.__repr__ or re.search(r" at 0x[0-9a-fA-F]+", shown):
            raise ValueError(
                f"{name} is an object of {name_of(type(value))} that nothing but its address in "
                "memory tells from others, so that its run could never be resumed; make it a "
                "frozen dataclass, or give it an attribute `settings` of plain values"
            )
        return shown


def default_of(field: dataclasses.Field) -> Any:
    """A field's default; `dataclasses.MISSING` where it has none."""
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def spelt(value: Any) -> str:
    """A plain value as text, with the classes that its JSON does not show."""

    def shown(value: Any) -> Any:
        if isinstance(value, Mapping):
            parts = {k: shown(v) for k, v in value.items()}
            return [getattr(value, "of", None), parts]
        return list(map(shown, value)) if isinstance(value, list | tuple) else value

    return text(shown(value))


def _dtype(value: Any) -> str | None:
    """The name of a NumPy or JAX type of numbers, whichever object stands for it."""
    numeric = isinstance(value, type) and issubclass(value, np.generic)
    if numeric or isinstance(value, np.dtype | type(jnp.float32)):
        return jnp.dtype(value).name
    return None
