"""Bayesian Negative Evidence Learning (BaNEL): learn from the failures of a costly oracle.

The names below are those that most programs need; each is loaded when it is first asked for.
"""

import importlib
from typing import TYPE_CHECKING, Any

from banel_jax import compiler
from banel_jax.runs import border

border.install_for("banel_jax", "experiments")
compiler.guard()

# ruff: noqa: F401
if TYPE_CHECKING:
    from banel_jax.algorithms.auto import AutoConfig, auto
    from banel_jax.algorithms.banel import BanelConfig, banel
    from banel_jax.algorithms.gflownet import GFlowNetConfig, gflownet
    from banel_jax.algorithms.policy_gradient import PolicyGradientConfig, policy_gradient
    from banel_jax.algorithms.prior_sampling import prior_sampling
    from banel_jax.algorithms.sequential_filtering import (
        SequentialFilteringConfig,
        sequential_filtering,
    )
    from banel_jax.models.table import table
    from banel_jax.models.transformer import TransformerConfig, transformer
    from banel_jax.oracle import Answer, Failed, Oracle, OracleConfig, Pending
    from banel_jax.runs.compiled import compiled_run
    from banel_jax.runs.loop import RunConfig, run
    from banel_jax.runs.model_check import check_model
    from banel_jax.runs.stops import Stop
    from banel_jax.sampling import sample
    from banel_jax.scoring import log_likelihood, log_ratio
    from banel_jax.strings.preparing import StringPriorConfig
    from banel_jax.strings.prior import StringPrior, load_prior, pretrain
    from banel_jax.strings.reading import read_strings
    from banel_jax.success_rate import (
        exact_evaluation,
        log_success_rate,
        monte_carlo_evaluation,
    )
    from banel_jax.training import TrainingConfig, broaden, fit
    from banel_jax.types import Algorithm, SequenceModel, Sequences, Task
    from banel_jax.vocabulary import Vocabulary

_MODULES = {
    "algorithms.auto": ["AutoConfig", "auto"],
    "algorithms.banel": ["BanelConfig", "banel"],
    "algorithms.gflownet": ["GFlowNetConfig", "gflownet"],
    "algorithms.policy_gradient": ["PolicyGradientConfig", "policy_gradient"],
    "algorithms.prior_sampling": ["prior_sampling"],
    "algorithms.sequential_filtering": ["SequentialFilteringConfig", "sequential_filtering"],
    "models.table": ["table"],
    "models.transformer": ["TransformerConfig", "transformer"],
    "oracle": ["Answer", "Failed", "Oracle", "OracleConfig", "Pending"],
    "runs.compiled": ["compiled_run"],
    "runs.loop": ["RunConfig", "run"],
    "runs.model_check": ["check_model"],
    "runs.stops": ["Stop"],
    "sampling": ["sample"],
    "scoring": ["log_likelihood", "log_ratio"],
    "strings.preparing": ["StringPriorConfig"],
    "strings.prior": ["StringPrior", "load_prior", "pretrain"],
    "strings.reading": ["read_strings"],
    "success_rate": ["exact_evaluation", "log_success_rate", "monte_carlo_evaluation"],
    "training": ["TrainingConfig", "broaden", "fit"],
    "types": ["Algorithm", "SequenceModel", "Sequences", "Task"],
    "vocabulary": ["Vocabulary"],
}
_WHERE = {name: f"banel_jax.{module}" for module, names in _MODULES.items() for name in names}
__all__ = sorted(_WHERE)


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'banel_jax' has no attribute {name!r}")
    globals()[name] = value = getattr(importlib.import_module(_WHERE[name]), name)
    return value


def __dir__() -> list[str]:
    return __all__
