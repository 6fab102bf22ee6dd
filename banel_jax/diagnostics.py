"""What can be seen of a batch without any success."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from banel_jax.types import Sequences


def duplicate_rate(sequences: Sequences) -> Float[Array, ""]:
    """1 - (distinct sequences) / n. Sequences that differ in masked positions alone are one."""
    tokens = jnp.where(sequences.mask, sequences.tokens, -1)
    order = jnp.lexsort(tokens.T)
    repeats = jnp.all(tokens[order[1:]] == tokens[order[:-1]], axis=1)
    return jnp.sum(repeats) / tokens.shape[0]


def proposal_diagnostics(
    sequences: Sequences,
    generator_scores: Float[Array, " n"],
    base_scores: Float[Array, " n"],
) -> dict[str, jax.Array]:
    """Estimates from n samples of the generator, in nats a sequence.

    Returns:
      `entropy` of the generator, `kl_to_base` = KL(generator, base), `duplicate_rate`.
    """
    return {
        "entropy": -jnp.mean(generator_scores),
        "kl_to_base": jnp.mean(generator_scores - base_scores),
        "duplicate_rate": duplicate_rate(sequences),
    }
