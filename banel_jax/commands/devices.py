"""What a run is spread over."""

import contextlib

from banel_jax import hosts, parallel
from banel_jax.commands.settings import What


def connect(what: What) -> None:
    """Makes this process one of several, where the flags say so.

    Raises:
      ValueError: as `hosts.connect`, or for what several processes cannot do.
    """
    if not what.hosts:
        return
    if what.controls:
        raise ValueError(
            "--controls needs one process; leave it out, and give `banel controls` afterwards"
        )
    hosts.connect(what.hosts)


def spread(what: What) -> contextlib.AbstractContextManager:
    """For what all devices compute together. What the first process calls alone, such as a reward
    that is a JAX function, is to be made outside of it.

    Raises:
      ValueError: as `parallel.mesh`.
    """
    return parallel.under(what.mesh or ("data" if what.hosts else None))
