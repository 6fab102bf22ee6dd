"""Products with a kernel W beside which a low-rank adapter stands: x W + (x A) B.

Where an adapter is merged into W, a gradient in A and B goes through one in W, as large as W is.
"""

from typing import Any, NamedTuple

import jax
from flax.linen import dtypes
from jaxtyping import Array, Float


class LowRank(NamedTuple):
    """Stands where a kernel [in, out] or a stack of them [layers, in, out] does: kernel + a b."""

    kernel: Float[Array, "*layers in out"]
    a: Float[Array, "*layers in rank"]
    b: Float[Array, "*layers rank out"]


def promote_dtype(*args: Any, **settings: Any) -> list[Any]:
    """For `nn.Dense`: flax's own, of inputs, kernel and bias, of which the second may be
    `LowRank`."""
    inputs, kernel, bias = args
    if not isinstance(kernel, LowRank):
        return dtypes.promote_dtype(*args, **settings)
    inputs, bias, *parts = dtypes.promote_dtype(inputs, bias, *kernel, **settings)
    return [inputs, LowRank(*parts), bias]


def dot_general(inputs, kernel, dimensions, **settings):
    """For `nn.Dense`: JAX's own, of kernels that may be `LowRank`."""
    if not isinstance(kernel, LowRank):
        return jax.lax.dot_general(inputs, kernel, dimensions, **settings)
    product = lambda x, y: jax.lax.dot_general(x, y, dimensions, **settings)
    return product(inputs, kernel.kernel) + product(product(inputs, kernel.a), kernel.b)
