"""Settings of the race, and its presets."""

from dataclasses import dataclass
from typing import Literal

from banel_jax import checks
from experiments.common import choice
from experiments.race.methods import METHODS
from experiments.race.tasks import TASKS


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of the race.

    Attributes:
      command: `cells` runs what is not recorded, `search` tries settings on other seeds, `table`
        puts together what is recorded.
      tasks: which, by name; empty for all but `tiny`.
      algorithms: which, by name; empty for all: prior, ladder, broadened, ours_f1 (controls),
        banel, ours, and the rivals of `experiments/race/methods.py`.
      num_candidates: m, evaluations a round; each makes cells of its own.
      seeds: of each cell.
      first_seed: the seeds are this one and those that follow.
      minutes: no cell is begun that would not end within them.
      budget: N, evaluations of a run; 0 for the task's own.
      num_evaluated: samples after each round, where its rate cannot be summed over targets.
      num_prior: samples of the prior, for its rate and its successes, where they cannot be listed.
      search_candidates: m of the search.
      search_seeds: of each trial.
      search_first_seed: of these, which are none of the cells'.
      output: folder of the cells, the trials, the table and the figure.
      runs: folder of the trained models.
    """

    command: Literal["cells", "search", "table"] = "cells"
    tasks: tuple[str, ...] = ()
    algorithms: tuple[str, ...] = ()
    num_candidates: tuple[int, ...] = (50, 10, 250)
    seeds: int = 20
    first_seed: int = 0
    minutes: float = 110.0
    budget: int = 0
    num_evaluated: int = 2000
    num_prior: int = 200_000
    search_candidates: int = 50
    search_seeds: int = 3
    search_first_seed: int = 1000
    output: str = "experiments/results/race"
    runs: str = "runs/race"

    def __post_init__(self):
        checks.fields(self)
        choice.names(self, "tasks", TASKS)
        choice.names(self, "algorithms", METHODS)
        checks.integers(
            self, "seeds", "num_evaluated", "num_prior", "search_candidates", "search_seeds",
            at_least=1,
        )  # fmt: skip
        checks.integers(self, "budget", at_least=0)
        checks.seeds(self, "first_seed", "search_first_seed")
        checks.reals(self, "minutes", above=0)
        if not self.num_candidates or min(self.num_candidates) < 1:
            raise ValueError(f"num_candidates={self.num_candidates} must be one or more, from 1 on")
        same = set(self.every_seed) & set(self.search_every_seed)
        if same:
            raise ValueError(
                f"seeds {min(same)} to {max(same)} are searched on and reported; give another "
                "search_first_seed"
            )
        for task in self.chosen_tasks:
            for num_candidates in (*self.num_candidates, self.search_candidates):
                self.rounds(task, num_candidates)

    @property
    def chosen_tasks(self) -> tuple[str, ...]:
        return self.tasks or tuple(name for name in TASKS if name != "tiny")

    @property
    def chosen(self) -> tuple[str, ...]:
        return self.algorithms or tuple(METHODS)

    @property
    def every_seed(self) -> range:
        return range(self.first_seed, self.first_seed + self.seeds)

    @property
    def search_every_seed(self) -> range:
        return range(self.search_first_seed, self.search_first_seed + self.search_seeds)

    def budget_of(self, task: str) -> int:
        return self.budget or TASKS[task].budget

    def rounds(self, task: str, num_candidates: int) -> int:
        """Of a run, in each of which m evaluations are paid for."""
        budget = self.budget_of(task)
        if budget % num_candidates:
            raise ValueError(
                f"num_candidates={num_candidates} does not divide the {budget} evaluations of "
                f"{task}; give another, or another budget"
            )
        return budget // num_candidates


PRESETS: dict[str, Config] = {
    "race": Config(),
    "smoke": Config(
        tasks=("tiny",),
        algorithms=("prior", "policy_gradient"),
        num_candidates=(50,),
        seeds=2,
        budget=200,
        num_evaluated=100,
        search_seeds=1,
        output="runs/race_smoke/results",
        runs="runs/race_smoke",
    ),
}
