"""BaNEL: sequential filtering with distillation (Algorithm 2).

A round samples from the generator p_theta_i, rejects what is likely under the failure model
p_phi relative to the base (Eqs. 5 and 6), has the rest evaluated, fits the failure model to
the failures, and distils what passed the filter into the generator.
"""

import math
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int

from banel_jax import checks, diagnostics, rejection, sampling, scoring, training
from banel_jax.training import Fit, FitInfo, TrainingConfig
from banel_jax.types import MAY_CHANGE, Algorithm, SequenceModel, Sequences


@dataclass(frozen=True)
class BanelConfig:
    """Settings of Algorithm 2; the defaults are the paper's for MNIST (Appendix B.2).

    Attributes:
      num_candidates: m, reward evaluations a round.
      filter_factor: f, proposals a kept sample; f = 1 is self-distillation without a filter.
        m times f must be a whole number.
      kappa: sharpness of the failure model in the ratio (Eq. 5).
      rejection: `best` keeps the best m of m f; `threshold` accepts where the ratio is at
        least `threshold`; `importance` resamples with weights proportional to the ratio.
      threshold: tau in nats, for `threshold`.
      acceptance_floor: give up a round below this acceptance, for `threshold` and past filters.
      length_normalised: scores a token instead of a sequence (Appendix B.2).
      ratio_against: numerator of the ratio, the `base` or the current `generator` (Figure 9);
        `nothing` ranks by 1 / p_phi alone.
      num_distilled: filtered samples to distil on, at least m of which m are evaluated;
        0 for m itself, as published. More cost compute alone.
      generator_training: the distillation.
      reset_generator: distil into the base each round instead of the current generator.
      distinct: of equal proposals in a round one alone is ranked, and the others come last. The
        oracle is not paid twice for one sequence while there are others that passed, and the
        generator cannot narrow to a few. Likelihoods of the filtered distribution are those of
        the threshold that this sets, copies counted for what they are.
      fall_back: a round that meets less than this share of the successes of the best one so far is
        not distilled, and the generator goes back to the one whose proposals were the best, so
        that a gain is not lost again; 0, as published, to distil every round.
      drop_successes: leave successes out of the distillation, the paper's test of learning
        from failures alone. The failure model never sees them.
      failure_training: the fit of the failure model.
      failure_start: where that fit starts: at the `base`, at the last failure model (`carry`)
        or `fresh` parameters.
      failure_rounds: fit to the failures of this many latest rounds; 1 as published. With as
        many as there are rounds none is ever forgotten.
      failure_weighting: a failure x counts min(1, (p_base(x) / p(x))^this) in that fit, p being
        what it was drawn from. At 1 the failure model learns p_base given failure, the posterior
        of Section 4.1, wherever the rounds have looked; at 0, as published, a region counts the
        more the more it was looked at, so that a found weakness is closed by the failures in it.
      failure_holdout: share of the failures held out to stop that fit early, all copies of a
        sequence on one side; 0 for none.
      past_filters: how many earlier filters stay in force beside the newest.
    """

    num_candidates: int = 250
    filter_factor: float = 2.0
    kappa: float = 1.0
    rejection: Literal["best", "threshold", "importance"] = "best"
    threshold: float = 0.0
    acceptance_floor: float = field(default=1e-4, metadata=MAY_CHANGE)
    length_normalised: bool = False
    ratio_against: Literal["base", "generator", "nothing"] = "base"
    num_distilled: int = 0
    generator_training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(epochs=15, learning_rate=1e-4)
    )
    reset_generator: bool = True
    distinct: bool = False
    fall_back: float = 0.0
    drop_successes: bool = False
    failure_training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(epochs=50, learning_rate=1e-3)
    )
    failure_start: Literal["base", "carry", "fresh"] = "base"
    failure_rounds: int = 1
    failure_weighting: float = 0.0
    failure_holdout: float = 0.0
    past_filters: int = 0

    def __post_init__(self):
        check_filter(self)
        checks.integers(self, "past_filters", "num_distilled", at_least=0)
        if self.num_distilled and self.num_distilled < self.num_candidates:
            raise ValueError(
                f"num_distilled={self.num_distilled} is below num_candidates="
                f"{self.num_candidates}; give at least that, or 0 for as many"
            )
        checks.whole("num_distilled * filter_factor", self.distilled * self.filter_factor)
        checks.reals(self, "fall_back", at_least=0, at_most=1)
        checks.reals(self, "failure_weighting", at_least=0)
        if self.distinct and self.rejection != "best":
            raise ValueError(
                f"distinct=True needs rejection=best: {self.rejection} ranks no proposals"
            )
        fit = self.generator_training
        steps = fit.epochs * math.ceil(self.distilled / fit.batch_size)
        if fit.decay_steps and fit.decay_steps < steps:
            raise ValueError(
                f"generator_training.decay_steps={fit.decay_steps} are fewer than the {steps} of "
                f"its epochs over num_distilled={self.distilled}; the rest would learn nothing: "
                f"give {steps}"
            )
        if self.past_filters and self.rejection == "importance":
            raise ValueError(
                f"past_filters={self.past_filters} needs rejection=best or threshold: importance "
                "weights leave no filter to keep"
            )
        if self.past_filters and self.ratio_against == "generator":
            raise ValueError(
                f"past_filters={self.past_filters} needs ratio_against=base: the generator that an "
                "earlier filter compared with is gone"
            )

    @property
    def distilled(self) -> int:
        return self.num_distilled or self.num_candidates

    @property
    def filters(self) -> bool:
        """Whether anything is ever rejected: at f = 1 the failure model has no influence."""
        return self.filter_factor > 1 or self.rejection != "best"


def check_filter(config: Any) -> None:
    """The fields that both algorithms have, and the types of all."""
    checks.fields(config, infinite=("threshold",))
    checks.integers(config, "num_candidates", "failure_rounds", at_least=1)
    checks.reals(config, "filter_factor", at_least=1)
    checks.reals(config, "kappa", at_least=0)
    checks.whole("num_candidates * filter_factor", config.num_candidates * config.filter_factor)
    checks.reals(config, "acceptance_floor", above=0, at_most=1)
    checks.reals(config, "failure_holdout", at_least=0, at_most=0.5)


def failure_weights(
    failures: "Failures", holdout: float
) -> tuple[Float[Array, " n"], Float[Array, " n"] | None]:
    """Splits the failures' weights into training and validation, evenly spread.

    Copies of a sequence go where the first of them goes: on both sides they would tell nothing
    of what was learned by heart. Where the split would leave nothing to train on, none is made.
    """
    weights = failures.weights
    if not holdout:
        return weights, None
    n = weights.shape[0]
    marks = [math.floor(i * holdout + 1e-9) for i in range(n + 1)]
    by_row = jnp.diff(jnp.array(marks, jnp.float32))
    held_out = by_row[diagnostics.first_equal(failures.sequences)]
    held_out *= jnp.any(weights * (1 - held_out) > 0)
    return weights * (1 - held_out), weights * held_out


def fit_report(
    failure_model: SequenceModel,
    params: Any,
    failures: "Failures",
    held_out: Float[Array, " n"] | None,
    fitted: FitInfo,
) -> dict[str, Array]:
    """The failure model's fit, to log: losses of its final parameters, without dropout.

    Returns:
      `failure_train_loss` and `failure_validation_loss`, mean negative log-likelihoods in nats
      a sequence over the failures it was fitted to and those held out; `failure_gap`, the
      second less the first; `failure_epochs` that ran. NaN where there is no such failure.
    """
    scores = scoring.log_likelihood(failure_model, params, failures.sequences)

    if held_out is None:
        held_out = jnp.zeros_like(failures.weights)
    train = scoring.mean_loss(scores, failures.weights - held_out)
    validation = scoring.mean_loss(scores, held_out)
    return {
        "failure_train_loss": train,
        "failure_validation_loss": validation,
        "failure_gap": scoring.difference(validation, train),
        "failure_epochs": fitted.epochs_run,
    }


LAST = -1e9  # nats, below any ratio
REPORT = (
    "acceptance",
    "effective_sample_size",
    "proposals_found",
    "entropy",
    "kl_to_base",
    "duplicate_rate",
)


@struct.dataclass
class Failures:
    """The failures of the latest rounds: a ring of fixed size; weight 0 marks an empty row."""

    sequences: Sequences  # [R m]
    weights: Float[Array, " Rm"]

    def add(self, round_index, sequences: Sequences, failed: Float[Array, " m"]) -> "Failures":
        m = failed.shape[0]
        start = (round_index % (self.weights.shape[0] // m)) * m
        put = lambda old, new: jax.lax.dynamic_update_slice_in_dim(old, new, start, 0)
        return jax.tree.map(put, self, Failures(sequences, failed))


def no_failures(model: SequenceModel, params: Any, capacity: int) -> Failures:
    """An empty buffer for `capacity` sequences of the model."""
    one = jax.eval_shape(lambda k: model.sample(k, params)[0], jax.random.key(0))
    zeros = jax.tree.map(lambda x: jnp.zeros((capacity, *x.shape), x.dtype), one)
    return Failures(zeros, jnp.zeros((capacity,), jnp.float32))


@struct.dataclass
class State:
    """Three models and what passes from `ask` to `tell`.

    Attributes:
      round: int32, rounds told so far.
      most_successes: float32, of a round.
      base, generator, failure_model: parameters of p_theta, p_theta_i, p_phi_i.
      best_generator: which proposed in the latest round of most successes; None if never needed.
      failures: what the failure model is fitted to.
      filters: that proposals must pass before the newest ranks them.
      batch: [num_distilled], what passed the filter; the candidates come first.
      threshold, log_normaliser: of the filter that the latest `ask` applied.
      report: diagnostics of the latest `ask`.
    """

    round: Int[Array, ""]
    most_successes: Float[Array, ""]
    base: Any
    generator: Any
    failure_model: Any
    best_generator: Any
    failures: Failures
    filters: rejection.Filters
    batch: Sequences
    threshold: Float[Array, ""]
    log_normaliser: Float[Array, ""]
    report: dict[str, Array]


def banel(
    model: SequenceModel,
    config: BanelConfig,
    failure_model: SequenceModel | None = None,
    fit_generator: Fit | None = None,
    fit_failure_model: Fit | None = None,
) -> Algorithm:
    """Algorithm 2 as ask and tell.

    Args:
      model: the prior's functions; the base is whatever parameters `init` is given.
      config: settings.
      failure_model: p_phi; by default `model` itself. Must share the prior's parameter tree
        unless `failure_start` is `fresh`.
      fit_generator: in place of `training.fit` with `config.generator_training`.
      fit_failure_model: in place of `training.fit` with `config.failure_training`.
    """
    c = config
    failure_model = failure_model or model
    brought = {"fit_generator": fit_generator, "fit_failure_model": fit_failure_model}
    fits = {name: fit for name, fit in brought.items() if fit}
    fit_generator = fit_generator or partial(training.fit, model, c.generator_training)
    fit_failure_model = fit_failure_model or partial(
        training.fit, failure_model, c.failure_training
    )
    m, kept = c.num_candidates, c.distilled
    proposed = kept if c.rejection == "threshold" else round(kept * c.filter_factor)
    score = partial(scoring.log_likelihood, model)
    # A fixed threshold lets proposals through or not; they have no weights.
    unweighted = ("effective_sample_size",) if c.rejection == "threshold" else ()
    reported = [name for name in REPORT if name not in unweighted]

    def ratio(failure_params, proposals):
        """The ranking of Eq. 5 in nats."""
        sequences, generator_scores, base_scores = proposals
        numerators = {"base": base_scores, "generator": generator_scores}
        prior_scores = numerators.get(c.ratio_against, jnp.zeros_like(base_scores))
        failure_scores = scoring.log_likelihood(failure_model, failure_params, sequences)
        values = scoring.log_ratio(prior_scores, failure_scores, c.kappa)
        return scoring.normalise_length(values, sequences) if c.length_normalised else values

    def newest_ratio(state, proposals):
        if c.rejection == "threshold" or not c.filters:
            return jnp.zeros_like(proposals.base_scores)
        # Before the first failures nothing is known: the first batch is unfiltered.
        return jnp.where(state.round == 0, 0.0, ratio(state.failure_model, proposals))

    def passes(filters, k, proposals):
        return ratio(filters.failure_model(k), proposals) >= filters.thresholds[k]

    def draw(key, state, filters):
        def propose(indices):
            sequences, scores = sampling.sample_indices(model, key, state.generator, indices)
            return rejection.Proposals(sequences, scores, score(state.base, sequences))

        if not filters.capacity:
            return propose(jnp.arange(proposed, dtype=jnp.int32)), proposed, filters
        let_through = partial(passes, filters)
        return rejection.rejection_sample(
            propose, let_through, filters, proposed, c.acceptance_floor
        )

    def accept(key, state, sequences, ratios):
        """Accepted indices [kept], of which the first m are paid for; tau; log of its share."""
        zero, first = jnp.float32(0.0), state.round == 0
        if c.rejection == "best":
            # A generator that has narrowed repeats itself. Among equal ratios chance decides:
            # were it the smaller index, the first m of those kept would not be a fair sample.
            chance = jnp.where(first, zero, jax.random.uniform(key, ratios.shape, jnp.float32))
            copy = diagnostics.copies(sequences) if c.distinct else jnp.zeros(proposed, bool)
            ranked = jnp.where(copy, LAST, ratios)
            accepted, threshold, _ = rejection.best(ranked, kept, chance)
            if c.distinct:  # what passed is paid for before its copies
                accepted = accepted[jnp.argsort(copy[accepted], stable=True)]
            # A copy is as likely to pass the threshold as what it is a copy of.
            share = jnp.mean(ratios >= threshold, dtype=jnp.float32)
            return accepted, threshold, jnp.where(first, zero, jnp.log(share))
        if c.rejection == "importance":
            # Equal weights choose nothing: then what was drawn is taken in order, once each.
            drawn = rejection.resample(key, ratios, kept)
            accepted = jnp.where(first, jnp.arange(kept), drawn)
            return accepted, zero, jax.nn.logsumexp(ratios) - jnp.log(proposed)
        return jnp.arange(kept), jnp.float32(c.threshold), zero

    def weigh(state, candidates):
        if not c.failure_weighting:
            return jnp.ones(m, jnp.float32)
        log_ratio = score(state.base, candidates) - candidate_log_prob(state, candidates)
        return jnp.exp(jnp.minimum(0.0, c.failure_weighting * log_ratio))

    def init(key, prior_params):
        fresh = c.failure_start == "fresh"
        failure_params = failure_model.init(key) if fresh else prior_params
        zero = jnp.float32(0.0)
        return State(
            round=jnp.int32(0),
            most_successes=zero,
            base=prior_params,
            generator=prior_params,
            failure_model=failure_params,
            best_generator=prior_params if c.fall_back else None,
            failures=no_failures(model, prior_params, c.failure_rounds * m),
            # A fixed threshold works like the earlier filters: proposals must pass it.
            filters=rejection.no_filters(
                failure_params, c.past_filters + (c.rejection == "threshold")
            ),
            batch=no_failures(model, prior_params, kept).sequences,
            threshold=jnp.float32(-jnp.inf),
            log_normaliser=zero,
            report=dict.fromkeys(reported, zero),
        )

    def ask(key, state):
        draw_key, select_key = jax.random.split(key)
        # The generator has changed since, so what earlier rounds counted is no estimate for it.
        filters = rejection.forget_counts(state.filters)
        if c.rejection == "threshold":
            threshold = jnp.where(state.round == 0, -jnp.inf, c.threshold)
            filters = rejection.add_filter(filters, state.failure_model, threshold)
        proposals, found, filters = draw(draw_key, state, filters)
        ratios = newest_ratio(state, proposals)
        accepted, threshold, log_accepted = accept(select_key, state, proposals.sequences, ratios)
        batch = jax.tree.map(lambda x: x[accepted], proposals.sequences)
        log_acceptance = filters.log_acceptance()
        log_normaliser = log_acceptance + log_accepted
        hard = c.rejection != "importance"  # weights reject nothing
        report = {
            "acceptance": jnp.exp(log_normaliser if hard else log_acceptance),
            "effective_sample_size": rejection.effective_sample_size(ratios),
            "proposals_found": jnp.float32(found) / proposed,
            **diagnostics.proposal_diagnostics(log_acceptance, *proposals),
        }
        report = {name: report[name] for name in reported}
        state = state.replace(
            batch=batch,
            filters=filters,
            threshold=threshold,
            log_normaliser=log_normaliser,
            report=report,
        )
        candidates = jax.tree.map(lambda x: x[:m], batch)
        return rejection.give_up(candidates, found, proposed), state

    def tell(key, state, candidates, rewards):
        failure_key, start_key, generator_key = jax.random.split(key, 3)
        first = state.round == 0
        # What was not found has no mask; it is no failure, and there is nothing to distil in it.
        failed = (1 - rewards) * jnp.any(candidates.mask, axis=1)
        failures = state.failures.add(state.round, candidates, failed * weigh(state, candidates))
        filters, failure_params, info = state.filters, state.failure_model, {}
        if c.filters:
            if c.rejection != "threshold" and filters.capacity:
                added = rejection.add_filter(filters, failure_params, state.threshold)
                filters = jax.tree.map(lambda old, new: jnp.where(first, old, new), filters, added)
            start = {"base": state.base, "carry": failure_params}.get(c.failure_start)
            if start is None:
                start = failure_model.init(start_key)
            weights, held_out = failure_weights(failures, c.failure_holdout)
            failure_params, fitted = fit_failure_model(
                failure_key, start, failures.sequences, weights, held_out
            )
            info = fit_report(failure_model, failure_params, failures, held_out, fitted)

        successes = jnp.sum(rewards)
        best = state.best_generator
        if c.fall_back:
            is_best = successes >= state.most_successes
            best = jax.tree.map(partial(jnp.where, is_best), state.generator, best)
        use = jnp.any(state.batch.mask, axis=1).astype(jnp.float32)
        if c.drop_successes:
            use = use.at[:m].multiply(1 - rewards)
        # Nothing was filtered in the first round, so there is nothing to distil.
        stay = first | (successes < c.fall_back * state.most_successes) | ~jnp.any(use > 0)
        start = state.base if c.reset_generator else state.generator
        generator = jax.lax.cond(
            stay,
            lambda: best if c.fall_back else state.generator,
            lambda: fit_generator(generator_key, start, state.batch, use, None)[0],
        )
        state = state.replace(
            round=state.round + 1,
            most_successes=jnp.maximum(state.most_successes, successes),
            generator=generator,
            failure_model=failure_params,
            best_generator=best,
            failures=failures,
            filters=filters,
        )
        return state, {"successes": successes, **state.report, **info}

    def sample(key, state, n):
        return sampling.sample(model, key, state.generator, n)[0]

    def log_prob(state, sequences):
        return score(state.generator, sequences)

    def restricted(state, filters, sequences):
        """Proposals, and the generator's log-likelihoods of those that all the filters pass."""
        proposals = rejection.Proposals(
            sequences, score(state.generator, sequences), score(state.base, sequences)
        )
        log_probs = proposals.generator_scores
        if filters.capacity:
            passed = rejection.passes_all(partial(passes, filters), filters, proposals)
            log_probs = jnp.where(passed, log_probs, -jnp.inf)
        return proposals, log_probs

    def proposal_log_prob(state, sequences):
        newest = 1 if c.rejection == "threshold" else 0  # it is among the filters then
        earlier = state.filters.replace(count=state.filters.count - newest)
        return restricted(state, earlier, sequences)[1] - earlier.log_acceptance()

    def candidate_log_prob(state, sequences):
        proposals, log_probs = restricted(state, state.filters, sequences)
        log_probs -= state.log_normaliser
        ratios = newest_ratio(state, proposals)
        if c.rejection == "importance":
            return log_probs + ratios
        if c.rejection == "best":
            return jnp.where(ratios >= state.threshold, log_probs, -jnp.inf)
        return log_probs

    settings = {"name": "banel", "settings": c, "model": model.settings}
    settings |= {"failure_model": failure_model.settings, **fits}
    past = proposal_log_prob if c.past_filters else None
    return Algorithm(
        init, ask, tell, sample, log_prob, candidate_log_prob, past, tuple(settings.items()), model
    )
