"""Log-likelihoods and their ratios: reusable alone from any JAX code."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from banel_jax.parallel import large, map_sequences
from banel_jax.types import Params, SequenceModel, Sequences

# On CPU a chunk whose activations stay in cache is several times faster than a large one.
# Weights beyond it are read anew for each chunk, and so is what a prompt's tokens cost.
TOKENS_PER_CHUNK, LARGE_TOKENS = {"cpu": 1024}, {"cpu": 4096}


def default_chunk_size(length: int, is_large: bool = False) -> int:
    """How many sequences of `length` tokens to score at a time on the default backend.

    Args:
      length: of a sequence, in tokens.
      is_large: whether the model's weights are beyond the caches (`parallel.large`).
    """
    tokens = (LARGE_TOKENS if is_large else TOKENS_PER_CHUNK).get(jax.default_backend(), 131072)
    return max(1, tokens // length)


def chunk_size_of(model: SequenceModel, params: Params, sequences: Sequences) -> int:
    """The default for these sequences [n, length] and what the model reads to score them."""
    n, length = sequences.tokens.shape
    small = default_chunk_size(length)
    if n <= small:
        return small
    one = jax.tree.map(lambda x: x[0], sequences)
    closed_over = lambda: jax.make_jaxpr(model.log_prob)(params, one).consts  # as adapters' base
    return default_chunk_size(length, large(params) or large(closed_over()))


@partial(jax.jit, static_argnames=("model", "chunk_size", "length_normalised"))
def log_likelihood(
    model: SequenceModel,
    params: Params,
    sequences: Sequences,
    chunk_size: int | None = None,
    length_normalised: bool = False,
    temperature: Any = None,
) -> Float[Array, " n"]:
    """log p(x) in nats of each of n sequences, float32.

    Args:
      model: the generative model; static.
      params: of the model.
      sequences: [n, length].
      chunk_size: how many are in work at a time on a device (static); None for a default.
      length_normalised: divide by the number of scored tokens (Appendix B.2); static.
      temperature: T of each conditional p(token | prefix)^(1/T), a positive number, not
        static: another T needs no compilation. None is the model as it is.

    Returns:
      float32 [n], of the positions that `mask` marks; -inf for what the model cannot draw.
    """
    score = lambda replicated, x: model.log_prob(replicated[0], x, **replicated[1])
    tempered = {} if temperature is None else {"temperature": temperature}
    chunk_size = chunk_size or chunk_size_of(model, params, sequences)
    scores = map_sequences(score, (params, tempered), sequences, chunk_size).astype(jnp.float32)
    return normalise_length(scores, sequences) if length_normalised else scores


def normalise_length(scores: Float[Array, " n"], sequences: Sequences) -> Float[Array, " n"]:
    """log p(x)^(1/l(x)), with l(x) the number of scored tokens (Appendix B.2)."""
    return scores / jnp.maximum(jnp.sum(sequences.mask, axis=-1), 1)


def missing() -> np.float32:
    """What stands for a mean over nothing: NaN, or +inf where JAX_DEBUG_NANS stops at every NaN."""
    return np.float32(np.inf if jax.config.jax_debug_nans else np.nan)  # type: ignore[attr-defined]


def mean_loss(scores: Float[Array, " n"], weights: Float[Array, " n"]) -> Float[Array, ""]:
    """Mean negative log-likelihood in nats a sequence; `missing()` where no weight is above 0."""
    total = jnp.sum(weights)
    loss = -jnp.sum(jnp.where(weights > 0, weights * scores, 0.0))  # 0 of -inf is 0
    return jnp.where(total > 0, loss / jnp.where(total > 0, total, 1.0), missing())


def difference(a: Float[Array, ""], b: Float[Array, ""]) -> Float[Array, ""]:
    """a - b; `missing()` where both are the same infinity."""
    same = (a == b) & jnp.isinf(a)
    return jnp.where(same, missing(), a - jnp.where(same, 0.0, b))


def log_ratio(
    prior_scores: Float[Array, " n"], failure_scores: Float[Array, " n"], kappa: float
) -> Float[Array, " n"]:
    """log p_theta(x) - kappa log p_phi(x), the ranking of Eq. 5, in nats.

    At kappa = 0 it is the prior's score, whatever the failure model says, be it -inf.

    Args:
      prior_scores: log p_theta(x) in nats, float32 [n].
      failure_scores: log p_phi(x) in nats, float32 [n].
      kappa: sharpness of the failure model, not negative; 1 in the paper.

    Returns:
      float32 [n]; the higher, the likelier a sequence is to be kept.
    """
    return prior_scores - jnp.where(kappa == 0, 0.0, kappa * failure_scores)
