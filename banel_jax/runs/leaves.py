"""The arrays of a state, as a checkpoint keeps them."""

import zlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from banel_jax.partitioning import placed
from banel_jax.types import State


def signature(state: State) -> dict[str, str]:
    """The type of each leaf by its path, such as {".params['w']": "float32[3,4]"}."""
    describe = lambda leaf: f"{leaf.dtype}{list(leaf.shape)}".replace(" ", "")
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return {jax.tree_util.keystr(path): describe(leaf) for path, leaf in leaves}


def checksum(tree: Any) -> int:
    """CRC-32 over the bytes of all leaves, keys included."""
    total = 0
    for leaf in jax.tree.leaves(tree):
        leaf = _data(leaf if hasattr(leaf, "dtype") else np.asarray(leaf))
        total = zlib.crc32(np.ascontiguousarray(leaf).tobytes(), total)
    return total


def stored(tree: State) -> dict[str, np.ndarray]:
    """The leaves by number, without the empty ones, which orbax refuses.

    They are copies on the host, so that a checkpoint knows of no device and is read anywhere.
    """
    leaves = {str(i): leaf for i, leaf in enumerate(jax.tree.leaves(tree)) if leaf.size}
    return {name: np.array(_data(leaf)) for name, leaf in leaves.items()}


def _data(leaf: Any) -> Any:
    """The numbers of a leaf; keys have some as well."""
    is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return jax.random.key_data(leaf) if is_key else leaf


def shapes_of(abstract_state: State) -> dict[str, jax.ShapeDtypeStruct]:
    """Of what `stored` gives."""
    shapes = jax.eval_shape(lambda tree: jax.tree.map(_data, tree), abstract_state)
    return {str(i): x for i, x in enumerate(jax.tree.leaves(shapes)) if x.size}


def _implementation(like: jax.ShapeDtypeStruct) -> Any:
    found: list[Any] = []
    jax.eval_shape(lambda key: found.append(jax.random.key_impl(key)), like)
    return found[0]


def rebuilt(abstract_state: State, leaves: dict[str, np.ndarray]) -> State:
    """The inverse of `stored`, whatever the mesh was then.

    Arrays lie as those of `init`, bound to no device without a mesh: what was compiled serves.
    """

    def rebuild(i, like):
        if not like.size:
            return jnp.zeros(like.shape, like.dtype)
        leaf = leaves[str(i)]
        if jnp.issubdtype(like.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(jnp.asarray(leaf), impl=_implementation(like))
        return leaf

    abstract_leaves, structure = jax.tree.flatten(abstract_state)
    rebuilt = [rebuild(i, x) for i, x in enumerate(abstract_leaves)]
    return placed(jax.tree.unflatten(structure, rebuilt))
