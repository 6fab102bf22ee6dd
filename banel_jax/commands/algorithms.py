"""An algorithm by its name and settings."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax

from banel_jax import checks
from banel_jax.algorithms.auto import AutoConfig, auto
from banel_jax.algorithms.banel import BanelConfig, banel
from banel_jax.algorithms.cuts import CutConfig, cut
from banel_jax.algorithms.expert_iteration import ExpertIterationConfig, expert_iteration
from banel_jax.algorithms.genetic import GeneticConfig, genetic
from banel_jax.algorithms.gflownet import GFlowNetConfig, gflownet
from banel_jax.algorithms.policy_gradient import PolicyGradientConfig, policy_gradient
from banel_jax.algorithms.prior_sampling import prior_sampling
from banel_jax.algorithms.sequential_filtering import (
    SequentialFilteringConfig,
    sequential_filtering,
)
from banel_jax.algorithms.vsd import VsdConfig, vsd
from banel_jax.commands import fields
from banel_jax.commands.help import did_you_mean
from banel_jax.commands.priors import Found
from banel_jax.commands.settings import What
from banel_jax.models.lora import LoraConfig, lora, lora_algorithm
from banel_jax.types import Algorithm, Params, SequenceModel


@dataclass(frozen=True)
class PriorSamplingConfig:
    """Attributes:
    num_candidates: m, reward evaluations a round.
    """

    num_candidates: int = 250

    def __post_init__(self):
        checks.integers(self, "num_candidates", at_least=1)


KINDS: dict[str, tuple[Any, Any]] = {
    "auto": (AutoConfig, auto),
    "banel": (BanelConfig, banel),
    "policy_gradient": (PolicyGradientConfig, policy_gradient),
    "expert_iteration": (ExpertIterationConfig, expert_iteration),
    "vsd": (VsdConfig, vsd),
    "genetic": (GeneticConfig, genetic),
    "gflownet": (GFlowNetConfig, gflownet),
    "prior_sampling": (
        PriorSamplingConfig,
        lambda model, config: prior_sampling(model, config.num_candidates),
    ),
    "cut": (CutConfig, cut),
    "sequential_filtering": (SequentialFilteringConfig, sequential_filtering),
}


def _known(name: str) -> dict[str, fields.Setting]:
    return {setting.name: setting for setting in fields.settings(KINDS[name][0]())}


def config(name: str, pairs: Sequence[str]) -> Any:
    """The settings of an algorithm from KEY=VALUE.

    Raises:
      ValueError: in one line that names what was given.
    """
    kind, known = KINDS[name][0], _known(name)
    values = {}
    for pair in pairs:
        key, _, text = pair.partition("=")
        if key not in known:
            near = did_you_mean(key, known).replace("--", "")
            having = " and ".join(other for other in KINDS if key in _known(other))
            near = f", a setting of {having}" if having else near
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


class Learner(NamedTuple):
    """What learns.

    Attributes:
      algorithm: of a run.
      start: the parameters that it begins with: the prior's, or those of adapters.
      adapted: whether they are adapters, over a copy of the prior's that the algorithm keeps.
    """

    algorithm: Algorithm
    start: Params
    adapted: bool


def learner(what: What, prior: Found, seed: int) -> Learner:
    """The algorithm over the prior's weights, or over adapters of them.

    Args:
      what: the settings.
      prior: of the run.
      seed: of the run, from which adapters are drawn.

    Raises:
      ValueError: in one line that names the flag.
    """
    build = lambda model, base: algorithm(what.algorithm, what.set, model)
    asked_for = what.train == "lora" or what.lora != LoraConfig()
    if what.train == "all" or not (asked_for or prior.is_language_model):
        return Learner(build(prior.model, prior.params), prior.params, False)
    if not what.lora.rank:
        raise ValueError("--lora.rank=0 leaves nothing to learn; give 1 or more, or --train=all")
    try:
        learning = lora_algorithm(prior.model, prior.params, what.lora, build)
    except ValueError as error:
        raise ValueError(f"--lora.{error}; --train=all trains without adapters") from error
    start = lora(prior.model, prior.params, what.lora).init(jax.random.key(seed))
    return Learner(learning, start, True)
