"""A memory of distinct sequences, such as the successes that a policy learns again."""

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float

from banel_jax import diagnostics, failures, sampling
from banel_jax.types import Key, Params, SequenceModel, Sequences


@struct.dataclass
class Replay:
    """The latest distinct sequences that were kept.

    Attributes:
      sequences: [n], the newest first; the mask of an empty row, which are the last, is empty.
    """

    sequences: Sequences

    def there(self) -> Bool[Array, " n"]:
        """Which rows hold a sequence."""
        return sampling.found(self.sequences)

    def add(self, sequences: Sequences, kept: Float[Array, " m"]) -> "Replay":
        """With those of `sequences` that `kept` marks by 1; what is kept already becomes new."""
        sequences = Sequences(sequences.tokens, sequences.mask & (kept > 0)[:, None])
        both = sequences.followed_by(self.sequences)
        first = sampling.found(both) & ~diagnostics.copies(both)
        both = Sequences(both.tokens, both.mask & first[:, None])
        order = jnp.argsort(~first, stable=True)[: self.sequences.tokens.shape[0]]
        return Replay(jax.tree.map(lambda x: x[order], both))

    def draw(self, key: Key, m: int) -> Sequences:
        """m of them, evenly and with replacement; empty rows where there are none."""
        rows = jax.random.categorical(key, jnp.where(self.there(), 0.0, -jnp.inf), shape=(m,))
        return jax.tree.map(lambda x: x[rows], self.sequences)


def empty(model: SequenceModel, params: Params, capacity: int) -> Replay:
    """A memory of at most `capacity` sequences of the model."""
    return Replay(failures.no_failures(model, params, capacity).sequences)
