"""MNIST at 28x28: five seeds of thirty rounds as one compiled call."""

import dataclasses
import os
import tempfile
import time
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from banel_jax.runs import loop
from banel_jax.tasks.data_files import DATA_DIR_VARIABLE
from experiments.accelerator.section import Section, Skip
from experiments.common.methods import METHODS
from experiments.mnist import experiment as mnist

EPOCHS = 20  # of the prior: a lesser one than the experiment's, as large
NUM_TARGETS = 2000  # the likeliest, over which the rates by round are summed
PAPER = {"num_layers": 4, "num_heads": 4, "width": 128}


def run(section: Section) -> None:
    with tempfile.TemporaryDirectory() as cache:
        small = config(section.smoke, cache)
        first = measure(section, "small", small, 0.0)
        if section.smoke or first is None:
            return
        every = dataclasses.replace(small, num_round_targets=0)
        measure(section, "small_all_targets", every, 1.3 * first)
        task = dataclasses.replace(small.task, **PAPER)  # type: ignore[arg-type]
        measure(section, "large", dataclasses.replace(small, task=task), 1.5 * first)


def config(smoke: bool, cache: str) -> mnist.Config:
    if smoke:
        preset = mnist.PRESETS["smoke"]
        targets = dataclasses.replace(preset.task, num_targets=300)
        return dataclasses.replace(preset, runs=cache, seeds_at_once=2, task=targets)
    preset = mnist.PRESETS["cpu"]
    fit = dataclasses.replace(preset.task.pretraining, epochs=EPOCHS)
    task = dataclasses.replace(preset.task, pretraining=fit)
    return dataclasses.replace(
        preset, runs=cache, rounds=30, seeds=5, seeds_at_once=5, algorithms=("banel",),
        num_round_targets=NUM_TARGETS, task=task,
    )  # fmt: skip


def measure(section: Section, name: str, settings: mnist.Config, needs: float) -> float | None:
    """Prior, first call and second call; seconds of the first one, None where there was none."""
    made: dict[str, Any] = {}

    def prior():
        if not os.environ.get(DATA_DIR_VARIABLE):
            raise Skip(f"point {DATA_DIR_VARIABLE} at the folder of MNIST's four files")
        made["prepared"] = prepared = mnist.prepare(settings)
        assert prepared.task.targets is not None
        return prepared.prior_metrics | {
            "log10_rate": prepared.log10_rate, "targets": len(prepared.task.targets.tokens)
        }  # fmt: skip

    def first_call():
        algorithm = METHODS["banel"].build(settings.settings, settings.networks)
        prepared = made["prepared"]
        made["experiment"] = loop.compiled_run(
            algorithm, prepared.task.reward_fn, settings.rounds,
            mnist.evaluation(settings, prepared, algorithm), settings.seeds_at_once,
        )  # fmt: skip
        compiling = section.compiling
        found = call(made, settings, 0)
        made["running"] = found["seconds"] - (section.compiling - compiling)
        return found

    if section.part(f"prior_{name}", prior, needs) is None:
        return None
    first = section.part(name, first_call, needs)
    if first is None:
        return None
    again = partial(call, made, settings, 100)
    section.part(f"{name}_second_call", again, 1.1 * made["running"])
    return first["seconds"]


def call(made: dict[str, Any], settings: mnist.Config, first_seed: int) -> dict[str, Any]:
    """One call of the whole experiment, from seeds that were not called before."""
    prepared, seeds = made["prepared"], jnp.arange(first_seed, first_seed + settings.seeds)
    keys = jax.vmap(jax.random.key)(seeds)
    start = time.perf_counter()
    _, metrics = jax.block_until_ready(made["experiment"](keys, prepared.bases["prior"]))
    seconds = time.perf_counter() - start
    gains = np.asarray(metrics["log10_success_rate"]) - prepared.log10_rate
    memory = jax.devices()[0].memory_stats() or {}
    return {
        "seconds": seconds,
        "seconds_by_seed_and_round": seconds / (settings.seeds * settings.rounds),
        "seeds": settings.seeds,
        "rounds": settings.rounds,
        "round_targets": settings.num_round_targets or len(prepared.task.targets.tokens),
        "peak_bytes_in_use": memory.get("peak_bytes_in_use"),
        "final_decades_over_prior": gains[:, -1].tolist(),
        "best_decades_over_prior": gains.max(axis=1).tolist(),
        "successes": np.asarray(metrics["num_successes"])[:, -1].tolist(),
    }
