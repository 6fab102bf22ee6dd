"""What the algorithms of the MNIST experiment have in common: task, prior and its rates."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from banel_jax import scoring, success_rate
from banel_jax.success_rate import LN10
from banel_jax.tasks.mnist import task as mnist
from banel_jax.tasks.mnist.data import load_mnist
from banel_jax.types import Params, Sequences, Task
from experiments.common import report
from experiments.common.broadening import bases
from experiments.common.rates import FreeControl
from experiments.mnist import controls
from experiments.mnist.config import Config
from experiments.mnist.controls import Rates


class Prepared(NamedTuple):
    """What the algorithms of a configuration have in common.

    Attributes:
      task: with all targets, the likeliest under the prior first.
      bases: parameters to start from, by name.
      log10_rate: of the prior over all targets.
      log10_rate_without_top: the same without the likeliest of them.
      held_out: 0s that the prior was not trained on.
      zeros: images of the training 0s, float32 [n, pixels].
      prior_metrics: held-out nats of the prior and its epochs.
      by_temperature: rates of the prior at single temperatures.
      by_cut: of its likeliest 1 in f.
      free_controls: those of them that tables and figures show.
    """

    task: Task
    bases: dict[str, Params]
    log10_rate: float
    log10_rate_without_top: float
    held_out: Sequences
    zeros: jax.Array
    prior_metrics: dict[str, float]
    by_temperature: dict[float, Rates]
    by_cut: dict[float, Rates]
    free_controls: list[FreeControl[Rates]]


def prepare(config: Config) -> Prepared:
    """The task, its prior and what else is needed, all of it kept in `config.runs`."""
    data = load_mnist(config.data_dir or None)
    cache = report.output_folder(config.runs)
    prior = mnist.pretrained_prior(config.task, data, cache, config.prior_file or None)
    task = mnist.mnist(config.task, data, prior)
    assert task.targets is not None
    scores = scoring.log_likelihood(task.prior, task.prior_params, task.targets)
    if config.without_top >= len(scores):
        raise ValueError(
            f"without_top={config.without_top} leaves none of {len(scores)} targets; give fewer"
        )
    order = jnp.argsort(-scores, stable=True)
    targets = jax.tree.map(lambda x: x[order], task.targets)
    decades = lambda scores: float(success_rate.log_success_rate(scores)) / LN10
    zeros, held_out = mnist.pretraining_sequences(config.task, data)
    rows = np.flatnonzero(np.asarray(held_out))[:200]
    task = task._replace(targets=targets)
    factor = config.filters_together
    by_temperature = controls.tempering(task, config.without_top)
    by_cut = controls.cutting(task, config.without_top, factor, config.num_cut_samples)
    return Prepared(
        task=task,
        bases=bases(config.bases, task, config.broaden, config.task.seed, cache, "mnist"),
        log10_rate=decades(scores),
        log10_rate_without_top=decades(scores[order][config.without_top :]),
        held_out=jax.tree.map(lambda x: x[rows], zeros),
        zeros=mnist.pixels(config.task, zeros).reshape(zeros.tokens.shape[0], -1),
        prior_metrics=prior.metrics,
        by_temperature=by_temperature,
        by_cut=by_cut,
        free_controls=controls.shown(by_temperature, by_cut, factor),
    )


def describe(prepared: Prepared) -> str:
    assert prepared.task.targets is not None
    return (
        f"{prepared.task.targets.tokens.shape[0]:,} targets; success rate of the prior "
        f"{10**prepared.log10_rate:.3g}, exact; its held-out 0s take "
        f"{prepared.prior_metrics['held_out_nats']:.1f} nats"
    )


def measured(prepared: Prepared) -> dict[str, Any]:
    """What is known of the prior itself, for a file."""
    by_rate = lambda rates: {at: rate.log10_rate for at, rate in rates.items()}
    return {
        "log10_prior_success_rate": prepared.log10_rate,
        "prior": prepared.prior_metrics,
        "log10_success_rate_by_temperature": by_rate(prepared.by_temperature),
        "log10_success_rate_of_likeliest_1_in": by_rate(prepared.by_cut),
    }
