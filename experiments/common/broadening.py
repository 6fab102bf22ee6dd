"""The prior broadened by its temperature ladder, as a base to start from."""

import os
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import partial

import jax

from banel_jax import checks, prior_cache, training
from banel_jax.models import tempering
from banel_jax.runs import fingerprint
from banel_jax.training import TrainingConfig
from banel_jax.types import Params, Task


@dataclass(frozen=True)
class BroadenConfig:
    """Settings of the broadened prior.

    Attributes:
      temperatures: the ladder that it learns to be; its samples cost no reward evaluation.
      num_samples: of the ladder.
      training: the fit to them.
    """

    temperatures: tuple[float, ...] = tempering.LADDER
    num_samples: int = 10_000
    training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(epochs=10, batch_size=100, patience=3)
    )

    def __post_init__(self):
        checks.fields(self)
        checks.integers(self, "num_samples", at_least=2)
        tempering.check(self.temperatures)


def broadened(
    task: Task,
    config: BroadenConfig,
    seed: int,
    cache_dir: str | os.PathLike,
    name: str,
) -> Params:
    """Its parameters, from the cache or trained into it.

    Args:
      task: whose prior it is.
      config: settings.
      seed: of the samples and the fit.
      cache_dir: folder of the cache.
      name: begins the file's name.
    """
    fit = partial(
        training.broaden, tempering.ladder(task.prior, config.temperatures), task.prior,
        config.training, num_samples=config.num_samples,
    )  # fmt: skip

    def train():
        params, info = jax.jit(lambda p: fit(jax.random.key(seed), p))(task.prior_params)
        return params, {"epochs": info.epochs_run}

    settings = {
        "prior": fingerprint.of_arrays(task.prior_params),  # wherever they come from
        "model": task.prior.settings,
        "broaden": config,
        "seed": seed,
    }
    return prior_cache.load_or_train(
        cache_dir, f"{name}-broadened", settings, task.prior_params, train
    )[0]


def bases(
    needed: Collection[str],
    task: Task,
    config: BroadenConfig,
    seed: int,
    cache_dir: str | os.PathLike,
    name: str,
) -> dict[str, Params]:
    """Parameters to start from, by name: `prior`, and where they are `needed` `broadened`, and
    `both` by name, for arms of a hedge.

    Args:
      needed: what the methods that are run start from.
      task, config, seed, cache_dir, name: as for `broadened`.
    """
    found = {"prior": task.prior_params}
    if {"broadened", "both"} & set(needed):
        found["broadened"] = broadened(task, config, seed, cache_dir, name)
    if "both" in needed:
        found["both"] = dict(found)
    return found
