"""The settings search behind `experiments.addition`: as many trials for a baseline as for BaNEL.

    python -m experiments.addition_search

runs each trial on seeds that the table does not use, and appends a line a trial to
`experiments/results/addition/search.jsonl`; what is there already is skipped.
"""

import dataclasses
from dataclasses import dataclass, field

import numpy as np

from experiments import addition, addition_table, flags, search
from experiments.cells import Cell

EXPERIMENT = addition.PRESETS["small"]  # whose table the settings are for
TRIALS: search.Trials = {"ours": [{}]}


@dataclass(frozen=True)
class Config:
    """Settings of the search.

    Attributes:
      experiment: what each trial starts from; its seeds are not the table's.
      algorithms: whose trials to run; empty for all.
      output: the file of trials.
    """

    experiment: addition.Config = field(
        default_factory=lambda: dataclasses.replace(
            EXPERIMENT, seeds=2, first_seed=100, num_problems=20
        )
    )
    algorithms: tuple[str, ...] = ()
    output: str = "experiments/results/addition/search.jsonl"

    def __post_init__(self):
        search.check(self.algorithms, TRIALS)


def gains(
    trial: addition.Config, ground: addition.Ground, cell: Cell
) -> tuple[np.ndarray, np.ndarray]:
    """Decades over the prior, by round and final."""
    base = ground.prior.value
    by_round = cell.metrics["success_rate"].astype(float)
    final = cell.final["successes"] / trial.num_final
    return (
        addition_table.log10_gain(by_round, base, trial.num_evaluated),
        addition_table.log10_gain(final, base, trial.num_final),
    )


def main(config: Config) -> None:
    search.run(config, TRIALS, addition.prepare, addition.runner, gains)


if __name__ == "__main__":
    flags.run(main, Config())
