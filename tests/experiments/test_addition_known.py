"""Known failures beside the addition attack: what a row of its table says."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from tiny_run import LENGTH, MODEL, PRIOR, M, V

from banel_jax.algorithms.banel import BanelConfig, banel
from banel_jax.training import TrainingConfig
from banel_jax.types import Sequences
from experiments.addition import known
from experiments.common.seed_runs import SeedRuns


def test_a_row_by_hand():
    config = known.PRESETS["smoke"]
    experiment = dataclasses.replace(config.experiment, num_final=100)
    config = dataclasses.replace(config, experiment=experiment)
    metrics = {
        "num_reward_evaluations": np.array([[20, 40, 60]] * 3),
        "num_successes": np.array([[0, 2, 3], [0, 0, 1], [1, 1, 1]]),
        "success_rate": np.array([[0.1, 0.6, 0.4], [0.0, 0.2, 0.3], [0.2, 0.3, 0.9]]),
    }
    result = SeedRuns(
        metrics, {"successes": np.array([40, 30, 90])}, np.zeros((3, 1, 1, 1)), (), 0, {}
    )
    row = known.row(config, 250, result)
    assert row["to the first success"] == 40  # of 40, 60 and 20
    assert row["to one half"] == 60  # of 40, never and 60
    assert (row["final"], row["best"]) == (0.4, 0.6)


def test_an_algorithm_begun_with_failures_is_another_and_knows_them():
    fit = TrainingConfig(epochs=1, batch_size=M, learning_rate=0.1)
    algorithm = banel(MODEL, BanelConfig(M, generator_training=fit, failure_training=fit))
    failures = Sequences(jnp.zeros((5, LENGTH), jnp.int32), jnp.ones((5, LENGTH), bool))
    begun = known.begun_with(algorithm, failures)
    assert begun.settings[:-1] == algorithm.settings and begun.settings[-1][0] == "known"
    state = begun.init(jax.random.key(0), PRIOR)
    assert state.failures.num_known == 5 and float(state.failures.weights.sum()) == 5
    zero = lambda params: float(jnp.mean(jax.nn.softmax(jnp.asarray(params))[:, 0]))
    assert zero(state.failure_model) > zero(PRIOR) and V > 1
