"""How a method is run on a question: its models, adapters or whole, and how they are judged."""

import dataclasses

import jax
import jax.numpy as jnp

from banel_jax import files, success_rate
from banel_jax.models.lora import lora, lora_algorithm
from banel_jax.tasks.text import on_host
from banel_jax.types import Algorithm, Params, SequenceModel, State, Task
from experiments.common.methods import Method
from experiments.common.seed_runs import Runner
from experiments.gsm8k.config import Config
from experiments.gsm8k.methods import METHODS
from experiments.gsm8k.prepare import Prepared

NUM_SNAPSHOT = 8  # responses kept of each block of rounds


def adapted(
    config: Config, prepared: Prepared, method: Method, base: Params
) -> tuple[Algorithm, Params]:
    """A method with the models that `config.lora` names as adapters over a base, and what it
    starts from."""
    networks, settings = prepared.networks, config.settings
    if config.lora == "none":
        return method.build(settings, networks), base
    # Adapters start as the base, so a fresh failure model is one that starts there.
    fresh = {
        name: dataclasses.replace(getattr(settings, name), failure_start="fresh")
        for name in ("ours", "both_sides")
    }
    settings = dataclasses.replace(settings, failure_start="fresh", **fresh)
    model = networks.model(0.0)

    def build(adapters: SequenceModel, base: Params) -> Algorithm:
        full = model._replace(init=lambda key: base)
        generator = model if config.lora == "failure" else adapters
        failure_model = full if config.lora == "generator" else adapters
        return method.build(
            settings,
            dataclasses.replace(
                networks, model=lambda dropout: generator, failure_model=failure_model
            ),
        )

    algorithm = lora_algorithm(model, base, config.adapters, build)
    if config.lora == "failure":
        return algorithm, base
    key = jax.random.key(config.first_seed)
    return algorithm, lora(model, base, config.adapters).init(key)


def evaluation(config: Config, prepared: Prepared, algorithm: Algorithm):
    """Of each round: what the generator and, where there is a filter, what passed it gets right."""
    judge, key = on_host(prepared.oracle), jax.random.key(9)
    measure = lambda samples: {"reward": judge(samples)}
    count = success_rate.monte_carlo(algorithm, measure, config.num_evaluated, key)

    def evaluate(asked: State, state: State):
        found = {"success_rate": count(state).share("reward")}
        if hasattr(asked, "batch"):  # Algorithm 2's, all that it distils
            found["filtered_success_rate"] = jnp.mean(judge(asked.batch))
        return found

    return evaluate


def final_evaluation(config: Config, prepared: Prepared, algorithm: Algorithm):
    """Of the last state, by other samples."""
    judge, answered = on_host(prepared.oracle), on_host(prepared.oracle.answered)
    measure = lambda samples: {"reward": judge(samples), "valid": answered(samples)}
    count = success_rate.monte_carlo(algorithm, measure, config.num_final, jax.random.key(10))

    def final(state: State):
        counted = count(state)
        return {"successes": counted.totals["reward"], "valid": counted.share("valid")}

    return final


def runner(config: Config, name: str, prepared: Prepared) -> Runner:
    method = METHODS[name]
    algorithm, start = adapted(
        config, prepared, method, prepared.bases[method.base(config.settings)]
    )
    task = Task(
        prepared.networks.model(0.0), start, on_host(prepared.oracle), None, prepared.oracle.texts
    )
    lora_settings = {} if config.lora == "none" else {"lora": config.lora}
    return Runner(
        f"q{prepared.question}-{name}",
        algorithm,
        method.task(task),
        start,
        config.rounds,
        evaluation(config, prepared, algorithm),
        final_evaluation(config, prepared, algorithm),
        {
            "gold": prepared.problem.gold,
            "rule": config.rule,
            "num_evaluated": config.num_evaluated,
            "num_final": config.num_final,
            **lora_settings,
            **method.configuration,
        },
        files.expand(config.runs) / "cells",
        config.block,
        num_snapshot=NUM_SNAPSHOT,
    )
