"""What the methods of the digits have in common: the task, where they start, and its rates."""

from typing import Any, NamedTuple

from banel_jax import scoring, success_rate
from banel_jax.models import tempering
from banel_jax.success_rate import LN10
from banel_jax.tasks.digits import digits
from banel_jax.types import Params, Task
from experiments.common import report
from experiments.common.broadening import bases
from experiments.common.claims import Result
from experiments.digits.config import Config

TEMPERATURES = (0.5, 0.7, 0.9, 1.1, 1.25, 1.5, 2.0, 3.0)


class Prepared(NamedTuple):
    """What the methods of a configuration have in common; rates are log10 success rates.

    Attributes:
      task: the digits.
      bases: parameters to start from, by name.
      base: the name of those that every method starts from.
      log10_prior, log10_base: rates of the prior and of that base.
      by_temperature: of the base at single temperatures.
    """

    task: Task
    bases: dict[str, Params]
    base: str
    log10_prior: float
    log10_base: float
    by_temperature: dict[float, float]

    @property
    def best_temperature(self) -> Result:
        """The best of them, a control that costs nothing, in times the base; picking is looking."""
        best = max(self.by_temperature, key=lambda t: self.by_temperature[t])
        gain = 10 ** (self.by_temperature[best] - self.log10_base)
        return Result(f"T = {best:g}, chosen by looking", [gain])


def prepare(config: Config) -> Prepared:
    """The task and what its methods start from, kept in `config.runs`."""
    runs = report.output_folder(config.runs or config.output)
    task = digits(config.task, runs)
    starts = bases(config.bases, task, config.broaden, config.task.seed, runs, "digits")
    start = starts[config.base]
    return Prepared(
        task,
        starts,
        config.base,
        log10_prior=log10_rate(task.prior, task.prior_params, task),
        log10_base=log10_rate(task.prior, start, task),
        by_temperature={
            t: log10_rate(tempering.tempered(task.prior, t), start, task) for t in TEMPERATURES
        },
    )


def log10_rate(model, params: Params, task: Task) -> float:
    assert task.targets is not None
    scores = scoring.log_likelihood(model, params, task.targets)
    return float(success_rate.log_success_rate(scores)) / LN10


def describe(prepared: Prepared) -> str:
    assert prepared.task.targets is not None
    return (
        f"{prepared.task.targets.tokens.shape[0]:,} targets; success rate of the prior "
        f"{10**prepared.log10_prior:.3g}, exact; base: {prepared.base}, "
        f"{10**prepared.log10_base:.3g}"
    )


def measured(prepared: Prepared) -> dict[str, Any]:
    """What is known of them, for a file."""
    return {
        "log10_prior_success_rate": prepared.log10_prior,
        "log10_base_success_rate": prepared.log10_base,
        "log10_success_rate_by_temperature": prepared.by_temperature,
    }
