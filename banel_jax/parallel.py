"""Work on sequences, spread over the devices of the mesh in force."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, PartitionSpec

DATA = "data"


def data_mesh(devices=None) -> jax.sharding.Mesh:
    """A mesh of all devices (or those given) along one axis, `data`, for `jax.set_mesh`."""
    devices = jax.devices() if devices is None else devices
    return jax.make_mesh((len(devices),), (DATA,), axis_types=(AxisType.Auto,), devices=devices)


def map_sequences(fn: Callable[[Any], Any], xs: Any, chunk_size: int) -> Any:
    """`jax.vmap(fn)(xs)` in chunks of bounded memory, sharded over the mesh in force.

    Under `jax.set_mesh(data_mesh())` each device maps its share of the leading axis; with no
    mesh, or one device, all of it runs where it is. A sequence's result does not depend on
    the chunk or the device that it falls into.

    Args:
      fn: maps one element; closes over parameters, which are replicated.
      xs: pytree whose leaves share their leading axis [n].
      chunk_size: how many elements are in work at a time on a device.
    """
    n = jax.tree.leaves(xs)[0].shape[0]

    def on_device(xs):
        count = jax.tree.leaves(xs)[0].shape[0]
        if count <= chunk_size:
            return jax.vmap(fn)(xs)
        return jax.lax.map(fn, xs, batch_size=chunk_size)

    devices = dict(jax.sharding.get_abstract_mesh().shape).get(DATA, 1)
    if devices == 1:
        return on_device(xs)
    padding = -n % devices
    pad = lambda x: jnp.concatenate([x, jnp.repeat(x[-1:], padding, axis=0)]) if padding else x
    sharded = jax.shard_map(
        on_device, in_specs=PartitionSpec(DATA), out_specs=PartitionSpec(DATA), check_vma=False
    )
    return jax.tree.map(lambda y: y[:n], sharded(jax.tree.map(pad, xs)))
