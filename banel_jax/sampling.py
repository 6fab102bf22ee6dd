"""Ancestral sampling in batches."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from banel_jax.keys import portable
from banel_jax.parallel import large, map_sequences
from banel_jax.types import Key, Params, SequenceModel, Sequences

# Tuned on CPU: what attention reads of a chunk's cache goes with its size times length^2, and
# should stay near the core; short sequences want as many rows to a matrix product as they get.
READ_PER_CHUNK = {"cpu": 400_000}
LARGE_ROWS = 64  # at least, of a model whose weights are beyond the caches

LADDER = (0.5, 0.7, 1.0, 1.5, 2.0, 3.0)  # temperatures of the control that costs nothing


def default_chunk_size(length: int, weights: Any = ()) -> int:
    """How many sequences to draw at a time on the default backend.

    Args:
      length: of a sequence, in tokens.
      weights: the arrays of the model, in a tree.
    """
    read = READ_PER_CHUNK.get(jax.default_backend())
    if not read:
        return 512
    return max(LARGE_ROWS if large(weights) else 8, min(256, read // length**2))


@partial(jax.jit, static_argnames=("model", "n", "chunk_size"))
def sample(
    model: SequenceModel,
    key: Key,
    params: Params,
    n: int,
    chunk_size: int | None = None,
    temperature: Any = None,
) -> tuple[Sequences, Float[Array, " n"]]:
    """Draws n sequences and their log-likelihoods in nats.

    Sequence i is drawn with `fold_in(key, i)`: neither the chunk size, nor n, nor the number
    of devices changes it. A key of another implementation than threefry stands for one of it.

    Args:
      model: the generative model; static.
      key: consumed once.
      params: of the model.
      n: number of sequences; static.
      chunk_size: how many are in work at a time on a device (static); None for a default.
      temperature: T of each conditional p(token | prefix)^(1/T), a positive number, not
        static: another T needs no compilation. None is the model as it is.

    Returns:
      The sequences, tokens int32 and mask bool [n, length], and their log-likelihoods at that
      temperature, float32 [n].
    """
    indices = jnp.arange(n, dtype=jnp.int32)
    return sample_indices(model, key, params, indices, chunk_size, temperature)


def sample_indices(
    model: SequenceModel,
    key: Key,
    params: Params,
    indices: Int[Array, " n"],
    chunk_size: int | None = None,
    temperature: Any = None,
) -> tuple[Sequences, Float[Array, " n"]]:
    """The sequences of these indices in the stream that `key` names."""

    def draw(replicated, index):
        key, params, tempered = replicated
        return model.sample(jax.random.fold_in(key, index), params, **tempered)

    key = portable(key)
    tempered = {} if temperature is None else {"temperature": temperature}
    if chunk_size is None:
        traced, (sequence, _) = jax.make_jaxpr(model.sample, return_shape=True)(key, params)
        weights = params, traced.consts  # such as the base of adapters
        chunk_size = default_chunk_size(sequence.tokens.shape[-1], weights)
    return map_sequences(draw, (key, params, tempered), indices, chunk_size)


def found(candidates: Sequences) -> jax.Array:
    """bool [m]; a candidate of empty mask is one that was not found: rejection hit its floor."""
    return jnp.any(candidates.mask, axis=1)
