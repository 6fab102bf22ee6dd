"""The hedges of a comparison: which arms they have, and where those start."""

from banel_jax.algorithms.hedge import free_arms, hedge, starting_at
from banel_jax.models import tempering
from banel_jax.types import Algorithm
from experiments.common.method import Networks
from experiments.common.settings import Settings, sized


def _free_arms(settings: Settings, networks: Networks) -> dict[str, Algorithm]:
    model = networks.model(0.0)
    return free_arms(model, tempering.ladder(model), sized(settings.cut, settings))


def free(settings: Settings, networks: Networks) -> Algorithm:
    """Of proposals that learn nothing."""
    return hedge(_free_arms(settings, networks), settings.hedge)


def beside_ours(ours: Algorithm, settings: Settings, networks: Networks) -> Algorithm:
    """Of those and of ours from the prior, and of ours from the broadened one."""
    from_prior = _free_arms(settings, networks) | {"ours": ours}
    arms = {name: starting_at(arm, "prior") for name, arm in from_prior.items()}
    return hedge(arms | {"ours_broadened": starting_at(ours, "broadened")}, settings.hedge)
