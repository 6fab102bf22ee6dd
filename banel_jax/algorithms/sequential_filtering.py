"""Sequential filtering without distillation (Algorithm 1).

The prior and every filter are kept; candidates are drawn by rejection sampling from the
prior restricted to what no filter rejects. That posterior is exact, at the price of compute:
its acceptance falls by the filter factor each round.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int

from banel_jax import failures, rejection
from banel_jax.algorithms.sequential_filtering_config import SequentialFilteringConfig
from banel_jax.failures import FailureModel, Failures
from banel_jax.rejection import Posterior, Ranking
from banel_jax.training import Fit
from banel_jax.types import Algorithm, SequenceModel

__all__ = ["SequentialFilteringConfig", "State", "sequential_filtering"]


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
    """Algorithm 1 (Section 4.2) as ask and tell.

    The newest failure model comes into force with the next `ask`, which sets its threshold.
    So after n rounds `sample` and `log_prob` know n - 1 filters; for the n-th of the paper's
    last line, ask once more: that costs no evaluation.

    `log_prob` is exact up to the acceptance, which is estimated from all proposals so far.
    A candidate that could not be found above the acceptance floor has an empty mask, and so
    has a sequence of `sample`.

    A round costs m reward evaluations and, in forward passes of one sequence (a training step
    counts three): m f / acceptance draws, where each filter in force lets one in f through, so
    that draws grow by f a round; about 1 / (1 - 1 / f) scores a draw, as most meet few filters;
    m f scores by the newest failure model; 3 m `failure_rounds` times the epochs of its fit.

    Args:
      model: the prior's functions.
      config: settings.
      failure_model: p_phi; by default `model` itself. Must share the prior's parameter tree
        unless `failure_start` is `fresh`.
      fit_failure_model: in place of `training.fit` with `config.failure_training`.

    Returns:
      The algorithm: `ask` gives m candidates, `tell` takes their rewards float32 [m].
    """
    failure_model = failure_model or model
    ranking = Ranking(failure_model, config.kappa, config.length_normalised)
    steps = _SequentialFiltering(
        model=model,
        config=config,
        failure_model=failures.configured(config, failure_model, fit_failure_model),
        posterior=Posterior(model, ranking, config.acceptance_floor),
    )
    settings = {"name": "sequential_filtering", "settings": config, "model": model.settings}
    settings |= {"failure_model": failure_model.settings}
    settings |= {"fit_failure_model": fit_failure_model} if fit_failure_model else {}
    return Algorithm(
        steps.init, steps.ask, steps.tell, steps.sample, steps.log_prob, steps.candidate_log_prob,
        settings=tuple(settings.items()), model=model,
        know=partial(failures.know, steps.failure_model, "prior"),
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class _SequentialFiltering:
    model: SequenceModel
    config: SequentialFilteringConfig
    failure_model: FailureModel
    posterior: Posterior

    @property
    def proposed(self) -> int:
        return round(self.config.num_candidates * self.config.filter_factor)

    def init(self, key, prior_params):
        c = self.config
        failure_params = self.failure_model.init(key, prior_params)
        return State(
            round=jnp.int32(0),
            prior=prior_params,
            failure_model=failure_params,
            failures=failures.no_failures(
                self.model, prior_params, c.failure_rounds * c.num_candidates
            ),
            filters=rejection.no_filters(failure_params, c.max_filters),
            threshold=jnp.float32(-jnp.inf),
            share=jnp.float32(1.0),
            report=rejection.no_report(),
        )

    def ask(self, key, state):
        """Lines 2 and 5: sample from the prior what no filter rejects."""
        if not self.config.filter_rounds:
            return self._choose(key, state, self.proposed)
        return jax.lax.cond(  # in the rounds between there is nothing to choose among
            self._due(state),
            lambda: self._choose(key, state, self.proposed),
            lambda: self._choose(key, state, self.config.num_candidates),
        )

    def _choose(self, key, state, number):
        proposals, found, filters = self._draw(key, state, number)
        # The first failure model is fitted to the first batch: until then there is no filter.
        ranked = self._due(state)
        ratios = self.posterior.ranking.log_ratio(state.failure_model, proposals)
        ratios = jnp.where(ranked, ratios, 0.0)
        m = self.config.num_candidates
        indices, threshold, log_share = self.config.region.accept(
            None, ratios, proposals.sequences, m, ranked
        )
        candidates = jax.tree.map(lambda x: x[indices], proposals.sequences)
        passed = ratios[indices] >= threshold
        candidates = candidates.replace(mask=candidates.mask & passed[:, None])
        state = state.replace(
            filters=filters,
            threshold=threshold,
            share=jnp.mean(ratios >= threshold, dtype=jnp.float32),
            report=rejection.report(filters, proposals, ratios, found, log_share),
        )
        return rejection.give_up(candidates, found, number), state

    def tell(self, key, state, candidates, rewards, answered=None):
        """Lines 3 and 6: fit the failure model; the filter that `ask` applied stays in force."""
        failure_key, start_key, count_key = jax.random.split(key, 3)
        failed = failures.failed(candidates, rewards, answered)
        seen = state.failures.add(state.round, candidates, failed)

        def learn():
            return self.failure_model.learn(
                failure_key, start_key, state.prior, state.failure_model, seen
            )

        def wait():
            blank = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(learn)[1])
            return state.failure_model, blank

        in_some = bool(self.config.filter_rounds)
        now = self._due(state.replace(round=state.round + 1))
        failure_params, fitted = jax.lax.cond(now, learn, wait) if in_some else learn()
        info = {
            "successes": jnp.sum(rewards),
            **state.report,
            **self.failure_model.report(failure_params, seen, fitted),
        }
        state = state.replace(
            round=state.round + 1,
            failure_model=failure_params,
            failures=seen,
            filters=self._filters_to_keep(count_key, state),
        )
        return state, info

    def sample(self, key, state, n):
        return self._draw(key, state, n)[0].sequences

    def log_prob(self, state, sequences):
        return self._restricted(state, sequences)[1]

    def candidate_log_prob(self, state, sequences):
        proposals, log_probs = self._restricted(state, sequences)
        ratios = self.posterior.ranking.log_ratio(state.failure_model, proposals)
        ratios = jnp.where(self._due(state), ratios, jnp.inf)
        log_probs -= jnp.log(state.share)
        return self.config.region.log_density(log_probs, ratios, state.threshold)

    def _due(self, state):
        """Whether a new filter comes into force in this round."""
        if not self.config.filter_rounds:
            return (state.round > 0) | (state.failures.num_known > 0)
        return jnp.any(state.round == jnp.array(self.config.filter_rounds))

    def _draw(self, key, state, n):
        return self.posterior.sample(key, state.prior, None, state.filters, n)

    def _restricted(self, state, sequences):
        filters = state.filters
        proposals, log_probs = self.posterior.log_prob(state.prior, None, filters, sequences)
        return proposals, log_probs - filters.log_acceptance()

    def _filters_to_keep(self, key, state):
        def add():
            return rejection.add_filter(
                state.filters,
                state.failure_model,
                state.threshold,
                state.share,
                float(self.proposed),
            )

        def add_and_count():  # each filter met only what the dropped one had let through
            filters = rejection.forget_counts(add())
            return self._draw(key, state.replace(filters=filters), self.proposed)[2]

        full = state.filters.count == self.config.max_filters
        return jax.lax.cond(
            self._due(state),
            lambda: jax.lax.cond(full, add_and_count, add),
            lambda: state.filters,
        )
