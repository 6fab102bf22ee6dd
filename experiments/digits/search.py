"""The settings search behind `experiments.digits`: every trial is kept.

    python -m experiments.digits.search

runs each trial on seeds that the table does not use, and appends a line a trial to
`experiments/results/digits/search.jsonl`; what is there already is skipped. The first seventeen
lines there are of these trials, with their numbers in an earlier order.
"""

import dataclasses
from dataclasses import dataclass, field
from typing import Any, ClassVar

from banel_jax.algorithms.banel import BanelConfig
from banel_jax.algorithms.sequential_filtering import SequentialFilteringConfig
from banel_jax.training import TrainingConfig
from experiments.common import flags, search
from experiments.digits import experiment as digits
from experiments.digits.config import ALL_ROUNDS

EXPERIMENT = digits.PRESETS["demo"]  # whose table the settings are for
# What a trial does not name is as here.
_FILTER: dict[str, Any] = dict(
    filter_factor=2.0,
    kappa=1.0,
    failure_start="base",
    failure_rounds=ALL_ROUNDS,
    failure_training=TrainingConfig(epochs=10, learning_rate=1e-3),
    acceptance_floor=1e-4,
    threshold=0.0,
)
START = dataclasses.replace(
    EXPERIMENT,
    seeds=3,
    first_seed=100,
    ours=BanelConfig(
        num_distilled=1000,
        generator_training=TrainingConfig(epochs=4, learning_rate=1e-3),
        **_FILTER,
    ),
    filtering=SequentialFilteringConfig(max_filters=10, **_FILTER),
)


def _with(name: str, **changes: Any) -> dict[str, Any]:
    return {f"{name}.{field.replace('__', '.')}": value for field, value in changes.items()}


TRIALS: search.Trials = {
    "ours": [
        {},
        *(
            _with("ours", **changes)
            for changes in (
                dict(filter_factor=4.0),
                dict(past_filters=4),
                dict(filter_factor=4.0, num_distilled=2000),
                dict(rejection="threshold", threshold=0.5),
                dict(filter_factor=4.0, kappa=0.7),
                dict(rejection="threshold"),
                dict(past_filters=4, num_distilled=2000),
                dict(past_filters=10, num_distilled=2000),
                dict(past_filters=10, num_distilled=2000, generator_training__epochs=15),
            )
        ),
    ],
    "filtering": [
        {},
        *(
            _with("filtering", **changes)
            for changes in (
                dict(kappa=1.5),
                dict(failure_start="fresh", failure_training__epochs=40),
                dict(rejection="threshold", filter_factor=4.0),
                dict(rejection="threshold", threshold=-0.5, filter_factor=4.0),
                dict(max_filters=5),
                dict(failure_training__epochs=20),
            )
        ),
    ],
}


@dataclass(frozen=True)
class Config(search.Config):
    """Settings of the search."""

    trials: ClassVar[search.Trials] = TRIALS

    experiment: digits.Config = field(default_factory=lambda: START)
    output: str = "experiments/results/digits/search.jsonl"


def main(config: Config) -> None:
    search.run(config, digits.EXPERIMENT)


if __name__ == "__main__":
    flags.run(main, Config())
