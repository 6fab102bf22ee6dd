"""Several processes as one program, as on a TPU pod: the first leads, the others follow.

Each computes its share of the same compiled calls. The first alone pays the oracle and keeps the
run's folder; what follows from either it says, and the others hear it. That goes through the
service that connected them and not through the devices, so that an oracle may take days, and a
process that is gone is noticed meanwhile.
"""

import contextlib
import itertools
import json
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from banel_jax import checks

HEARTBEAT = 20  # seconds without one until a process counts as gone
PARTING = 30  # seconds that one which ends waits for the others to end
PART = 2**20  # characters
LOOK = 5  # seconds between looks at whether the others are there
_lines = itertools.count()


class HostLost(ValueError):
    """Another process of the run is gone, or has given up."""


def connect(text: str) -> None:
    """Makes this process one of several; to be called before JAX is asked for anything else.

    Args:
      text: `auto` on a TPU pod, under SLURM, Open MPI or Kubernetes, where JAX finds the others by
        itself; else HOST:PORT,N,I: where the first of N processes can be reached, and which of
        them this one is, from 0.

    Raises:
      ValueError: in one line, where that is neither or the others cannot be reached.
    """
    arguments: dict[str, Any] = {}
    if text != "auto":
        try:
            address, count, index = text.split(",")
            arguments = dict(
                coordinator_address=address, num_processes=int(count), process_id=int(index)
            )
            host, _, port = address.rpartition(":")
            if not (host and 0 < int(port) < 2**16 and 0 <= int(index) < int(count)):
                raise ValueError  # XLA would end the process over it
        except ValueError:
            raise ValueError(
                f"hosts={text!r} must be auto, or HOST:PORT,N,I: where the first of N processes "
                "can be reached, and which of them this is, from 0"
            ) from None
    jax.config.update("jax_enable_preemption_service", False)  # it takes SIGTERM, which is a run's
    try:
        jax.distributed.initialize(
            **arguments, heartbeat_timeout_seconds=HEARTBEAT, shutdown_timeout_seconds=PARTING
        )
    except (RuntimeError, ValueError) as error:
        told = checks.first_line(error)
        if text == "auto" and "coordinator_address" in told:
            told = "JAX finds no cluster here; give HOST:PORT,N,I"
        raise ValueError(f"hosts={text!r}: the processes cannot be connected: {told}") from error


def disconnect() -> None:
    """Once the run is done, by all processes: none is then missed by the others any more."""
    if not alone():
        jax.distributed.shutdown()


def alone() -> bool:
    """Whether this is the only process."""
    return jax.process_count() == 1


def leads() -> bool:
    """Whether this is the first process, which asks the oracle and keeps the folder."""
    return jax.process_index() == 0


class Line:
    """What the first process says, word by word; all processes make their lines in one order."""

    def __init__(self):
        self._name, self._words = next(_lines), itertools.count()

    def _next(self) -> str:
        return f"banel_jax/{self._name}/{next(self._words)}"

    def say(self, word: dict[str, Any]) -> None:
        """By the first process; nothing where it is alone."""
        if not alone():
            _put(self._next(), word)

    def hear(self) -> dict[str, Any]:
        """By each of the others, however long it takes.

        Raises:
          HostLost: where the first is gone, or says that it has failed.
        """
        word = _get(self._next())
        if "failed" in word:
            raise HostLost(f"the first process has ended: {word['failed']}")
        return word

    def answer(self, refusal: str = "") -> None:
        """By each of the others, after a word that asks for it."""
        key = f"{self._next()}/{jax.process_index()}"
        _put(key, {"refusal": refusal})

    def agreed(self) -> None:
        """By the first process, after a word that asks for an answer.

        Raises:
          HostLost: where one of the others is gone or refuses.
        """
        key = "" if alone() else self._next()
        for index in range(1, jax.process_count()):
            if refusal := _get(f"{key}/{index}")["refusal"]:
                raise HostLost(f"process {index} refuses: {refusal}")


def _put(key: str, word: dict[str, Any]) -> None:
    """In parts, as the service takes no long values; the first of them last."""
    text = json.dumps(word)
    parts = [text[i : i + PART] for i in range(0, len(text), PART)]
    for i in reversed(range(len(parts))):
        _service().key_value_set(f"{key}/part{i}", f"{len(parts)} {parts[i]}")


def _get(key: str) -> dict[str, Any]:
    number, _, text = _awaited(f"{key}/part0").partition(" ")
    rest = [_awaited(f"{key}/part{i}").partition(" ")[2] for i in range(1, int(number))]
    return json.loads("".join([text, *rest]))


def _awaited(key: str) -> str:
    while True:
        try:
            return _service().blocking_key_value_get(key, LOOK * 1000)
        except jax.errors.JaxRuntimeError as error:
            if "DEADLINE_EXCEEDED" not in str(error):
                raise HostLost(
                    "another process is gone; begin all of them again, and the run goes on"
                ) from error


@contextlib.contextmanager
def noticing() -> Iterator[None]:
    """Where another process was lost in the middle of a compiled call, it is said so.

    Raises:
      HostLost: in place of what the devices say.
    """
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if alone():
            raise
        raise HostLost(
            "a call of all processes failed, most likely because one is gone "
            f"({checks.first_line(error)}); begin all of them again, and the run goes on"
        ) from error


def _service() -> Any:
    from jax._src import distributed  # of which JAX has no public name

    return distributed.global_state.client


def broadcast(leaves: dict[str, np.ndarray] | None, like: dict[str, Any]) -> dict[str, np.ndarray]:
    """The first process's arrays in all of them, one by one through the devices.

    Args:
      leaves: the arrays, by the first.
      like: shapes and types of them.
    """
    from jax.experimental import multihost_utils

    found = leaves or {name: np.zeros(x.shape, x.dtype) for name, x in like.items()}
    send = multihost_utils.broadcast_one_to_all
    return {name: np.asarray(send(found[name])) for name in sorted(like)}


def local(tree: Any) -> Any:
    """The arrays of a tree as this process alone can use them; all processes must ask.

    What is split over processes is gathered, to the host.
    """

    def one(leaf):
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            data = one(jax.random.key_data(leaf))
            return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
        if not isinstance(leaf, jax.Array) or leaf.is_fully_addressable:
            return leaf
        if leaf.is_fully_replicated:
            return leaf.addressable_data(0)
        from jax.experimental import multihost_utils

        return multihost_utils.process_allgather(leaf, tiled=True)

    return tree if alone() else jax.tree.map(one, tree)
