"""Several sets of parameters of one model as an even mixture: a failure model that one
unlucky fit cannot lead astray."""

from functools import partial

import jax
import jax.numpy as jnp

from banel_jax import training
from banel_jax.keys import portable
from banel_jax.log_domain import logsumexp
from banel_jax.training import Fit, TrainingConfig
from banel_jax.types import Params, SequenceModel


def ensemble(model: SequenceModel, size: int) -> SequenceModel:
    """The even mixture of `size` members; each leaf of its parameters is [size, ...].

    Raises:
      ValueError: if there is no member.
    """
    if size < 1:
        raise ValueError(f"size={size} must be at least 1")

    def init(key):
        return jax.vmap(model.init)(jax.random.split(key, size))

    def mixture(params, sequence, temperature, dropout_key):
        score = partial(model.log_prob, temperature=temperature, dropout_key=dropout_key)
        members = jax.vmap(lambda p: score(p, sequence))(params)
        return logsumexp(members) - jnp.log(jnp.float32(size))

    def log_prob(params, sequence, *, temperature=1.0, dropout_key=None):
        return mixture(params, sequence, temperature, dropout_key)

    def sample(key, params, *, temperature=1.0):
        # fold_in leaves `key` itself to the member: an ensemble of one is that model exactly.
        member = jax.random.randint(jax.random.fold_in(key, 0xE5E), (), 0, size, jnp.int32)
        chosen = jax.tree.map(lambda leaf: leaf[member], params)
        sequence, _ = model.sample(key, chosen, temperature=temperature)
        return sequence, mixture(params, sequence, temperature, None)

    return SequenceModel(init, log_prob, sample, ("ensemble", size, model.settings))


def members(params: Params, size: int) -> Params:
    """`size` copies of a model's parameters, for an ensemble to start from."""
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (size, *leaf.shape)), params)


def fit_ensemble(model: SequenceModel, config: TrainingConfig) -> Fit:
    """Fits each member for itself, from its own parameters and on its own bootstrap.

    In a bootstrap every sequence counts as often as it is drawn, a Poisson number of mean 1.
    """

    def fit(key, params, sequences, weights, validation_weights=None):
        size = jax.tree.leaves(params)[0].shape[0]

        def one(arguments):
            key, member = arguments
            draw_key, fit_key = jax.random.split(key)
            counts = jax.random.poisson(draw_key, 1.0, weights.shape, jnp.int32)
            return training.fit(
                model, config, fit_key, member, sequences, weights * counts, validation_weights
            )

        params, info = jax.lax.map(one, (jax.random.split(portable(key), size), params))
        return params, jax.tree.map(lambda x: jnp.mean(x, axis=0), info)

    fit.settings = ("fit_ensemble", config)  # type: ignore[attr-defined]
    return fit
