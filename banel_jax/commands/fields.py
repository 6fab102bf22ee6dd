"""The fields of a nested frozen dataclass as settings: their names, types, texts and values."""

import dataclasses
import re
import types
import typing
from collections.abc import Iterator
from typing import Any, NamedTuple


class Setting(NamedTuple):
    """One field that holds no dataclass.

    Attributes:
      name: its path, such as `settings.ours.kappa`.
      kind: its annotated type.
      value: its default.
      text: what the docstring's `Attributes:` section says of it.
      group: texts of the dataclasses that it lies in, the outermost first.
    """

    name: str
    kind: Any
    value: Any
    text: str
    group: tuple[str, ...]

    @property
    def parent(self) -> str:
        return self.name.rpartition(".")[0]


def settings(defaults: Any, prefix: str = "", group: tuple[str, ...] = ()) -> Iterator[Setting]:
    """Those of a dataclass and of the dataclasses in it, in order.

    A dataclass may name in `set_for_all` fields that it gives to every dataclass within it: those
    are left out there.
    """
    hints, texts = typing.get_type_hints(type(defaults)), inherited_texts(type(defaults))
    for field in dataclasses.fields(defaults):
        value, text = getattr(defaults, field.name), texts.get(field.name, field.name)
        name = prefix + field.name
        if not dataclasses.is_dataclass(value):
            yield Setting(name, hints[field.name], value, text, group)
            continue
        for setting in settings(value, name + ".", (*group, text)):
            if setting.name.removeprefix(name + ".") not in getattr(defaults, "set_for_all", ()):
                yield setting


def replaced(defaults: Any, values: dict[str, Any], prefix: str = "") -> Any:
    """The dataclass with the values of settings, by name.

    Raises:
      ValueError: as it does for its fields, by the whole names of the settings.
    """
    changes = {}
    for field in dataclasses.fields(defaults):
        value, name = getattr(defaults, field.name), prefix + field.name
        if dataclasses.is_dataclass(value):
            changes[field.name] = replaced(value, values, name + ".")
        elif name in values:
            changes[field.name] = values[name]
    try:
        return dataclasses.replace(defaults, **changes)
    except ValueError as error:
        names_one = str(error).partition("=")[0] in {f.name for f in dataclasses.fields(defaults)}
        raise ValueError(f"{prefix if names_one else ''}{error}") from error


def describe(kind: Any, name: str) -> str:
    """A type in words.

    Raises:
      TypeError: for one that cannot be read from a text.
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind in (bool, int, float, str):
        return kind.__name__
    if origin is typing.Literal:
        return "one of " + ", ".join(map(str, arguments))
    if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
        return f"{describe(arguments[0], name)}, separated by commas"
    if origin in (types.UnionType, typing.Union) and type(None) in arguments:
        rest = [a for a in arguments if a is not type(None)]
        return " or ".join([*(describe(a, name) for a in rest), "none"])
    raise TypeError(f"no flag can be made of --{name}, of type {kind}")


def parse(kind: Any, text: str) -> Any:
    """A value of a type from a text; ValueError where it is none."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise ValueError(f"{text!r} is neither true nor false")
        return text.lower() == "true"
    if kind in (int, float, str):
        return kind(text)
    if origin is typing.Literal:
        matches = [a for a in arguments if str(a) == text]
        if not matches:
            raise ValueError(f"{text!r} is not {describe(kind, '')}")
        return matches[0]
    if origin is tuple:
        return tuple(parse(arguments[0], part) for part in text.split(",") if part)
    if text.lower() == "none":
        return None
    return parse(next(a for a in arguments if a is not type(None)), text)


def flag(name: str, kind: Any, text: str) -> Any:
    """A flag's value from its text; ValueError, in one line that names it, where it is none."""
    try:
        return parse(kind, text)
    except ValueError as error:
        raise ValueError(f"--{name}={text} must be {describe(kind, name)}") from error


def as_text(value: Any) -> str:
    """A value as `parse` reads it."""
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def inherited_texts(kind: type) -> dict[str, str]:
    """{field: text} of a dataclass and of those that it derives from; its own go before."""
    texts: dict[str, str] = {}
    for each in reversed(kind.__mro__):
        texts |= help_texts(vars(each).get("__doc__") or "")
    return texts


def help_texts(docstring: str) -> dict[str, str]:
    """{field: text} from lines such as '  rounds, seeds: what they are'."""
    section = docstring.partition("Attributes:\n")[2].partition("Raises:\n")[0]
    entries = re.split(r"\n(?= {6}\S| {4}\S)", "\n" + section.rstrip())
    indent = min((len(e) - len(e.lstrip()) for e in entries if e.strip()), default=0)
    texts = {}
    for entry in entries:
        match = re.match(r"([\w, ]+): (.*)", entry[indent:], re.DOTALL)
        if match:
            for name in match[1].split(","):
                texts[name.strip()] = " ".join(match[2].split())
    return texts
