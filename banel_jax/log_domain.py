"""Sums of probabilities that are given by their logarithms, with gradients where some are 0.

In JAX's own the gradient over nothing but -inf is NaN; here it is 0, since there is no direction
in which the impossible would become less so.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def logsumexp(x: Float[Array, "..."], axis: int | tuple[int, ...] | None = None) -> Array:
    """log of the sum of exp(x) over `axis` (None: over all); -inf where all are -inf."""
    impossible = jnp.all(x == -jnp.inf, axis=axis, keepdims=True)
    total = jax.nn.logsumexp(jnp.where(impossible, 0.0, x), axis=axis)
    return jnp.where(jnp.reshape(impossible, total.shape), -jnp.inf, total)


def log_softmax(x: Float[Array, "*batch n"]) -> Float[Array, "*batch n"]:
    """x less its `logsumexp` over the last axis; where all are -inf they stay so."""
    impossible = jnp.all(x == -jnp.inf, axis=-1, keepdims=True)
    return jnp.where(impossible, -jnp.inf, jax.nn.log_softmax(jnp.where(impossible, 0.0, x)))
