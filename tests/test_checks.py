"""Settings are refused in one line, and NumPy's numbers are numbers."""

import math
from dataclasses import dataclass
from typing import Any

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
