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


def _failure_model(settings, networks):
    return networks.failure_model or networks.model(settings.ours_failure_dropout)


def _ours(setting, settings, networks):
    return banel(networks.model(0.0), setting(settings), _failure_model(settings, networks))


def _filtering(settings, networks):
    model, config = networks.model(0.0), sized(settings.filtering, settings)
    return sequential_filtering(model, config, networks.model(settings.ours_failure_dropout))


def _by_name(algorithm, name, *more):
    """What needs the settings of that name, and some of the networks by theirs."""

    def build(settings, networks):
        of_networks = [getattr(networks, field) for field in more]
        return algorithm(
            networks.model(0.0), sized(getattr(settings, name), settings), *of_networks
        )

    return build


def _policy(name, algorithm=policy_gradient):
    return _by_name(algorithm, name), partial(work.of_policy, name)


def _experts(name):
    return _by_name(expert_iteration, name), partial(work.of_expert_iteration, name)


def _rnd(settings, networks):
    policy = sized(settings.rnd_policy, settings)
    return rnd(networks.model(0.0), policy, settings.rnd, networks.observe)


def _pseudo_count(settings, networks):
    policy = sized(settings.pseudo_count_policy, settings)
    return pseudo_count(networks.model(0.0), policy, settings.pseudo_count)


def ours(settings: Settings) -> BanelConfig:
    return sized(settings.ours, settings)


def both_sides(settings: Settings) -> BanelConfig:
    return sized(settings.both_sides, settings)


def _auto(settings, networks):
    config = AutoConfig(settings.num_candidates, settings.both_sides, settings.cut)  # sizes them
    return auto(networks.model(0.0), config, _failure_model(settings, networks))


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
    "policy_gradient": Method("policy gradient", False, *_policy("policy_gradient")),
    "reinforce_replay": Method("REINFORCE with replay", False, *_policy("reinforce_replay")),
    "ppo": Method("PPO", False, *_policy("ppo")),
    "expert_iteration": Method("expert iteration", False, *_experts("expert_iteration")),
    "cbas": Method("CbAS", False, *_experts("cbas")),
    "vsd": Method(
        "VSD", False, _by_name(vsd, "vsd", "observe"), work.of_vsd, other_flops=work.vsd_flops
    ),
    "genetic": Method("genetic algorithm", False, _by_name(genetic, "genetic"), work.sampling),
    "negative_rl": Method("negative RL", False, *_policy("negative_rl")),
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
    "gflownet_tb": Method("GFlowNet, trajectory balance", False, *_policy("gflownet_tb", gflownet)),
    "gflownet_vargrad": Method("GFlowNet, VarGrad", False, *_policy("gflownet_vargrad", gflownet)),
    "rtb": Method("relative trajectory balance", False, *_policy("rtb", gflownet)),
}
