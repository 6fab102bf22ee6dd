"""Digits, 0 -> 6: BaNEL beside its controls on real handwritten digits.

    python -m experiments.digits

pretrains a transformer on scikit-learn's 8x8 0s and lets each method look for 6s, paying for
every look; see the README for minutes and results. The same command on the same folder goes
on where it was stopped.
"""

import dataclasses

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from banel_jax import loop, scoring, success_rate, training
from banel_jax.algorithms.banel import BanelConfig, banel
from banel_jax.algorithms.prior_sampling import prior_sampling
from banel_jax.algorithms.sequential_filtering import (
    SequentialFilteringConfig,
    sequential_filtering,
)
from banel_jax.models import tempering
from banel_jax.models.transformer import transformer
from banel_jax.success_rate import LN10
from banel_jax.tasks.digits import DigitsConfig, digits
from banel_jax.training import TrainingConfig
from banel_jax.types import Algorithm, Params, Task
from experiments import digits_figures, flags, report

PRIOR = "prior"
LADDER = "tempered ladder"
PUBLISHED_CONTROL = "published, f = 1"
PUBLISHED = "Algorithm 2, published"
CONTROL = "Algorithm 2, ours, f = 1"
OURS = "Algorithm 2, ours"
FILTERING = "Algorithm 1, ours"
METHODS = (PRIOR, LADDER, PUBLISHED_CONTROL, PUBLISHED, CONTROL, OURS, FILTERING)
CONTROLS = (PRIOR, LADDER, PUBLISHED_CONTROL, CONTROL)
TEMPERATURES = (0.5, 0.7, 0.9, 1.1, 1.25, 1.5, 2.0, 3.0)
COLUMNS = (
    "method", "final x base", "final", "median of rounds", "best", "x best control",
    "successes met", "first success", "NRE", "seconds",
)  # fmt: skip


@dataclass(frozen=True)
class BroadenConfig:
    """Settings of the broadened base.

    Attributes:
      num_samples: of the temperature ladder; they cost no evaluation.
      training: the fit to them.
    """

    num_samples: int = 10_000
    training: TrainingConfig = TrainingConfig(epochs=20, batch_size=100, patience=3)


@dataclass(frozen=True)
class Config:
    """Settings of the experiment.

    Attributes:
      methods: which to run, by number: 0 prior, 1 tempered ladder, 2 published with f = 1,
        3 Algorithm 2 as published, 4 ours with f = 1, 5 Algorithm 2 ours, 6 Algorithm 1 ours.
      rounds: of every method, each of num_candidates reward evaluations.
      seeds: how many runs of each method.
      first_seed: the seeds are this one and those that follow.
      num_candidates: m.
      base: what every method starts from, the prior or the prior broadened by its ladder.
      failure_dropout: of the failure model of ours.
      ours: Algorithm 2; num_candidates and failure_rounds are set from the run.
      filtering: Algorithm 1; likewise.
      broaden: the broadened base.
      output: folder of the runs, the figures and summary.json.
      task: the digits.
    """

    methods: tuple[int, ...] = tuple(range(len(METHODS)))
    rounds: int = 10
    seeds: int = 3
    first_seed: int = 0
    num_candidates: int = 250
    base: Literal["prior", "broadened"] = "prior"
    failure_dropout: float = 0.1
    ours: BanelConfig = BanelConfig(
        num_distilled=1000,
        generator_training=TrainingConfig(epochs=4, learning_rate=1e-3),
        failure_training=TrainingConfig(epochs=5, learning_rate=1e-3),
        failure_start="fresh",
    )
    filtering: SequentialFilteringConfig = SequentialFilteringConfig(
        failure_training=TrainingConfig(epochs=5, learning_rate=1e-3), failure_start="fresh"
    )
    broaden: BroadenConfig = field(default_factory=BroadenConfig)
    output: str = "runs/digits"
    task: DigitsConfig = field(default_factory=DigitsConfig)

    def __post_init__(self):
        for name in ("rounds", "seeds", "num_candidates"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")
        if self.first_seed < 0:
            raise ValueError(f"first_seed={self.first_seed} must not be negative")
        if not self.methods or not set(self.methods) <= set(range(len(METHODS))):
            raise ValueError(f"methods={self.methods} must be numbers from 0 to {len(METHODS) - 1}")
        algorithms(self)  # their own checks, before anything is paid for


def algorithms(config: Config) -> dict[str, Any]:
    """The settings of every method that has any."""
    common = dict(num_candidates=config.num_candidates)
    published = BanelConfig(**common)
    memory = dict(failure_rounds=config.rounds, **common)
    ours = dataclasses.replace(config.ours, **memory)
    return {
        PUBLISHED_CONTROL: dataclasses.replace(published, filter_factor=1.0),
        PUBLISHED: published,
        CONTROL: dataclasses.replace(ours, filter_factor=1.0),
        OURS: ours,
        FILTERING: dataclasses.replace(config.filtering, **memory),
    }


def build(config: Config, name: str, task: Task) -> Algorithm:
    model = task.prior
    if name in (PRIOR, LADDER):
        drawn = tempering.ladder(model) if name == LADDER else model
        return prior_sampling(drawn, config.num_candidates)
    setting = algorithms(config)[name]
    if name in (PUBLISHED, PUBLISHED_CONTROL):
        return banel(model, setting)
    regularised = dataclasses.replace(config.task.transformer, dropout=config.failure_dropout)
    make = sequential_filtering if name == FILTERING else banel
    return make(model, setting, failure_model=transformer(regularised))


class Base(NamedTuple):
    """Where the methods start: parameters, and log10 success rate."""

    params: Params
    log10_rate: float


def log10_rate(model, params: Params, task: Task) -> float:
    assert task.targets is not None
    scores = scoring.log_likelihood(model, params, task.targets)
    return float(success_rate.log_success_rate(scores)) / LN10


def base_of(config: Config, task: Task) -> Base:
    params = task.prior_params
    if config.base == "broadened":
        wide = partial(
            training.broaden, tempering.ladder(task.prior), task.prior, config.broaden.training
        )
        key = jax.random.key(config.task.seed)
        params = jax.jit(lambda k, p: wide(k, p, config.broaden.num_samples)[0])(key, params)
    return Base(params, log10_rate(task.prior, params, task))


def run_method(
    config: Config, name: str, task: Task, base: Base, folder: Path
) -> dict[str, np.ndarray]:
    """All seeds of a method through the one loop; metrics [seeds, rounds]."""
    assert task.targets is not None
    algorithm = build(config, name, task)
    evaluate = success_rate.exact_evaluation(algorithm, task.targets)
    runs = []
    for seed in range(config.first_seed, config.first_seed + config.seeds):
        result = loop.run(
            algorithm,
            base.params,
            task.reward_fn,
            loop.RunConfig(config.rounds, seed),
            folder / _slug(name) / f"seed_{seed}",
            evaluate=evaluate,
            configuration={
                "method": name,
                "settings": dataclasses.asdict(algorithms(config)[name])
                if name in algorithms(config)
                else {},
                "task": dataclasses.asdict(config.task),
            },
            description=f"{name}, seed {seed}",
        )
        runs.append(result.metrics)
    names = runs[0][0]
    return {n: np.array([[record[n] for record in run] for run in runs]) for n in names}


def _slug(name: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in name.lower()).strip("_")
