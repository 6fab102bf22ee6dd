"""Who takes part in the race, and where each starts."""

import dataclasses
from typing import Any

from experiments.common import methods
from experiments.common.method import Method
from experiments.common.settings import Settings

# In the order of the table. A name that `experiments.common.methods` does not have is left out.
NAMES = (
    "prior", "ladder", "broadened", "hedge_free", "ours_f1", "banel", "ours", "success_only",
    "both_sides", "hedge", "auto", "policy_gradient", "reinforce_replay", "ppo", "expert_iteration",
    "gflownet_tb", "cbas", "vsd", "genetic", "rnd", "pseudo_count",
)  # fmt: skip
SAMPLED = ("prior", "ladder", "broadened")  # what learns nothing
OWN_BASE = (*SAMPLED, "hedge_free", "hedge")  # what starts where its name or its arms say
# What has no search of its own: another's settings, without the failures or as a part.
SEARCHED_AS = {"success_only": "both_sides", "auto": "both_sides"}
OURS = ("banel", "ours", "success_only", "both_sides", "hedge", "auto", "filtering")


def _from_one_base(name: str) -> Method:
    """What learns starts where all of it starts, so that no base is an advantage."""
    method = methods.METHODS[name]
    if name in OWN_BASE:
        return method
    return method._replace(base=lambda settings: settings.ours_base)


METHODS: dict[str, Method] = {
    name: _from_one_base(name) for name in NAMES if name in methods.METHODS
}


def rival(name: str) -> bool:
    """Whether it is neither this project's nor a control."""
    return name not in OURS and not METHODS[name].control


def at(settings: Settings, num_candidates: int, rounds: int) -> Settings:
    """Settings of m candidates a round that keep past rounds, where they keep any, from the first.

    So a run of many small rounds forgets no more evaluations than one of few large ones.
    """
    changes: dict[str, Any] = {"num_candidates": num_candidates}
    for field in dataclasses.fields(settings):
        setting: Any = getattr(settings, field.name)
        if dataclasses.is_dataclass(setting) and not isinstance(setting, type):
            kept = {
                inner.name: rounds
                for inner in dataclasses.fields(setting)
                if inner.name.endswith("_rounds") and _several(getattr(setting, inner.name))
            }
            changes |= {field.name: dataclasses.replace(setting, **kept)} if kept else {}
    return dataclasses.replace(settings, **changes)


def _several(rounds: Any) -> bool:
    return isinstance(rounds, int) and rounds > 1
