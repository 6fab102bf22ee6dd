"""The algorithms of the addition attack: those of every comparison, and its own controls."""

import dataclasses
from collections.abc import Callable

from banel_jax.algorithms.banel import BanelConfig
from banel_jax.training import TrainingConfig
from experiments.common import methods
from experiments.common.methods import Method, Settings


def _by_novelty(settings: Settings) -> BanelConfig:
    """No failures: what the base finds unlikely passes. p_phi is the base, and kappa 2."""
    return dataclasses.replace(
        methods.ours(settings),
        kappa=2.0,
        failure_start="base",
        failure_training=TrainingConfig(epochs=0),
        rejection="best",
    )


_BY_NOVELTY = methods.variant_of_ours("ours, ranked by 1 / p_base alone", True, _by_novelty)


def _every_round(method: Method, setting: Callable[[Settings], BanelConfig]) -> Method:
    """Without falling back, which may take from a control what it has."""
    return methods.variant_of_ours(
        f"{method.title}, distilling every round",
        method.control,
        lambda settings: dataclasses.replace(setting(settings), fall_back=0.0),
    )


def _from_broadened(name: str) -> Method:
    """A baseline from what ours starts from."""
    method = methods.METHODS[name]
    return method._replace(
        title=f"{method.title}, from the base of ours", base=lambda settings: settings.ours_base
    )


METHODS = methods.METHODS | {
    "ours_by_novelty": _BY_NOVELTY,
    "ours_told_nothing": methods.variant_of_ours(
        "ours, told nothing but zeros", True, methods.ours
    )._replace(sees_rewards=False),
    "ours_every_round": _every_round(methods.METHODS["ours"], methods.ours),
    "ours_f1_every_round": _every_round(methods.METHODS["ours_f1"], methods.ours_f1),
    "ours_by_novelty_every_round": _every_round(_BY_NOVELTY, _by_novelty),
    "policy_gradient_ours": _from_broadened("policy_gradient"),
    "rnd_ours": _from_broadened("rnd"),
}
