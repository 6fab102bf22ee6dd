"""Sequential filtering without distillation (Algorithm 1).

The prior and every filter are kept; candidates are drawn by rejection sampling from the
prior restricted to what no filter rejects. That posterior is exact, at the price of compute:
its acceptance falls by the filter factor each round.
"""

from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int

from banel_jax import checks, diagnostics, rejection, sampling, scoring, training
from banel_jax.algorithms.banel import (
    REPORT,
    Failures,
    check_filter,
    failure_weights,
    fit_report,
    no_failures,
)
from banel_jax.training import Fit, TrainingConfig
from banel_jax.types import MAY_CHANGE, Algorithm, SequenceModel


@dataclass(frozen=True)
class SequentialFilteringConfig:
    """Settings of Algorithm 1.

    Attributes:
      num_candidates: m, reward evaluations a round.
      filter_factor: f, survivors of the earlier filters drawn a candidate. f = 1 with `best`
        samples the prior for ever.
      rejection: `best` sets each filter's threshold so that it accepts one in f; `threshold`
        accepts where the ratio is at least `threshold`, and stops the run where fewer than
        one in f pass.
      threshold: tau in nats, for `threshold`.
      kappa: sharpness of the failure models in the ratio (Eq. 5).
      length_normalised: scores a token instead of a sequence (Appendix B.2).
      failure_training: the fit of each failure model.
      failure_start: where it starts: at the prior (`base`), the last one (`carry`) or `fresh`.
      failure_rounds: fit to the failures of this many latest rounds; 1 as published.
      failure_holdout: share of the failures held out to stop that fit early, all copies of a
        sequence on one side; 0 for none.
      filter_rounds: rounds, from 1 on and rising, in which a new filter comes into force, fitted
        to what failed before it; empty for every round. The rounds between draw from the same
        posterior: a filter learns from more failures, and fewer filters cost less compute.
      max_filters: filters kept in force, the oldest dropped beyond it; the acceptance of the
        others is then estimated anew, which costs compute.
      acceptance_floor: give up below this acceptance.
    """

    num_candidates: int = 250
    filter_factor: float = 2.0
    rejection: Literal["best", "threshold"] = "best"
    threshold: float = 0.0
    kappa: float = 1.0
    length_normalised: bool = False
    failure_training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(epochs=20, learning_rate=1e-3)
    )
    failure_start: Literal["base", "carry", "fresh"] = "base"
    failure_rounds: int = 1
    failure_holdout: float = 0.0
    filter_rounds: tuple[int, ...] = ()
    max_filters: int = 32
    acceptance_floor: float = field(default=1e-4, metadata=MAY_CHANGE)

    def __post_init__(self):
        check_filter(self)
        checks.integers(self, "max_filters", at_least=1)
        rising = sorted({r for r in self.filter_rounds if r >= 1})
        if list(self.filter_rounds) != rising:
            raise ValueError(
                f"filter_rounds={self.filter_rounds} must be rising numbers of rounds, from 1 on: "
                "in round 0 there is no failure yet"
            )


@struct.dataclass
class State:
    """The prior and its filters.

    Attributes:
      round: int32, rounds told so far.
      prior: parameters of p_theta.
      failure_model: of the latest p_phi.
      failures: what the failure models are fitted to.
      filters: in force, with their acceptance; `tell` adds the one that `ask` applied.
      threshold, share: tau of the latest p_phi, and what it lets through; set by `ask`.
      report: diagnostics of the latest `ask`.
    """

    round: Int[Array, ""]
    prior: Any
    failure_model: Any
    failures: Failures
    filters: rejection.Filters
    threshold: Float[Array, ""]
    share: Float[Array, ""]
    report: dict[str, Array]


def sequential_filtering(
    model: SequenceModel,
    config: SequentialFilteringConfig,
    failure_model: SequenceModel | None = None,
    fit_failure_model: Fit | None = None,
) -> Algorithm:
    """Algorithm 1 as ask and tell.

    The newest failure model comes into force with the next `ask`, which sets its threshold.
    So after n rounds `sample` and `log_prob` know n - 1 filters; for the n-th of the paper's
    last line, ask once more: that costs no evaluation.

    `log_prob` is exact up to the acceptance, which is estimated from all proposals so far.
    A candidate that could not be found above the acceptance floor has an empty mask, and so
    has a sequence of `sample`.

    Args:
      model: the prior's functions.
      config: settings.
      failure_model: p_phi; by default `model` itself. Must share the prior's parameter tree
        unless `failure_start` is `fresh`.
      fit_failure_model: in place of `training.fit` with `config.failure_training`.
    """
    c = config
    failure_model = failure_model or model
    fits = {"fit_failure_model": fit_failure_model} if fit_failure_model else {}
    fit_failure_model = fit_failure_model or partial(
        training.fit, failure_model, c.failure_training
    )
    m, proposed = c.num_candidates, round(c.num_candidates * c.filter_factor)
    score = partial(scoring.log_likelihood, model)

    def ratio(failure_params, proposals):
        sequences = proposals.sequences
        failure_scores = scoring.log_likelihood(failure_model, failure_params, sequences)
        values = scoring.log_ratio(proposals.base_scores, failure_scores, c.kappa)
        return scoring.normalise_length(values, sequences) if c.length_normalised else values

    def passes(filters, k, proposals):
        return ratio(filters.failure_model(k), proposals) >= filters.thresholds[k]

    def draw(key, state, n):
        def propose(indices):
            sequences, scores = sampling.sample_indices(model, key, state.prior, indices)
            return rejection.Proposals(sequences, scores, scores)

        return rejection.rejection_sample(
            propose, partial(passes, state.filters), state.filters, n, c.acceptance_floor
        )

    def due(round):
        """Whether a new filter comes into force in this round."""
        if not c.filter_rounds:
            return round > 0
        return jnp.any(round == jnp.array(c.filter_rounds))

    def init(key, prior_params):
        fresh = c.failure_start == "fresh"
        failure_params = failure_model.init(key) if fresh else prior_params
        return State(
            round=jnp.int32(0),
            prior=prior_params,
            failure_model=failure_params,
            failures=no_failures(model, prior_params, c.failure_rounds * m),
            filters=rejection.no_filters(failure_params, c.max_filters),
            threshold=jnp.float32(-jnp.inf),
            share=jnp.float32(1.0),
            report=dict.fromkeys(REPORT, jnp.float32(0.0)),
        )

    def ask(key, state):
        def choose(number):
            proposals, found, filters = draw(key, state, number)
            # The first failure model is fitted to the first batch: until then there is no filter.
            ranked = due(state.round)
            ratios = jnp.where(ranked, ratio(state.failure_model, proposals), 0.0)
            if c.rejection == "best":
                accepted, threshold, share = rejection.best(ratios, m)
                share = jnp.where(ranked, share, 1.0)
            else:
                threshold = jnp.where(ranked, jnp.float32(c.threshold), -jnp.inf)
                accepted, share = rejection.above(ratios, threshold, m)
            log_acceptance = filters.log_acceptance() + jnp.log(share)
            report = {
                "acceptance": jnp.exp(log_acceptance),
                "effective_sample_size": rejection.effective_sample_size(ratios),
                "proposals_found": jnp.float32(found) / number,
                **diagnostics.proposal_diagnostics(filters.log_acceptance(), *proposals),
            }
            candidates = jax.tree.map(lambda x: x[accepted], proposals.sequences)
            passed = ratios[accepted] >= threshold
            candidates = candidates.replace(mask=candidates.mask & passed[:, None])
            candidates = rejection.give_up(candidates, found, number)
            return candidates, filters, threshold, share, report

        if c.filter_rounds:  # in the rounds between there is nothing to choose among
            chosen = jax.lax.cond(due(state.round), lambda: choose(proposed), lambda: choose(m))
        else:
            chosen = choose(proposed)
        candidates, filters, threshold, share, report = chosen
        state = state.replace(filters=filters, threshold=threshold, share=share, report=report)
        return candidates, state

    def tell(key, state, candidates, rewards):
        failure_key, start_key, count_key = jax.random.split(key, 3)
        full = state.filters.count == c.max_filters

        def add():
            return rejection.add_filter(
                state.filters, state.failure_model, state.threshold, state.share, float(proposed)
            )

        def add_and_count():  # each filter met only what the dropped one had let through
            filters = rejection.forget_counts(add())
            return draw(count_key, state.replace(filters=filters), proposed)[2]

        added = lambda: jax.lax.cond(full, add_and_count, add)
        filters = jax.lax.cond(due(state.round), added, lambda: state.filters)
        failed = (1 - rewards) * jnp.any(candidates.mask, axis=1)  # what was not found is none
        failures = state.failures.add(state.round, candidates, failed)
        start = {"base": state.prior, "carry": state.failure_model}.get(c.failure_start)
        if start is None:
            start = failure_model.init(start_key)
        weights, held_out = failure_weights(failures, c.failure_holdout)

        def fit():
            return fit_failure_model(failure_key, start, failures.sequences, weights, held_out)

        def wait():
            blank = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(fit)[1])
            return state.failure_model, blank

        now = due(state.round + 1)
        failure_params, fitted = jax.lax.cond(now, fit, wait) if c.filter_rounds else fit()
        info = {
            "successes": jnp.sum(rewards),
            **state.report,
            **fit_report(failure_model, failure_params, failures, held_out, fitted),
        }
        state = state.replace(
            round=state.round + 1,
            failure_model=failure_params,
            failures=failures,
            filters=filters,
        )
        return state, info

    def sample(key, state, n):
        return draw(key, state, n)[0].sequences

    def restricted(state, sequences):
        scores = score(state.prior, sequences)
        proposals = rejection.Proposals(sequences, scores, scores)
        passed = rejection.passes_all(partial(passes, state.filters), state.filters, proposals)
        log_probs = jnp.where(passed, scores - state.filters.log_acceptance(), -jnp.inf)
        return log_probs, proposals

    def log_prob(state, sequences):
        return restricted(state, sequences)[0]

    def candidate_log_prob(state, sequences):
        log_probs, proposals = restricted(state, sequences)
        passed = ratio(state.failure_model, proposals) >= state.threshold
        passed |= ~due(state.round)
        return jnp.where(passed, log_probs - jnp.log(state.share), -jnp.inf)

    settings = {"name": "sequential_filtering", "settings": c, "model": model.settings}
    settings |= {"failure_model": failure_model.settings, **fits}
    return Algorithm(
        init, ask, tell, sample, log_prob, candidate_log_prob, settings=tuple(settings.items()),
        model=model,
    )  # fmt: skip
