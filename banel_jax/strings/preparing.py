"""Strings as what a prior is trained on: cut into tokens, of one length, some of them held out."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from banel_jax import checks
from banel_jax.models.transformer import TransformerSize
from banel_jax.strings.reading import Strings, check_characters
from banel_jax.training import TrainingConfig
from banel_jax.types import Sequences
from banel_jax.vocabulary import Vocabulary, each, place

MOST_LENGTH, MOST_HELD_OUT = 1024, 2000


@dataclass(frozen=True, kw_only=True)
class StringPriorConfig(TransformerSize):
    """Settings of a prior of strings and of its training.

    Attributes:
      num_layers, num_heads, width, dropout: of the transformer.
      tokens: what a token is: characters, smiles, protein, byte_pair, or a regular expression that
        matches each.
      vocab_size: tokens of byte_pair at most.
      length: tokens of a string at most, its end among them; 0 for the longest string's, up to
        1024.
      too_long: whether longer strings are refused or left out.
      held_out: share of the different strings that training stops early by; at most 2000 of them.
      epoch_rows: strings of an epoch at most, which is then a part of a pass over all.
      training: the fit; `patience` is in epochs.
      seed: of what is held out and of the fit.

    Raises:
      ValueError: in one line, for a field of another type or outside its range.
    """

    tokens: str = "characters"
    vocab_size: int = 512
    length: int = 0
    too_long: Literal["refuse", "leave_out"] = "refuse"
    held_out: float = 0.1
    epoch_rows: int = 20_000
    training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(
            epochs=400, batch_size=64, learning_rate=1e-3, warmup_steps=50, patience=8
        )
    )
    seed: int = 0

    def __post_init__(self):
        checks.fields(self)
        checks.integers(self, "vocab_size", "epoch_rows", at_least=1)
        checks.integers(self, "length", at_least=0)
        checks.reals(self, "held_out", above=0, below=1)
        checks.seeds(self, "seed")
        self.decoder(2, 1)  # its own checks


class Prepared(NamedTuple):
    """Strings as they are trained on.

    Attributes:
      vocabulary: of all of them.
      sequences: [n, length], copies included but for those of what is held out.
      held_out: float32 [n], 1 for what is; no string is on both sides.
      different: how many strings there are without copies.
      left_out: how many rows were too long.
    """

    vocabulary: Vocabulary
    sequences: Sequences
    held_out: Float[Array, " n"]
    different: int
    left_out: int


def prepare(strings: Sequence[str], config: StringPriorConfig) -> Prepared:
    """Strings as sequences, some of them held out.

    Raises:
      ValueError: in one line, for fewer than two different strings, and for some that are too
        long, or that the expression does not match.
    """
    if isinstance(strings, str):
        raise ValueError(
            f"{strings[:60]!r} is one string; give several, from a file by read_strings"
        )
    strings = strings if isinstance(strings, Strings) else list(strings)
    check_characters(strings)
    vocabulary = Vocabulary.of(strings, config.tokens, config.vocab_size)
    sizes = np.array([len(ids) + 1 for ids in each(strings, vocabulary.encode)])
    length = config.length or min(int(sizes.max()), MOST_LENGTH)
    kept = np.flatnonzero(sizes <= length)
    if len(kept) < len(strings) and config.too_long == "refuse":
        row = int(np.argmax(sizes > length))
        raise ValueError(
            f"{len(strings) - len(kept):,} of {len(strings):,} strings have more than {length} "
            f"tokens with their end (the first: {place(strings, row)}, with {sizes[row]:,}); give "
            f"length={sizes.max()}, or too_long=leave_out"
        )
    rows: dict[str, list[int]] = {}
    for row in kept.tolist():
        rows.setdefault(strings[row], []).append(row)
    if len(rows) < 2:
        raise ValueError(
            f"{len(rows) or 'no'} different string{'s' * (not rows)} of {length} tokens at most "
            "is too few; a prior needs two, one of them to hold out"
        )
    copies = list(rows.values())
    number = max(1, min(round(config.held_out * len(copies)), len(copies) - 1, MOST_HELD_OUT))
    order = np.random.default_rng(config.seed).permutation(len(copies))
    validation = sorted(copies[i][0] for i in order[:number])
    training = sorted(row for i in order[number:] for row in copies[i])
    chosen = [strings[row] for row in (*training, *validation)]
    held_out = jnp.asarray(np.arange(len(chosen)) >= len(training), jnp.float32)
    sequences = vocabulary.sequences_of(chosen, length)
    return Prepared(vocabulary, sequences, held_out, len(copies), len(strings) - len(kept))
