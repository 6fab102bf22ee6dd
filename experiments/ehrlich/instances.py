"""The instances that were chosen, by name: each a function, a threshold and the prior's rate."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from banel_jax import files
from banel_jax.prior_cache import Prior
from banel_jax.tasks.ehrlich import (
    Ehrlich,
    EhrlichConfig,
    EhrlichPriorConfig,
    draw,
    ehrlich,
    fitted,
)
from banel_jax.training import TrainingConfig
from banel_jax.types import Task

FILE = Path(__file__).parents[1] / "results" / "ehrlich" / "instances.json"


class Instance(NamedTuple):
    """A task of known rate, before its prior is fitted.

    Attributes:
      name: as in the file.
      config: of the function.
      threshold: a sequence succeeds from this value on.
      rate, interval: of the prior, with 95%.
      chain_rate: of the function's own chain.
      prior: how the prior is fitted.
      drawn: motifs and spacings of the function, as lists.
    """

    name: str
    config: EhrlichConfig
    threshold: float
    rate: float
    interval: tuple[float, float]
    chain_rate: float
    prior: EhrlichPriorConfig
    drawn: dict[str, Any]


class Prepared(NamedTuple):
    """An instance with its function and its task, whose prior is fitted.

    Attributes:
      instance: as it stands in the file; its `rate` is the prior's success rate.
      function: its `value(sequences)` is graded, its `levels` are the values there are, and
        `reward(threshold)` is the reward at another threshold.
      task: with the reward at the instance's threshold.
      prior: the model, its parameters and how well they fit.
    """

    instance: Instance
    function: Ehrlich
    task: Task
    prior: Prior


def named(file: str | os.PathLike = FILE) -> dict[str, Instance]:
    """All instances of a file by name, the most frequent success first.

    Raises:
      OSError: for a file that cannot be read.
      ValueError: for one that holds something else.
    """
    told = files.read_object(Path(file))
    try:
        fit = told["config"]["prior"]
        prior = EhrlichPriorConfig(**fit | {"pretraining": TrainingConfig(**fit["pretraining"])})
        return {row["name"]: _instance(row, prior) for row in told["instances"]}
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{file} has no instances ({error!r}); make some by python -m experiments.ehrlich"
        ) from error


def prepared(name: str, runs: str | os.PathLike, file: str | os.PathLike = FILE) -> Prepared:
    """An instance ready to be run: its task with its fitted prior, and its known rate.

    The prior is fitted into `runs`, which takes a minute or two on one core, or found there by its
    data, model and fit; instances of one chain share it.

    Args:
      name: as in `named()`.
      runs: folder of the fitted priors.
      file: of the instances.

    Raises:
      OSError, ValueError: as `named`; ValueError also for a name that is none of them, for a folder
        that cannot be used, and where NumPy draws another function than it did for the file.
    """
    every = named(file)
    if name not in every:
        raise ValueError(f"there is no instance {name!r}; choose one of {', '.join(every)}")
    instance = every[name]
    function = draw(instance.config)
    if described(function) != instance.drawn:
        raise ValueError(
            f"the seed of {name} draws another function than it did for {file}; make it anew by "
            "python -m experiments.ehrlich"
        )
    prior = fitted(function, instance.prior, runs)
    return Prepared(instance, function, ehrlich(function, instance.threshold, prior), prior)


def described(function: Ehrlich) -> dict[str, Any]:
    """The motifs of a function and their spacings, as lists."""
    return {"motifs": function.motifs.tolist(), "spacings": function.spacings.tolist()}


def _instance(row: Mapping[str, Any], prior: EhrlichPriorConfig) -> Instance:
    low, high = row["prior"]["interval"]
    return Instance(
        row["name"], EhrlichConfig(**row["function"]), row["threshold"],
        row["prior"]["success_rate"], (low, high), row["chain"]["success_rate"], prior,
        {key: row[key] for key in ("motifs", "spacings")},
    )  # fmt: skip
