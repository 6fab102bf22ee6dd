"""Several processes as one program, as on a TPU pod: the first leads, the others follow.

Each computes its share of the same compiled calls. The first alone pays the oracle and keeps the
run's folder; what follows from either it says, and the others hear it. That goes through the
service that connected them and not through the devices, so that an oracle may take days, and one
that is gone is noticed meanwhile.
"""

import itertools
import json
from typing import Any

import jax
import numpy as np

HEARTBEAT = 20  # seconds without one until a process counts as gone
LOOK = 5  # seconds between looks at whether the others are there
_numbers = itertools.count()  # of what was said: all count alike


class HostLost(ValueError):
    """Another process of the run is gone, or has given up."""


def connect(text: str) -> None:
    """Makes this process one of several; before anything else is asked of JAX.

    Args:
      text: `auto` on a TPU pod, under SLURM, Open MPI or Kubernetes, where JAX finds the others by
        itself; else HOST:PORT,N,I: where the first of N processes can be reached, and which of
        them this one is, from 0.

    Raises:
      ValueError: in one line, where that is none of both or the others cannot be reached.
    """
    arguments: dict[str, Any] = {}
    if text != "auto":
        try:
            address, count, index = text.split(",")
            arguments = dict(
                coordinator_address=address, num_processes=int(count), process_id=int(index)
            )
        except ValueError:
            raise ValueError(
                f"hosts={text!r} must be auto, or HOST:PORT,N,I: where the first of N processes "
                "can be reached, and which of them this is, from 0"
            ) from None
    try:
        jax.distributed.initialize(**arguments, heartbeat_timeout_seconds=HEARTBEAT)
    except (RuntimeError, ValueError) as error:
        told = (str(error).splitlines() or [type(error).__name__])[0][:300]
        raise ValueError(f"hosts={text!r}: the processes cannot be connected: {told}") from error


def alone() -> bool:
    """Whether this is the only process."""
    return jax.process_count() == 1


def leads() -> bool:
    """Whether this is the first process, which asks the oracle and keeps the folder."""
    return jax.process_index() == 0


def say(word: dict[str, Any]) -> None:
    """To all other processes, each of which must `hear` it; nothing where there is none."""
    if not alone():
        _service().key_value_set(f"banel/{next(_numbers)}", json.dumps(word))


def hear() -> dict[str, Any]:
    """What the first process says next, however long it takes.

    Raises:
      HostLost: where it is gone, or says that it has failed.
    """
    key = f"banel/{next(_numbers)}"
    while True:
        try:
            word = json.loads(_service().blocking_key_value_get(key, LOOK * 1000))
        except jax.errors.JaxRuntimeError as error:
            if "DEADLINE_EXCEEDED" in str(error):
                continue
            raise HostLost("the first process is gone; begin all of them again") from error
        if failed := word.get("failed"):
            raise HostLost(f"the first process has ended: {failed}")
        return word


def _service() -> Any:
    from jax._src import distributed  # of which JAX has no public name

    return distributed.global_state.client


def shared(leaves: list[np.ndarray] | None, like: list[Any]) -> list[np.ndarray]:
    """The first process's arrays, in all of them; one by one, through the devices.

    Args:
      leaves: the arrays; None where they are heard.
      like: shapes and types of them.
    """
    from jax.experimental import multihost_utils

    found = leaves if leaves is not None else [np.zeros(x.shape, x.dtype) for x in like]
    return [np.asarray(multihost_utils.broadcast_one_to_all(x)) for x in found]


def whole(leaf: Any) -> np.ndarray:
    """An array on the host, gathered from the processes that it is split over; all must ask."""
    if isinstance(leaf, jax.Array) and not (
        leaf.is_fully_addressable or leaf.is_fully_replicated
    ):
        from jax.experimental import multihost_utils

        leaf = multihost_utils.process_allgather(leaf, tiled=True)
    return np.asarray(leaf)
