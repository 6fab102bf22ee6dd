"""The one way a setting is refused: one line that names the field, its value and what it must be.

Each function looks at fields of a frozen dataclass from within its `__post_init__`. NumPy's and
JAX's scalars become Python's, so that settings can be written down and compared.
"""

import math
import numbers as abstract
from collections.abc import Sequence
from typing import Any


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
        number = _scalar(value)
        if isinstance(number, bool) or not isinstance(number, abstract.Integral):
            raise ValueError(f"{name}={value!r} must be a whole number{' or None' * none}")
        number = int(number)
        if at_least is not None and number < at_least:
            raise ValueError(f"{name}={number} {_bound(at_least)}")
        if below is not None and number >= below:
            raise ValueError(f"{name}={number} must be below {below}")
        object.__setattr__(settings, name, number)


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
        number = _scalar(value)
        if isinstance(number, bool) or not isinstance(number, abstract.Real):
            raise ValueError(f"{name}={value!r} must be a number{' or None' * none}")
        number = int(number) if isinstance(number, abstract.Integral) else float(number)
        if math.isnan(number) or (math.isinf(number) and not infinite):
            raise ValueError(f"{name}={number} must be a {'' if infinite else 'finite '}number")
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
    value = getattr(settings, name)
    if value not in choices:
        raise ValueError(f"{name}={value!r} is not one of {', '.join(choices)}")


def whole(what: str, number: float) -> None:
    """A product of settings must be a whole number."""
    if abs(number - round(number)) > 1e-6:
        raise ValueError(f"{what} = {number} is not a whole number; change one of the two")


def _bound(at_least: float) -> str:
    return "must not be negative" if at_least == 0 else f"must be at least {at_least}"


def _scalar(value: Any) -> Any:
    """An array of no axes as the number in it, all else as it is."""
    return value.item() if getattr(value, "shape", None) == () and hasattr(value, "item") else value
