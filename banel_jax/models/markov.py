"""A Markov chain of first order as a SequenceModel. Letters: V the vocabulary."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from banel_jax.models import autoregressive
from banel_jax.types import SequenceModel


def markov_chain(vocab_size: int, length: int) -> SequenceModel:
    """The chain whose parameters are logits float32 [V + 1, V]: from each token, and of the first.

    Logits need not be normalised; -inf is a move that never happens, at any temperature.

    Args:
      vocab_size: V.
      length: of every sequence, in tokens.

    Returns:
      The model, of sequences whose every position counts.
    """

    def init(key):
        del key
        return jnp.zeros((vocab_size + 1, vocab_size), jnp.float32)

    def logits(params, tokens, dropout_key):
        del dropout_key
        return params[jnp.concatenate([jnp.full((1,), vocab_size, tokens.dtype), tokens[:-1]])]

    def step(params, previous, position, cache):
        del position
        return params[previous], cache

    network = autoregressive.Network(init, logits, lambda size: (), step)
    settings = ("markov_chain", vocab_size, length)
    return autoregressive.sequence_model(network, vocab_size, length, settings=settings)


def chain_params(
    initial: Float[np.ndarray, " V"], transitions: Float[np.ndarray, "V V"]
) -> Float[Array, "V_plus_1 V"]:
    """The parameters of a chain with these probabilities, of the first token and from each."""
    with np.errstate(divide="ignore"):
        return jnp.asarray(np.log(np.vstack([transitions, initial])), jnp.float32)
