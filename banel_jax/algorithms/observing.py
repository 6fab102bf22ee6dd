"""What the networks beside a model see of its sequences."""

from collections.abc import Callable
from typing import Any

import jax
from jaxtyping import Array, Float

from banel_jax.types import SequenceModel, Sequences

# observe(sequences [m]) -> float32 [m, d], what the networks see.
Observe = Callable[[Sequences], Float[Array, "m d"]]


def one_hot(vocab_size: int) -> Observe:
    """Tokens as indicators, all 0 where they are not scored: float32 [m, length * V]."""

    def observe(sequences):
        hot = jax.nn.one_hot(sequences.tokens, vocab_size) * sequences.mask[..., None]
        return hot.reshape(hot.shape[0], -1)

    observe.settings = ("one_hot", vocab_size)  # type: ignore[attr-defined]
    return observe


def vocab_size_of(model: SequenceModel, config: Any) -> int:
    """The config's `vocab_size`, or where that is 0 the model's; ValueError where it has none."""
    found = config.vocab_size or _vocab_size(model.settings)
    if not found:
        name = f"{type(config).__name__}.vocab_size"
        raise ValueError(
            f"vocab_size=0, and the model's settings have none: give {name}, or observe"
        )
    return found


def _vocab_size(settings: Any) -> int:
    """0 where the settings have none; those of a prompt or of adapters hold the model's own."""
    if not isinstance(settings, tuple):
        return getattr(settings, "vocab_size", 0)
    if settings[:1] == ("table",):
        return settings[1]
    return next((size for part in settings if (size := _vocab_size(part))), 0)
