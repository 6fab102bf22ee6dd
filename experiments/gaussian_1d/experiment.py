"""A toy that loses a mode, and two signs of it that need no reward.

    python -m experiments.gaussian_1d

takes about 15 seconds on 2 CPU cores. A standard normal in bins is rewarded about -2 and +2;
ten samples a round; the failure model is a smoothed histogram. Rejecting the worse half of
the proposals in every round ends on one of the two points. With a fixed threshold, everything
else the same, both are kept.

Two signs would have told without knowing the rewards:

- The threshold that "the best half" amounts to climbs well above 0: the filter then rejects
  points that are likelier under the prior than under the failures, against its own evidence.
- The coverage falls below one half. By Eq. 6 the posterior gives every point outside the
  rejection region at least its prior probability. So of the prior's mass where no failure was
  ever met nearby, all should be left; what is gone was lost without any evidence.
"""

import dataclasses
import textwrap
import time
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np

from banel_jax import checks
from banel_jax.algorithms.banel import BanelConfig, banel
from banel_jax.models import table
from banel_jax.runs import loop
from banel_jax.success_rate import exact_evaluation
from banel_jax.tasks.gaussian_1d import Gaussian1DConfig, centres, gaussian_1d, mode_bins
from banel_jax.types import Algorithm, Task
from experiments.common import claims, report, table_controls
from experiments.gaussian_1d import figure as gaussian_1d_figure

PUBLISHED = "best half, latest failures"
ALL_FAILURES = "best half, all failures"
THRESHOLD = "threshold, all failures"
COLUMNS = (
    "method", "final", "modes", "all kept", "coverage", "alarm", "alarm if lost",
    "alarm if kept", "tau", "KL", "NRE", "seconds",
)  # fmt: skip
ALARM = 0.5  # of the coverage


@dataclass(frozen=True)
class Config:
    """Settings of the experiment.

    Attributes:
      rounds: of every method.
      seeds: how many runs of each method.
      first_seed: the seeds are this one and those that follow.
      num_candidates: m, reward evaluations a round.
      filter_factor: f of the methods that keep the best 1 / f.
      threshold: tau of the other, in nats.
      num_distilled: filtered samples to distil on.
      generator_bandwidth, failure_bandwidth: of the smoothed histograms, in bins.
      generator_floor, failure_floor: their uniform shares.
      output: folder for the figure and summary.json.
      task: the normal and its rewards.
    """

    rounds: int = 15
    seeds: int = 40
    first_seed: int = 0
    num_candidates: int = 10
    filter_factor: float = 2.0
    threshold: float = 0.0
    num_distilled: int = 1000
    generator_bandwidth: float = 0.3
    generator_floor: float = 1e-3
    failure_bandwidth: float = 0.7
    failure_floor: float = 0.05
    output: str = "runs/gaussian_1d"
    task: Gaussian1DConfig = field(default_factory=Gaussian1DConfig)

    def __post_init__(self):
        checks.fields(self)
        checks.integers(self, "rounds", "seeds", at_least=1)
        checks.seeds(self, "first_seed")


def learners(config: Config, task: Task) -> dict[str, Algorithm]:
    bins = task.prior_params.shape[0]
    fit = lambda bandwidth, floor: table.smoothed_histogram(bins, 1, bandwidth, floor)
    published = BanelConfig(
        num_candidates=config.num_candidates,
        filter_factor=config.filter_factor,
        num_distilled=config.num_distilled,
    )
    kept = dataclasses.replace(published, failure_rounds=config.rounds)
    threshold = dataclasses.replace(kept, rejection="threshold", threshold=config.threshold)
    return {
        name: banel(
            task.prior,
            setting,
            fit_generator=fit(config.generator_bandwidth, config.generator_floor),
            fit_failure_model=fit(config.failure_bandwidth, config.failure_floor),
        )
        for name, setting in ((PUBLISHED, published), (ALL_FAILURES, kept), (THRESHOLD, threshold))
    }


def run(config: Config, algorithm: Algorithm, task: Task) -> dict[str, np.ndarray]:
    """All rounds of all seeds in one compiled call; arrays [seeds, rounds, ...].

    Beside the metrics: `generator`, log densities after the round; `threshold`, that of the
    round's filter; `failures`, how many failures each bin has seen up to and with the round.
    """
    assert task.targets is not None
    rates = exact_evaluation(algorithm, task.targets)

    def evaluate(asked, state):
        candidates = jax.tree.map(lambda x: x[: config.num_candidates], asked.batch)
        failed = 1 - task.reward_fn(candidates)
        return rates(asked, state) | {
            "generator": state.generator,
            "threshold": asked.threshold,
            "failures": jnp.zeros_like(state.base).at[candidates.tokens[:, 0]].add(failed),
        }

    experiment = loop.compiled_run(algorithm, task.reward_fn, config.rounds, evaluate)
    keys = jax.vmap(jax.random.key)(config.first_seed + jnp.arange(config.seeds))
    _, metrics = experiment(keys, task.prior_params)
    metrics = jax.tree.map(np.asarray, metrics)
    return metrics | {"failures": np.cumsum(metrics["failures"], axis=1)}


def coverage(prior, generator, failures, bandwidth: float):
    """How much of the prior's untried mass a generator still holds, in [0, 1].

    A bin is untried if the failures met so far, each spread by a Gaussian kernel of height 1,
    add up to less than half a failure there. Of the prior's mass on untried bins, the share
    that the generator holds (at most its prior probability counted for each bin) is 1 for the
    posterior of Eq. 6. No reward is used but the failures that were paid for.

    Args:
      prior: probabilities [V].
      generator: probabilities [..., V].
      failures: number of failures in each bin [..., V].
      bandwidth: of the kernel, in bins.
    """
    bins = np.arange(prior.shape[0])
    kernel = np.exp(-(((bins[:, None] - bins) / bandwidth) ** 2) / 2)
    untried = failures @ kernel < 0.5
    left = np.sum(np.minimum(prior, generator) * untried, axis=-1)
    return left / np.maximum(np.sum(prior * untried, axis=-1), 1e-12)


def analyse(config: Config, metrics: dict[str, np.ndarray], task: Task) -> dict[str, np.ndarray]:
    """[seeds, rounds]: success rate, modes kept, coverage, threshold, KL(generator, prior).

    A mode counts as kept while it has at least a fifth of an even share of the success rate.
    """
    prior = np.exp(np.asarray(task.prior_params, np.float64))
    generator = np.exp(metrics["generator"].astype(np.float64))
    modes = config.task.modes
    masses = np.stack([generator[..., mode_bins(config.task, m)].sum(-1) for m in modes], -1)
    even = masses.sum(-1, keepdims=True) / len(modes)
    return {
        "success_rate": 10.0 ** metrics["log10_success_rate"],
        "modes_kept": np.sum(masses >= np.maximum(even / 5, 1e-3), axis=-1),
        "coverage": coverage(prior, generator, metrics["failures"], config.failure_bandwidth),
        "threshold": metrics["threshold"],
        "kl_to_prior": np.sum(generator * (metrics["generator"] - np.log(prior)), axis=-1),
    }


def row(name: str, config: Config, a: dict[str, np.ndarray], seconds: float) -> dict:
    lost = a["modes_kept"][:, -1] < len(config.task.modes)
    alarm = a["coverage"][:, -1] < ALARM
    return {
        "method": name,
        "final": report.format_spread(a["success_rate"][:, -1]),
        "modes": float(np.mean(a["modes_kept"][:, -1])),
        "all kept": f"{np.sum(~lost)} of {len(lost)}",
        "coverage": float(np.median(a["coverage"][:, -1])),
        "alarm": f"{np.sum(alarm)} of {len(lost)}",
        "alarm if lost": f"{np.sum(alarm & lost)} of {np.sum(lost)}",
        "alarm if kept": f"{np.sum(alarm & ~lost)} of {np.sum(~lost)}",
        "tau": float(np.median(a["threshold"][:, -1])),
        "KL": float(np.median(a["kl_to_prior"][:, -1])),
        "NRE": config.rounds * config.num_candidates,
        "seconds": seconds,
    }


def in_words(task: Task, results: dict, analyses: dict) -> str:
    """What the evidence adds beyond the controls, whatever the result is."""
    learners = [
        claims.Result(
            name,
            analysis["success_rate"][:, -1].tolist(),
            int(results[name]["num_successes"][:, -1].sum()),
        )
        for name, analysis in analyses.items()
    ]
    free = [
        claims.Result(name, [table_controls.rate(density, task)])
        for name, density in table_controls.controls(task).items()
    ]
    verdict = claims.verdict(learners, free)
    assert verdict is not None
    return textwrap.fill(
        f"By the final value {verdict.best.title} does best, at {verdict.best.median:.3g} in the "
        f"median: {verdict.words}. How many modes are left is no part of that.",
        95,
    )


def main(config: Config) -> None:
    started = time.perf_counter()
    output = report.output_folder(config.output)
    task = gaussian_1d(config.task)
    rewarded = np.concatenate([mode_bins(config.task, mode) for mode in config.task.modes])
    base = float(np.exp(np.asarray(task.prior_params))[np.unique(rewarded)].sum())
    print(f"base success rate {base:.4f}, exact; {config.seeds} seeds of {config.rounds} rounds")
    rows, analyses, results = [], {}, {}
    for name, algorithm in learners(config, task).items():
        start = time.perf_counter()
        results[name] = run(config, algorithm, task)
        analyses[name] = analyse(config, results[name], task)
        seconds = time.perf_counter() - start
        print(f"  {name}: {seconds:.1f} s", flush=True)
        rows.append(row(name, config, analyses[name], seconds))
    print()
    report.print_table(rows, COLUMNS)
    print(
        "\nfinal: success rate, median over seeds [lowest, highest]; modes: mean number kept;\n"
        f"alarm: runs that end with a coverage below {ALARM}; tau: median threshold of the last\n"
        "round in nats, above 0 against the evidence; KL(generator, prior) in nats."
    )
    words = in_words(task, results, analyses)
    print("\n" + words)
    figure = output / "figures" / "gaussian_1d.png"
    gaussian_1d_figure.draw(
        figure,
        centres(config.task),
        {name: np.exp(results[name]["generator"][0]) for name in (ALL_FAILURES, THRESHOLD)},
        {name: analyses[name] for name in (ALL_FAILURES, THRESHOLD)},
        config.task.modes,
        ALARM,
    )
    report.write_json(
        output / "summary.json",
        report.provenance(started)
        | {"config": dataclasses.asdict(config), "base_success_rate": base, "rows": rows}
        | {"conclusion": words}
        | {
            "median_by_round": {
                name: {key: np.median(value, axis=0) for key, value in analysis.items()}
                for name, analysis in analyses.items()
            }
        },
    )
    seconds = time.perf_counter() - started
    print(f"\nwritten: {figure}, {output / 'summary.json'} ({seconds:.0f} s in all)")
