"""The addition attack begun with failures that are known already, as a lab has them.

    python -m experiments.addition.known --preset=demo

draws proposals of the attacker, or of the base that ours starts from, takes those that fail as
known, and runs ours with none of them and with more and more, for the same number of paid
evaluations from the same seeds.
"""

import dataclasses
import time
from dataclasses import dataclass, field
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from banel_jax import checks, sampling
from banel_jax.runs import given
from banel_jax.runs.leaves import checksum
from banel_jax.types import Algorithm, Sequences
from experiments.addition import experiment as addition
from experiments.addition.prepare import JUDGED, Prepared, prepare
from experiments.common import flags, report
from experiments.common.batches import in_batches
from experiments.common.seed_runs import Runner, SeedRuns

COLUMNS = (
    "drawn from", "known failures", "to the first success", "to one half", "final", "best",
)  # fmt: skip


@dataclass(frozen=True)
class Config:
    """Settings of the exhibit.

    Attributes:
      experiment: the task, its models, ours and the folders.
      numbers: of known failures.
      sources: what proposed the known ones: the `prior`, or the `base` that ours starts from.
      seed: of the proposals among which the known ones are.
    """

    experiment: addition.Config = field(default_factory=lambda: addition.PRESETS["small"])
    numbers: tuple[int, ...] = (0, 250, 2500, 25_000)
    sources: tuple[Literal["prior", "base"], ...] = ("prior", "base")
    seed: int = 101

    def __post_init__(self):
        checks.fields(self)
        checks.seeds(self, "seed")


def failures(config: Config, prepared: Prepared, source: str) -> Sequences:
    """As many proposals that fail as the largest number asks for."""
    most, task = max(config.numbers), prepared.task
    ours = addition.METHODS["ours"].base(config.experiment.settings)
    params = task.prior_params if source == "prior" else prepared.bases[ours]

    @jax.jit
    def draw(key):
        sequences, _ = sampling.sample(task.prior, key, params, JUDGED)
        return sequences, task.reward_fn(sequences)

    one = lambda i: draw(jax.random.fold_in(jax.random.key(config.seed), i))
    sequences, rewards = in_batches(one, most + JUDGED, JUDGED, "known failures")
    failed = np.flatnonzero(np.asarray(rewards) == 0)[:most]
    return jax.tree.map(lambda x: np.asarray(x)[failed], sequences)


def begun_with(algorithm: Algorithm, known: Sequences) -> Algorithm:
    """The algorithm as it is once it was told of failures that cost nothing."""
    begun = given.begun_with(algorithm, known, jnp.zeros(len(known.tokens)))
    return begun._replace(settings=(*algorithm.settings, ("known", f"{checksum(known):08x}")))


def runs(config: Config, prepared: Prepared, known: Sequences, number: int) -> SeedRuns:
    c = config.experiment
    method = addition.METHODS["ours"]
    algorithm = method.build(c.settings, c.networks)
    if number:
        algorithm = begun_with(algorithm, jax.tree.map(lambda x: jnp.asarray(x[:number]), known))
    plain = addition.runner(c, "ours", prepared)
    runner = Runner(
        f"ours_known_{number}", algorithm, prepared.task, plain.base, c.rounds,
        addition.evaluation(c, prepared, algorithm),
        addition.final_evaluation(c, prepared, algorithm),
        {"task": c.task, "known": number}, plain.folder, c.block, min(c.seeds_at_once, c.seeds),
        addition.NUM_SNAPSHOT,
    )  # fmt: skip
    return runner.run_seeds(range(c.seeds))


def row(config: Config, number: int, result: SeedRuns) -> dict[str, Any]:
    """Medians over the seeds; None where it was never reached in the median."""
    c = config.experiment
    m = result.metrics["num_reward_evaluations"][:, 0]
    reached = lambda of: np.where(of.any(axis=1), m * (1 + of.argmax(axis=1)), np.inf)
    median = lambda values: None if np.isinf(x := float(np.median(values))) else x
    rate = result.metrics["success_rate"]
    return {
        "known failures": number,
        "to the first success": median(reached(result.metrics["num_successes"] > 0)),
        "to one half": median(reached(rate >= 0.5)),
        "final": float(np.median(result.final["successes"])) / c.num_final,
        "best": float(np.median(rate.max(axis=1))),
    }


def main(config: Config) -> None:
    started = time.perf_counter()
    path = report.output_folder(config.experiment.output) / "known.json"
    prepared = prepare(config.experiment)
    rows = []
    for i, source in enumerate(config.sources):
        known = failures(config, prepared, source)
        for number in config.numbers:
            if number or not i:  # none of them is none of either
                result = runs(config, prepared, known, number)
                of = {"drawn from": source if number else "-"}
                rows.append(of | row(config, number, result))
    report.print_table(rows, COLUMNS)
    paid = config.experiment.rounds * config.experiment.settings.num_candidates
    print(f"\nof {paid:,} paid evaluations, medians over {config.experiment.seeds} seeds")
    about = report.provenance(started) | {"config": dataclasses.asdict(config)}
    report.write_json(path, about | addition.measured(prepared) | {"rows": rows})
    print(f"written: {path}")


PRESETS = {name: Config(addition.PRESETS[name]) for name in ("paper", "small", "demo")} | {
    "smoke": Config(addition.PRESETS["smoke"], numbers=(0, 20))
}

if __name__ == "__main__":
    flags.run(main, PRESETS["small"], PRESETS)
