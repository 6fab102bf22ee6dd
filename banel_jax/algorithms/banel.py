"""BaNEL: sequential filtering with distillation (Algorithm 2).

A round samples from the generator p_theta_i, rejects what is likely under the failure model
p_phi relative to the base (Eqs. 5 and 6), has the rest evaluated, fits the failure model to
the failures, and distils what passed the filter into the generator. Where the ratio looks at
successes too, its numerator is a model fitted to those, which is the base until there are some.
"""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp

from banel_jax import failures, rejection, replay, sampling, scoring, successes, training
from banel_jax.algorithms.banel_config import BanelConfig
from banel_jax.algorithms.banel_state import State
from banel_jax.failures import FailureModel
from banel_jax.rejection import Posterior, Ranking
from banel_jax.successes import SuccessModel
from banel_jax.training import Fit
from banel_jax.types import Algorithm, Evidence, SequenceModel


def banel(
    model: SequenceModel,
    config: BanelConfig,
    failure_model: SequenceModel | None = None,
    fit_generator: Fit | None = None,
    fit_failure_model: Fit | None = None,
    fit_success_model: Fit | None = None,
) -> Algorithm:
    """Algorithm 2 (Section 4.2) as ask and tell.

    A round costs m reward evaluations and, in forward passes of one sequence (a training step
    counts three), with k = `num_distilled`: k f draws, each scored by the base and the failure
    model; 3 m `failure_rounds` times the failure model's epochs; 3 k times the distillation's.
    With a success model, k f more scores and 3 passes an epoch over the different successes.
    Past filters and a fixed threshold multiply the draws by 1 / acceptance, whatever the round.

    Args:
      model: the prior's functions; the base is whatever parameters `init` is given.
      config: settings.
      failure_model: p_phi; by default `model` itself. Must share the prior's parameter tree
        unless `failure_start` is `fresh`.
      fit_generator: in place of `training.fit` with `config.generator_training`.
      fit_failure_model: in place of `training.fit` with `config.failure_training`.
      fit_success_model: in place of `training.fit` with `config.success_training`.

    Returns:
      The algorithm: `ask` gives m candidates, `tell` takes their rewards float32 [m].
    """
    c, failure_model = config, failure_model or model
    brought = {"fit_generator": fit_generator, "fit_failure_model": fit_failure_model}
    brought["fit_success_model"] = fit_success_model
    ranking = Ranking(failure_model, c.kappa, c.length_normalised, c.numerator)
    steps = _Banel(
        model=model,
        config=c,
        failure_model=failures.configured(c, failure_model, fit_failure_model),
        success_model=successes.configured(c, model, fit_success_model),
        posterior=Posterior(model, ranking, c.acceptance_floor),
        fit_generator=fit_generator or partial(training.fit, model, c.generator_training),
    )
    settings = {"name": "banel", "settings": c, "model": model.settings}
    settings |= {"failure_model": failure_model.settings} | {k: v for k, v in brought.items() if v}
    return Algorithm(
        steps.init, steps.ask, steps.tell, steps.sample, steps.log_prob, steps.candidate_log_prob,
        steps.proposal_log_prob if c.past_filters else None, tuple(settings.items()), model,
        steps.know, takes_evidence=True,
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Banel:
    model: SequenceModel
    config: BanelConfig
    failure_model: FailureModel
    success_model: SuccessModel
    posterior: Posterior
    fit_generator: Fit

    def init(self, key, prior_params):
        """Line 1: the generator is the prior."""
        c, m = self.config, self.config.num_candidates
        failure_params = self.failure_model.init(key, prior_params)
        none = partial(failures.no_failures, self.model, prior_params)
        kept = replay.empty(self.model, prior_params, c.replay_size)
        return State(
            round=jnp.int32(0),
            most_successes=jnp.float32(0.0),
            base=prior_params,
            generator=prior_params,
            failure_model=failure_params,
            best_generator=prior_params if c.fall_back else None,
            failures=none(c.failure_rounds * m),
            success_model=prior_params if c.models_successes else None,
            successes=kept if c.keeps_successes else None,
            # A region that stands alone works like the earlier filters.
            filters=rejection.no_filters(failure_params, c.past_filters + c.region.alone),
            batch=none(c.distilled).sequences,
            threshold=jnp.float32(-jnp.inf),
            log_normaliser=jnp.float32(0.0),
            report=rejection.no_report(weighted=not c.region.alone),
        )

    def ask(self, key, state):
        """Lines 2 and 5: sample from the generator what the filter does not reject."""
        c, region = self.config, self.config.region
        draw_key, select_key = jax.random.split(key)
        proposed = c.distilled if region.alone else round(c.distilled * c.filter_factor)
        proposals, found, filters = self.posterior.sample(
            draw_key, state.generator, state.base, self._filters_to_pass(state), proposed
        )
        ratios = self._newest_log_ratio(state, proposals)
        indices, threshold, log_share = region.accept(
            select_key, ratios, proposals.sequences, c.distilled, ~self._first(state),
            state.paid() if c.prefer_new else None,
        )  # fmt: skip
        batch = jax.tree.map(lambda x: x[indices], proposals.sequences)
        weights = None if region.alone else ratios
        rejected = log_share if region.rejects else 0.0
        state = state.replace(
            filters=filters,
            batch=batch,
            threshold=threshold,
            log_normaliser=filters.log_acceptance() + log_share,
            report=rejection.report(filters, proposals, weights, found, rejected),
        )
        candidates = jax.tree.map(lambda x: x[: c.num_candidates], batch)
        return rejection.give_up(candidates, found, proposed), state

    def tell(self, key, state, candidates, rewards, answered=None, evidence=None):
        """Lines 3, 6 and 7: fit the failure model, distil the filter into the generator."""
        failure_key, start_key, generator_key = jax.random.split(key, 3)
        drawn_by = self.candidate_log_prob(state, candidates)
        heard = evidence or Evidence(candidates, rewards, answered, drawn_by)
        weights = failures.failed(*heard[:3]) * self._weigh(state, heard)
        seen = state.failures.add(state.round, heard.sequences, weights)
        failure_params, info = state.failure_model, {}
        if self.config.filters:
            failure_params, fitted = self.failure_model.learn(
                failure_key, start_key, state.base, failure_params, seen
            )
            info = self.failure_model.report(failure_params, seen, fitted)
        number = jnp.sum(rewards)
        best = self._best_generator(state, number)
        state = self._meet(key, state, heard.sequences, heard.rewards)
        state = state.replace(
            round=state.round + 1,
            most_successes=jnp.maximum(state.most_successes, number),
            generator=self._distil(generator_key, state, rewards, best),
            failure_model=failure_params,
            best_generator=best,
            failures=seen,
            filters=self._filters_to_keep(state),
        )
        return state, {"successes": number, **state.report, **info}

    def know(self, key, state, known, rewards):
        state = failures.know(self.failure_model, "base", key, state, known, rewards)
        return self._meet(key, state, known, rewards)

    def sample(self, key, state, n):
        return sampling.sample(self.model, key, state.generator, n)[0]

    def log_prob(self, state, sequences):
        return scoring.log_likelihood(self.model, state.generator, sequences)

    def proposal_log_prob(self, state, sequences):
        filters, newest = state.filters, int(self.config.region.alone)
        earlier = filters.replace(count=filters.count - newest)
        _, log_probs = self._restricted(state, earlier, sequences)
        return log_probs - earlier.log_acceptance()

    def candidate_log_prob(self, state, sequences):
        proposals, log_probs = self._restricted(state, state.filters, sequences)
        ratios = self._newest_log_ratio(state, proposals)
        log_probs -= state.log_normaliser
        return self.config.region.log_density(log_probs, ratios, state.threshold)

    def _restricted(self, state, filters, sequences):
        return self.posterior.log_prob(state.generator, state.base, filters, sequences)

    def _newest_log_ratio(self, state, proposals):
        if self.config.region.alone:  # what does not pass is no proposal
            return jnp.full_like(proposals.base_scores, jnp.inf)
        if not self.config.filters:
            return jnp.zeros_like(proposals.base_scores)
        if self.config.models_successes:
            scores = self.success_model.scores(state.success_model, state.successes, proposals)
            proposals = proposals._replace(base_scores=scores)
        ratios = self.posterior.ranking.log_ratio(state.failure_model, proposals)
        return jnp.where(self._first(state), 0.0, ratios)

    def _first(self, state):  # nothing is known to fail yet, so that the batch is unfiltered
        return (state.round == 0) & (state.failures.num_known == 0)

    def _filters_to_pass(self, state):
        # The generator has changed since, so what earlier rounds counted is no estimate for it.
        filters = rejection.forget_counts(state.filters)
        if not self.config.region.alone:
            return filters
        threshold = jnp.where(self._first(state), -jnp.inf, self.config.threshold)
        return rejection.add_filter(filters, state.failure_model, threshold)

    def _filters_to_keep(self, state):
        c = self.config
        if c.region.alone or not (c.filters and c.past_filters):
            return state.filters
        added = rejection.add_filter(state.filters, state.failure_model, state.threshold)
        return jax.tree.map(partial(jnp.where, self._first(state)), state.filters, added)

    def _weigh(self, state, heard):
        """What each counts for if it failed."""
        if not self.config.failure_weighting:
            return jnp.ones(self.config.num_candidates, jnp.float32)
        base_scores = scoring.log_likelihood(self.model, state.base, heard.sequences)
        log_ratio = base_scores - heard.log_probs
        return jnp.exp(jnp.minimum(0.0, self.config.failure_weighting * log_ratio))

    def _meet(self, key, state, sequences, rewards):
        if not self.config.keeps_successes:
            return state
        met, params = state.successes.add(sequences, rewards), None
        if self.config.models_successes:
            params = self.success_model.learn(jax.random.fold_in(key, 3), state.base, met)
        return state.replace(successes=met, success_model=params)

    def _best_generator(self, state, successes):
        if not self.config.fall_back:
            return None
        latest = successes >= state.most_successes
        return jax.tree.map(partial(jnp.where, latest), state.generator, state.best_generator)

    def _distil(self, key, state, rewards, best):
        c = self.config
        use = sampling.found(state.batch).astype(jnp.float32)
        use = use.at[: c.num_candidates].multiply(1 - c.drop_successes * rewards)
        batch, met, idle = state.batch, state.successes, self._first(state)
        if c.replay:
            batch, use = successes.replayed(jax.random.fold_in(key, 1), batch, use, met, c.replay)
            idle &= ~jnp.any(met.there())
        idle |= jnp.sum(rewards) < c.fall_back * state.most_successes
        start = state.base if c.reset_generator else state.generator
        return jax.lax.cond(
            idle | ~jnp.any(use > 0),
            lambda: best if c.fall_back else state.generator,
            lambda: self.fit_generator(key, start, batch, use, None)[0],
        )
