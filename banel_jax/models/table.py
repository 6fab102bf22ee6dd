"""A SequenceModel that is no network: one logit for each of the V^length sequences.

For spaces small enough to enumerate, where everything about a method can be computed exactly.
Letters: V the vocabulary, L the length; a table is an array [V, ..., V] with L axes.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from banel_jax.log_domain import log_softmax, logsumexp
from banel_jax.scoring import mean_loss
from banel_jax.training import Fit, FitInfo
from banel_jax.types import Params, SequenceModel, Sequences

MAX_ENTRIES = 1 << 24


def table(vocab_size: int, length: int) -> SequenceModel:
    """The model whose parameters are the logits float32 [V, ..., V] of the joint distribution.

    Logits need not be normalised; -inf is probability zero. Everything else follows by exact
    marginalisation: conditionals, tempering token by token, sampling one token at a time.
    Training by gradient works as for any model; `smoothed_histogram` fits in closed form.

    Args:
      vocab_size: V.
      length: L, at least 1.

    Returns:
      The model, of sequences of L tokens whose every position counts.

    Raises:
      ValueError: if a table of that size cannot be held.
    """
    _check_size(vocab_size, length)

    def init(key):
        del key
        return jnp.zeros((vocab_size,) * length, jnp.float32)

    def log_prob(params, sequence, *, temperature=1.0, dropout_key=None):
        del dropout_key
        prefix: tuple = ()
        scores = []
        for marginal in _marginals(params):
            scores.append(
                _log_conditional(marginal[prefix], temperature)[sequence.tokens[len(prefix)]]
            )
            prefix = (*prefix, sequence.tokens[len(prefix)])
        return jnp.sum(jnp.where(sequence.mask, jnp.stack(scores), 0.0))

    def sample(key, params, *, temperature=1.0):
        prefix: tuple = ()
        total = jnp.float32(0.0)
        for position, marginal in enumerate(_marginals(params)):
            log_probs = _log_conditional(marginal[prefix], temperature)
            token = jax.random.categorical(jax.random.fold_in(key, position), log_probs)
            prefix, total = (*prefix, token), total + log_probs[token]
        tokens = jnp.stack(prefix).astype(jnp.int32)
        return Sequences(tokens, jnp.ones(length, bool)), total

    return SequenceModel(init, log_prob, sample, settings=("table", vocab_size, length))


def joint_log_prob(params: Params, temperature: float = 1.0) -> Float[Array, "..."]:
    """log p of every sequence in nats, float32 [V, ..., V], tempered token by token."""
    total = jnp.float32(0.0)
    for marginal in _marginals(params):
        total = total[..., None] + _log_conditional(marginal, temperature)
    return total


def smoothed_histogram(vocab_size: int, length: int, bandwidth: float, floor: float = 0.0) -> Fit:
    """A fit in closed form: Gaussian kernels on the observed sequences, over a uniform floor.

    Tokens must be ordinal (token 3 lies between 2 and 4, as bins do), since each spreads to
    its neighbours. The kernel of a sequence near the border is renormalised there, so no mass
    leaves the grid. All in the log domain: far tails stay finite where float32 densities
    would be 0. With no weight at all the parameters are returned as they came, as by
    `training.fit`.

    Args:
      vocab_size: V.
      length: L; a sequence with a position that is not scored is left out.
      bandwidth: standard deviation of the kernel, in bins; 0 for the plain histogram.
      floor: share of the mass that is spread evenly over all V^L sequences, in [0, 1).

    Returns:
      `fit(key, params, sequences, weights, validation_weights) -> (params, FitInfo)` with
      normalised logits [V, ..., V]; the key is not used, and losses are those after the fit.

    Raises:
      ValueError: if an argument is out of its range.
    """
    _check_size(vocab_size, length)
    if not bandwidth >= 0:
        raise ValueError(f"bandwidth={bandwidth} must not be negative")
    if not 0 <= floor < 1:
        raise ValueError(f"floor={floor} is not in [0, 1)")
    model = table(vocab_size, length)
    shape = (vocab_size,) * length
    log_floor = jnp.log(jnp.float32(floor)) - length * jnp.log(jnp.float32(vocab_size))

    def fit(key, params, sequences, weights, validation_weights=None):
        del key
        weights = jnp.asarray(weights, jnp.float32) * jnp.all(sequences.mask, axis=1)
        counts = jnp.zeros(shape, jnp.float32).at[tuple(sequences.tokens.T)].add(weights)
        total = jnp.sum(counts)
        density = jnp.log(counts) - jnp.log(total)
        if bandwidth:
            kernel = _log_kernel(vocab_size, bandwidth)
            for axis in range(length):
                density = _convolve(kernel, density, axis)
        density = jnp.logaddexp(density + jnp.log1p(-jnp.float32(floor)), log_floor)
        params = jnp.where(total > 0, density, params)

        scores = jax.vmap(lambda sequence: model.log_prob(params, sequence))(sequences)
        if validation_weights is None:
            validation_weights = jnp.zeros_like(weights)
        loss, held_out = (mean_loss(scores, w) for w in (weights, validation_weights))
        return params, FitInfo(loss[None], held_out[None], jnp.float32(1))

    fit.settings = ("smoothed_histogram", bandwidth, floor)  # type: ignore[attr-defined]
    return fit


def _marginals(params):
    """Logits of the first t tokens, for t = 1 to L: shapes [V], [V, V], ..., [V, ..., V]."""
    length = params.ndim
    return [
        logsumexp(params, axis=tuple(range(t, length))) if t < length else params
        for t in range(1, length + 1)
    ]


def _log_conditional(logits, temperature):
    # After a prefix of probability zero every token is as impossible as its prefix.
    return log_softmax(logits / temperature)


def _log_kernel(vocab_size, bandwidth):
    """[to, from] with each column a distribution."""
    bins = jnp.arange(vocab_size, dtype=jnp.float32)
    squares = ((bins[:, None] - bins[None, :]) / bandwidth) ** 2
    return jax.nn.log_softmax(-squares / 2, axis=0)


def _convolve(kernel, density, axis):
    density = jnp.moveaxis(density, axis, 0)
    density = jax.vmap(lambda row: jax.nn.logsumexp(_columns(row, density), axis=0))(kernel)
    return jnp.moveaxis(density, 0, axis)


def _columns(row, density):
    return row.reshape(-1, *[1] * (density.ndim - 1)) + density


def _check_size(vocab_size, length):
    if vocab_size < 1 or length < 1:
        raise ValueError(f"vocab_size={vocab_size} and length={length} must be at least 1")
    if vocab_size**length > MAX_ENTRIES:
        raise ValueError(
            f"vocab_size={vocab_size} ** length={length} is more than {MAX_ENTRIES} sequences: "
            "too many for a table"
        )
