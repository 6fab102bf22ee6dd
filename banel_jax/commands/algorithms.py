"""An algorithm by its name and settings."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from banel_jax import checks
from banel_jax.algorithms.banel import BanelConfig, banel
from banel_jax.algorithms.gflownet import GFlowNetConfig, gflownet
from banel_jax.algorithms.policy_gradient import PolicyGradientConfig, policy_gradient
from banel_jax.algorithms.prior_sampling import prior_sampling
from banel_jax.algorithms.sequential_filtering import (
    SequentialFilteringConfig,
    sequential_filtering,
)
from banel_jax.commands import fields
from banel_jax.commands.help import did_you_mean
from banel_jax.types import Algorithm, SequenceModel


@dataclass(frozen=True)
class PriorSamplingConfig:
    """Attributes:
    num_candidates: m, reward evaluations a round.
    """

    num_candidates: int = 250

    def __post_init__(self):
        checks.integers(self, "num_candidates", at_least=1)


KINDS: dict[str, tuple[Any, Any]] = {
    "banel": (BanelConfig, banel),
    "policy_gradient": (PolicyGradientConfig, policy_gradient),
    "gflownet": (GFlowNetConfig, gflownet),
    "prior_sampling": (
        PriorSamplingConfig,
        lambda model, config: prior_sampling(model, config.num_candidates),
    ),
    "sequential_filtering": (SequentialFilteringConfig, sequential_filtering),
}


def config(name: str, pairs: Sequence[str]) -> Any:
    """The settings of an algorithm from KEY=VALUE.

    Raises:
      ValueError: in one line that names what was given.
    """
    kind = KINDS[name][0]
    known = {setting.name: setting for setting in fields.settings(kind())}
    values = {}
    for pair in pairs:
        key, _, text = pair.partition("=")
        if key not in known:
            near = did_you_mean(key, known).replace("--", "")
            raise ValueError(
                f"--set={pair}: {name} has no setting {key!r}{near}; "
                f"--algorithm={name} --helpfull lists all"
            )
        try:
            values[key] = fields.parse(known[key].kind, text)
        except ValueError as error:
            must = fields.describe(known[key].kind, key)
            raise ValueError(f"--set={pair}: {key} must be {must}") from error
    try:
        return fields.replaced(kind(), values)
    except ValueError as error:
        raise ValueError(f"--set: {error}") from error


def algorithm(name: str, pairs: Sequence[str], model: SequenceModel) -> Algorithm:
    """Raises: ValueError: as `config`."""
    return KINDS[name][1](model, config(name, pairs))
