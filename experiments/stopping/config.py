"""Settings of the comparison of stopping rules, and its presets."""

from dataclasses import dataclass
from typing import Literal

from banel_jax import checks
from experiments.common import choice
from experiments.common.config import SeedsConfig
from experiments.race.tasks import TASKS
from experiments.stopping.variants import VARIANTS

# Whose rates are sums over their targets: one counted in samples has a best round by chance.
EXACT = ("addition_demo", "circles", "circles_rare", "circles_rarer", "digits")


@dataclass(frozen=True, kw_only=True)
class Config(SeedsConfig):
    """Settings of the comparison.

    Attributes:
      command: `run` runs what is not recorded, `table` judges the rules on what is.
      tasks: of the race, by name; those whose success rates are exact.
      variants: of BaNEL, by name; empty for all: banel, ours, ours_held_out, ours_f_decays,
        ours_kappa_decays.
      num_candidates: m, evaluations a round.
      rounds: of a run.
      seeds: of each task and variant.
      minutes: no run is begun that would not end within them.
      num_evaluated: samples after each round, where its rate cannot be summed over targets.
      num_prior: samples of the prior, likewise.
      output: folder of the recorded runs, the table and the figure.
      runs: folder of the trained models.
    """

    command: Literal["run", "table"] = "run"
    tasks: tuple[str, ...] = EXACT
    variants: tuple[str, ...] = ()
    num_candidates: int = 100
    rounds: int = 20
    seeds: int = 10
    minutes: float = 110.0
    num_evaluated: int = 2000
    num_prior: int = 20_000
    output: str = "experiments/results/stopping"
    runs: str = "runs/race"

    def __post_init__(self):
        super().__post_init__()
        choice.names(self, "tasks", TASKS)
        choice.names(self, "variants", VARIANTS)
        if not self.tasks:
            raise ValueError("tasks is empty; give at least one")
        checks.integers(self, "num_candidates", "num_evaluated", "num_prior", at_least=1)
        checks.reals(self, "minutes", above=0)

    @property
    def chosen(self) -> tuple[str, ...]:
        return self.variants or tuple(VARIANTS)


PRESETS: dict[str, Config] = {
    "all": Config(),
    "smoke": Config(
        tasks=("tiny",),
        variants=("banel", "ours_f_decays"),
        num_candidates=20,
        rounds=4,
        seeds=2,
        output="runs/stopping_smoke/results",
        runs="runs/stopping_smoke",
    ),
}
