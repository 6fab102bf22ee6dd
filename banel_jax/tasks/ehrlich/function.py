"""Ehrlich functions (Stanton et al., arXiv:2407.00236), as holo-bench computes them, in JAX.

A sequence is feasible if a Markov chain can draw it. Its value is then the product, over the
motifs, of how much of each stands somewhere in it, at the motif's own distances. Letters: v tokens
of the vocabulary, L tokens in a sequence, c motifs of k tokens, q levels of a motif.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from banel_jax import checks
from banel_jax.types import Sequences

ROUNDING = 1e-6  # relative, of a product of float32


@dataclass(frozen=True, eq=False)
class Ehrlich:
    """One Ehrlich function.

    Attributes:
      initial: probabilities of the first token [v], of what is drawn; it bans no sequence.
      transitions: probabilities [v, v] from each token to each; 0 bans the move.
      motifs: tokens, int [c, k].
      spacings: distances of a motif's tokens from the one before, int [c, k - 1], each 1 or more.
      length: L.
      quantisation: q, levels of a motif, whose tokens count in steps of ceil(k / q).
      epistasis: how much less a motif in part counts than its share of tokens; 0 for none, at
        most 4.

    Raises:
      ValueError: in one line, for arrays that do not go together, probabilities that are none, a
        motif that the chain cannot draw or that is longer than the sequence, and a quantisation
        by which no sequence has the value 1.
    """

    initial: Float[np.ndarray, " v"]
    transitions: Float[np.ndarray, "v v"]
    motifs: Int[np.ndarray, "c k"]
    spacings: Int[np.ndarray, "c k_minus_1"]
    length: int
    quantisation: int
    epistasis: float = 0.0

    def __post_init__(self):
        checks.integers(self, "length", "quantisation", at_least=1)
        checks.reals(self, "epistasis", at_least=0, at_most=4)
        for name in ("initial", "transitions", "motifs", "spacings"):
            array = np.array(getattr(self, name), float)
            if name in ("motifs", "spacings"):
                if not np.all(array == np.floor(array)):
                    raise ValueError(f"{name} must be whole numbers")
                array = array.astype(int)
            array.setflags(write=False)  # what follows from them is kept
            object.__setattr__(self, name, array)
        _check_chain(self.initial, self.transitions)
        _check_motifs(self)
        check_quantisation(self.motifs.shape[1], self.quantisation)

    @property
    def vocab_size(self) -> int:
        return len(self.initial)

    @cached_property
    def offsets(self) -> Int[np.ndarray, "c k"]:
        """Places of a motif's tokens, from that of its first."""
        return np.pad(self.spacings.cumsum(axis=1), ((0, 0), (1, 0)))

    @cached_property
    def responses(self) -> Float[np.ndarray, " k_plus_1"]:
        """What a motif contributes of which 0 to k tokens stand there, float32."""
        size = self.motifs.shape[1]
        step = -(-size // self.quantisation)
        share = (np.arange(size + 1) // step).astype(np.float32) / np.float32(size // step)
        return (np.float32(self.epistasis) * share * (share - 1) + 1) * share

    @cached_property
    def levels(self) -> tuple[float, ...]:
        """The values that a feasible sequence may have, from the lowest to 1."""
        each = itertools.combinations_with_replacement(
            sorted(set(self.responses)), len(self.motifs)
        )
        return tuple(sorted({float(np.prod(one, dtype=np.float32)) for one in each}))

    def feasible(self, sequences: Sequences) -> Bool[Array, " n"]:
        """Whether the chain can draw each of the sequences [n, L]."""
        return jax.vmap(self._feasible)(sequences)

    def value(self, sequences: Sequences) -> Float[Array, " n"]:
        """float32 in [0, 1] for each of the sequences [n, L]; 0 for what is not feasible."""
        if sequences.tokens.shape[-1] != self.length:
            raise ValueError(
                f"sequences have {sequences.tokens.shape[-1]} tokens, and the function takes "
                f"{self.length}"
            )
        return jax.vmap(self._value)(sequences)

    def reward(self, threshold: float) -> Callable[[Sequences], Float[Array, " n"]]:
        """`reward(sequences [n, L]) -> float32 [n]`: 1 from this value on, but for rounding.

        Raises:
          ValueError: for a threshold outside (0, 1].
        """
        if not 0 < threshold <= 1:
            raise ValueError(f"threshold={threshold} must be above 0 and at most 1")
        least = np.float32(threshold * (1 - ROUNDING))
        return lambda sequences: (self.value(sequences) >= least).astype(jnp.float32)

    def optimum(self) -> Int[np.ndarray, " L"]:
        """A sequence of value 1: the motifs one after the other, gaps filled by repetition."""
        tokens = [
            np.repeat(motif, np.append(spacing, 1))
            for motif, spacing in zip(self.motifs, self.spacings, strict=True)
        ]
        best = np.concatenate(tokens)
        return np.pad(best, (0, self.length - len(best)), mode="edge")

    def _feasible(self, sequence):
        tokens = sequence.tokens
        inside = jnp.all((tokens >= 0) & (tokens < self.vocab_size) & sequence.mask)
        allowed = jnp.asarray(self.transitions > 0)
        return inside & jnp.all(allowed[tokens[:-1], tokens[1:]])

    def _value(self, sequence):
        value = self._feasible(sequence).astype(jnp.float32)
        responses = jnp.asarray(self.responses)
        for motif, offsets in zip(self.motifs, self.offsets, strict=True):
            places = self.length - int(offsets[-1])
            stands = [
                sequence.tokens[at : at + places] == token
                for token, at in zip(motif.tolist(), offsets.tolist(), strict=True)
            ]
            value = value * responses[jnp.max(jnp.sum(jnp.stack(stands), axis=0))]
        return value


def check_quantisation(motif_length: int, quantisation: int) -> None:
    """Raises ValueError unless a whole motif has the value 1: steps of ceil(k / q) must fill it."""
    if not 1 <= quantisation <= motif_length or motif_length % -(-motif_length // quantisation):
        whole = [q for q in range(1, motif_length + 1) if motif_length % q == 0]
        raise ValueError(
            f"quantisation={quantisation} does not divide motifs of {motif_length} tokens; choose "
            f"one of {', '.join(map(str, whole))}"
        )


def _check_chain(initial, transitions):
    v = len(initial)
    if initial.shape != (v,) or transitions.shape != (v, v):
        raise ValueError(
            f"initial {initial.shape} and transitions {transitions.shape} must be [v] and [v, v]"
        )
    for name, rows in (("initial", initial), ("transitions", transitions)):
        if not (np.all(rows >= 0) and np.allclose(rows.sum(axis=-1), 1, atol=1e-4)):
            raise ValueError(f"{name} must be probabilities, with rows that sum to 1")


def _check_motifs(function):
    motifs, spacings = function.motifs, function.spacings
    if motifs.ndim != 2 or not motifs.size or spacings.shape != (len(motifs), motifs.shape[1] - 1):
        raise ValueError(
            f"motifs {motifs.shape} and spacings {spacings.shape} must be [c, k] and [c, k - 1]"
        )
    if motifs.min() < 0 or motifs.max() >= function.vocab_size:
        raise ValueError(f"tokens of motifs must lie in [0, {function.vocab_size})")
    if spacings.size and spacings.min() < 1:
        raise ValueError("spacings must be 1 or more")
    needed = int(spacings.sum()) + len(motifs)
    if needed > function.length:
        raise ValueError(
            f"the motifs one after the other take {needed} tokens, and length={function.length}"
        )
    best = function.optimum()
    if not np.all(function.transitions[best[:-1], best[1:]] > 0):
        raise ValueError("the motifs one after the other, with repetitions, have a banned move")
