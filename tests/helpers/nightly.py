"""Of many cases of a kind some are tried by `make test`, and all by `make test-all`."""

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def params(values: Iterable[Any], waiting: Collection[Any]) -> list[Any]:
    """For `parametrize`: the values, of which those that wait are marked slow."""
    return [pytest.param(v, marks=[pytest.mark.slow] * (v in waiting)) for v in values]
