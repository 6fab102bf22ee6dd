"""The algorithms of a comparison: how each is built."""

import dataclasses
from collections.abc import Callable
from functools import partial

from banel_jax.algorithms.auto import AutoConfig, auto
from banel_jax.algorithms.banel import BanelConfig, banel
from banel_jax.algorithms.expert_iteration import expert_iteration
from banel_jax.algorithms.genetic import genetic
from banel_jax.algorithms.gflownet import gflownet
from banel_jax.algorithms.policy_gradient import policy_gradient
from banel_jax.algorithms.prior_sampling import prior_sampling
from banel_jax.algorithms.pseudo_count import pseudo_count
from banel_jax.algorithms.rnd import rnd
from banel_jax.algorithms.sequential_filtering import sequential_filtering
from banel_jax.algorithms.vsd import vsd
from banel_jax.models import tempering
from banel_jax.training import TrainingConfig
from experiments.common import hedges, work
from experiments.common.choice import check as check
from experiments.common.choice import check_rounds as check_rounds
from experiments.common.choice import preset_of as preset_of
from experiments.common.choice import relevant as relevant
from experiments.common.method import Method
from experiments.common.method import Networks as Networks
from experiments.common.method import flops as flops
from experiments.common.method import flops_per_sequence as flops_per_sequence
from experiments.common.method import network as network
from experiments.common.method import of_transformer as of_transformer
from experiments.common.settings import OURS as OURS
from experiments.common.settings import PUBLISHED as PUBLISHED
from experiments.common.settings import Settings, sized


def _sampling(settings, networks, ladder=False):
    model = networks.model(0.0)
    return prior_sampling(tempering.ladder(model) if ladder else model, settings.num_candidates)


def _banel(setting, settings, networks):
    return banel(networks.model(0.0), setting(settings), networks.failure_model)


def _ours(setting, settings, networks):
    failure_model = networks.failure_model or networks.model(settings.ours_failure_dropout)
    return banel(networks.model(0.0), setting(settings), failure_model)


def _filtering(settings, networks):
    failure_model = networks.model(settings.ours_failure_dropout)
    return sequential_filtering(
        networks.model(0.0), sized(settings.filtering, settings), failure_model
    )


def _policy(name, settings, networks):
    return policy_gradient(networks.model(0.0), sized(getattr(settings, name), settings))


def _rnd(settings, networks):
    policy = sized(settings.rnd_policy, settings)
    return rnd(networks.model(0.0), policy, settings.rnd, networks.observe)


def _pseudo_count(settings, networks):
    policy = sized(settings.pseudo_count_policy, settings)
    return pseudo_count(networks.model(0.0), policy, settings.pseudo_count)


def _expert_iteration(name, settings, networks):
    return expert_iteration(networks.model(0.0), sized(getattr(settings, name), settings))


def _vsd(settings, networks):
    return vsd(networks.model(0.0), sized(settings.vsd, settings), networks.observe)


def _genetic(settings, networks):
    return genetic(networks.model(0.0), sized(settings.genetic, settings))


def _gflownet(name, settings, networks):
    return gflownet(networks.model(0.0), sized(getattr(settings, name), settings))


def ours(settings: Settings) -> BanelConfig:
    return sized(settings.ours, settings)


def both_sides(settings: Settings) -> BanelConfig:
    return sized(settings.both_sides, settings)


def _auto(settings, networks):
    config = AutoConfig(settings.num_candidates, settings.both_sides, settings.cut)  # sizes them
    failure_model = networks.failure_model or networks.model(settings.ours_failure_dropout)
    return auto(networks.model(0.0), config, failure_model)


def _success_only(settings):
    """The failure model is the base."""
    return dataclasses.replace(both_sides(settings), failure_start="base", failure_training=_NO_FIT)


def _published(settings, **changes):
    return dataclasses.replace(settings.published(), **changes)


def _variants(**changes):
    setting = partial(_published, **changes)
    return partial(_banel, setting), partial(work.of_banel, setting)


def ours_f1(settings: Settings) -> BanelConfig:
    """No filter; where copies go last, among as many proposals, chance alone decides the rest."""
    c = ours(settings)
    return dataclasses.replace(
        c,
        filter_factor=c.filter_factor if c.distinct else 1.0,
        kappa=0.0,
        ratio_against="nothing",
        rejection="best",  # a fixed threshold or weights would filter at f = 1 too
        past_filters=0,
        failure_training=_NO_FIT,
    )


def _ours_by_prior(settings):
    """No failure model: what ranking by likelihood alone would do."""
    return dataclasses.replace(
        ours(settings), kappa=0.0, rejection="best", failure_training=_NO_FIT
    )


# A control that needs no failure model is the same whatever that model's settings are.
_NO_FIT = TrainingConfig(epochs=0)
_OURS_BASE = lambda settings: settings.ours_base


def variant_of_ours(
    title: str, control: bool, setting: Callable[[Settings], BanelConfig]
) -> Method:
    """Algorithm 2 with what `ours` starts from and its failure model's dropout."""
    return Method(
        title, control, partial(_ours, setting), partial(work.of_banel, setting), _OURS_BASE
    )


METHODS: dict[str, Method] = {
    "prior": Method("prior", True, _sampling, work.sampling),
    "ladder": Method("tempered ladder", True, partial(_sampling, ladder=True), work.sampling),
    "broadened": Method(
        "broadened prior", True, _sampling, work.sampling, lambda settings: "broadened"
    ),
    "banel_f1": Method(
        "BaNEL, no filter (f = 1)",
        True,
        *_variants(
            filter_factor=1.0,
            ratio_against="base",
            failure_start="base",
            failure_training=_NO_FIT,
        ),
    ),
    "ours_f1": variant_of_ours("ours, chance in place of the filter (f = 1)", True, ours_f1),
    "ours_by_prior": variant_of_ours(
        "ours, ranked by the prior alone (kappa = 0)", True, _ours_by_prior
    ),
    "banel": Method("BaNEL, as published", False, *_variants()),
    "banel_base": Method(
        "BaNEL, failure model from the prior", False, *_variants(failure_start="base")
    ),
    "importance": Method("BaNEL, importance weights", False, *_variants(rejection="importance")),
    "inverse": Method("BaNEL, 1 / p_phi", False, *_variants(ratio_against="nothing")),
    "ours": variant_of_ours("BaNEL, ours", False, ours),
    "both_sides": variant_of_ours("both sides", False, both_sides),
    "success_only": variant_of_ours("both sides, successes alone (control)", True, _success_only),
    "auto": Method("auto", False, _auto, partial(work.of_auto, both_sides), _OURS_BASE),
    "filtering": Method("Algorithm 1", False, _filtering, work.of_filtering, _OURS_BASE),
    "hedge_free": Method("hedge of free proposals", True, hedges.free, work.of_free_arms),
    "hedge": Method(
        "hedge of free proposals and ours",
        False,
        lambda *given: hedges.beside_ours(_ours(ours, *given), *given),
        partial(work.of_hedge, ours),
        lambda settings: "both",
    ),
    "policy_gradient": Method(
        "policy gradient",
        False,
        partial(_policy, "policy_gradient"),
        partial(work.of_policy, "policy_gradient"),
    ),
    "reinforce_replay": Method(
        "REINFORCE with replay",
        False,
        partial(_policy, "reinforce_replay"),
        partial(work.of_policy, "reinforce_replay"),
    ),
    "ppo": Method("PPO", False, partial(_policy, "ppo"), partial(work.of_policy, "ppo")),
    "expert_iteration": Method(
        "expert iteration",
        False,
        partial(_expert_iteration, "expert_iteration"),
        partial(work.of_expert_iteration, "expert_iteration"),
    ),
    "cbas": Method(
        "CbAS",
        False,
        partial(_expert_iteration, "cbas"),
        partial(work.of_expert_iteration, "cbas"),
    ),
    "vsd": Method("VSD", False, _vsd, work.of_vsd, other_flops=work.vsd_flops),
    "genetic": Method("genetic algorithm", False, _genetic, work.sampling),
    "negative_rl": Method(
        "negative RL",
        False,
        partial(_policy, "negative_rl"),
        partial(work.of_policy, "negative_rl"),
    ),
    "rnd": Method(
        "RND", False, _rnd, partial(work.of_policy, "rnd_policy"), other_flops=work.rnd_flops
    ),
    # The density model learns each candidate, which scores it first, and scores it again.
    "pseudo_count": Method(
        "pseudo-count",
        False,
        _pseudo_count,
        partial(work.of_policy, "pseudo_count_policy", extra=4),
    ),
    "gflownet_tb": Method(
        "GFlowNet, trajectory balance",
        False,
        partial(_gflownet, "gflownet_tb"),
        partial(work.of_policy, "gflownet_tb"),
    ),
    "gflownet_vargrad": Method(
        "GFlowNet, VarGrad",
        False,
        partial(_gflownet, "gflownet_vargrad"),
        partial(work.of_policy, "gflownet_vargrad"),
    ),
    "rtb": Method(
        "relative trajectory balance",
        False,
        partial(_gflownet, "rtb"),
        partial(work.of_policy, "rtb"),
    ),
}
