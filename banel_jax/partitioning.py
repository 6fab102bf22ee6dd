"""Where the arrays of a large model lie: split over the `model` axis of the mesh in force.

The decoders' parameters have logical axes by name, and rules say which of these are split. What
is made of parameters, as an optimiser's moments and adapters are, ends in the same names and is
split alike; all else is whole on each device. XLA's partitioner (GSPMD) does the rest, so that
no model knows of it.
"""

import re
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from banel_jax.parallel import MODEL, axis_size, is_spread

# By the end of a path: what the dimensions of an array are.
LOGICAL_AXES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("embedding|head", ("vocabulary", "width")),
    ("layers/(q|k|v)/kernel", ("layers", "width", "heads")),
    ("layers/(q|k|v)/bias", ("layers", "heads")),
    ("layers/(q|k|v)/kernel/b", ("layers", "rank", "heads")),
    ("layers/attention_out/kernel", ("layers", "heads", "width")),
    ("layers/attention_out/kernel/a", ("layers", "heads", "rank")),
    ("layers/(gate|up)/kernel", ("layers", "width", "mlp")),
    ("layers/(gate|up)/bias", ("layers", "mlp")),
    ("layers/(gate|up)/kernel/b", ("layers", "rank", "mlp")),
    ("layers/down/kernel", ("layers", "mlp", "width")),
    ("layers/down/kernel/a", ("layers", "mlp", "rank")),
)
RULES = {"vocabulary": MODEL, "heads": MODEL, "mlp": MODEL}  # the others are not split


def spec(path: str, shape: tuple[int, ...]) -> PartitionSpec:
    """How an array is split under the mesh in force.

    Args:
      path: its names, separated by slashes.
      shape: of it. A dimension that the devices do not divide is not split.
    """
    size = axis_size(MODEL)
    for names, axes in LOGICAL_AXES if size > 1 else ():
        if len(axes) == len(shape) and re.search(f"(^|/)({names})$", path):
            split = (
                RULES.get(a) if n % size == 0 else None for a, n in zip(axes, shape, strict=True)
            )
            return PartitionSpec(*split)
    return PartitionSpec()


def named_specs(tree: Any) -> Any:
    """The `spec` of each leaf of a tree, whose paths are its names."""
    name = lambda path: jax.tree_util.keystr(path, simple=True, separator="/")
    return jax.tree_util.tree_map_with_path(lambda path, x: spec(name(path), jnp.shape(x)), tree)


def placed(tree: Any) -> Any:
    """The arrays of a tree on the devices that they belong to, each with its share alone.

    Without a mesh of several devices they are as `jax.numpy.asarray` gives them.
    """
    if not is_spread():
        return jax.tree.map(jnp.asarray, tree)
    return jax.tree.map(jax.device_put, tree, named_specs(tree))


def settled(tree: Any) -> Any:
    """Within a compiled function: its results lie as `placed` has them.

    Otherwise the partitioner chooses, and a state that lies elsewhere than before is another
    program's argument in the next round.
    """
    if not is_spread():
        return tree
    return jax.tree.map(jax.lax.with_sharding_constraint, tree, named_specs(tree))
