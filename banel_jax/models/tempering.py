"""Tempering as a model: heated or cooled priors, which cost no reward evaluation."""

from collections.abc import Sequence
from functools import lru_cache, partial

import jax
import jax.numpy as jnp
import numpy as np

from banel_jax.log_domain import logsumexp
from banel_jax.sampling import LADDER as LADDER
from banel_jax.types import SequenceModel


def tempered(model: SequenceModel, temperature: float) -> SequenceModel:
    """The model with each conditional p(token | prefix)^(1/T), renormalised.

    Raises:
      ValueError: if the temperature is not positive.
    """
    check([temperature])
    return _tempered(model, float(temperature))


@lru_cache(64)  # one object for one model and temperature, so that nothing is compiled twice
def _tempered(model, temperature):
    return SequenceModel(
        init=model.init,
        log_prob=partial(model.log_prob, temperature=temperature),
        sample=partial(model.sample, temperature=temperature),
        settings=("tempered", temperature, model.settings),
    )


def ladder(model: SequenceModel, temperatures: Sequence[float] = LADDER) -> SequenceModel:
    """The even mixture of the model tempered at each of `temperatures`, one drawn a sequence.

    The control that needs no look at the success rate. Its likelihood is exact, by one
    forward pass: `vmap` over the temperature leaves the network, which does not depend on
    it, outside.

    Raises:
      ValueError: if there is no temperature, or one is not positive.
    """
    check(temperatures)
    return _ladder(model, tuple(map(float, temperatures)))


@lru_cache(64)
def _ladder(model, temperatures):
    rungs = np.asarray(temperatures, np.float32)

    def mixture(params, sequence, dropout_key):
        at = lambda t: model.log_prob(params, sequence, temperature=t, dropout_key=dropout_key)
        return logsumexp(jax.vmap(at)(rungs)) - jnp.log(jnp.float32(len(rungs)))

    def log_prob(params, sequence, *, temperature=1.0, dropout_key=None):
        _refuse(temperature)
        return mixture(params, sequence, dropout_key)

    def sample(key, params, *, temperature=1.0):
        _refuse(temperature)
        # fold_in leaves `key` itself to the model: a ladder of one rung is that model exactly.
        rung = jax.random.randint(jax.random.fold_in(key, 0x7EA), (), 0, len(rungs), jnp.int32)
        sequence, log_prob = model.sample(key, params, temperature=jnp.asarray(rungs)[rung])
        if len(rungs) > 1:
            log_prob = mixture(params, sequence, None)
        return sequence, log_prob

    return SequenceModel(model.init, log_prob, sample, ("ladder", temperatures, model.settings))


def check(temperatures):
    if not len(temperatures) or not all(t > 0 for t in temperatures):
        raise ValueError(f"temperatures={tuple(temperatures)} must be one or more, all positive")


def _refuse(temperature):
    if not (isinstance(temperature, float | int) and temperature == 1.0):
        raise ValueError("a ladder of temperatures is not itself tempered; temper its model")
