"""A wider version of a model distilled into the model itself."""

import jax
import jax.numpy as jnp

from banel_jax import sampling
from banel_jax.training.likelihood import FitInfo, fit
from banel_jax.training.optimisation import TrainingConfig
from banel_jax.types import Key, Params, SequenceModel


def broaden(
    wide: SequenceModel,
    model: SequenceModel,
    config: TrainingConfig,
    key: Key,
    params: Params,
    num_samples: int,
) -> tuple[Params, FitInfo]:
    """Distils a wider version of a model (its temperature ladder, say) into the model itself.

    The base that results costs no reward evaluation and may serve any algorithm.

    Args:
      wide: what to sample from with `params`, e.g. `tempering.ladder(model)`.
      model: what to fit, starting from `params`.
      config: settings of the fit.
      key: consumed once.
      params: of both.
      num_samples: how many samples of `wide` to fit on; one in ten is held out.

    Returns:
      The new parameters of `model`, and losses by epoch (`FitInfo`).
    """
    draw_key, fit_key = jax.random.split(key)
    sequences, _ = sampling.sample(wide, draw_key, params, num_samples)
    held_out = (jnp.arange(num_samples) % 10 == 0).astype(jnp.float32)
    return fit(model, config, fit_key, params, sequences, 1 - held_out, held_out)
