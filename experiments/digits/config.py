"""Settings of the digits experiment, and its presets."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from banel_jax import checks
from banel_jax.algorithms.banel import BanelConfig
from banel_jax.algorithms.sequential_filtering import (
    SequentialFilteringConfig,
)
from banel_jax.tasks.digits import DigitsConfig
from banel_jax.training import TrainingConfig
from experiments.common import methods
from experiments.common.broadening import BroadenConfig
from experiments.common.config import MethodsConfig
from experiments.common.methods import Method, Settings
from experiments.digits.methods import METHODS, Networks

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


@dataclass(frozen=True, kw_only=True)
class Config(MethodsConfig):
    """Settings of the experiment.

    Attributes:
      algorithms: which to run; empty for all: prior, ladder, banel_f1, ours_f1, ours_told_nothing
        (controls; the last one is not run unless it is named), banel, ours, filtering.
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

    known: ClassVar[Mapping[str, Method]] = METHODS
    of_methods: ClassVar[tuple[str, ...]] = (
        "algorithms", "num_candidates", "failure_dropout", "ours", "filtering"
    )  # fmt: skip
    main_flags: ClassVar[tuple[str, ...]] = (
        "algorithms", "rounds", "seeds", "first_seed", "num_candidates", "base", "task.side",
        "task.grey_levels", "task.num_target_variants", "output", "runs",
    )  # fmt: skip

    algorithms: tuple[str, ...] = tuple(name for name in METHODS if name != "ours_told_nothing")
    rounds: int = 10
    seeds: int = 3
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
    task: DigitsConfig = field(default_factory=DigitsConfig)

    def __post_init__(self):
        super().__post_init__()
        checks.integers(self, "num_candidates", at_least=1)
        for name in ("ours", "filtering"):
            if getattr(self, name).num_candidates not in (250, self.num_candidates):
                raise ValueError(
                    f"{name}.num_candidates={getattr(self, name).num_candidates} differs from "
                    f"num_candidates={self.num_candidates}, which sets it for all methods"
                )
        methods.check(self, METHODS)

    @property
    def settings(self) -> Settings:
        """Of all methods; failures are kept for as many rounds as there are."""
        kept = lambda setting: dataclasses.replace(
            setting, failure_rounds=min(setting.failure_rounds, self.rounds)
        )
        return Settings(
            num_candidates=self.num_candidates,
            failure_start=methods.PUBLISHED.failure_start,
            ours=kept(self.ours),
            ours_base=self.base,
            ours_failure_dropout=self.failure_dropout,
            filtering=kept(self.filtering),
        )

    @property
    def networks(self) -> Networks:
        transformer = self.task.transformer
        of = methods.of_transformer(transformer, transformer.length * transformer.vocab_size)
        return Networks(**vars(of), generator=methods.network(transformer, transformer.dropout))


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
