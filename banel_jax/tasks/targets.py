"""Rewards of 1 for an exact match with any of a set of target sequences."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float, UInt32

from banel_jax.types import Sequences


@struct.dataclass
class TargetSet:
    """A set of sequences with exact membership as a JAX function.

    A sequence's scored tokens are packed, losslessly, into W words of 32 bits; membership is
    a binary search among the targets' words. So it is exact (nothing is hashed), a lookup
    costs log2(targets) steps, and it may stand under jit, vmap and scan.

    Attributes:
      words: uint32 [targets, W], without duplicates, in lexicographic order.
      vocab_size: V; static.
    """

    words: UInt32[Array, "targets W"]
    vocab_size: int = struct.field(pytree_node=False)

    def reward(self, sequences: Sequences) -> Float[Array, " n"]:
        """1.0 for each of the sequences [n, length] that is a target, else 0.0; float32 [n].

        Two sequences are the same where their masks are, and their tokens at the masked
        positions. A token outside the vocabulary makes no target.
        """
        return jax.vmap(self._contains)(sequences).astype(jnp.float32)

    def _contains(self, sequence):
        query = pack(sequence, self.vocab_size)
        if query.shape != self.words.shape[1:]:
            raise ValueError(
                f"sequences of length {sequence.tokens.shape[-1]} do not have the targets' length"
            )
        count = self.words.shape[0]

        def halve(_, bounds):  # the first row not below the query lies in [low, high]
            low, high = bounds
            middle = (low + high) // 2
            row = self.words[jnp.minimum(middle, count - 1)]
            first = jnp.argmax(row != query)  # the first word that differs, or 0
            below = (row[first] < query[first]) & (low < high)
            return jnp.where(below, middle + 1, low), jnp.where(below, high, middle)

        bounds = (jnp.int32(0), jnp.int32(count))
        position, _ = jax.lax.fori_loop(0, count.bit_length(), halve, bounds)
        found = jnp.all(self.words[jnp.minimum(position, count - 1)] == query)
        inside = (sequence.tokens >= 0) & (sequence.tokens < self.vocab_size)
        return found & jnp.all(inside | ~sequence.mask)


def target_set(targets: Sequences, vocab_size: int) -> TargetSet:
    """The set of these sequences [n, length]; duplicates count once.

    Raises:
      ValueError: if there is no target, or a token lies outside the vocabulary.
    """
    if not targets.tokens.shape[0]:
        raise ValueError("there are no target sequences; at least one is needed")
    tokens = np.where(targets.mask, targets.tokens, 0)
    if tokens.min() < 0 or tokens.max() >= vocab_size:
        raise ValueError(f"target tokens must lie in [0, {vocab_size})")
    words = np.asarray(jax.jit(jax.vmap(lambda s: pack(s, vocab_size)))(targets))
    return TargetSet(jnp.asarray(np.unique(words, axis=0)), vocab_size)


def pack(sequence: Sequences, vocab_size: int) -> UInt32[Array, " W"]:
    """The scored tokens of one sequence in as few 32-bit words as hold them whole."""
    bits = vocab_size.bit_length()  # codes 0 (not scored) to V (token V - 1)
    per_word = 32 // bits
    codes = jnp.where(sequence.mask, sequence.tokens + 1, 0).astype(jnp.uint32)
    codes = jnp.pad(codes, (0, -codes.shape[0] % per_word)).reshape(-1, per_word)
    return jnp.sum(codes << (bits * jnp.arange(per_word, dtype=jnp.uint32)), axis=1).astype(
        jnp.uint32
    )
