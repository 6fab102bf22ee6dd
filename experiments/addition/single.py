"""The addition attack in a single round (Appendix B.1), with what tells where its gain comes from.

    python -m experiments.addition.single --preset=small

pays for 300,000 samples of the attacker, fits the failure model to those that fail, and keeps
the best 1 in f of fresh proposals by log p_theta - kappa log p_phi. Beside it stand the same
filter with a failure model that was told nothing (fitted to all samples, whatever their reward),
and the filter that has no failure model but the prior itself.
"""

import dataclasses
import time
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from banel_jax import checks, sampling, scoring, training
from banel_jax.training import TrainingConfig
from banel_jax.types import Params, Sequences
from experiments.addition import experiment as addition
from experiments.addition import table as addition_table
from experiments.common import flags, report
from experiments.common.batches import in_batches, over
from experiments.common.rate_table import Rate

COLUMNS = ("failure model", "kappa", "f", "success rate", "interval", "x prior", "valid")


@dataclass(frozen=True)
class Config:
    """Settings of the exhibit; the defaults are the paper's where it tells.

    Attributes:
      experiment: the task, its models and the folders.
      seed: of all random numbers.
      num_samples: of the attacker, each paid for.
      num_kept: of the posterior, at the largest filter factor.
      filter_factors: f, keep the best 1 in f.
      kappas: sharpness of the failure model in the ratio.
      dropout: of the failure model's fit.
      failure_training: that fit, from the prior's weights.
      piece: samples in a compiled call.
    """

    experiment: addition.Config = field(default_factory=addition.Config)
    seed: int = 0
    num_samples: int = 300_000
    num_kept: int = 2000
    filter_factors: tuple[int, ...] = (16, 64, 319)
    kappas: tuple[float, ...] = (1.0, 2.0)
    dropout: float = 0.0
    failure_training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(epochs=2, batch_size=200, learning_rate=5e-4)
    )
    piece: int = 10_000

    def __post_init__(self):
        checks.fields(self)
        checks.integers(self, "num_samples", "num_kept", "piece", at_least=1)
        checks.seeds(self, "seed")
        if not self.filter_factors or min(self.filter_factors) < 1:
            raise ValueError(f"filter_factors={self.filter_factors} must be one or more, from 1 on")
        if not self.kappas or not min(self.kappas) >= 0:
            raise ValueError(f"kappas={self.kappas} must be one or more, none negative")

    @property
    def num_proposals(self) -> int:
        return self.num_kept * max(self.filter_factors)


def draw(config: Config, prepared: addition.Prepared, key, number: int, description: str):
    """Samples of the attacker and their log-likelihoods."""
    task = prepared.task
    piece = min(config.piece, number)

    @jax.jit
    def one(i):
        return sampling.sample(task.prior, jax.random.fold_in(key, i), task.prior_params, piece)

    return in_batches(lambda i: one(jnp.int32(i)), number, piece, description)


def judged(config: Config, prepared: addition.Prepared, sequences: Sequences, description: str):
    """(rewards, valid) of any number of sequences."""
    judge = lambda x: prepared.oracle.compiled_judge(x)[:2]
    return over(judge, sequences, min(config.piece, len(sequences.tokens)), description)


def scored(config: Config, model, params: Params, sequences: Sequences, description: str):
    """log p of any number of sequences, float64."""
    score = partial(scoring.log_likelihood, model, params)
    piece = min(config.piece, len(sequences.tokens))
    return over(score, sequences, piece, description).astype(np.float64)


def run(config: Config, prepared: addition.Prepared) -> list[dict[str, Any]]:
    """A row for each failure model, kappa and filter factor."""
    task = prepared.task
    keys = jax.random.split(jax.random.key(config.seed), 3)
    paid, _ = draw(config, prepared, keys[0], config.num_samples, "paid samples")
    rewards, _ = judged(config, prepared, paid, "rewards")
    proposals, prior_scores = draw(config, prepared, keys[1], config.num_proposals, "proposals")
    prior_scores = prior_scores.astype(np.float64)
    model = config.experiment.networks.model(config.dropout)
    fit = jax.jit(partial(training.fit, model, config.failure_training))
    failure_scores = {"the prior itself (control)": prior_scores}
    for name, weights in (
        ("told nothing (control)", np.ones_like(rewards)),
        ("of the failures", 1 - rewards),
    ):
        params, _ = fit(keys[2], task.prior_params, paid, jnp.asarray(weights))
        failure_scores[name] = scored(config, model, params, proposals, name)
    met = int(rewards.sum())
    rows = []
    for name, scores in failure_scores.items():
        for kappa in config.kappas:
            order = np.argsort(-(prior_scores - kappa * scores), kind="stable")
            most = config.num_proposals // min(config.filter_factors)
            kept = jax.tree.map(lambda x, order=order, most=most: x[order[:most]], proposals)
            kept_rewards, valid = judged(config, prepared, kept, f"{name}, kappa = {kappa:g}")
            for factor in config.filter_factors:
                number = config.num_proposals // factor
                rate = Rate(int(kept_rewards[:number].sum()), number)
                texts = jax.tree.map(lambda x, number=number: x[:number], kept)
                rows.append(
                    {
                        "failure model": name,
                        "kappa": kappa,
                        "f": factor,
                        "successes": rate.successes,
                        "samples": rate.samples,
                        "success_rate": rate.value,
                        "interval": rate.interval,
                        "over_prior": rate.value / prepared.prior.value
                        if prepared.prior.successes
                        else None,
                        "valid": float(valid[:number].mean()),
                        "successes_paid_for": met,
                        "modes": addition_table.modes(
                            texts,
                            kept_rewards[:number],
                            config.experiment.task.grammar.max_digits,
                        ),
                    }
                )
    return rows


def readable(row: dict[str, Any]) -> dict[str, Any]:
    low, high = row["interval"]
    return row | {
        "success rate": row["success_rate"],
        "interval": f"[{report.format_value(low)}, {report.format_value(high)}]",
        "x prior": row["over_prior"],
    }


def main(config: Config) -> None:
    started = time.perf_counter()
    path = report.output_folder(config.experiment.output) / "single_round.json"
    prepared = addition.prepare(dataclasses.replace(config.experiment, algorithms=("prior",)))
    print(addition.describe(prepared) + "\n")
    rows = run(config, prepared)
    report.print_table([readable(row) for row in rows], COLUMNS)
    print(
        f"\nthe best 1 in f of {config.num_proposals:,} proposals; intervals of 95%. Of "
        f"{config.num_samples:,} samples paid for, {rows[0]['successes_paid_for']} succeeded"
    )
    about = report.provenance(started) | {"config": dataclasses.asdict(config)}
    report.write_json(path, about | addition.measured(prepared) | {"rows": rows})
    print(f"\nwritten: {path} ({time.perf_counter() - started:.0f} s in all)")


PRESETS = {name: Config(experiment=addition.PRESETS[name]) for name in ("paper", "small")} | {
    "smoke": Config(
        addition.PRESETS["smoke"],
        num_samples=300,
        num_kept=20,
        filter_factors=(2, 5),
        failure_training=TrainingConfig(epochs=1),
        piece=100,
    )
}

if __name__ == "__main__":
    flags.run(main, PRESETS["paper"], PRESETS, resumes=False)
