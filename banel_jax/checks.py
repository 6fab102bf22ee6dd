"""The one way a setting is refused: one line that names the field, its value and what it must be.

Each function looks at fields of a frozen dataclass from within its `__post_init__`. NumPy's and
JAX's scalars become Python's, so that settings can be written down and compared.
"""

import dataclasses
import functools
import inspect
import math
import numbers as abstract
import types
import typing
from collections.abc import Callable, Sequence
from typing import Any

LONGEST = 500  # characters of what another has to say


def fields(settings: Any, infinite: Sequence[str] = ()) -> None:
    """Each field must be what its annotation says; what only bounds can tell is left to the others.

    Known are int, bool, str, float (finite, and an int will do), Literal, tuples of these of any
    length (for which a list will do), dataclasses, and any of them or None; other annotations say
    nothing.

    Args:
      settings: a frozen dataclass.
      infinite: fields, or tuples, whose numbers may be infinite.

    Raises:
      ValueError: for a field that is something else.
    """
    kinds: Any = type(settings)  # a type can be hashed, whatever mypy says
    for name, kind in _annotations(kinds).items():
        value = getattr(settings, name)
        object.__setattr__(settings, name, _typed(name, value, kind, name in infinite))


@functools.cache
def _annotations(kind: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def _typed(name: str, value: Any, kind: Any, infinite: bool) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        others = [each for each in arguments if each is not type(None)]
        if (value is None and len(others) < len(arguments)) or len(others) != 1:
            return value
        return _typed(name, value, others[0], infinite)
    if origin is typing.Literal:
        _choice(name, value, arguments)
    elif origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
        if not isinstance(value, tuple | list):
            raise ValueError(f"{name}={value!r} must be a tuple")
        parts = enumerate(value)
        return tuple(_typed(f"{name}[{i}]", x, arguments[0], infinite) for i, x in parts)
    elif kind is int:
        return _integer(name, value)
    elif kind is float:
        return _real(name, value, infinite=infinite)
    elif kind is bool:
        if not isinstance(_scalar(value), bool):
            raise ValueError(f"{name}={value!r} must be True or False")
        return _scalar(value)
    elif kind is str and not isinstance(value, str):
        raise ValueError(f"{name}={value!r} must be a text")
    elif isinstance(kind, type) and dataclasses.is_dataclass(kind) and not isinstance(value, kind):
        raise ValueError(f"{name}={value!r} must be a {kind.__name__}")
    return value


def integers(
    settings: Any,
    *names: str,
    at_least: int | None = None,
    below: int | None = None,
    none: bool = False,
) -> None:
    """Each of the fields must be a whole number in [at_least, below), or None where `none`.

    Raises:
      ValueError: for anything else, True and 3.0 included.
    """
    for name in names:
        value = getattr(settings, name)
        if value is None and none:
            continue
        number = _integer(name, value, none)
        if at_least is not None and number < at_least:
            raise ValueError(f"{name}={number} {_bound(at_least)}")
        if below is not None and number >= below:
            raise ValueError(f"{name}={number} must be below {below}")
        object.__setattr__(settings, name, number)


def seeds(settings: Any, *names: str) -> None:
    """Each of the fields must be what `jax.random.key` tells from all others."""
    integers(settings, *names, at_least=0, below=2**32)


def reals(
    settings: Any,
    *names: str,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
    none: bool = False,
    infinite: bool = False,
) -> None:
    """Each of the fields must be a real number within the bounds, or None where `none`.

    Args:
      settings, names: fields of a frozen dataclass.
      at_least, at_most: bounds that belong to what is allowed.
      above, below: bounds that do not.
      none: None is allowed.
      infinite: infinities are allowed; NaN never is.

    Raises:
      ValueError: for anything else.
    """
    for name in names:
        value = getattr(settings, name)
        if value is None and none:
            continue
        number = _real(name, value, none, infinite)
        if at_least is not None and number < at_least:
            raise ValueError(f"{name}={number} {_bound(at_least)}")
        if above is not None and number <= above:
            positive = "must be positive" if above == 0 else f"must be above {above}"
            raise ValueError(f"{name}={number} {positive}")
        if at_most is not None and number > at_most:
            raise ValueError(f"{name}={number} must be at most {at_most}")
        if below is not None and number >= below:
            raise ValueError(f"{name}={number} must be below {below}")
        object.__setattr__(settings, name, number)


def one_of(settings: Any, name: str, choices: Sequence[str]) -> None:
    """The field must be one of the choices."""
    _choice(name, getattr(settings, name), choices)


def whole(what: str, number: float) -> None:
    """A product of settings must be a whole number."""
    if abs(number - round(number)) > 1e-6:
        raise ValueError(f"{what} = {number} is not a whole number; change one of the two")


def takes(function: Callable[..., Any], number: int) -> bool:
    """Whether a function can be called with so many arguments."""
    try:
        inspect.signature(function).bind(*range(number))
    except TypeError:
        return False
    return True


def _choice(name: str, value: Any, choices: Sequence[Any]) -> None:
    if not (isinstance(value, str | int) and value in choices):
        raise ValueError(f"{name}={value!r} is not one of {', '.join(map(str, choices))}")


def _integer(name: str, value: Any, none: bool = False) -> int:
    number = _scalar(value)
    if isinstance(number, bool) or not isinstance(number, abstract.Integral):
        raise ValueError(f"{name}={value!r} must be a whole number{' or None' * none}")
    number = int(number)
    if not -(2**63) <= number < 2**63:
        raise ValueError(f"{name}={number} must be a number of 64 bits")
    return number


def _real(name: str, value: Any, none: bool = False, infinite: bool = False) -> int | float:
    number = _scalar(value)
    if isinstance(number, bool) or not isinstance(number, abstract.Real):
        raise ValueError(f"{name}={value!r} must be a number{' or None' * none}")
    number = _integer(name, value) if isinstance(number, abstract.Integral) else float(number)
    if math.isnan(number) or (math.isinf(number) and not infinite):
        raise ValueError(f"{name}={number} must be a {'' if infinite else 'finite '}number")
    return number


def _bound(at_least: float) -> str:
    return "must not be negative" if at_least == 0 else f"must be at least {at_least}"


def _scalar(value: Any) -> Any:
    """An array of no axes as the number in it, all else as it is."""
    return value.item() if getattr(value, "shape", None) == () and hasattr(value, "item") else value


def text_of(value: Any, how: Callable[[Any], str] = str) -> str:
    """An exception, or anything, as text, whatever becomes of the attempt."""
    try:
        return how(value)
    except Exception:
        return f"an unprintable {type(value).__name__}"


def one_line(value: Any, how: Callable[[Any], str] = str) -> str:
    """The same as a line of at most `LONGEST` characters."""
    text = " ".join(text_of(value, how).split())
    return text if len(text) <= LONGEST else text[: LONGEST - 4] + " ..."


def first_line(error: BaseException) -> str:
    """Of what an error says, in at most 300 characters, or its kind."""
    return (text_of(error).splitlines() or [type(error).__name__])[0][:300]
