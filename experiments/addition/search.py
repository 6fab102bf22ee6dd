"""The settings search behind `experiments.addition`: as many trials for a baseline as for BaNEL.

    python -m experiments.addition.search

runs each trial on seeds that the table does not use, and appends a line a trial to
`experiments/results/addition/search.jsonl`; what is there already is skipped. Before these, BaNEL
had some ten trials on the same seeds that are told of in BUILD_NOTES alone.
"""

import dataclasses
from dataclasses import dataclass, field
from typing import ClassVar

from experiments.addition import experiment as addition
from experiments.common import flags, search

EXPERIMENT = addition.PRESETS["small"]  # whose table the settings are for


def _rates(policy: str, rates: tuple[float, ...]) -> list[dict[str, float]]:
    return [{}, *({f"settings.{policy}.training.learning_rate": rate} for rate in rates)]


_OURS = "settings.ours."
TRIALS: search.Trials = {
    "ours": [
        {},
        {_OURS + "fall_back": 0.9},
        {_OURS + "fall_back": 0.98},
        {_OURS + "failure_training.epochs": 3},
        {_OURS + "failure_training.epochs": 10},
    ],
    "ours_by_novelty_every_round": [
        {},
        {_OURS + "filter_factor": 2.0},
        {_OURS + "filter_factor": 8.0},
        {_OURS + "filter_factor": 16.0},
        {_OURS + "generator_training.learning_rate": 1e-3},
    ],
    "banel": [
        {},
        {"settings.generator_learning_rate": 1e-3},
        {"settings.filter_factor": 8.0},
        {"settings.failure_epochs": 10},
    ],
    "rnd": _rates("rnd_policy", (3e-5, 1e-4, 3e-4, 1e-3)),
    "rnd_ours": _rates("rnd_policy", (3e-5, 1e-4, 3e-4, 1e-3)),
    "pseudo_count": _rates("pseudo_count_policy", (3e-5, 1e-5, 3e-4, 1e-3)),
    "policy_gradient_ours": _rates("policy_gradient", (3e-5, 1e-4, 3e-4, 3e-3)),
    "negative_rl": _rates("negative_rl", (1e-5, 3e-5, 3e-4, 1e-3)),
    "gflownet_tb": _rates("gflownet_tb", (1e-5, 3e-5, 1e-4, 3e-4)),
    "gflownet_vargrad": _rates("gflownet_vargrad", (1e-5, 3e-5, 1e-4, 3e-4)),
}


@dataclass(frozen=True)
class Config(search.Config):
    """Settings of the search."""

    trials: ClassVar[search.Trials] = TRIALS

    experiment: addition.Config = field(
        default_factory=lambda: dataclasses.replace(
            EXPERIMENT, seeds=2, first_seed=100, num_problems=20
        )
    )
    output: str = "experiments/results/addition/search.jsonl"


def main(config: Config) -> None:
    search.run(config, addition.EXPERIMENT)


if __name__ == "__main__":
    flags.run(main, Config())
