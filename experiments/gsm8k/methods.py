"""The algorithms that are run on GSM8K's questions."""

import dataclasses

from banel_jax.algorithms import language_rnd
from banel_jax.algorithms.language_rnd import LanguageRndConfig
from banel_jax.types import Algorithm
from experiments.common import methods
from experiments.common.methods import Method, Networks, Settings


def _rnd(settings: Settings, networks: Networks) -> Algorithm:
    model = networks.model(0.0)
    policy = dataclasses.replace(settings.rnd_policy, num_candidates=settings.num_candidates)
    return language_rnd.language_rnd(model, policy, LanguageRndConfig(networks.observed))


METHODS: dict[str, Method] = {
    name: methods.METHODS[name]
    for name in (
        "banel_f1", "ours_f1", "ours_by_prior", "banel", "importance", "inverse", "ours",
        "both_sides", "policy_gradient", "expert_iteration", "negative_rl", "pseudo_count",
        "gflownet_tb", "gflownet_vargrad", "rtb",
    )
} | {
    # Its networks are small beside the language model.
    "rnd": methods.METHODS["rnd"]._replace(
        title="RND", build=_rnd, other_flops=lambda settings, networks: 0.0
    ),
    "ours_told_nothing": methods.variant_of_ours(
        "ours, told nothing but zeros", True, methods.ours
    )._replace(sees_rewards=False),
}  # fmt: skip


WITH_FAILURE_MODEL = (  # beside the generator
    "banel_f1", "ours_f1", "ours_by_prior", "ours_told_nothing", "banel", "importance", "inverse",
    "ours", "both_sides",
)  # fmt: skip
