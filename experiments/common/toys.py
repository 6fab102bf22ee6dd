"""Toys whose prior is a table: BaNEL in several forms, all rounds of all seeds in one call.

They take seconds and measure whole densities after every round, so nothing of them is kept on disk
and their tables are their own; what they leave is published as by every experiment.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from banel_jax.algorithms.banel import BanelConfig, banel
from banel_jax.models import table
from banel_jax.runs import loop
from banel_jax.success_rate import exact_evaluation
from banel_jax.types import Algorithm, State, Task
from experiments.common.config import SeedsConfig


@dataclass(frozen=True, kw_only=True)
class ToyConfig(SeedsConfig):
    """Settings of a toy.

    Attributes:
      num_candidates: m, reward evaluations a round.
      filter_factor: f, proposals for each sample kept.
      threshold: tau in nats of the method that rejects below it instead of keeping one in f.
      num_distilled: filtered samples to distil on; 0 for num_candidates, as published.
      generator_bandwidth, failure_bandwidth: of the smoothed histograms, in bins.
      generator_floor, failure_floor: their uniform shares.
    """

    num_candidates: int = 250
    filter_factor: float = 4.0
    threshold: float = 0.5
    num_distilled: int = 0
    generator_bandwidth: float = 0.5
    generator_floor: float = 1e-3
    failure_bandwidth: float = 1.0
    failure_floor: float = 0.1

    @property
    def evaluations(self) -> int:
        """Of the reward, by every method and seed."""
        return self.rounds * self.num_candidates


class Run(NamedTuple):
    """All seeds of a method: metrics [seeds, rounds, ...] by name, and the seconds they took."""

    metrics: dict[str, np.ndarray]
    seconds: float


def learners(
    config: ToyConfig, task: Task, settings: Mapping[str, BanelConfig]
) -> dict[str, Algorithm]:
    """Algorithm 2 with these settings, by name, on smoothed histograms."""
    bins, places = task.prior_params.shape[0], task.prior_params.ndim
    fit = lambda bandwidth, floor: table.smoothed_histogram(bins, places, bandwidth, floor)
    return {
        name: banel(
            task.prior,
            setting,
            fit_generator=fit(config.generator_bandwidth, config.generator_floor),
            fit_failure_model=fit(config.failure_bandwidth, config.failure_floor),
        )
        for name, setting in settings.items()
    }


def run(
    config: ToyConfig,
    algorithm: Algorithm,
    task: Task,
    measure: Callable[[State, State], dict[str, jax.Array]],
) -> dict[str, np.ndarray]:
    """All rounds of all seeds in one compiled call, [seeds, rounds, ...] by name.

    Args:
      config: settings.
      algorithm: what learns.
      task: the toy.
      measure: `measure(asked, state)`, beside the exact success rates and the metrics.
    """
    assert task.targets is not None
    rates = exact_evaluation(algorithm, task.targets)
    evaluate = lambda asked, state: rates(asked, state) | measure(asked, state)
    experiment = loop.compiled_run(algorithm, task.reward_fn, config.rounds, evaluate)
    keys = jax.vmap(jax.random.key)(config.first_seed + jnp.arange(config.seeds))
    _, metrics = experiment(keys, task.prior_params)
    return jax.tree.map(np.asarray, metrics)


def run_each(
    algorithms: Mapping[str, Algorithm], one: Callable[[Algorithm], dict[str, np.ndarray]]
) -> dict[str, Run]:
    """Every method, with a line on the terminal for each."""
    found: dict[str, Run] = {}
    for name, algorithm in algorithms.items():
        started = time.perf_counter()
        metrics = one(algorithm)
        found[name] = Run(metrics, time.perf_counter() - started)
        end = 10 ** np.median(metrics["log10_success_rate"][:, -1])
        print(f"  {name}: ends at {end:.3g} ({found[name].seconds:.1f} s)", flush=True)
    return found


def begin(config: ToyConfig, base: float) -> None:
    print(f"base success rate {base:.4f}, exact; {config.seeds} seeds of {config.rounds} rounds")
