"""Settings of the MNIST experiment, and its presets."""

from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

import jax

from banel_jax import checks
from banel_jax.tasks.mnist import task as mnist
from banel_jax.training import TrainingConfig
from banel_jax.types import Sequences
from experiments.common import methods
from experiments.common.broadening import BroadenConfig
from experiments.common.config import ComparisonConfig
from experiments.common.methods import Networks, Settings


@dataclass(frozen=True, kw_only=True)
class Config(ComparisonConfig):
    """Settings of the experiment.

    Attributes:
      algorithms: which to run; empty for all: prior, ladder, broadened, banel_f1, ours_f1,
        ours_by_prior, hedge_free (controls), banel, banel_base, importance, inverse, ours,
        filtering, hedge, policy_gradient, reinforce_replay, ppo, expert_iteration, cbas, vsd,
        genetic, negative_rl, rnd, pseudo_count, gflownet_tb, gflownet_vargrad, rtb.
      num_round_targets: how many of the targets, the likeliest under the prior, the success
        rates by round are summed over; 0 for all. Final values are always over all.
      without_top: leave so many of the likeliest targets out of the second figure.
      num_cut_samples: of the prior, from which the control that cuts it by its own likelihood
        takes its thresholds.
      data_dir: folder of MNIST's four files, or of prepared tensorflow-datasets; by default
        the environment's BANEL_DATA_DIR.
      prior_file: a pretrained prior from another run's folder; empty to pretrain one.
      runs: folder of the pretrained prior and of the runs themselves.
      task: the task.
    """

    main_flags: ClassVar[tuple[str, ...]] = (
        "algorithms", "rounds", "seeds", "first_seed", "seeds_at_once", "settings.num_candidates",
        "num_round_targets", "task.resolution", "data_dir", "prior_file", "output", "runs",
    )  # fmt: skip

    num_round_targets: int = 0
    without_top: int = 10
    num_cut_samples: int = 20_000
    data_dir: str = ""
    prior_file: str = ""
    output: str = "runs/mnist/results"
    runs: str = "runs/mnist"
    task: mnist.MnistConfig = field(default_factory=mnist.MnistConfig)

    def __post_init__(self):
        super().__post_init__()
        checks.integers(self, "num_cut_samples", at_least=1)
        checks.integers(self, "num_round_targets", "without_top", at_least=0)

    @property
    def networks(self) -> Networks:
        """Random network distillation sees pixels."""
        observe = partial(_flat_pixels, self.task)
        return methods.of_transformer(self.task.transformer, self.task.resolution**2, observe)

    @property
    def filters_together(self) -> float:
        """f of all filters of Algorithm 1: as sharply is the prior cut in a control."""
        filtering = self.settings.filtering
        return filtering.filter_factor ** (len(filtering.filter_rounds) or 1)

    def preparation(self) -> tuple[Any, ...]:
        return (*super().preparation(), self.filters_together)


def _flat_pixels(task: mnist.MnistConfig, sequences: Sequences) -> jax.Array:
    return mnist.pixels(task, sequences).reshape(-1, task.resolution**2)


PRESETS: dict[str, Config] = {
    "paper": Config(),
    "cpu": Config(
        seeds=3,
        seeds_at_once=1,
        num_round_targets=300,
        task=mnist.MnistConfig(num_layers=2, num_heads=2, width=32),
    ),
    "cpu14": Config(
        seeds_at_once=1,
        num_round_targets=300,
        task=mnist.MnistConfig(resolution=14, patch_width=2, num_layers=2, num_heads=2, width=32),
    ),
    "smoke": Config(
        algorithms=(
            "prior",
            "ladder",
            "banel_f1",
            "banel",
            "ours",
            "negative_rl",
            "rnd",
            "pseudo_count",
            "gflownet_vargrad",
        ),
        rounds=2,
        seeds=2,
        seeds_at_once=1,
        num_round_targets=200,
        num_cut_samples=1000,
        output="runs/mnist_smoke/results",
        runs="runs/mnist_smoke",
        settings=Settings(num_candidates=20, failure_epochs=2, generator_epochs=1),
        broaden=BroadenConfig(num_samples=50, training=TrainingConfig(epochs=1)),
        task=mnist.MnistConfig(
            resolution=14,
            patch_width=7,
            patch_height=1,
            num_layers=1,
            num_heads=2,
            width=16,
            num_targets=1000,
            pretraining=TrainingConfig(epochs=1),
        ),
    ),
}
