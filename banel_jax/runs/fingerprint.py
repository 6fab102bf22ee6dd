"""Short names for what a computation depends on beside its settings: arrays and functions."""

import dataclasses
import functools
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Literal


def of_arrays(tree: Any) -> str:
    """16 hexadecimal digits of a pytree's structure and of its leaves' shapes, dtypes and bytes."""
    digest = hashlib.sha256(str(jax.tree.structure(tree)).encode())
    for leaf in jax.tree.leaves(tree):
        leaf = leaf[...] if isinstance(leaf, jax.Ref) else leaf
        if jnp.issubdtype(jnp.result_type(leaf), jax.dtypes.prng_key):
            digest.update(str(leaf.dtype).encode())
            leaf = jax.random.key_data(leaf)
        leaf = np.asarray(leaf)
        digest.update(f"{leaf.dtype}{leaf.shape}".encode())
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()[:16]


def of_function(function: Callable[..., Any], *args: Any) -> str:
    """16 hexadecimal digits of what a JAX function computes: its program and its constants.

    Functions of one fingerprint compute the same, whatever they are called, and whatever they
    close over. It is the same in every process of one version of JAX. A function of the host that
    the program calls is known by its code and what that closes over.

    Args:
      function: traced, not run.
      args: pytrees of arrays or `jax.ShapeDtypeStruct`s.
    """
    closed = jax.make_jaxpr(function)(*args)
    digest = hashlib.sha256(_without_addresses(closed).encode())
    for constant in _constants(closed):
        digest.update(constant.encode())
    return digest.hexdigest()[:16]


def _without_addresses(value: Any) -> str:
    return re.sub(r" at 0x[0-9a-f]+", "", str(value))


def _constants(program: Any) -> Iterator[str]:
    """Of what a program holds and does not show, that of the programs in it included."""
    yield from map(of_arrays, getattr(program, "consts", ()))
    for equation in getattr(program, "jaxpr", program).eqns:
        literals = [x.val for x in equation.invars if isinstance(x, Literal)]
        yield from map(of_arrays, literals)
        for value in jax.tree.leaves(equation.params, is_leaf=lambda x: hasattr(x, "eqns")):
            if hasattr(value, "eqns"):
                yield from _constants(value)
            elif hasattr(value, "callback_func"):
                yield _of_host(value.callback_func, ())


def _of_host(value: Any, within: tuple[int, ...]) -> str:
    """Of a Python function, or of what it closes over; `within` has what led here."""
    if id(value) in within:
        return "itself"
    parts: Any = []
    if isinstance(value, functools.partial):
        parts = [value.func, value.args, value.keywords]
    elif hasattr(value, "__func__"):
        parts = [value.__func__, value.__self__]
    elif hasattr(value, "__code__"):
        code, cells = value.__code__, value.__closure__ or ()
        parts = [code.co_code, code.co_names, code.co_consts, value.__defaults__]
        parts += [value.__kwdefaults__, [cell.cell_contents for cell in cells]]
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        parts = [getattr(value, field.name) for field in dataclasses.fields(value)]
    elif isinstance(value, Mapping):
        parts = list(value.items())
    elif isinstance(value, list | tuple):
        parts = value
    elif isinstance(value, set | frozenset):
        parts = sorted(value, key=repr)
    elif isinstance(value, np.ndarray | jax.Array):
        return of_arrays(value)
    elif hasattr(value, "co_code"):
        parts = [value.co_code, value.co_names, value.co_consts]
    else:
        return _without_addresses(repr(value))
    inside = [_of_host(part, (*within, id(value))) for part in parts]
    return hashlib.sha256("\0".join([type(value).__name__, *inside]).encode()).hexdigest()[:16]
