"""Variational search distributions (Steinberg et al., 2024): a classifier guides the sampling.

Each round a classifier is fitted to all that was paid for, and the search distribution q climbs
E_q[log P(success | x)] - KL(q || prior) by the score function on fresh samples of its own, which no
oracle sees. At the optimum q is the prior given what the classifier takes for a success. From the
publication and its code: q starts at the prior and goes on from round to round, as the classifier
does; the convolutions; one optimiser a round; the moving mean as control variate. Of its own
making: a fixed number of steps, that mean begun at a first batch's, classes of equal weight in the
fit whose odds are corrected afterwards (of rare successes few batches would see any), and no step
before the first success, since a reward of 0 or 1 has no threshold that could be lowered.
"""

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Float, Int

from banel_jax import checks, diagnostics, failures, sampling, scoring, training
from banel_jax.algorithms.classifier import Classifier, ClassifierConfig, classifier
from banel_jax.algorithms.gflownet import ROUNDING
from banel_jax.algorithms.observing import Observe
from banel_jax.failures import Failures
from banel_jax.keys import portable
from banel_jax.training import TrainingConfig
from banel_jax.types import Algorithm, SequenceModel

SMOOTHING = 0.7  # of the control variate, as published: a moving mean of the gains so far


@dataclass(frozen=True)
class VsdConfig:
    """Settings of VSD.

    Attributes:
      num_candidates: m, reward evaluations a round.
      memory_rounds: rounds whose candidates the classifier is fitted to, the latest ones.
      kl_coefficient: of KL(q || prior); 1 as published.
      search_training: of q; an epoch is one step on `batch_size` fresh samples of it.
      classifier: the classifier and its fit.

    Raises:
      ValueError: in one line, for a field of another type or outside its range.
    """

    num_candidates: int = 250
    memory_rounds: int = 30
    kl_coefficient: float = 1.0
    search_training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(epochs=50, batch_size=128, learning_rate=1e-4)
    )
    classifier: ClassifierConfig = field(default_factory=ClassifierConfig)

    def __post_init__(self):
        checks.fields(self)
        checks.integers(self, "num_candidates", "memory_rounds", at_least=1)
        checks.reals(self, "kl_coefficient", at_least=0)


@struct.dataclass
class State:
    """The search distribution and what the classifier knows.

    Attributes:
      round: int32, rounds told so far.
      base, search: parameters of the prior and of q.
      classifier: its parameters.
      successes, failures: what was paid for in the latest rounds.
    """

    round: Int[Array, ""]
    base: Any
    search: Any
    classifier: Any
    successes: Failures
    failures: Failures


def search_loss(
    scores: Float[Array, " n"], gains: Float[Array, " n"], baseline: Float[Array, ""]
) -> Float[Array, ""]:
    """What has the gradient of -E_q[gain], by the score function.

    Args:
      scores: log q(x) in nats, of samples of q; the gradient is theirs.
      gains: log P(success | x) + log prior(x) - log q(x), taken for constants: the gradient of the
        last of them is 0 in expectation.
      baseline: a control variate, which may not depend on these samples.
    """
    # Where all samples are one, Adam would make whole steps of what rounding leaves.
    noise = jnp.abs(gains - baseline) <= ROUNDING * (1 + jnp.abs(baseline))
    apart = jax.lax.stop_gradient(jnp.where(noise, 0.0, gains - baseline))
    return -jnp.mean(apart * scores)


def _climb(model: SequenceModel, judge: Classifier, c: VsdConfig, key, state, judging):
    """The next q, and the moving mean of its samples' gains."""
    search, optimise = c.search_training, training.optimizer(c.search_training)
    score = lambda params, x: scoring.log_likelihood(model, params, x)

    def draw(key, params):
        drawn, scores = sampling.sample(model, key, params, search.batch_size)
        gains = judge.log_success(judging, drawn, state.successes, state.failures)
        return drawn, gains + c.kl_coefficient * (score(state.base, drawn) - scores)

    def step(carry, key):
        params, opt_state, baseline = carry
        drawn, gains = draw(key, params)
        loss = lambda p: search_loss(score(p, drawn), gains, baseline)
        updates, opt_state = optimise.update(jax.grad(loss)(params), opt_state, params)
        baseline = SMOOTHING * jnp.mean(gains) + (1 - SMOOTHING) * baseline
        return (optax.apply_updates(params, updates), opt_state, baseline), None

    keys = jax.random.split(key, search.epochs + 1)
    baseline = jnp.mean(draw(keys[0], state.search)[1])
    start = state.search, optimise.init(state.search), baseline
    params, _, gain = jax.lax.scan(step, start, keys[1:])[0]
    return params, gain


def vsd(model: SequenceModel, config: VsdConfig, observe: Observe | None = None) -> Algorithm:
    """VSD as ask and tell.

    A round costs m reward evaluations and, in forward passes of one sequence, 3 m (drawn, scored by
    q and by the prior); from the first success on also 5 a sample of the search (drawn, scored by
    the prior, learned), and 2 of one batch more. The classifier's passes are few beside these.

    Args:
      model: the prior's functions; q starts from the parameters `init` is given.
      config: settings.
      observe: what the classifier sees of sequences; by default their tokens.

    Returns:
      The algorithm: `ask` gives m candidates, `tell` takes their rewards float32 [m].
    """
    c = config
    judge = classifier(model, c.classifier, observe)
    score = lambda params, x: scoring.log_likelihood(model, params, x)
    climb = partial(_climb, model, judge, c)

    def learn(key, state):
        """The state with what its successes and failures tell, and its two measures."""
        fit_key, search_key = jax.random.split(portable(key))

        def learned():
            judging, loss = judge.fit(fit_key, state.classifier, state.successes, state.failures)
            return *climb(search_key, state, judging), judging, loss

        zero = jnp.float32(0.0)
        nothing = lambda: (state.search, zero, state.classifier, zero)
        any_met = jnp.any(state.successes.weights > 0)
        params, gain, judging, loss = jax.lax.cond(any_met, learned, nothing)
        info = {"search_gain": gain, "classifier_loss": loss}
        return state.replace(search=params, classifier=judging), info

    def init(key, prior_params):
        none = failures.no_failures(model, prior_params, c.num_candidates * c.memory_rounds)
        one = jax.tree.map(lambda x: x[:1], none.sequences)
        params = judge.init(portable(key), one)
        return State(jnp.int32(0), prior_params, prior_params, params, none, none)

    def ask(key, state):
        return sampling.sample(model, key, state.search, c.num_candidates)[0], state

    def tell(key, state, candidates, rewards, answered=None):
        scores, base_scores = score(state.search, candidates), score(state.base, candidates)
        failed = failures.failed(candidates, rewards, answered)
        state = state.replace(
            successes=state.successes.add(state.round, candidates, rewards),
            failures=state.failures.add(state.round, candidates, failed),
        )
        state, learned = learn(key, state)
        info = {
            "successes": jnp.sum(rewards),
            **diagnostics.proposal_diagnostics(0.0, candidates, scores, base_scores),
            **learned,
        }
        return state.replace(round=state.round + 1), info

    def know(key, state, sequences, rewards):
        successes = state.successes.preceded_by(sequences, rewards)
        failed = state.failures.preceded_by(sequences, failures.failed(sequences, rewards))
        return learn(key, state.replace(successes=successes, failures=failed))[0]

    def sample(key, state, n):
        return sampling.sample(model, key, state.search, n)[0]

    def log_prob(state, sequences):
        return score(state.search, sequences)

    settings = {"name": "vsd", "settings": c, "model": model.settings}
    if observe is not None:
        settings["observe"] = observe
    return Algorithm(
        init, ask, tell, sample, log_prob, candidate_log_prob=log_prob,
        settings=tuple(settings.items()), model=model, know=know,
    )  # fmt: skip
