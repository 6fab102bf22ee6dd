"""Settings of the digits experiment: its methods, by number, and its presets."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from banel_jax import checks
from banel_jax.algorithms.banel import BanelConfig
from banel_jax.algorithms.sequential_filtering import (
    SequentialFilteringConfig,
)
from banel_jax.tasks.digits import DigitsConfig
from banel_jax.training import TrainingConfig
from experiments.common.broadening import BroadenConfig

PRIOR = "prior"


LADDER = "tempered ladder"


PUBLISHED_CONTROL = "published, f = 1"


PUBLISHED = "Algorithm 2, published"


CONTROL = "Algorithm 2, ours, f = 1"


OURS = "Algorithm 2, ours"


FILTERING = "Algorithm 1, ours"


BLIND = "ours, told nothing"


METHODS = (PRIOR, LADDER, PUBLISHED_CONTROL, PUBLISHED, CONTROL, OURS, FILTERING, BLIND)


CONTROLS = (PRIOR, LADDER, PUBLISHED_CONTROL, CONTROL, BLIND)


# The best by the final value in the median of experiments/results/digits/search.jsonl.
ALL_ROUNDS = 1000  # of failures to keep: more than there are rounds


OURS_SETTING = BanelConfig(
    failure_rounds=ALL_ROUNDS,
    num_distilled=2000,
    generator_training=TrainingConfig(epochs=15, learning_rate=1e-3),
    failure_training=TrainingConfig(epochs=10, learning_rate=1e-3),
    past_filters=10,
)


FILTERING_SETTING = SequentialFilteringConfig(
    failure_rounds=ALL_ROUNDS,
    failure_training=TrainingConfig(epochs=10, learning_rate=1e-3),
    max_filters=10,
)


@dataclass(frozen=True)
class Config:
    """Settings of the experiment.

    Attributes:
      methods: which to run, by number: 0 prior, 1 tempered ladder, 2 published with f = 1,
        3 Algorithm 2 as published, 4 ours with f = 1, 5 Algorithm 2 ours, 6 Algorithm 1 ours,
        7 Algorithm 2 ours with an oracle that answers 0 whatever it is asked, a control that
        is not run unless it is named.
      rounds: of every method, each of num_candidates reward evaluations.
      seeds: how many runs of each method.
      first_seed: the seeds are this one and those that follow.
      num_candidates: m.
      base: what every method starts from, the prior or the prior broadened by its ladder.
      failure_dropout: of the failure model of ours.
      ours: Algorithm 2; num_candidates is that of the run.
      filtering: Algorithm 1; likewise.
      broaden: the broadened base.
      output: folder of the figures and summary.json.
      runs: folder of the pretrained prior and of the runs themselves; empty for `output`.
      task: the digits.
    """

    main_flags: ClassVar[tuple[str, ...]] = (
        "methods", "rounds", "seeds", "first_seed", "num_candidates", "base", "task.side",
        "task.grey_levels", "task.num_target_variants", "output", "runs",
    )  # fmt: skip

    methods: tuple[int, ...] = (0, 1, 2, 3, 4, 5, 6)
    rounds: int = 10
    seeds: int = 3
    first_seed: int = 0
    num_candidates: int = 250
    base: Literal["prior", "broadened"] = "prior"
    failure_dropout: float = 0.1
    ours: BanelConfig = field(default_factory=lambda: OURS_SETTING)
    filtering: SequentialFilteringConfig = field(default_factory=lambda: FILTERING_SETTING)
    broaden: BroadenConfig = field(
        default_factory=lambda: BroadenConfig(
            training=TrainingConfig(epochs=20, batch_size=100, patience=3)
        )
    )
    output: str = "runs/digits"
    runs: str = ""
    task: DigitsConfig = field(default_factory=DigitsConfig)

    def __post_init__(self):
        checks.fields(self)
        checks.integers(self, "rounds", "seeds", "num_candidates", at_least=1)
        checks.seeds(self, "first_seed")
        if not self.methods or not set(self.methods) <= set(range(len(METHODS))):
            raise ValueError(f"methods={self.methods} must be numbers from 0 to {len(METHODS) - 1}")
        for name in ("ours", "filtering"):
            if getattr(self, name).num_candidates not in (250, self.num_candidates):
                raise ValueError(
                    f"{name}.num_candidates={getattr(self, name).num_candidates} differs from "
                    f"num_candidates={self.num_candidates}, which sets it for all methods"
                )
        algorithms(self)  # their own checks, before anything is paid for


def algorithms(config: Config) -> dict[str, Any]:
    """The settings of every method that has any."""
    m, rounds = config.num_candidates, config.rounds
    published = BanelConfig(num_candidates=m, drop_successes=True)

    def sized(setting):
        kept = min(setting.failure_rounds, rounds)
        return dataclasses.replace(setting, num_candidates=m, failure_rounds=kept)

    ours = sized(config.ours)
    return {
        PUBLISHED_CONTROL: dataclasses.replace(published, filter_factor=1.0),
        PUBLISHED: published,
        CONTROL: dataclasses.replace(ours, filter_factor=1.0),
        OURS: ours,
        BLIND: ours,
        FILTERING: sized(config.filtering),
    }


PRESETS = {
    "demo": Config(),
    "smoke": Config(
        rounds=2,
        seeds=2,
        num_candidates=40,
        ours=BanelConfig(num_candidates=40, num_distilled=80),
        task=DigitsConfig(num_target_variants=500, pretraining=TrainingConfig(epochs=3)),
    ),
    "paper": Config(rounds=30, seeds=5),
    "sparse": Config(
        output="runs/digits_sparse",
        task=DigitsConfig(side=8, grey_levels=2, num_target_variants=5000),
    ),
}
