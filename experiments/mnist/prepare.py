"""What the algorithms of the MNIST experiment have in common: task, prior and its rates."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from banel_jax import scoring, success_rate
from banel_jax.success_rate import LN10
from banel_jax.tasks.mnist import task as mnist
from banel_jax.tasks.mnist.data import load_mnist
from banel_jax.types import Params, Sequences, Task
from experiments.common import report
from experiments.common.broadening import broadened
from experiments.common.methods import METHODS
from experiments.mnist.config import Config


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
    """

    task: Task
    bases: dict[str, Params]
    log10_rate: float
    log10_rate_without_top: float
    held_out: Sequences
    zeros: jax.Array
    prior_metrics: dict[str, float]


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
    bases = {"prior": task.prior_params}
    needed = {METHODS[name].base(config.settings) for name in config.chosen}
    if "broadened" in needed:
        bases["broadened"] = broadened(task, config.broaden, config.task.seed, cache, "mnist")
    return Prepared(
        task=task._replace(targets=targets),
        bases=bases,
        log10_rate=decades(scores),
        log10_rate_without_top=decades(scores[order][config.without_top :]),
        held_out=jax.tree.map(lambda x: x[rows], zeros),
        zeros=mnist.pixels(config.task, zeros).reshape(zeros.tokens.shape[0], -1),
        prior_metrics=prior.metrics,
    )
