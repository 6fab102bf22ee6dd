"""Settings are refused in one line, and NumPy's numbers are numbers."""

import math
from dataclasses import dataclass
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
import pytest

from banel_jax import checks


@dataclass(frozen=True)
class Whole:
    n: Any

    def __post_init__(self):
        checks.integers(self, "n", at_least=1, below=2**32, none=True)


@dataclass(frozen=True)
class Number:
    x: Any

    def __post_init__(self):
        checks.reals(self, "x", above=0, at_most=2)


@pytest.mark.parametrize("value", [7, np.int64(7), np.uint8(7), jnp.int32(7), np.array(7)])
def test_every_integer_becomes_an_int(value):
    assert type(Whole(value).n) is int and Whole(value) == Whole(7)
    assert Whole(None).n is None


@pytest.mark.parametrize("value", [2.5, 3.0, "3", True, math.nan, [3], np.float32(3), 0, 2**32, -1])
def test_what_is_no_whole_number_in_range_is_refused(value):
    with pytest.raises(ValueError, match=r"^n=.* must"):
        Whole(value)


@pytest.mark.parametrize("value", [1, 1.5, np.float32(1.5), np.int64(2)])
def test_every_real_becomes_a_python_number(value):
    assert type(Number(value).x) in (int, float) and Number(value).x == value


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, "1", None, True, 1j, 0, 2.5, -1])
def test_what_is_no_number_in_range_is_refused(value):
    with pytest.raises(ValueError, match=r"^x=.* must"):
        Number(value)


@dataclass(frozen=True)
class Fields:
    rounds: int = 1
    rate: float = 1.0
    on: bool = False
    name: str = "a"
    rank: Literal["best", 2] = "best"
    sizes: tuple[int, ...] = ()
    budget: int | None = None
    inner: Number = Number(1.0)
    limit: float = math.inf
    other: Any = None

    def __post_init__(self):
        checks.fields(self, infinite=("limit",))


@pytest.mark.parametrize(
    ("field", "value", "kept"),
    [
        ("rounds", np.int64(3), 3), ("rate", np.float32(0.5), 0.5), ("rate", 2, 2),
        ("on", np.bool_(True), True), ("rank", 2, 2), ("sizes", [np.int8(1), 2], (1, 2)),
        ("budget", None, None), ("budget", jnp.int32(4), 4), ("limit", -math.inf, -math.inf),
        ("other", [1], [1]),
    ],
)  # fmt: skip
def test_fields_are_kept_as_python_has_them(field, value, kept):
    found = getattr(Fields(**{field: value}), field)
    assert found == kept and type(found) is type(kept)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("rounds", 2.5), ("rounds", "3"), ("rounds", None), ("rounds", True), ("rounds", 2**64),
        ("rate", math.nan), ("rate", math.inf), ("rate", "1"), ("rate", None), ("rate", 10**400),
        ("on", 1), ("on", "False"), ("name", 3), ("name", None), ("rank", "worst"), ("rank", None),
        ("rank", [1]), ("sizes", 3), ("sizes", "12"), ("sizes", (1, 2.5)), ("budget", 1.5),
        ("budget", math.nan), ("inner", {"x": 1}), ("inner", None), ("limit", math.nan),
    ],
)  # fmt: skip
def test_fields_of_another_kind_are_refused_by_name(field, value):
    with pytest.raises(ValueError, match=rf"^{field}\S*=.* (must|is not one of)") as caught:
        Fields(**{field: value})
    assert "\n" not in str(caught.value)
