"""Every algorithm of the library, tiny, over a model of few tokens."""

import dataclasses
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from tiny_run import LENGTH, MODEL, V

from banel_jax.algorithms.auto import AutoConfig, auto
from banel_jax.algorithms.banel import BanelConfig, banel
from banel_jax.algorithms.classifier import ClassifierConfig
from banel_jax.algorithms.cuts import CutConfig, cut
from banel_jax.algorithms.expert_iteration import ExpertIterationConfig, expert_iteration
from banel_jax.algorithms.genetic import GeneticConfig, genetic
from banel_jax.algorithms.gflownet import GFlowNetConfig, gflownet
from banel_jax.algorithms.hedge import HedgeConfig, hedge
from banel_jax.algorithms.observing import one_hot
from banel_jax.algorithms.policy_gradient import PolicyGradientConfig, policy_gradient
from banel_jax.algorithms.prior_sampling import prior_sampling
from banel_jax.algorithms.pseudo_count import PseudoCountConfig, pseudo_count
from banel_jax.algorithms.rnd import RndConfig, rnd
from banel_jax.algorithms.sequential_filtering import (
    SequentialFilteringConfig,
    sequential_filtering,
)
from banel_jax.algorithms.vsd import VsdConfig, vsd
from banel_jax.models import tempering
from banel_jax.training import TrainingConfig
from banel_jax.types import Algorithm

M, ROUNDS = 6, 5
# Irregular, and decayed by the fits, whose first steps are otherwise of one size in every
# coordinate: no two sequences shall tie in rank but for rounding, which differs under vmap.
PRIOR = np.random.default_rng(0).normal(size=(LENGTH, V)).astype(np.float32)
FIT = TrainingConfig(epochs=3, batch_size=2, learning_rate=0.2, weight_decay=0.3)


def algorithm_2(model=MODEL, **settings):
    settings = dict(generator_training=FIT, failure_training=FIT) | settings
    return banel(model, BanelConfig(num_candidates=M, **settings))


def algorithm_1(model=MODEL, **settings):
    settings = dict(failure_training=FIT, max_filters=2) | settings  # fewer than rounds
    return sequential_filtering(model, SequentialFilteringConfig(num_candidates=M, **settings))


def balance(model, **settings):
    return gflownet(model, GFlowNetConfig(num_candidates=M, training=FIT, **settings))


def policy(**settings):
    return PolicyGradientConfig(num_candidates=M, training=FIT, **settings)


SMALL = RndConfig(width=8, num_layers=2, num_features=8, batch_size=4, vocab_size=V)

JUDGE = ClassifierConfig(
    embedding=4, width=8, kernel=3, hidden=4, vocab_size=V,
    training=TrainingConfig(epochs=10, batch_size=4, learning_rate=0.02),
)  # fmt: skip
SEARCH = dataclasses.replace(FIT, batch_size=8)

# Below any ratio that the short fits reach for long: some sequences pass.
FIXED = dict(rejection="threshold", threshold=-0.1, acceptance_floor=0.01)
ALGORITHMS: dict[str, Callable[..., Algorithm]] = {
    "prior": lambda model=MODEL: prior_sampling(model, M),
    "ladder": lambda model=MODEL: prior_sampling(tempering.ladder(model), M),
    "banel": algorithm_2,
    "banel, all failures": lambda model=MODEL: algorithm_2(model, failure_rounds=ROUNDS),
    "banel, weighted and falling back": lambda model=MODEL: algorithm_2(
        model, failure_weighting=0.5, fall_back=0.5, failure_rounds=ROUNDS, distinct=True
    ),
    "banel, threshold": lambda model=MODEL: algorithm_2(model, **FIXED),
    "banel, importance": lambda model=MODEL: algorithm_2(
        model, rejection="importance", filter_factor=3
    ),
    "banel, 1 / p_phi": lambda model=MODEL: algorithm_2(model, ratio_against="nothing"),
    "banel, past filters": lambda model=MODEL: algorithm_2(
        model, past_filters=2, num_distilled=2 * M, acceptance_floor=0.01
    ),
    "banel, both sides": lambda model=MODEL: algorithm_2(
        model,
        ratio_against="successes",
        successes_needed=2,
        success_training=FIT,
        replay=0.5,
        failure_rounds=ROUNDS,
        distinct=True,
    ),
    "banel, other choices": lambda model=MODEL: algorithm_2(
        model,
        ratio_against="generator",
        length_normalised=True,
        reset_generator=False,
        drop_successes=True,
        failure_start="fresh",
        failure_holdout=0.5,
    ),
    "filtering": lambda model=MODEL: algorithm_1(model, acceptance_floor=0.01),
    "filtering, in some rounds": lambda model=MODEL: algorithm_1(
        model, acceptance_floor=0.01, filter_rounds=(2, 4), failure_rounds=ROUNDS
    ),
    "filtering, threshold": lambda model=MODEL: algorithm_1(model, filter_factor=4, **FIXED),
    "expert iteration": lambda model=MODEL: expert_iteration(
        model, ExpertIterationConfig(M, success_rounds=2, training=FIT)
    ),
    "CbAS": lambda model=MODEL: expert_iteration(
        model, ExpertIterationConfig(M, success_rounds=2, importance=1.0, training=FIT)
    ),
    "VSD": lambda model=MODEL: vsd(
        model, VsdConfig(M, 2, search_training=SEARCH, classifier=JUDGE)
    ),
    "VSD, observing": lambda model=MODEL: vsd(
        model, VsdConfig(M, ROUNDS, search_training=SEARCH, classifier=JUDGE), one_hot(V)
    ),
    "genetic": lambda model=MODEL: genetic(model, GeneticConfig(M, population=4, num_donors=20)),
    "gflownet, trajectory balance": lambda model=MODEL: balance(
        model, objective="trajectory_balance"
    ),
    "gflownet, vargrad": lambda model=MODEL: balance(model, objective="vargrad"),
    "gflownet, relative": lambda model=MODEL: balance(model, relative_to_prior=True),
    "policy gradient": lambda model=MODEL: policy_gradient(model, policy()),
    "policy gradient, replay": lambda model=MODEL: policy_gradient(model, policy(replay_size=10)),
    "PPO": lambda model=MODEL: policy_gradient(model, policy(clip=0.2, centre=True)),
    "negative RL": lambda model=MODEL: policy_gradient(model, policy(baseline=1.0)),
    "rnd": lambda model=MODEL: rnd(model, policy(kl_coefficient=0.01, centre=True), SMALL),
    "pseudo count": lambda model=MODEL: pseudo_count(
        model, policy(kl_coefficient=0.05), PseudoCountConfig(learning_rate=0.01)
    ),
    "likeliest cut": lambda model=MODEL: cut(model, CutConfig(M, filter_factor=2)),
    "least likely cut": lambda model=MODEL: cut(
        model, CutConfig(M, 2, "least_likely", length_normalised=True, distinct=False)
    ),
    "hedge": lambda model=MODEL: hedge(
        {
            name: ALGORITHMS[name](model)
            for name in ("prior", "likeliest cut", "banel, other choices")
        }
    ),
    "auto": lambda model=MODEL: auto(
        model,
        AutoConfig(
            M,
            BanelConfig(
                M,
                ratio_against="successes",
                successes_needed=1,
                success_training=FIT,
                replay=0.5,
                generator_training=FIT,
                failure_training=FIT,
                failure_weighting=0.5,
                failure_rounds=ROUNDS,
                distinct=True,
            ),
        ),
    ),
    "hedge, distinct": lambda model=MODEL: hedge(
        {name: ALGORITHMS[name](model) for name in ("prior", "ladder", "policy gradient")},
        HedgeConfig(floor=0.5, discount=1, distinct=True),
    ),
}
REWARDS = {
    "none": lambda tokens: jnp.zeros(len(tokens)),
    "all": lambda tokens: jnp.ones(len(tokens)),
    "some": lambda tokens: jnp.float32(jnp.sum(tokens, axis=1) % 2),
}
