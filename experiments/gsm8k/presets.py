"""Presets of the runs on GSM8K's questions: the paper's, and those for smaller models."""

import dataclasses

from banel_jax.algorithms.expert_iteration import ExpertIterationConfig
from banel_jax.training import TrainingConfig
from experiments.common.broadening import BroadenConfig
from experiments.common.methods import Settings
from experiments.gsm8k.config import OURS, SETTINGS, Config


def _small(rate: float, num_candidates: int, distilled: int) -> Settings:
    """For a small model, which learns at a higher rate, and few candidates a round; on a CPU most
    of the time is training, of which ours is given less."""
    fit = lambda epochs: TrainingConfig(epochs=epochs, learning_rate=rate)
    return dataclasses.replace(
        SETTINGS,
        num_candidates=num_candidates,
        filter_factor=8.0,
        failure_learning_rate=rate,
        generator_learning_rate=rate,
        ours=dataclasses.replace(
            OURS,
            num_candidates=num_candidates,
            filter_factor=4.0,
            num_distilled=distilled,
            failure_rounds=5,
            failure_training=fit(3),
            generator_training=fit(4),
        ),
        rnd_policy=dataclasses.replace(
            SETTINGS.rnd_policy, training=TrainingConfig(epochs=1, learning_rate=rate / 10)
        ),
    )


def _adapters(m: int, filter_factor: float, batch: int, epochs: int) -> Settings:
    """For adapters on a model of some hundred million parameters, which learn at a higher rate."""
    rate = 2e-3
    fit = lambda epochs: TrainingConfig(epochs=epochs, batch_size=batch, learning_rate=rate)
    policy = dataclasses.replace(
        SETTINGS.policy_gradient,
        training=TrainingConfig(epochs=1, batch_size=batch, learning_rate=3e-3),
    )
    return dataclasses.replace(
        SETTINGS,
        num_candidates=m,
        filter_factor=filter_factor,
        failure_epochs=epochs,
        failure_learning_rate=rate,
        generator_epochs=epochs + 1,
        generator_learning_rate=rate,
        ours=dataclasses.replace(
            OURS,
            filter_factor=filter_factor,
            failure_rounds=4,
            failure_training=fit(1),
            generator_training=fit(epochs + 1),
        ),
        both_sides=dataclasses.replace(
            SETTINGS.both_sides,
            filter_factor=filter_factor,
            failure_rounds=4,
            failure_training=fit(1),
            success_training=fit(epochs + 1),
            generator_training=fit(epochs + 1),
        ),
        ours_base="prior",
        policy_gradient=policy,
        expert_iteration=ExpertIterationConfig(training=fit(epochs + 1)),
        rnd_policy=dataclasses.replace(SETTINGS.rnd_policy, training=policy.training),
    )


# Two of SmolLM2's own hard questions, as `select` found them, at which N rho is 4 and 2; rates
# were searched on question 22 (README.md).
_SMOLLM2 = Config(
    model="smollm2",
    question=(20, 4),
    max_new_tokens=80,
    shots=3,
    algorithms=(
        "ours_f1",
        "banel",
        "ours",
        "both_sides",
        "rnd",
        "policy_gradient",
        "expert_iteration",
    ),
    rounds=8,
    seeds=2,
    num_evaluated=16,
    num_final=256,
    num_prior=512,
    num_tempered=256,
    temperatures=(0.7, 1.3),
    batch=64,
    lora="both",
    output="runs/gsm8k/results_smollm2",
    settings=_adapters(32, 4.0, batch=16, epochs=2),
)

PRESETS: dict[str, Config] = {
    "default": Config(),
    "smollm2": _SMOLLM2,
    # Minutes on a GPU: the paper's evaluations and filter.
    "smollm2_gpu": dataclasses.replace(
        _SMOLLM2,
        rounds=30,
        dtype="bfloat16",
        num_evaluated=1000,
        num_final=4000,
        num_prior=10_000,
        num_tempered=4000,
        batch=1000,
        output="runs/gsm8k/results_smollm2_gpu",
        settings=_adapters(250, 16.0, batch=50, epochs=5),
    ),
    # Of the stand-in's own hard questions, as `select` found them.
    "stand_in": Config(
        model="runs/gsm8k/stand_in",
        question=(10, 9, 3),
        max_new_tokens=160,
        rounds=8,
        num_evaluated=250,
        num_final=2000,
        num_prior=4000,
        num_tempered=1000,
        temperatures=(0.7, 0.85, 1.15, 1.5),
        batch=500,
        output="runs/gsm8k/results_stand_in",
        settings=_small(3e-4, num_candidates=50, distilled=100),
        broaden=BroadenConfig(
            num_samples=1000, training=TrainingConfig(epochs=3, learning_rate=3e-4)
        ),
    ),
    "smoke": Config(
        model="runs/gsm8k_smoke/stand_in",
        question=(0,),
        max_new_tokens=16,
        algorithms=("banel_f1", "ours_f1", "banel", "ours", "rnd"),
        rounds=2,
        num_evaluated=8,
        num_final=8,
        num_prior=8,
        num_tempered=8,
        temperatures=(0.7, 1.5),
        batch=8,
        output="runs/gsm8k_smoke/results",
        runs="runs/gsm8k_smoke",
        settings=_small(1e-3, num_candidates=4, distilled=8),
        broaden=BroadenConfig(num_samples=8, training=TrainingConfig(epochs=1)),
    ),
}
