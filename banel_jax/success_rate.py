"""Success rates: exact over enumerated targets, or by Monte Carlo with exact intervals.

Rates of 1e-26 do not fit in a float32, so rates are passed as natural logarithms; what is
written for people is in decades (log10).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from scipy import stats

from banel_jax.types import Algorithm, Sequences, State

LN10 = 2.302585092994046


def log_success_rate(target_log_probs: Float[Array, " n"]) -> Float[Array, ""]:
    """log rho(p) = log sum over the de-duplicated targets of p(x) (Section 5.1)."""
    return jax.nn.logsumexp(target_log_probs)


def num_carrying(target_log_probs: Float[Array, " n"], share: float = 0.9) -> Float[Array, ""]:
    """How many targets carry `share` of the success rate: a rate carried by one is fragile."""
    log_rate = jax.nn.logsumexp(target_log_probs)
    cumulative = jnp.cumsum(jnp.sort(jnp.exp(target_log_probs - log_rate), descending=True))
    number = jnp.minimum(jnp.sum(cumulative < share) + 1, target_log_probs.shape[0])
    return jnp.where(jnp.isfinite(log_rate), number, 0)  # no target can occur: none carries


def clopper_pearson(successes: int, n: int, alpha: float = 0.05) -> tuple[float, float]:
    """The exact 1 - alpha confidence interval of a success rate, from k successes in n."""
    if not 0 <= successes <= n or n < 1:
        raise ValueError(f"successes={successes} must be between 0 and n={n}, and n at least 1")
    if not 0 < alpha < 1:
        raise ValueError(f"alpha={alpha} is not in (0, 1)")
    low = stats.beta.ppf(alpha / 2, successes, n - successes + 1) if successes else 0.0
    high = stats.beta.ppf(1 - alpha / 2, successes + 1, n - successes) if successes < n else 1.0
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


def exact_evaluation(algorithm: Algorithm, targets: Sequences):
    """The evaluation of a round where all sequences of reward 1 are known.

    Returns:
      `evaluate(asked_state, state) -> dict` of float32 scalars, all rates in decades:
      `log10_success_rate` of the model after the round; `log10_filtered_success_rate` of the
      distribution that the candidates were drawn from; `log10_filter_gain` (filtered over
      unfiltered, at most log10 f in a round); `log10_distillation_gain` (after the round
      over filtered); `mean_target_log_prob` in nats, which no few targets dominate;
      `targets_accepted`, the share of targets that passed the filter;
      `num_carrying_targets`, how many carry 90% of the rate after the round.
    """

    def evaluate(asked: State, state: State) -> dict[str, Array]:
        before = algorithm.log_prob(asked, targets)
        filtered = algorithm.candidate_log_prob(asked, targets)
        after = algorithm.log_prob(state, targets)
        rates = [log_success_rate(x) / LN10 for x in (before, filtered, after)]
        return {
            "log10_success_rate": rates[2],
            "log10_filtered_success_rate": rates[1],
            "log10_filter_gain": rates[1] - rates[0],
            "log10_distillation_gain": rates[2] - rates[1],
            "mean_target_log_prob": jnp.mean(after),
            "targets_accepted": jnp.mean(jnp.isfinite(filtered)),
            "num_carrying_targets": num_carrying(after),
        }

    return evaluate
