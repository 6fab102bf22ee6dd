"""Work on sequences, spread over the devices of the mesh in force."""

import contextlib
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, PartitionSpec

DATA, MODEL = "data", "model"
LARGE_BYTES = 16_000_000  # of weights: beyond a CPU's caches, so read from memory for each chunk


def data_mesh(devices=None) -> jax.sharding.Mesh:
    """A mesh of all devices (or those given) along one axis, `data`, for `jax.set_mesh`."""
    devices = jax.devices() if devices is None else devices
    return jax.make_mesh((len(devices),), (DATA,), axis_types=(AxisType.Auto,), devices=devices)


def mesh(text: str, devices=None) -> jax.sharding.Mesh:
    """The mesh that a text such as `data:4,model:2` names, for `jax.set_mesh`.

    Sequences are spread over `data`, a decoder's weights over `model` (`partitioning`). An axis
    that is not named has one device, and `data` without a number has all that are left.

    Raises:
      ValueError: for another text, or one that does not fit the devices.
    """
    devices = jax.devices() if devices is None else devices
    found = re.fullmatch(r"data(?::(\d+))?(?:,model:(\d+))?|model:(\d+)", text.replace(" ", ""))
    if not found:
        raise ValueError(f"mesh={text!r} must be like data, data:8, model:8 or data:4,model:2")
    model = int(found[2] or found[3] or 1)
    data = int(found[1] or (1 if found[3] else len(devices) // max(model, 1)))
    if min(data, model) < 1 or data * model != len(devices):
        raise ValueError(
            f"mesh={text!r} is for {data * model} devices, and there are {len(devices)}; the "
            "product of the numbers must be that"
        )
    auto = (AxisType.Auto, AxisType.Auto)
    return jax.make_mesh((data, model), (DATA, MODEL), axis_types=auto, devices=devices)


def under(text: str | None) -> contextlib.AbstractContextManager:
    """The `mesh` that a text names, in force; nothing changes for None."""
    return jax.set_mesh(mesh(text)) if text is not None else contextlib.nullcontext()


def axis_size(name: str) -> int:
    """Devices along an axis of the mesh in force; 1 where there is nothing to spread over.

    That is so without a mesh, and inside a caller's own `jax.shard_map` or `jax.pmap`, where
    each device runs its share already. Meshes of explicit axes are left to their owner.
    """
    mesh = jax.sharding.get_abstract_mesh()
    sizes, types = dict(mesh.shape), dict(zip(mesh.axis_names, mesh.axis_types, strict=True))
    return sizes[name] if types.get(name) == AxisType.Auto else 1


def num_devices() -> int:
    """Devices on the `data` axis of the mesh in force, as `axis_size` counts them."""
    return axis_size(DATA)


def is_spread() -> bool:
    """Whether the mesh in force has several devices."""
    return axis_size(DATA) * axis_size(MODEL) > 1


def large(weights: Any) -> bool:
    """Whether the arrays of a tree are together beyond the caches."""
    return sum(x.nbytes for x in jax.tree.leaves(weights)) > LARGE_BYTES


def map_sequences(fn: Callable[..., Any], replicated: Any, xs: Any, chunk_size: int) -> Any:
    """`jax.vmap(partial(fn, replicated))(xs)` in chunks of bounded memory, sharded over the mesh.

    Under `jax.set_mesh(data_mesh())` each device maps its share of the leading axis; with no
    mesh, or one device, all of it runs where it is. A sequence's result does not depend on
    the chunk or the device that it falls into.

    Args:
      fn: `fn(replicated, x)` of one element. On a mesh it must close over no traced array.
      replicated: pytree that every element needs, such as parameters: whole on each device, or
        split over the `model` axis.
      xs: pytree whose leaves share their leading axis [n].
      chunk_size: how many elements are in work at a time on a device.
    """
    n = jax.tree.leaves(xs)[0].shape[0]

    def on_device(replicated, xs):
        count = jax.tree.leaves(xs)[0].shape[0]
        # Even chunks, the last one padded: a smaller last chunk would be a second program.
        chunks = max(1, -(-count // chunk_size))
        size = -(-count // chunks)
        batch = jax.vmap(lambda x: fn(replicated, x))
        if chunks == 1:
            return batch(xs)
        split = lambda x: _pad(x, chunks * size).reshape(chunks, size, *x.shape[1:])
        # A gradient through the map keeps no chunk's activations: memory stays that of one.
        mapped = jax.lax.map(jax.checkpoint(batch), jax.tree.map(split, xs))
        return jax.tree.map(lambda y: y.reshape(-1, *y.shape[2:])[:count], mapped)

    devices = num_devices()
    if devices == 1:
        return on_device(replicated, xs)
    padded = n + -n % devices
    mapped = _on_shares(on_device, PartitionSpec(DATA))(
        replicated, jax.tree.map(partial(_pad, n=padded), xs)
    )
    return jax.tree.map(lambda y: _seen_by_all(y[:n]), mapped)


def map_shares(fn: Callable[..., Any], replicated: Any, xs: Any) -> Any:
    """`fn(replicated, xs)`, a map over the leading axis of `xs` [n], a share of it on each device.

    Within `fn` there is one device. Where n is no multiple of the number of devices, or `fn` reads
    references (as adapters do, and `jax.shard_map` takes none), it is called once under the mesh.
    """
    devices = num_devices()
    if devices == 1 or jax.tree.leaves(xs)[0].shape[0] % devices:
        return fn(replicated, xs)
    if any(isinstance(x, jax.Ref) for x in jax.make_jaxpr(fn)(replicated, xs).consts):
        return fn(replicated, xs)
    return _on_shares(fn, PartitionSpec(DATA))(replicated, xs)


def _on_shares(fn: Callable[..., Any], out: PartitionSpec) -> Callable[..., Any]:
    """`fn(replicated, xs)` on each device of `data`, with its share of xs; a `model` axis is left
    to the partitioner."""
    return jax.shard_map(
        fn,
        in_specs=(PartitionSpec(), PartitionSpec(DATA)),
        out_specs=out,
        axis_names={DATA},
        check_vma=False,
    )


def whole(xs: Any) -> Any:
    """The arrays of a tree, within a compiled function, whole on each device of the `data` axis.

    Before a loop that takes rows of them: where the partitioner has split them, each step would
    send rows about.
    """
    if num_devices() == 1:
        return xs
    everywhere = lambda x: jax.lax.with_sharding_constraint(x, PartitionSpec())
    return jax.tree.map(everywhere, xs)


def _seen_by_all(x):
    """What is split over the processes of several hosts cannot be looked at in any of them."""
    if jax.process_count() == 1:
        return x
    return jax.lax.with_sharding_constraint(x, PartitionSpec())


def _pad(x, n):
    """The last element repeated until there are n."""
    return jnp.concatenate([x, jnp.repeat(x[-1:], n - x.shape[0], axis=0)]) if n > x.shape[0] else x


def sum_over_shards(fn: Callable[..., Any], replicated: Any, xs: Any) -> Any:
    """`fn(replicated, xs)`, a sum over the sequences `xs` [n], as a sum over the devices.

    Where n is no multiple of the number of devices, all of it runs where it is.
    """
    devices = num_devices()
    if devices == 1 or jax.tree.leaves(xs)[0].shape[0] % devices:
        return fn(replicated, xs)
    total = lambda replicated, xs: jax.lax.psum(fn(replicated, xs), DATA)
    return _on_shares(total, PartitionSpec())(replicated, xs)
