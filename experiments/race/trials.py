"""What the search of the race tries: as many settings of every method, the first its defaults."""

from collections.abc import Sequence
from typing import Any

from banel_jax.runs import naming
from experiments.common import choice
from experiments.common.methods import Settings
from experiments.race import methods
from experiments.race.tasks import TASKS

Trials = list[dict[str, Any]]  # what each changes in a configuration, fields named by their paths
NUMBER = 5  # trials of each method, the first of them its defaults
# Of a learning rate; the defaults are slow ones, and first trials did best far above them.
FACTORS = (0.1, 3.0, 10.0, 30.0)
_SETTINGS = "settings."
_OURS = _SETTINGS + "ours."
_BOTH, _HEDGE = _SETTINGS + "both_sides.", _SETTINGS + "hedge."
_GENETIC, _VSD = _SETTINGS + "genetic.", _SETTINGS + "vsd."

_HEDGE_TRIALS: Trials = [
    {},
    {_HEDGE + "floor": 0.03},
    {_HEDGE + "floor": 0.3},
    {_HEDGE + "discount": 0.7},
    {_HEDGE + "discount": 1.0},
]


def _successes(name: str) -> Trials:
    """Of what is fitted to successes alone: first trials showed that it wants many epochs."""
    path = f"{_SETTINGS}{name}.training."
    return [
        {},
        *({path + "epochs": epochs} for epochs in (10, 20, 40)),
        {path + "epochs": 20, path + "learning_rate": 3e-3},
    ]


TRIALS: dict[str, Trials] = {
    "both_sides": [
        {},
        {_BOTH + "success_training.epochs": 15},
        {_BOTH + "replay": 0.5},
        {_BOTH + "filter_factor": 8.0},
        {_BOTH + "num_distilled": 250, _BOTH + "generator_training.epochs": 16},
    ],
    "ours": [
        {},
        {_OURS + "failure_training.epochs": 15},
        {_OURS + "filter_factor": 8.0},
        {_OURS + "fall_back": 0.0},
        {_OURS + "generator_training.learning_rate": 1e-3},
    ],
    "ours_f1": [
        {},
        {_OURS + "generator_training.learning_rate": 5e-4},
        {_OURS + "generator_training.learning_rate": 1e-3},
        {_OURS + "generator_training.learning_rate": 4e-3},
        {_OURS + "fall_back": 0.0},
    ],
    "banel": [
        {},
        {_SETTINGS + "generator_learning_rate": 1e-3},
        {_SETTINGS + "filter_factor": 8.0},
        {_SETTINGS + "failure_epochs": 10},
        {_SETTINGS + "failure_start": "base"},
    ],
    "hedge": _HEDGE_TRIALS,
    "hedge_free": _HEDGE_TRIALS,
    "genetic": [
        {},
        {_GENETIC + "mutation_rate": 0.02},
        {_GENETIC + "mutation_rate": 0.15},
        {_GENETIC + "fresh": 0.5},
        {_GENETIC + "crossover": 0.0},
    ],
    "vsd": [
        {},
        {_VSD + "search_training.learning_rate": 3e-4},
        {_VSD + "search_training.learning_rate": 1e-3},
        {_VSD + "kl_coefficient": 0.1},
        {_VSD + "search_training.epochs": 200},
    ],
    **{name: _successes(name) for name in ("expert_iteration", "cbas")},
}


def trials_of(task: str, names: Sequence[str]) -> dict[str, Trials]:
    """By method; those of one that is not in TRIALS are learning rates about its own."""
    settings = TASKS[task].settings
    return {
        name: TRIALS.get(name) or _rates(name, settings)
        for name in names
        if name not in methods.SAMPLED and name not in methods.SEARCHED_AS
    }


def _rates(name: str, settings: Settings) -> Trials:
    for field in choice.read_by(methods.METHODS[name], settings):
        for path, rate in naming.flatten({field: naming.plain(getattr(settings, field))}).items():
            if path.endswith("training.learning_rate"):
                of = lambda factor, rate=rate: float(f"{rate * factor:.1g}")
                return [{}, *({_SETTINGS + path: of(factor)} for factor in FACTORS)]
    return []  # which a test forbids
