"""Names of arrays and functions: the same for the same, another for another, in every process."""

import functools
from dataclasses import dataclass

import another_process
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from banel_jax.runs import fingerprint

X = jax.ShapeDtypeStruct((3,), jnp.float32)


@dataclass(frozen=True)
class Judge:
    name: str

    def __call__(self, x):
        return x * len(self.name)

    def judge(self, x):
        return x * len(self.name)


def on_host(function):
    return lambda x: jax.pure_callback(function, X, x)


def scaled(number):
    """With a constant in a program within a program."""
    constant = jnp.arange(3.0) * number
    inner = jax.jit(lambda x: x + constant)
    return lambda x: jax.lax.scan(lambda c, _: (inner(c), None), x, None, 2)[0]


def counted(number):
    return on_host(lambda x: x * number)


FUNCTIONS = {  # of one number; each number another function
    "a Python number": lambda n: lambda x: x * n,
    "a NumPy array": lambda n: lambda x: x * np.full(3, n, np.float32),
    "a JAX array, deep within": scaled,
    "a reference": lambda n: (lambda ref: lambda x: x * ref[...])(
        jax.new_ref(jnp.full(3, 1.0 * n))
    ),
    "a key": lambda n: lambda x: x * jax.random.uniform(jax.random.key(n)),
    "the operation": lambda n: (jnp.sin, jnp.cos, jnp.tan)[n],
    "what the host's function closes over": counted,
    "the host's partial": lambda n: on_host(functools.partial(np.multiply, n)),
    "the host's bound method": lambda n: on_host(Judge("a" * n).judge),
    "the host's set": lambda n: on_host(
        (lambda x: x * (str(x) in {"a", "b", "c"}), lambda x: x * (str(x) in {"a", "b"}))[n - 1]
    ),
    "the host's array": lambda n: on_host(functools.partial(np.multiply, np.full(3, n))),
}


@pytest.mark.parametrize("kind", FUNCTIONS)
def test_functions_are_told_apart_by_what_they_compute(kind):
    make = FUNCTIONS[kind]
    assert fingerprint.of_function(make(1), X) == fingerprint.of_function(make(1), X)
    assert fingerprint.of_function(make(1), X) != fingerprint.of_function(make(2), X)


def test_the_code_of_the_hosts_functions_counts_and_a_recursion_ends():
    def down(x):
        return down(x - 1) if x[0] > 0 else x

    names = {fingerprint.of_function(on_host(f), X) for f in (down, lambda x: x, lambda x: x + 1)}
    assert len(names) == 3


def test_shapes_count_and_names_do_not():
    double, twice = (lambda x: 2 * x), (lambda y: 2 * y)
    assert fingerprint.of_function(double, X) == fingerprint.of_function(twice, X)
    other = jax.ShapeDtypeStruct((4,), jnp.float32)
    assert fingerprint.of_function(double, X) != fingerprint.of_function(double, other)


def test_arrays_are_told_apart_by_bytes_shapes_dtypes_and_structure():
    trees = [
        np.zeros(4, np.float32),
        np.zeros((2, 2), np.float32),
        np.zeros(4, np.int32),
        -np.zeros(4, np.float32),
        {"a": np.zeros(4, np.float32)},
        {"b": np.zeros(4, np.float32)},
        [np.zeros(2, np.float32), np.zeros(2, np.float32)],
        jax.random.key(0),
        jax.random.key(0, impl="rbg"),
    ]
    assert len({fingerprint.of_arrays(tree) for tree in trees}) == len(trees)
    strided = np.zeros((4, 2), np.float32)[:, 0]
    assert fingerprint.of_arrays(jnp.asarray(strided)) == fingerprint.of_arrays(trees[0])


def test_names_are_those_of_another_process():
    program = (
        f"import {__name__} as t\n"
        "print(*[t.fingerprint.of_function(make(2), t.X) for make in t.FUNCTIONS.values()])"
    )
    there = another_process.printed(program, PYTHONHASHSEED="7", JAX_PLATFORMS="cpu").split()
    assert there == [fingerprint.of_function(make(2), X) for make in FUNCTIONS.values()]
