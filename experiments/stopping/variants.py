"""BaNEL's variants that a stopping rule is tried on: none of them learns from a success."""

import dataclasses
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from banel_jax.algorithms.banel import BanelConfig
from banel_jax.types import Algorithm
from experiments.common.method import Method
from experiments.common.methods import METHODS, ours, variant_of_ours

HELD_OUT = 0.2  # of the failures
# In the thirds of a run. At f = 1 there would be no filter.
DECAYS = {"filter_factor": (1.0, 0.5, 0.375), "kappa": (1.0, 0.5, 0.25)}


def without_successes(settings, **changes: Any) -> BanelConfig:
    """Ours, told nothing by a success, and never led back to where there were more of them."""
    return dataclasses.replace(ours(settings), drop_successes=True, fall_back=0.0, **changes)


def staged(stages: Sequence[Algorithm], rounds: int) -> Algorithm:
    """Algorithms over one state, each for so many rounds, the last one from then on.

    Args:
      stages: that differ in what they do with their state, a state of BaNEL's, alone.
      rounds: of each but the last.
    """
    last = len(stages) - 1
    stage = lambda state: jnp.minimum(state.round // rounds, last)

    def either(name):
        branches = [getattr(one, name) for one in stages]
        return lambda key, state, *given: jax.lax.switch(stage(state), branches, key, state, *given)

    first = stages[0]
    settings: Any = (("stages", [dict(one.settings) for one in stages]), ("rounds", rounds))
    return first._replace(
        ask=either("ask"), tell=either("tell"), settings=settings, takes_evidence=False
    )


def _decaying(title: str, field: str) -> Method:
    """Ours, one field of which falls from third to third of the rounds that failures are kept."""

    def build(settings, networks):
        value = getattr(ours(settings), field)
        stages = [
            variant_of_ours(
                title, False, partial(without_successes, **{field: value * factor})
            ).build(settings, networks)
            for factor in DECAYS[field]
        ]
        return staged(stages, max(1, ours(settings).failure_rounds // len(stages)))

    return variant_of_ours(title, False, without_successes)._replace(build=build)


VARIANTS: dict[str, Method] = {
    # Starts where ours does, so that they differ in what they learn alone.
    "banel": METHODS["banel"]._replace(base=lambda settings: settings.ours_base),
    "ours": variant_of_ours("ours", False, without_successes),
    "ours_held_out": variant_of_ours(
        "ours, failures held out", False, partial(without_successes, failure_holdout=HELD_OUT)
    ),
    "ours_f_decays": _decaying("ours, f decays", "filter_factor"),
    "ours_kappa_decays": _decaying("ours, kappa decays", "kappa"),
}
