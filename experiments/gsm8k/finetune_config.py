"""Settings of the fine-tuning, and their presets."""

from dataclasses import dataclass, field
from typing import get_args

from banel_jax import checks
from banel_jax.tasks.gsm8k.task import Rule
from banel_jax.training import TrainingConfig


@dataclass(frozen=True)
class Config:
    """Settings of the fine-tuning.

    Attributes:
      model: folder of the model to begin with, or `smollm2`.
      data_dir: folder of GSM8K's files; empty for that of BANEL_DATA_DIR.
      folder: where the model is saved.
      num_problems: of the training split, the first that are short enough; 0 for all.
      steps: updates.
      questions: of an update.
      group: responses to each of them.
      kl_coefficient: of log pi(x) - log base(x), taken off the rewards.
      max_prompt_tokens: questions that take more are left out.
      max_new_tokens: of a response.
      rule: of a right answer.
      optimizer: its learning rate, warm-up, decay, clipping; epochs and batches do not apply.
      num_evaluated: questions of the test split that are answered before and after.
      mean_at: responses to each of those, whose mean is reported.
      checkpoint_every: steps.
      seed: of all random numbers.
    """

    model: str = "runs/gsm8k/stand_in"
    data_dir: str = ""
    folder: str = "runs/gsm8k/stand_in_finetuned"
    num_problems: int = 0
    steps: int = 200
    questions: int = 32
    group: int = 8
    kl_coefficient: float = 0.001
    max_prompt_tokens: int = 256
    max_new_tokens: int = 256
    rule: Rule = "strict"
    optimizer: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(learning_rate=1e-5, warmup_steps=10)
    )
    num_evaluated: int = 200
    mean_at: int = 5
    checkpoint_every: int = 10
    seed: int = 0

    def __post_init__(self):
        counts = ("steps", "questions", "num_evaluated", "mean_at", "checkpoint_every")
        checks.integers(self, *counts, "max_prompt_tokens", "max_new_tokens", at_least=1)
        checks.fields(self)
        checks.integers(self, "num_problems", at_least=0)
        checks.seeds(self, "seed")
        checks.integers(self, "group", at_least=2)  # or its mean is no baseline
        checks.reals(self, "kl_coefficient", at_least=0)
        checks.one_of(self, "rule", get_args(Rule))


PRESETS: dict[str, Config] = {
    "default": Config(),
    "stand_in": Config(
        num_problems=32,  # each is met often: with all of them two cores see hardly a success
        steps=40,
        questions=16,
        max_new_tokens=160,
        optimizer=TrainingConfig(learning_rate=3e-4, warmup_steps=10),
    ),
    "smoke": Config(
        model="runs/gsm8k_smoke/stand_in",
        folder="runs/gsm8k_smoke/stand_in_finetuned",
        steps=2,
        questions=3,
        group=2,
        max_prompt_tokens=160,
        max_new_tokens=16,
        num_evaluated=4,
        mean_at=2,
        checkpoint_every=1,
    ),
}
