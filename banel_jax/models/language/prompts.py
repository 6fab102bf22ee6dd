"""Prompts as arrays: padded to one length, and to few lengths where there are many."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Int


@struct.dataclass
class Prompt:
    """Prompts, one or a batch of them, padded on either side.

    Attributes:
      tokens: int32 [*batch, P].
      mask: bool [*batch, P]; True at the tokens that are there, one at the least.
    """

    tokens: Int[Array, "*batch P"]
    mask: Bool[Array, "*batch P"]


def pad_prompts(prompts: Sequence[Sequence[int]], length: int | None = None) -> Prompt:
    """Prompts of different lengths as a batch [n, length], padded on the left.

    Raises:
      ValueError: for a prompt that is empty or longer than `length`, by default the longest's.
    """
    if not prompts:
        raise ValueError("there is no prompt; give one at the least")
    sizes = [len(prompt) for prompt in prompts]
    length = max(sizes) if length is None else length
    for row, size in enumerate(sizes):
        if not 1 <= size <= length:
            raise ValueError(f"prompt {row} has {size} tokens, and must have from 1 to {length}")
    tokens = np.zeros((len(prompts), length), np.int32)
    for row, prompt in enumerate(prompts):
        tokens[row, length - len(prompt) :] = prompt
    mask = np.arange(length) >= length - np.asarray(sizes)[:, None]
    return Prompt(jnp.asarray(tokens), jnp.asarray(mask))


def bucket(size: int, room: int) -> int:
    """The length to pad a prompt of `size` tokens to, that many lengths share few programs.

    A power of two or one and a half of it, from 32 on; `room`, the most that fits, where those
    are beyond it. Padding changes no result, and costs some of attention.
    """
    lengths = (base for i in range(5, 60) for base in (2**i, 3 * 2 ** (i - 1)))
    return max(size, min(room, next(length for length in lengths if length >= size)))
