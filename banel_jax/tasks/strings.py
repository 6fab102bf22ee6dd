"""Sequences that are texts: a token for each character, and one that ends them."""

from dataclasses import dataclass
from functools import cached_property

import jax.numpy as jnp
import numpy as np

from banel_jax import checks
from banel_jax.types import Sequences


@dataclass(frozen=True)
class Alphabet:
    """What texts are written in; a character's token is its place, and the end comes last.

    Attributes:
      characters: all of them, each once.
    """

    characters: str

    def __post_init__(self):
        checks.fields(self)
        twice = [c for i, c in enumerate(self.characters) if c in self.characters[:i]]
        if twice or not self.characters:
            what = f"has {twice[0]!r} twice" if twice else "is empty"
            raise ValueError(f"characters={self.characters!r} {what}; give each character once")

    @property
    def eos(self) -> int:
        """The token that ends a text."""
        return len(self.characters)

    @property
    def vocab_size(self) -> int:
        return len(self.characters) + 1

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {character: i for i, character in enumerate(self.characters)}

    def encode(self, texts: list[str], length: int) -> Sequences:
        """Texts as sequences [n, length], each with an end where there is room for it.

        Raises:
          ValueError: for a text that is too long, or has a character outside the alphabet.
        """
        tokens = np.zeros((len(texts), length), np.int32)
        mask = np.zeros((len(texts), length), bool)
        for row, text in enumerate(texts):
            unknown = sorted(set(text) - self._ids.keys())
            if unknown:
                raise ValueError(
                    f"{text!r} has {unknown[0]!r}, which is not among {self.characters}"
                )
            if len(text) > length:
                raise ValueError(f"{text!r} has {len(text)} characters, and {length} are the most")
            ids = [*(self._ids[c] for c in text), self.eos][:length]
            tokens[row, : len(ids)] = ids
            mask[row, : len(ids)] = True
        return Sequences(jnp.asarray(tokens), jnp.asarray(mask))

    def decode(self, sequences: Sequences) -> list[str]:
        """The texts of sequences [n, length], without their ends."""
        tokens, mask = np.asarray(sequences.tokens), np.asarray(sequences.mask)
        return [
            "".join(self.characters[t] for t in row[kept] if t != self.eos)
            for row, kept in zip(tokens, mask, strict=True)
        ]
