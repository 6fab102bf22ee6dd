"""Success rates: exact over enumerated targets, or by Monte Carlo with exact intervals.

Rates of 1e-26 do not fit in a float32, so rates are passed as natural logarithms; what is
written for people is in decades (log10).
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from scipy import special

from banel_jax import scoring
from banel_jax.sampling import found
from banel_jax.types import Algorithm, Key, Sequences, State

LN10 = 2.302585092994046


def log_success_rate(target_log_probs: Float[Array, " n"]) -> Float[Array, ""]:
    """log rho(p) = log sum over the de-duplicated targets of p(x) (Section 5.1).

    Args:
      target_log_probs: log p(x) in nats of each target once, float32 [n].

    Returns:
      float32, in nats; -inf where no target has any probability.
    """
    return jax.nn.logsumexp(target_log_probs)


def num_carrying(target_log_probs: Float[Array, " n"], share: float = 0.9) -> Int[Array, ""]:
    """How many targets carry `share` of the success rate: a rate carried by one is fragile."""
    log_rate = jax.nn.logsumexp(target_log_probs)
    cumulative = jnp.cumsum(jnp.sort(jnp.exp(target_log_probs - log_rate), descending=True))
    number = jnp.minimum(
        jnp.sum(cumulative < share, dtype=jnp.int32) + 1, target_log_probs.shape[0]
    )
    return jnp.where(jnp.isfinite(log_rate), number, 0)  # no target can occur: none carries


def clopper_pearson(
    successes: int | float, n: int | float, alpha: float = 0.05
) -> tuple[float, float]:
    """The exact 1 - alpha confidence interval of a success rate, from k successes in n.

    Of weighted samples, k and n are effective numbers, which need not be whole: the interval of
    Korn and Graubard, which is no longer exact.
    """
    if not 0 <= successes <= n or n < 1:
        raise ValueError(f"successes={successes} must be between 0 and n={n}, and n at least 1")
    if not 0 < alpha < 1:
        raise ValueError(f"alpha={alpha} is not in (0, 1)")
    quantile = lambda q, a, b: special.betaincinv(
        a, b, q
    )  # of Beta(a, b); scipy.stats loads slowly
    low = quantile(alpha / 2, successes, n - successes + 1) if successes else 0.0
    high = quantile(1 - alpha / 2, successes + 1, n - successes) if successes < n else 1.0
    return float(low), float(high)


def posterior_success_rate(prior_rate: float, rejected: float, rejected_rate: float) -> float:
    """The success rate after rejecting R (Section 4.1).

    Args:
      prior_rate: rho(p).
      rejected: p(R), below 1.
      rejected_rate: rho(p restricted to R).

    Returns:
      rho(p) / (1 - p(R)) - p(R) / (1 - p(R)) rho(p restricted to R).
    """
    return (prior_rate - rejected * rejected_rate) / (1 - rejected)


def exact_evaluation(algorithm: Algorithm, targets: Sequences, without_first: int = 0):
    """The evaluation of a round where all sequences of reward 1 are known.

    Args:
      algorithm: what learns.
      targets: the sequences of reward 1 [n, length]; a duplicate counts once.
      without_first: if any, report the rate without that many of the targets, the first of
        them, as well: in descending order of likelihood under the prior those are what may
        carry the whole rate.

    Returns:
      `evaluate(asked_state, state) -> dict` of float32 scalars, all rates in decades:
      `log10_success_rate` of the model after the round; `log10_filtered_success_rate` of the
      distribution that the candidates were drawn from; `log10_filter_gain` of the round's
      filter (what it let through over what it was given, at most log10 f);
      `log10_past_filters_gain` of the earlier filters still in force (what they let through
      over what the generator draws); `log10_distillation_gain` (after the round over
      filtered); `mean_target_log_prob` in nats, which no few targets dominate;
      `targets_accepted`, the share of targets that passed the filters;
      `num_carrying_targets`, how many carry 90% of the rate after the round; with
      `without_first`, `log10_success_rate_without_first` after the round.
    """
    targets = distinct(targets)

    def evaluate(asked: State, state: State) -> dict[str, Array]:
        before = algorithm.log_prob(asked, targets)
        given = algorithm.proposal_log_prob
        proposed = given(asked, targets) if given else before
        filtered = algorithm.candidate_log_prob(asked, targets)
        after = algorithm.log_prob(state, targets)
        rates = [log_success_rate(x) / LN10 for x in (before, proposed, filtered, after)]
        rest = log_success_rate(after[without_first:]) / LN10
        return {
            "log10_success_rate": rates[3],
            **({"log10_success_rate_without_first": rest} if without_first else {}),
            "log10_filtered_success_rate": rates[2],
            "log10_filter_gain": scoring.difference(rates[2], rates[1]),
            "log10_past_filters_gain": scoring.difference(rates[1], rates[0]),
            "log10_distillation_gain": scoring.difference(rates[3], rates[2]),
            "mean_target_log_prob": jnp.mean(after),
            "targets_accepted": jnp.mean(jnp.isfinite(filtered), dtype=jnp.float32),
            "num_carrying_targets": num_carrying(after),
        }

    return evaluate


def distinct(sequences: Sequences) -> Sequences:
    """Each of the sequences [n, length] once, in order; what is not scored does not tell apart."""
    tokens, mask = np.asarray(sequences.tokens), np.asarray(sequences.mask)
    _, first = np.unique(np.where(mask, tokens, -1), axis=0, return_index=True)
    return jax.tree.map(lambda x: x[np.sort(first)], sequences)


class Counted(NamedTuple):
    """What was counted of samples of a model.

    Attributes:
      found: int32, how many were found: all, but for a filter whose acceptance floor was hit.
      totals: sums of each measure over those found, by name.
    """

    found: Int[Array, ""]
    totals: dict[str, Array]

    def share(self, name: str) -> Float[Array, ""]:
        """The mean of a measure over those found; `scoring.missing()` where none was."""
        mean = self.totals[name] / jnp.maximum(self.found, 1)
        return jnp.where(self.found > 0, mean, scoring.missing())


def monte_carlo(
    algorithm: Algorithm,
    measure: Callable[[Sequences], Mapping[str, Array]],
    n: int,
    key: Key,
) -> Callable[[State], Counted]:
    """Counts in samples of a model; what was not found counts in nothing.

    Args:
      algorithm: what learns.
      measure: `measure(sequences [n]) -> dict` of float32 or bool [n] by name, a JAX function.
      n: samples; static.
      key: of the samples, the same for every state, so that states differ by the model alone.
    """

    def count(state: State) -> Counted:
        samples = algorithm.sample(key, state, n)
        present = found(samples)
        total = lambda values: jnp.sum(jnp.where(present, values, 0.0))
        totals = {name: total(values) for name, values in measure(samples).items()}
        return Counted(jnp.sum(present, dtype=jnp.int32), totals)

    return count


def monte_carlo_evaluation(
    algorithm: Algorithm,
    reward_fn: Callable[[Sequences], Float[Array, " n"]],
    n: int,
    key: Key,
):
    """The evaluation of a round where successes cannot be enumerated: by n samples.

    It is for benchmarks whose reward is a JAX function and costs nothing: these rewards pass
    through no counted oracle and reach no algorithm.

    Args:
      algorithm: what learns.
      reward_fn: `reward_fn(sequences [n]) -> float32 [n]` in {0, 1}, a JAX function.
      n: samples; static.
      key: of the samples, the same for every state, so that states differ by the model alone.

    Returns:
      `evaluate(asked_state, state) -> dict`: `evaluation_found`, how many of the n samples were
      found, n but for a filter whose acceptance floor was hit; `evaluation_successes`, how many
      of those succeeded, and `success_rate`, their share, NaN where none was found;
      `clopper_pearson(evaluation_successes, evaluation_found)` is its interval.
    """
    count = monte_carlo(algorithm, lambda samples: {"reward": reward_fn(samples)}, n, key)

    def evaluate(asked: State, state: State) -> dict[str, Array]:
        del asked
        counted = count(state)
        return {
            "evaluation_found": counted.found,
            "evaluation_successes": counted.totals["reward"],
            "success_rate": counted.share("reward"),
        }

    return evaluate
