"""What can be seen of a batch without any success."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from banel_jax.types import Sequences


def duplicate_rate(sequences: Sequences) -> Float[Array, ""]:
    """1 - (distinct sequences) / n. Sequences that differ in masked positions alone are one."""
    return jnp.mean(copies(sequences).astype(jnp.float32))


def copies(sequences: Sequences, others: Sequences | None = None) -> Bool[Array, " n"]:
    """Which of the sequences [n, length] equal an earlier one in all that is not masked, or one of
    the others [k, length] where such are given."""
    k = 0 if others is None else others.tokens.shape[0]
    every = sequences if others is None else others.followed_by(sequences)
    return (first_equal(every) < jnp.arange(every.tokens.shape[0]))[k:]


def first_equal(sequences: Sequences) -> Int[Array, " n"]:
    """For each of the sequences [n, length] the index of the first that equals it."""
    tokens = jnp.where(sequences.mask, sequences.tokens, -1)
    order = jnp.lexsort(tokens.T)  # stable: equals stay in order
    repeats = jnp.all(tokens[order[1:]] == tokens[order[:-1]], axis=1)
    place = jnp.arange(1, tokens.shape[0], dtype=jnp.int32)
    starts = jax.lax.cummax(jnp.where(repeats, 0, place))
    starts = jnp.concatenate([jnp.zeros(1, jnp.int32), starts])
    return jnp.zeros(tokens.shape[0], jnp.int32).at[order].set(order[starts].astype(jnp.int32))


def proposal_diagnostics(
    log_acceptance: Float[Array, ""] | float,
    sequences: Sequences,
    generator_scores: Float[Array, " n"],
    base_scores: Float[Array, " n"],
) -> dict[str, jax.Array]:
    """Estimates from n proposals: samples of the generator that passed the filters in force.

    Args:
      log_acceptance: log of the share of the generator's samples that pass, in nats; the
        density of what passes is the generator's over that share.
      sequences: [n, length].
      generator_scores, base_scores: their log-likelihoods in nats.

    Returns:
      `entropy` of the proposals in nats a sequence, `kl_to_base` = KL(proposals, base) in
      nats, `duplicate_rate`.
    """
    return {
        "entropy": log_acceptance - jnp.mean(generator_scores),
        "kl_to_base": jnp.mean(generator_scores - base_scores) - log_acceptance,
        "duplicate_rate": duplicate_rate(sequences),
    }
