"""How a round's candidates are shared among K arms: a bandit's shares, and whole numbers of them.

The shares are those of Thompson sampling with discounted Beta posteriors: each arm's is the
probability that its success rate is the highest, by what was answered, of which a round ago counts
for `discount` and so on. A part `floor` is spread evenly.
"""

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int

from banel_jax.types import Key

PRIOR = 0.5  # Jeffreys': of a success and of a failure before anything was answered
NUM_DRAWS = 1000  # from the posteriors, for the shares


@struct.dataclass
class Answers:
    """What each arm's candidates were answered, earlier rounds discounted.

    Attributes:
      successes, failures: float32 [K].
    """

    successes: Float[Array, " K"]
    failures: Float[Array, " K"]

    def add(
        self, discount: float, successes: Float[Array, " K"], failures: Float[Array, " K"]
    ) -> "Answers":
        """With those of another round."""
        return Answers(discount * self.successes + successes, discount * self.failures + failures)


def no_answers(num_arms: int) -> Answers:
    """Before the first round."""
    return Answers(*[jnp.zeros(num_arms, jnp.float32)] * 2)


def shares(key: Key, answers: Answers, floor: float) -> Float[Array, " K"]:
    """The share of each arm: even until there is a success, as failures alone tell too little.

    Args:
      key: consumed once.
      answers: so far.
      floor: gamma, the part that is spread evenly: no share is below gamma / K.
    """
    num_arms = answers.successes.shape[0]
    posteriors = PRIOR + answers.successes, PRIOR + answers.failures
    rates = jax.random.beta(key, *posteriors, (NUM_DRAWS, num_arms), jnp.float32)
    best = jnp.mean(jax.nn.one_hot(jnp.argmax(rates, axis=1), num_arms), axis=0)
    even = jnp.full(num_arms, 1 / num_arms, jnp.float32)
    return jnp.where(jnp.any(answers.successes > 0), floor * even + (1 - floor) * best, even)


def allocate(key: Key, shares: Float[Array, " K"], num_candidates: int) -> Int[Array, " K"]:
    """How many of m candidates each arm gets, m in all.

    Systematic: arm k's number is share_k m rounded up or down, and is that in expectation. Even
    shares so give numbers that differ by one at most.

    Args:
      key: consumed once.
      shares: that add up to 1.
      num_candidates: m; static.
    """
    ends = jnp.cumsum(shares)
    ends = ends / ends[-1] * num_candidates
    whole = jnp.round(ends)  # what is whole but for rounding would else be counted to a neighbour
    ends = jnp.where(jnp.abs(ends - whole) < 1e-3, whole, ends)
    marks = jnp.floor(ends + jax.random.uniform(key, (), jnp.float32))
    return jnp.diff(marks.at[-1].set(num_candidates), prepend=0.0).astype(jnp.int32)
