"""Settings of the addition attack, and its presets."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from banel_jax import checks
from banel_jax.algorithms.banel import BanelConfig
from banel_jax.algorithms.policy_gradient import PolicyGradientConfig
from banel_jax.tasks.addition.models import AdditionConfig, ModelConfig
from banel_jax.tasks.addition.task import GrammarConfig
from banel_jax.training import TrainingConfig
from experiments.addition.methods import METHODS
from experiments.common import methods
from experiments.common.broadening import BroadenConfig
from experiments.common.config import ComparisonConfig
from experiments.common.methods import Method, Networks, Settings

OURS = BanelConfig(
    filter_factor=4.0,
    failure_rounds=30,
    failure_weighting=0.5,
    failure_training=TrainingConfig(epochs=5, learning_rate=5e-4),
    num_distilled=2000,
    # As many steps as these epochs have: a fit that ends at rest loses less of what it is given.
    generator_training=TrainingConfig(epochs=4, learning_rate=2e-3, decay_steps=160),
    distinct=True,
    fall_back=0.95,
)


# The rate that the search found best, ten times the usual one.
POLICY_GRADIENT = PolicyGradientConfig(training=TrainingConfig(epochs=1, learning_rate=1e-3))


@dataclass(frozen=True, kw_only=True)
class Config(ComparisonConfig):
    """Settings of the experiment.

    Attributes:
      algorithms: which to run; empty for all: prior, ladder, broadened, banel_f1, ours_f1,
        ours_by_prior, ours_by_novelty, ours_told_nothing, ours_f1_every_round,
        ours_by_novelty_every_round, hedge_free (controls), banel, banel_base, importance,
        inverse, ours, ours_every_round, filtering, hedge, policy_gradient, reinforce_replay, ppo,
        expert_iteration, cbas, vsd, genetic, negative_rl, rnd, pseudo_count, gflownet_tb,
        gflownet_vargrad, rtb, policy_gradient_ours, rnd_ours.
      num_evaluated: samples after each round, judged for its success rate.
      num_final: the same of the last state.
      num_prior: the same of the prior, for its rate and the controls made of its samples.
      num_tempered: the same of the prior at each temperature.
      num_problems: fresh ones for each number of digits, on which the target is tried.
      target_file, attacker_file: trained models from another run's folder; empty to train them.
      task: the task.
    """

    known: ClassVar[Mapping[str, Method]] = METHODS
    main_flags: ClassVar[tuple[str, ...]] = (
        "algorithms", "rounds", "seeds", "first_seed", "seeds_at_once", "settings.num_candidates",
        "num_evaluated", "num_final", "task.grammar.max_digits", "target_file", "attacker_file",
        "output", "runs",
    )  # fmt: skip

    num_evaluated: int = 4000
    num_final: int = 20_000
    num_prior: int = 60_000
    num_tempered: int = 10_000
    num_problems: int = 1000
    target_file: str = ""
    attacker_file: str = ""
    output: str = "runs/addition/results"
    runs: str = "runs/addition"
    settings: Settings = field(
        default_factory=lambda: Settings(
            ours=OURS, ours_base="broadened", policy_gradient=POLICY_GRADIENT
        )
    )
    broaden: BroadenConfig = field(
        default_factory=lambda: BroadenConfig(
            num_samples=30_000, training=TrainingConfig(epochs=6, batch_size=100)
        )
    )
    task: AdditionConfig = field(default_factory=AdditionConfig)

    def __post_init__(self):
        super().__post_init__()
        numbers = ("num_evaluated", "num_final", "num_prior", "num_tempered", "num_problems")
        checks.integers(self, *numbers, at_least=1)

    @property
    def networks(self) -> Networks:
        """Random network distillation sees tokens as indicators."""
        transformer = self.task.attacker_transformer
        return methods.of_transformer(transformer, transformer.length * transformer.vocab_size)


_MODEL = ModelConfig(
    num_layers=3,
    num_heads=4,
    width=64,
    num_problems=150_000,
    training=TrainingConfig(
        epochs=14,
        batch_size=150,
        learning_rate=2e-3,
        warmup_steps=200,
        decay_steps=14_000,
        patience=3,
    ),
)


_ATTACKER = dataclasses.replace(
    _MODEL,
    num_problems=80_000,
    training=TrainingConfig(
        epochs=5,
        batch_size=100,
        learning_rate=2e-3,
        warmup_steps=200,
        decay_steps=4000,
        patience=3,
    ),
)


def _small(num_problems: int, epochs: int, decay_steps: int) -> ModelConfig:
    fit = TrainingConfig(
        epochs=epochs,
        batch_size=50,
        learning_rate=2e-3,
        warmup_steps=100,
        decay_steps=decay_steps,
    )
    return ModelConfig(num_layers=2, num_heads=4, width=48, num_problems=num_problems, training=fit)


def _tiny(epochs: int) -> ModelConfig:
    fit = TrainingConfig(epochs=epochs, batch_size=20, learning_rate=5e-3)
    return ModelConfig(num_layers=1, num_heads=2, width=16, num_problems=2000, training=fit)


PRESETS: dict[str, Config] = {
    "paper": Config(),
    "small": Config(
        seeds_at_once=1,
        task=AdditionConfig(grammar=GrammarConfig(max_digits=3), target=_MODEL, attacker=_ATTACKER),
    ),
    # Both models are trained here, so that a newcomer has the whole of it in minutes.
    "demo": Config(
        algorithms=(
            "prior",
            "ladder",
            "broadened",
            "ours_f1",
            "ours_told_nothing",
            "ours",
            "policy_gradient",
            "policy_gradient_ours",
        ),
        rounds=12,
        seeds=2,
        seeds_at_once=1,
        block=3,
        num_evaluated=2000,
        num_final=5000,
        num_prior=20_000,
        num_tempered=2000,
        num_problems=500,
        output="runs/addition_demo/results",
        runs="runs/addition_demo",
        settings=Settings(
            ours=dataclasses.replace(
                OURS,
                num_distilled=1000,
                fall_back=0.6,  # of few successes, as in its first rounds, 0.95 is mostly chance
                generator_training=dataclasses.replace(OURS.generator_training, decay_steps=80),
            ),
            ours_base="broadened",
            policy_gradient=POLICY_GRADIENT,
        ),
        broaden=BroadenConfig(num_samples=10_000, training=TrainingConfig(epochs=5)),
        task=AdditionConfig(
            grammar=GrammarConfig(max_digits=2),
            target=_small(num_problems=30_000, epochs=8, decay_steps=4800),
            attacker=_small(num_problems=20_000, epochs=4, decay_steps=1600),
            held_out=500,
        ),
    ),
    "smoke": Config(
        algorithms=(
            "prior",
            "ladder",
            "banel_f1",
            "ours_f1",
            "ours_by_novelty",
            "banel",
            "ours",
            "rnd",
            "pseudo_count",
        ),
        rounds=2,
        seeds=2,
        seeds_at_once=1,
        num_evaluated=100,
        num_final=200,
        num_prior=500,
        num_tempered=100,
        num_problems=50,
        output="runs/addition_smoke/results",
        runs="runs/addition_smoke",
        settings=Settings(
            num_candidates=20,
            failure_epochs=2,
            generator_epochs=1,
            ours=dataclasses.replace(OURS, num_candidates=20, num_distilled=40, failure_rounds=2),
            ours_base="broadened",
        ),
        broaden=BroadenConfig(num_samples=100, training=TrainingConfig(epochs=1)),
        task=AdditionConfig(
            grammar=GrammarConfig(max_digits=1),
            target=_tiny(epochs=3),
            attacker=_tiny(epochs=4),
            held_out=100,
        ),
    ),
}
