"""What filters alone do on MNIST: Algorithm 1's gain after 1 to 8 filters, and tempering's.

    python -m experiments.mnist.filters --preset=cpu

Nothing is distilled here, so nothing can be lost in it. A filter at f = 2 gains at most 0.3
decades. Beside the sum over targets, which a few dominate, stands the share of targets that
pass against the share of samples that pass. What is on disk is not run again.
"""

import dataclasses
import time
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from banel_jax import checks, files, numerics, sampling, scoring, training
from banel_jax.models.ensemble import ensemble, fit_ensemble, members
from banel_jax.runs import fingerprint, naming
from banel_jax.runs.progress import progress
from banel_jax.success_rate import LN10
from banel_jax.training import TrainingConfig
from banel_jax.types import Params, SequenceModel, Sequences
from experiments.common import flags, report
from experiments.common.batches import over
from experiments.common.methods import network
from experiments.mnist import controls as mnist_controls
from experiments.mnist import experiment as mnist
from experiments.mnist import figures as mnist_figures


@dataclass(frozen=True)
class Variant:
    """One way to filter.

    Attributes:
      training, dropout, members: of the failure model's fit.
      fresh: start it from nothing instead of the weights of what is filtered.
      kappa: its weight in the ratio; 0 ranks by the prior alone, a control.
      soft: let through by a logistic curve of the ratio instead of a cut.
      base: what is filtered.
    """

    training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(epochs=20, learning_rate=1e-3)
    )
    dropout: float = 0.2
    members: int = 1
    fresh: bool = False
    kappa: float = 1.0
    soft: bool = False
    base: str = "prior"


_FRESH = TrainingConfig(epochs=12, batch_size=10, learning_rate=1e-3)
VARIANTS = {
    "by the prior alone (control)": Variant(TrainingConfig(epochs=0), kappa=0.0),
    "overfitted": Variant(TrainingConfig(epochs=50, learning_rate=1e-3), dropout=0.0),
    "regularised": Variant(),
    "regularised, 3 members": Variant(members=3),
    "regularised, soft": Variant(soft=True),
    "regularised, broadened base": Variant(base="broadened"),
    "from nothing": Variant(_FRESH, dropout=0.1, fresh=True),
    "from nothing, kappa = 0.5": Variant(_FRESH, dropout=0.1, fresh=True, kappa=0.5),
}
PIECE = 1000  # sequences scored in a call
COLUMNS = ("variant", "filters", "samples", "gain", "without top", "targets", "bound")


@dataclass(frozen=True)
class Config:
    """Settings of the exhibit.

    Attributes:
      experiment: the task, its prior, the broadened prior and the folders.
      seeds: of samples and fits.
      filters: in a row, each of f = 2.
      num_failures: that each failure model is fitted to, drawn from what passed so far. They take
        no part in what follows, or an overfitted model would seem to reject what it should not.
      num_samples: of the base, which the filters thin out.
      num_targets: the likeliest under the base, over which gains are summed; and as many at
        random, of which the share that passes is told.
      softness: nats over which a soft filter lets more through.
    """

    experiment: mnist.Config = field(default_factory=mnist.Config)
    seeds: int = 5
    filters: int = 8
    num_failures: int = 250
    num_samples: int = 100_000
    num_targets: int = 2000
    softness: float = 1.0

    def __post_init__(self):
        checks.fields(self)
        checks.integers(self, "seeds", "filters", "num_targets", at_least=1)
        checks.reals(self, "softness", above=0)
        left = self.num_samples
        for _ in range(self.filters):
            left = (left - self.num_failures) // 2
        if left < 1:
            raise ValueError(
                f"num_samples={self.num_samples} leaves none after {self.filters} filters; give "
                "more, or fewer filters or failures"
            )


def acceptance(ratios: np.ndarray, threshold: float, softness: float | None) -> np.ndarray:
    """Probability that each is let through: a cut, or a logistic curve around it."""
    if softness is None:
        return (ratios >= threshold).astype(float)
    return 1 / (1 + np.exp(-np.clip((ratios - threshold) / softness, -50, 50)))


def threshold_of(ratios: np.ndarray, share: float, softness: float | None) -> float:
    """Where `share` of the samples is let through, by bisection."""
    low, high = float(ratios.min()) - 50, float(ratios.max()) + 50
    for _ in range(60):
        middle = (low + high) / 2
        if acceptance(ratios, middle, softness).mean() > share:
            low = middle
        else:
            high = middle
    return low


@dataclass(frozen=True)
class Prepared:
    """What the variants on one base have in common.

    Attributes:
      model, params: what is filtered.
      targets: its likeliest targets, in order, and then as many at random.
      target_scores: their log-likelihoods in nats, float64.
      without_top: leave so many out of the second figure.
    """

    model: SequenceModel
    params: Params
    targets: Sequences
    target_scores: np.ndarray
    without_top: int


def ground_of(config: Config, prepared: mnist.Prepared, base: str) -> Prepared:
    model, params = network(config.experiment.task.transformer), prepared.bases[base]
    assert prepared.task.targets is not None
    scores = np.asarray(scoring.log_likelihood(model, params, prepared.task.targets), np.float64)
    number = min(config.num_targets, len(scores))
    rows = np.argsort(-scores, kind="stable")[:number]
    rows = np.append(rows, np.random.default_rng(0).choice(len(scores), number, replace=False))
    targets = jax.tree.map(lambda x: x[rows], prepared.task.targets)
    return Prepared(model, params, targets, scores[rows], config.experiment.without_top)


def draw(config: Config, prepared: Prepared, seed: int) -> tuple[Sequences, np.ndarray]:
    """The base's samples and their log-likelihoods, those that all variants filter."""
    key = jax.random.fold_in(jax.random.key(seed), 0)
    samples, scores = sampling.sample(prepared.model, key, prepared.params, config.num_samples)
    return samples, np.asarray(scores)


def run_variant(
    config: Config,
    prepared: Prepared,
    variant: Variant,
    member: SequenceModel,
    seed: int,
    samples: Sequences,
    sample_scores: np.ndarray,
) -> np.ndarray:
    """[filters, 4]: share of samples, gain in decades, the same without top, share of targets."""
    failure_model, fit = _failure_model(member, variant.members, variant.training)
    rng = np.random.default_rng([seed, 1])
    key = jax.random.fold_in(jax.random.key(seed), 1)
    half = len(prepared.target_scores) // 2
    weights = prepared.target_scores[:half]
    log_passed = np.zeros(2 * half)  # log of the probability that a target passes
    softness = config.softness if variant.soft else None
    share, rows = 1.0, []
    start = members(prepared.params, variant.members)
    for number in range(config.filters):
        failures = jax.tree.map(lambda x: x[: config.num_failures], samples)
        fit_key, init_key = jax.random.split(jax.random.fold_in(key, number))
        params, _ = fit(fit_key, failure_model.init(init_key) if variant.fresh else start, failures)
        ratio = partial(_ratio, failure_model, params, variant.kappa)
        fresh = jax.tree.map(lambda x: x[config.num_failures :], samples)
        sample_scores = sample_scores[config.num_failures :]
        ratios = ratio(fresh, sample_scores)
        cut = threshold_of(ratios, 0.5, softness)
        passed = rng.random(len(ratios)) < acceptance(ratios, cut, softness)
        share *= passed.mean()
        kept = np.flatnonzero(passed)
        samples = jax.tree.map(lambda x, kept=kept: x[kept], fresh)
        sample_scores = sample_scores[kept]
        with np.errstate(divide="ignore"):
            target_ratios = ratio(prepared.targets, prepared.target_scores)
            log_passed += np.log(acceptance(target_ratios, cut, softness))
        row = [share]
        for first in (0, prepared.without_top):
            before = np.logaddexp.reduce(weights[first:])
            after = np.logaddexp.reduce((weights + log_passed[:half])[first:])
            row.append((after - before - np.log(share)) / LN10)
        rows.append([*row, np.mean(np.exp(log_passed[half:]))])
    return np.array(rows)


def run(config: Config, prepared: mnist.Prepared) -> dict[str, np.ndarray]:
    """Of each variant, [seeds, filters, 4]; what is on disk is read, the rest is run."""
    c = config.experiment
    found: dict[str, list[np.ndarray]] = {name: [] for name in VARIANTS}
    seeds = range(c.first_seed, c.first_seed + config.seeds)
    bar = progress(range(len(seeds) * len(VARIANTS)), len(seeds) * len(VARIANTS), "filters")
    every_prepared = {base: ground_of(config, prepared, base) for base in prepared.bases}
    for seed in seeds:
        drawn: dict[str, tuple[Sequences, np.ndarray]] = {}
        for name, variant in VARIANTS.items():
            path = _path(config, variant, every_prepared[variant.base], seed)
            if not path.exists():
                if variant.base not in drawn:
                    drawn[variant.base] = draw(config, every_prepared[variant.base], seed)
                member = network(c.task.transformer, variant.dropout)
                values = run_variant(
                    config,
                    every_prepared[variant.base],
                    variant,
                    member,
                    seed,
                    *drawn[variant.base],
                )
                path.parent.mkdir(parents=True, exist_ok=True)
                with files.replacing(path) as file:
                    np.savetxt(file, values)
            found[name].append(np.loadtxt(path, ndmin=2))
            bar.update(1)
    bar.close()
    return {name: np.stack(values) for name, values in found.items()}


def _path(config: Config, variant: Variant, prepared: Prepared, seed: int) -> Path:
    """Named after everything that determines the numbers."""
    c = config.experiment
    numbers = dataclasses.asdict(dataclasses.replace(config, experiment=mnist.Config()))
    del numbers["experiment"], numbers["seeds"]
    settings = numbers | {
        "variant": dataclasses.asdict(variant),
        "task": dataclasses.asdict(c.task),
        "without_top": c.without_top,
        "base": fingerprint.of_arrays(prepared.params),
        "targets": fingerprint.of_arrays(prepared.targets),
        "numerics": numerics.VERSION,
        "seed": seed,
    }
    return files.expand(c.runs) / "filters" / f"{naming.identity(settings)}.txt"


@cache
def _failure_model(member, size, config):
    """(model, compiled fit) of an ensemble, the same object each time."""
    fit = fit_ensemble(member, config) if size > 1 else _fit_single(member, config)
    every = lambda key, params, x: fit(key, params, x, jnp.ones(x.tokens.shape[0]), None)
    return ensemble(member, size), jax.jit(every)


def _fit_single(member, config):
    """One member, fitted to the failures as they are."""

    def fit(key, params, sequences, weights, _):
        first = jax.tree.map(lambda x: x[0], params)
        fitted, info = training.fit(member, config, key, first, sequences, weights)
        return members(fitted, 1), info

    return fit


def _ratio(failure_model, params, kappa, sequences, scores) -> np.ndarray:
    """The ranking of Eq. 5 in nats, float64 [n]."""
    scores = np.asarray(scores, np.float64)
    if not kappa:
        return scores
    found = over(
        partial(scoring.log_likelihood, failure_model, params), sequences, PIECE, "scoring"
    )
    return scores - kappa * found.astype(np.float64)


def main(config: Config) -> None:
    started = time.perf_counter()
    c = config.experiment
    output = report.output_folder(c.output)
    # The broadened prior is made where an algorithm that is chosen starts from it.
    prepared = mnist.prepare(dataclasses.replace(c, algorithms=("prior", "broadened")))
    results = run(config, prepared)
    curve = mnist.by_rate(mnist_controls.tempering(prepared.task, c.without_top))
    curve = {t: rate - prepared.log10_rate for t, rate in curve.items()} | {1.0: 0.0}
    curve = dict(sorted(curve.items()))
    lines = [
        {
            "variant": name if number == 0 else "",
            "filters": number + 1,
            "samples": float(np.median(values[:, number, 0])),
            "gain": report.format_spread(values[:, number, 1]),
            "without top": report.format_spread(values[:, number, 2]),
            "targets": float(np.median(values[:, number, 3])),
            "bound": (number + 1) * np.log10(2),
        }
        for name, values in results.items()
        for number in range(config.filters)
    ]
    report.print_table(lines, COLUMNS)
    print(
        "\ngain in decades, median over seeds [lowest, highest]; samples, targets: share that "
        "passes\n\ntempering alone, gain in decades by T: "
        + ", ".join(f"{t:g}: {gain:.2f}" for t, gain in curve.items())
    )
    name = f"filters_{c.task.resolution}"
    columns = ("samples", "gain", "gain_without_top", "targets")
    found = (
        report.provenance(started)
        | {"config": dataclasses.asdict(config), "log10_prior_success_rate": prepared.log10_rate}
        | {"log10_gain_by_temperature": curve}
        | {
            "variants": {
                variant: {column: values[:, :, i] for i, column in enumerate(columns)}
                for variant, values in results.items()
            }
        }
    )
    mnist_figures.filters(output / "figures" / f"{name}.png", found)
    report.write_json(output / f"{name}.json", found)
    print(f"\nwritten: {output}/{name}.json, figures/{name}.png")


PRESETS = {name: Config(experiment=mnist.PRESETS[name]) for name in ("paper", "cpu", "cpu14")} | {
    "smoke": Config(
        mnist.PRESETS["smoke"], seeds=1, filters=2, num_failures=20, num_samples=80, num_targets=50
    )
}

if __name__ == "__main__":
    flags.run(main, PRESETS["paper"], PRESETS)
