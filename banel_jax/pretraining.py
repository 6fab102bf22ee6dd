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
    epoch_rows: int = 0,
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
      epoch_rows: of what is trained on in one epoch at most, which is then a part of a pass over
        all rows; 0 for all.
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
    key, weights_of = portable(key), _weights(np.asarray(held_out), epoch_rows)
    told = _nats_a_token(sequences, np.asarray(held_out))
    abstract = jax.eval_shape(start, params)
    done, fitting = checkpoints.restore_latest(abstract) or (0, start(params))
    saved = time.monotonic()
    keys = jax.random.split(key, max(config.epochs, 1))
    bar = progress(range(done, config.epochs), config.epochs, description, done)
    for number in bar:
        if config.patience and fitting.since >= config.patience and validation:
            break
        fitting = advance(keys[number], fitting, sequences, weights_of(number), validation)
        jax.block_until_ready(fitting)
        bar.set_postfix_str(told(fitting))
        if time.monotonic() - saved >= save_seconds:
            checkpoints.save(number + 1, fitting)
            saved = time.monotonic()
    final = fitting.best if validation and config.keep_best else fitting.params
    return final, {
        "held_out_nats": float(fitting.best_loss),
        "epochs": float(fitting.epochs_run),
    }


def _weights(held_out, epoch_rows):
    """Of the rows in an epoch, by its number: float32 [n], 1 for what is trained on."""
    rows = np.flatnonzero(held_out == 0)
    parts = -(-len(rows) // epoch_rows) if epoch_rows and len(rows) else 1

    def of(number):
        weights = 1 - held_out
        if parts > 1:
            a_pass, part = divmod(number, parts)
            order = np.random.default_rng(a_pass).permutation(rows)
            weights = np.zeros_like(weights)
            weights[np.array_split(order, parts)[part]] = 1
        return jnp.asarray(weights, jnp.float32)

    return of


def _nats_a_token(sequences, held_out):
    """The losses of a fit in words, for those who watch."""
    tokens = np.asarray(sequences.mask).sum(axis=1)
    of = lambda chosen: tokens[chosen].mean() if chosen.any() else np.nan
    trained, validated = of(held_out == 0), of(held_out > 0)

    def told(fitting):
        train, validation = map(float, fitting.losses)
        text = f"{train / trained:.4f} nats a token"
        return text if np.isnan(validated) else f"{text}, held out {validation / validated:.4f}"

    return told
