"""The settings search behind `experiments.mnist`: as many trials for a baseline as for BaNEL.

    python -m experiments.mnist.search

runs each trial on a prior, targets and seeds that the table does not use, for fewer rounds, and
appends a line a trial to `experiments/results/mnist/search.jsonl`; what is there already is
skipped. The policy gradient and relative trajectory balance are left out: where every answer is
0 they leave the prior as it is, whatever their settings.
"""

import dataclasses
from dataclasses import dataclass, field
from typing import ClassVar

from experiments.common import flags, search
from experiments.mnist import experiment as mnist

# A baseline has as many as any form of BaNEL.
TRIALS: search.Trials = {
    "ours": [
        {},
        {"settings.ours.kappa": 1.0},
        {"settings.ours.failure_start": "base"},
        {"settings.ours.filter_factor": 2.0},
    ],
    "filtering": [
        {
            "settings.filtering.filter_rounds": (1, 2, 3, 4, 5, 6, 7),
            "settings.filtering.max_filters": 7,
        },
        *(
            {"settings.filtering.filter_rounds": (3, 4, 5, 6), **changes}
            for changes in (
                {},
                {"settings.filtering.filter_factor": 4.0},
                {"settings.filtering.filter_factor": 4.0, "settings.filtering.kappa": 0.75},
                {"settings.filtering.filter_factor": 4.0, "settings.filtering.kappa": 1.0},
            )
        ),
    ],
    "banel": [
        {},
        {"settings.generator_learning_rate": 3e-5},
        {"settings.generator_learning_rate": 3e-4},
        {"settings.filter_factor": 8.0},
    ],
    **{
        name: [{}, *({f"settings.{policy}.training.learning_rate": rate} for rate in rates)]
        for name, policy, rates in (
            ("rnd", "rnd_policy", (1e-4, 3e-4, 1e-3, 3e-5)),
            ("pseudo_count", "pseudo_count_policy", (1e-5, 3e-4, 1e-3, 3e-5)),
            ("negative_rl", "negative_rl", (1e-5, 3e-4, 1e-3, 3e-5)),
            ("gflownet_tb", "gflownet_tb", (1e-5, 1e-4, 3e-4, 3e-5)),
            ("gflownet_vargrad", "gflownet_vargrad", (1e-5, 1e-4, 3e-4, 3e-5)),
        )
    },
}


EXPERIMENT = mnist.PRESETS["cpu"]  # whose table the settings are for


def _search_task():
    return dataclasses.replace(EXPERIMENT.task, seed=1)


@dataclass(frozen=True)
class Config(search.Config):
    """Settings of the search.

    Attributes:
      experiment: what each trial starts from; its seeds, prior and targets are not the table's.
    """

    trials: ClassVar[search.Trials] = TRIALS

    experiment: mnist.Config = field(
        default_factory=lambda: dataclasses.replace(
            EXPERIMENT, rounds=8, seeds=2, first_seed=100, task=_search_task()
        )
    )
    output: str = "experiments/results/mnist/search.jsonl"


def main(config: Config) -> None:
    search.run(config, mnist.EXPERIMENT)


if __name__ == "__main__":
    flags.run(main, Config())
