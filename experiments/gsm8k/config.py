"""Settings of the runs on GSM8K's questions."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from banel_jax import checks
from banel_jax.algorithms import language_rnd
from banel_jax.algorithms.auto import BOTH_SIDES
from banel_jax.algorithms.banel import BanelConfig
from banel_jax.models import tempering
from banel_jax.models.lora import LoraConfig
from banel_jax.tasks.gsm8k.data import HARD_QUESTIONS, Split
from banel_jax.tasks.gsm8k.task import Rule
from banel_jax.training import TrainingConfig
from experiments.common.broadening import BroadenConfig
from experiments.common.config import MethodsConfig
from experiments.common.methods import Method, Settings
from experiments.gsm8k.methods import METHODS, WITH_FAILURE_MODEL

OURS = BanelConfig(
    filter_factor=16.0,
    length_normalised=True,
    failure_rounds=30,
    failure_training=TrainingConfig(epochs=5, learning_rate=1e-5),
    generator_training=TrainingConfig(epochs=10, learning_rate=1e-5),
    distinct=True,
)


SETTINGS = Settings(
    filter_factor=16.0,
    length_normalised=True,
    failure_start="base",
    failure_epochs=5,
    failure_learning_rate=1e-5,
    generator_epochs=10,
    generator_learning_rate=1e-5,
    ours=OURS,
    both_sides=dataclasses.replace(
        BOTH_SIDES,
        filter_factor=16.0,
        length_normalised=True,
        failure_training=TrainingConfig(epochs=5, learning_rate=1e-5),
        success_training=TrainingConfig(epochs=10, learning_rate=1e-5),
        num_distilled=0,
        generator_training=TrainingConfig(epochs=10, learning_rate=1e-5),
    ),
    ours_base="broadened",
    ours_failure_dropout=0.0,
    rnd_policy=dataclasses.replace(
        language_rnd.POLICY, training=TrainingConfig(epochs=1, learning_rate=1e-6)
    ),
)


@dataclass(frozen=True, kw_only=True)
class Config(MethodsConfig):
    """Settings of the experiment.

    Attributes:
      model: folder of the prior, or `smollm2` (see docs/prior.md).
      data_dir: folder of GSM8K's files; empty for that of BANEL_DATA_DIR.
      split: `train` or `test`.
      question: rows of the split, counted from 0; each is a run of its own.
      rule: of a right answer, `strict` or `flexible`.
      max_new_tokens: of a response.
      forbidden_tokens: that no response has, each an id or a name that the tokenizer knows.
      shots: worked problems of the training split before each question.
      dtype: of the matrix products, `float32` or `bfloat16`.
      algorithms: which to run: banel_f1, ours_f1, ours_by_prior, ours_told_nothing (controls),
        banel, importance, inverse, ours, both_sides, rnd, policy_gradient, expert_iteration,
        negative_rl, pseudo_count, gflownet_tb, gflownet_vargrad, rtb.
      block: rounds in a compiled call; what it did is on disk before the next.
      num_evaluated: responses after each round, judged for the success rate.
      num_final: the same of the last state.
      num_prior: the same of the prior, of its ladder and of what `ours` starts from.
      num_tempered: the same of the prior at each temperature.
      temperatures: at which the prior is tried; those and 1 are the ladder's.
      batch: responses in a compiled call outside the rounds.
      lora: which models are adapters over one copy of the base: `none`, the `failure` model
        alone, the `generator` alone, or `both`.
      adapters: their settings.
      runs: folder of the runs themselves.
      settings: of the algorithms.
      broaden: the broadened prior; its temperatures are `temperatures`.
    """

    known: ClassVar[Mapping[str, Method]] = METHODS
    main_flags: ClassVar[tuple[str, ...]] = (
        "model", "data_dir", "question", "algorithms", "rounds", "seeds", "first_seed",
        "settings.num_candidates", "max_new_tokens", "dtype", "lora", "output", "runs",
    )  # fmt: skip

    model: str = "runs/gsm8k/qwen"
    data_dir: str = ""
    split: Split = "test"
    question: tuple[int, ...] = HARD_QUESTIONS
    rule: Rule = "strict"
    max_new_tokens: int = 256
    forbidden_tokens: tuple[str, ...] = ()
    shots: int = 0
    dtype: Literal["float32", "bfloat16"] = "float32"
    algorithms: tuple[str, ...] = ("banel_f1", "banel", "rnd")
    seeds: int = 1
    block: int = 1
    num_evaluated: int = 10_000
    num_final: int = 10_000
    num_prior: int = 10_000
    num_tempered: int = 10_000
    temperatures: tuple[float, ...] = (0.7, 0.85, 1.15, 1.3, 1.5)
    batch: int = 500
    lora: Literal["none", "failure", "generator", "both"] = "none"
    adapters: LoraConfig = field(default_factory=LoraConfig)
    output: str = "runs/gsm8k/results"
    runs: str = "runs/gsm8k"
    settings: Settings = SETTINGS
    broaden: BroadenConfig = field(
        default_factory=lambda: BroadenConfig(
            num_samples=2000, training=TrainingConfig(epochs=3, learning_rate=1e-5)
        )
    )

    def __post_init__(self):
        super().__post_init__()
        numbers = (
            "block", "num_evaluated", "num_final", "num_prior", "num_tempered", "batch",
        )  # fmt: skip
        checks.integers(self, *numbers, at_least=1)
        checks.integers(self, "shots", at_least=0)
        if not self.question or not self.algorithms:
            raise ValueError("give at least one question and one of algorithms")
        shown = [row for row in self.question if self.split == "train" and row < self.shots]
        if shown:
            raise ValueError(
                f"question={shown[0]} of the training split is one of the {self.shots} worked "
                "problems that stand before it; choose another, or fewer shots"
            )
        tempering.check(self.temperatures)
        if self.lora in ("failure", "generator"):
            differ = [n for n in self.algorithms if n not in WITH_FAILURE_MODEL]
            if differ:
                raise ValueError(
                    f"lora={self.lora}: {', '.join(differ)} has no failure model beside its "
                    "generator; give lora=both or none"
                )
