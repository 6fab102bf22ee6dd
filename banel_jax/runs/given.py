"""What is known before a run: read, told to the algorithm first, part of what the run is."""

import logging
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from banel_jax.oracle import known as known_file
from banel_jax.oracle.known import Known
from banel_jax.runs.leaves import checksum
from banel_jax.types import Algorithm, Sequences

logger = logging.getLogger(__name__)


def take(known: Known | Path | str, length: int) -> Known:
    """What a caller gave, as sequences of the run's length.

    Args:
      known: or a file of it, see `oracle.known.read`.
      length: of the run's sequences.

    Raises:
      OSError: for a file that cannot be read.
      ValueError: in one line, for what does not fit.
    """
    if isinstance(known, str | Path):
        return known_file.read(known, length)
    if not isinstance(known, Known):
        raise ValueError(f"known is a {type(known).__name__}; give a file, or what known.read gave")
    if known.tokens.shape[1:] != (length,):
        raise ValueError(
            f"known has sequences of {known.tokens.shape[1]} tokens, and the run's have {length}; "
            f"read it with length={length}"
        )
    return known


def told_first(algorithm: Algorithm, known: Known) -> Algorithm:
    """The algorithm that begins with what is known; what failed teaches nothing."""
    answered = ~np.isnan(known.reward)
    if algorithm.know is None or not answered.any():
        name = dict(algorithm.settings).get("name", "this algorithm")
        logger.warning(
            "%s learns nothing from what is known; it answers what is proposed where "
            "OracleConfig.memo says so",
            name,
        )
        return algorithm
    sequences = Sequences(jnp.asarray(known.tokens[answered]), jnp.asarray(known.mask[answered]))
    return begun_with(algorithm, sequences, jnp.asarray(known.reward[answered], jnp.float32))


def begun_with(
    algorithm: Algorithm, sequences: Sequences, rewards: Float[Array, " K"]
) -> Algorithm:
    """The algorithm whose first state was told of K sequences and their rewards.

    Raises:
      ValueError: for one that cannot be told.
    """
    know = algorithm.know
    if know is None:
        raise ValueError("the algorithm cannot be told what is known")

    def init(key, prior_params):
        first_key, know_key = jax.random.split(key)
        # The compiler would work out for itself, and slowly, what follows from these values.
        told = jax.lax.optimization_barrier((sequences, rewards))
        return know(know_key, algorithm.init(first_key, prior_params), *told)

    return algorithm._replace(init=init)


def described(known: Known) -> dict[str, Any]:
    """For `config.json`: a run that knew something else is another run."""
    rows = [np.nan_to_num(known.reward, nan=-1.0), known.tokens, known.mask]
    return {"sequences": len(known.reward), "checksum": f"{checksum(rows):08x}"}
