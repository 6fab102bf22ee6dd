"""Maximum likelihood an epoch a call, for a fit of minutes or hours that may be stopped."""

import time
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from banel_jax import training
from banel_jax.keys import portable
from banel_jax.runs.checkpoint import Checkpoints
from banel_jax.runs.progress import progress
from banel_jax.types import Key, Params, SequenceModel, Sequences


def fit_by_epochs(
    model: SequenceModel,
    config: training.TrainingConfig,
    key: Key,
    params: Params,
    sequences: Sequences,
    held_out: Float[Array, " n"],
    checkpoints: Checkpoints,
    description: str = "",
    save_seconds: float = 20.0,
) -> tuple[Params, dict[str, float]]:
    """The fit of `training.fit` with a compiled call for each epoch, for one that may be stopped.

    It ends with the same numbers whether or not it was stopped on the way. Not for a compiled
    round: it runs on the host, and shows its progress on a terminal.

    Args:
      model, config, key, params, sequences: as for `training.fit`.
      held_out: float32 [n], 1 for the rows to validate on and 0 for those to train on; none of
        them may be 1.
      checkpoints: from which it goes on, and where it keeps itself.
      description: stands before the progress bar.
      save_seconds: at least so long after a checkpoint comes the next.

    Returns:
      The parameters, and `held_out_nats` (the best validation loss) and `epochs` (that ran).
    """
    rows = np.flatnonzero(np.asarray(held_out))
    validation = None
    if len(rows):
        validation = (jax.tree.map(lambda x: x[rows], sequences), jnp.ones(len(rows), jnp.float32))
    start = jax.jit(lambda params: training.begin(model, config, params, validation))
    advance = jax.jit(partial(training.one_epoch, model, config))
    key, weights = portable(key), 1 - jnp.asarray(held_out, jnp.float32)
    abstract = jax.eval_shape(start, params)
    done, fitting = checkpoints.restore_latest(abstract) or (0, start(params))
    saved = time.monotonic()
    keys = jax.random.split(key, max(config.epochs, 1))
    for number in progress(range(done, config.epochs), config.epochs, description, done):
        if config.patience and fitting.since >= config.patience and validation:
            break
        fitting = advance(keys[number], fitting, sequences, weights, validation)
        jax.block_until_ready(fitting)
        if time.monotonic() - saved >= save_seconds:
            checkpoints.save(number + 1, fitting)
            saved = time.monotonic()
    final = fitting.best if validation and config.keep_best else fitting.params
    return final, {
        "held_out_nats": float(fitting.best_loss),
        "epochs": float(fitting.epochs_run),
    }
