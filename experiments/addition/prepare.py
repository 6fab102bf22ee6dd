"""What the algorithms of the addition attack have in common: both models, and the prior's rates."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from banel_jax import sampling
from banel_jax.tasks.addition import models as addition_models
from banel_jax.tasks.addition.task import AdditionOracle
from banel_jax.types import Params, Task
from experiments.addition import table as addition_table
from experiments.addition.config import Config
from experiments.common import rate_table, report
from experiments.common.batches import in_batches
from experiments.common.broadening import bases
from experiments.common.rate_table import FreeControl, Rate

TEMPERATURES = (0.5, 0.7, 0.85, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0)


FACTORS = (4, 16, 64, 256)


JUDGED = 10_000  # proposals in a compiled call outside the rounds


class Prepared(NamedTuple):
    """What the algorithms of a configuration have in common.

    Attributes:
      task, oracle: the attack, and its oracle, which says more than the reward.
      bases: parameters to start from, by name.
      prior: its success rate.
      valid: the share of its proposals that the grammar allows.
      by_temperature: rates of the prior at single temperatures.
      by_factor: rates of its least likely 1 in f.
      accuracy: of the target, by the digits of the longer operand.
      modes: of the prior's proposals, and of those that succeed, how many of each.
      metrics: held-out nats and epochs of both models.
    """

    task: Task
    oracle: AdditionOracle
    bases: dict[str, Params]
    prior: Rate
    valid: float
    by_temperature: dict[float, Rate]
    by_factor: dict[float, Rate]
    accuracy: dict[int, float]
    modes: dict[str, dict[str, int]]
    metrics: dict[str, dict[str, float]]

    @property
    def free_controls(self) -> list[FreeControl]:
        return [
            rate_table.best_of("best T", self.by_temperature),
            rate_table.best_of("least likely 1 in f of the prior", self.by_factor),
        ]


def prepare(config: Config) -> Prepared:
    """The models, from `config.runs` or trained into it, and what is measured of them."""
    cache = report.output_folder(config.runs)
    print(f"first the target and the attacker, trained or found in {config.runs}", flush=True)
    c = config.task
    train = lambda name, file: addition_models.trained(c, name, cache, file or None)
    target, attacker = train("target", config.target_file), train("attacker", config.attacker_file)
    task, oracle = addition_models.attack(c, target, attacker)

    @partial(jax.jit, static_argnums=2)
    def draw(key, temperature, n):
        sequences, scores = sampling.sample(
            task.prior, key, task.prior_params, n, temperature=temperature
        )
        return sequences, scores, oracle.judge(sequences)

    def drawn(seed, n, temperature=1.0):
        key, size = jax.random.key(seed), min(n, JUDGED)
        one = lambda i: draw(jax.random.fold_in(key, i), jnp.float32(temperature), size)
        return in_batches(one, n, size, f"prior at T = {temperature:g}")

    sequences, scores, verdict = drawn(11, config.num_prior)
    rate = lambda rewards: Rate(int(rewards.sum()), len(rewards))
    by_novelty = verdict.reward[np.argsort(scores, kind="stable")]
    return Prepared(
        task,
        oracle,
        bases(config.bases, task, config.broaden, c.seed, cache, "addition"),
        prior=rate(verdict.reward),
        valid=float(verdict.valid.mean()),
        by_temperature={t: rate(drawn(12, config.num_tempered, t)[2].reward) for t in TEMPERATURES},
        by_factor={f: rate(by_novelty[: -(-len(by_novelty) // f)]) for f in FACTORS},
        accuracy=addition_models.accuracy(oracle, c.seed + 1, config.num_problems),
        modes=addition_table.modes(sequences, verdict.reward, c.grammar.max_digits),
        metrics={"target": target.metrics, "attacker": attacker.metrics},
    )


def describe(prepared: Prepared) -> str:
    low, high = prepared.prior.interval
    right = ", ".join(f"{digits}: {share:.4f}" for digits, share in prepared.accuracy.items())
    return (
        f"the target answers right, by digits of the longer operand: {right}\n"
        f"the attacker succeeds at {prepared.prior.value:.3g} [{low:.3g}, {high:.3g}] "
        f"({prepared.prior.samples:,} samples, 95% interval); {prepared.valid:.3f} of its "
        "proposals are grammatical"
    )


def measured(prepared: Prepared) -> dict[str, Any]:
    """What is known of the models themselves, for a file."""
    told = rate_table.as_told
    return {
        "prior": told(prepared.prior) | {"valid": prepared.valid},
        "by_temperature": {t: told(rate) for t, rate in prepared.by_temperature.items()},
        "least_likely_1_in": {f: told(rate) for f, rate in prepared.by_factor.items()},
        "target_accuracy_by_digits": prepared.accuracy,
        "models": prepared.metrics,
    }
