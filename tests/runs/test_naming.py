"""Settings are named by what they are: equal ones alike, others otherwise, none by its address."""

import dataclasses
import enum
import functools
import json
from pathlib import Path

import another_process
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from banel_jax import training
from banel_jax.models.table import table
from banel_jax.runs import naming
from banel_jax.runs.naming import plain
from banel_jax.training import TrainingConfig
from banel_jax.types import MAY_CHANGE


class Rank(enum.Enum):
    BEST = 1


class Level(enum.IntEnum):
    LOW = 2


@dataclasses.dataclass(frozen=True)
class Settings:
    kappa: float = 1.0
    floor: float = dataclasses.field(default=1e-4, metadata=MAY_CHANGE)


class Nameless:
    pass


class Reward:
    def __init__(self, bits):
        self.settings = ("reward", bits)

    def __call__(self, sequences):
        return sequences


def observe(sequences, width=1):
    return sequences


def scaled(factor):
    return lambda x: x * factor


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.int64(3), 3), (np.float32(0.5), 0.5), (jnp.int32(4), 4), (np.array(True), True),
        (np.str_("a"), "a"), (float("nan"), "nan"), (-np.inf, "-inf"), (np.float64("nan"), "nan"),
        (Rank.BEST, "Rank.BEST"), (Level.LOW, "Level.LOW"), (Path("a/b"), "a/b"),
        (jnp.float32, "float32"), (np.dtype("float32"), "float32"), (np.float32, "float32"),
        (jnp.bfloat16, "bfloat16"), ({3, 1, 2}, [1, 2, 3]), (frozenset("ba"), ["a", "b"]),
        ((1, [2, (3,)]), [1, [2, [3]]]), ({1: "a", None: 2}, {"1": "a", "null": 2}),
        (Settings(2), {"kappa": 2, "may_change": {"floor": 1e-4}}),
        (Reward(7), ["reward", 7]), (observe, f"{__name__}.observe"),
        (jax.jit(observe), f"{__name__}.observe"), (jnp.sum, "jax.numpy.sum"),
        (np.array(["a", 1], object), ["a", 1]),
        (
            functools.partial(observe, width=jnp.float32(2)),
            {"partial": f"{__name__}.observe", "args": [], "kwargs": {"width": 2}},
        ),
    ],
)  # fmt: skip
def test_values_by_hand(value, expected):
    assert plain(value) == expected
    json.dumps(plain(value), allow_nan=False)


def fit(epochs):
    return functools.partial(training.fit, table(2, 2), TrainingConfig(epochs=epochs))


@pytest.mark.parametrize(
    ("make", "other"),
    [
        (lambda: fit(1), lambda: fit(50)),
        (lambda: scaled(2), lambda: scaled(3)),
        (lambda: lambda x: x, lambda: lambda x: x + 1),
        (lambda: lambda x, y=1: x, lambda: lambda x, y=2: x),
        (lambda: jax.jit(scaled(2)), lambda: jax.jit(scaled(3))),
        (lambda: jax.vmap(scaled(2)), lambda: jax.vmap(scaled(3))),
        (lambda: Reward(1).__call__, lambda: Reward(2).__call__),
        (lambda: np.ones(3), lambda: np.zeros(3)),
        (lambda: np.ones((2, 3)), lambda: np.ones((3, 2))),
        (lambda: np.zeros(2, np.float32), lambda: np.zeros(2, np.int32)),
        (lambda: np.ones((4, 4))[:, ::2], lambda: np.zeros((4, 2))),
        (lambda: jax.random.key(1), lambda: jax.random.key(2)),
        (lambda: scaled(np.ones(3)), lambda: scaled(np.zeros(3))),
        (lambda: optax.adam(1e-3), lambda: optax.adam(1e-2)),
        (lambda: nn.Dense(3), lambda: nn.Dense(4)),
        (lambda: b"ab", lambda: b"ba"),
    ],
)
def test_what_is_made_anew_has_the_same_name_and_what_differs_another(make, other):
    assert plain(make()) == plain(make())
    assert plain(make()) != plain(other())
    assert " at 0x" not in json.dumps(plain(make()))


def test_a_value_within_itself_ends():
    loop: dict = {}
    loop["self"] = [loop]

    def again(x):
        return again(x - 1)

    assert plain(loop) == {"self": ["(itself)"]}
    assert plain(again)["again"] == "(itself)"


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ({"a": [1, Nameless()]}, r"algorithm\.a\[1\]"),
        (functools.partial(observe, Nameless()), r"algorithm\.args\[0\]"),
        (scaled(Nameless()), r"algorithm\.factor"),
        ({"a": iter([])}, r"algorithm\.a"),
        ({1: 1, "1": 2}, "algorithm has two keys 1"),
    ],
)
def test_what_only_its_address_tells_apart_is_refused_by_field(value, field):
    with pytest.raises(ValueError, match=f"^{field}") as caught:
        plain(value, "algorithm")
    assert "\n" not in str(caught.value)


def test_a_traced_setting_is_refused():
    with pytest.raises(ValueError, match=r"settings\[0\] is traced"):
        jax.jit(lambda x: plain([x]))(1.0)


def test_names_are_the_same_in_another_process():
    program = f"import {__name__} as t; print(t.every())"
    assert another_process.printed(program).strip() == every()


def every():
    values = [fit(3), scaled(2), {"b", "a", "c"}, Settings(), np.ones(3), optax.adam(1e-3)]
    return naming.identity({"all": plain(values)})


def test_what_may_change_and_the_environment_make_no_other_run():
    of = lambda **parts: naming.identity({"a": plain(Settings(**parts)), "environment": parts})
    assert of() == of(floor=1.0)
    assert of() != of(kappa=2.0)
    nested = lambda value: naming.identity({"a": [{"environment": value}]})
    assert nested(1) != nested(2)


def test_every_field_has_a_name_of_its_own():
    nested = {"a": {"b": 1, "e": {}}, "c": [1, [{"d": 2}]], "l": [1, 2]}
    assert naming.flatten(nested) == {"a.b": 1, "a.e": {}, "c[0]": 1, "c[1][0].d": 2, "l": [1, 2]}
    assert naming.flatten({}) == {}


def test_our_own_may_move_within_their_package_and_those_of_others_may_not():
    assert plain(training.fit) == "banel_jax.fit"
    assert plain(nn.relu) == f"{nn.relu.__module__}.relu"
    assert plain(json.loads) == "json.loads"
