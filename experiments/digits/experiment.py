"""Digits, 0 -> 6: BaNEL beside its controls on real handwritten digits.

    python -m experiments.digits

pretrains a transformer on scikit-learn's 8x8 0s and lets each method look for 6s, paying for
every look; experiments/digits/README.md has minutes and results. The same command on the same
folder goes on where it was stopped.
"""

import dataclasses
import textwrap
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from banel_jax import scoring, success_rate
from banel_jax.algorithms.banel import banel
from banel_jax.algorithms.prior_sampling import prior_sampling
from banel_jax.algorithms.sequential_filtering import (
    sequential_filtering,
)
from banel_jax.models import tempering
from banel_jax.models.transformer import transformer
from banel_jax.runs import folder as run_folder
from banel_jax.runs import loop
from banel_jax.success_rate import LN10
from banel_jax.tasks.digits import digits
from banel_jax.types import Algorithm, Params, Task
from experiments.common import claims, report
from experiments.common.broadening import broadened
from experiments.digits import figures as digits_figures
from experiments.digits.config import (
    BLIND,
    CONTROLS,
    FILTERING,
    LADDER,
    METHODS,
    OURS,
    PRIOR,
    PUBLISHED,
    PUBLISHED_CONTROL,
    Config,
    algorithms,
)

PARTS = ("filter", "past_filters", "distillation")  # of a round's gain


TEMPERATURES = (0.5, 0.7, 0.9, 1.1, 1.25, 1.5, 2.0, 3.0)


COLUMNS = (
    "method", "final x base", "final", "median of rounds", "best", "x best control",
    "successes met", "first success", "NRE", "seconds",
)  # fmt: skip


def build(config: Config, name: str, task: Task) -> Algorithm:
    model = task.prior
    if name in (PRIOR, LADDER):
        drawn = tempering.ladder(model) if name == LADDER else model
        return prior_sampling(drawn, config.num_candidates)
    setting = algorithms(config)[name]
    with_dropout = lambda p: transformer(dataclasses.replace(config.task.transformer, dropout=p))
    if name in (PUBLISHED, PUBLISHED_CONTROL):
        return banel(with_dropout(0.0), setting)
    make = sequential_filtering if name == FILTERING else banel
    return make(model, setting, failure_model=with_dropout(config.failure_dropout))


class Base(NamedTuple):
    """Where the methods start: parameters, and log10 success rate."""

    params: Params
    log10_rate: float


def log10_rate(model, params: Params, task: Task) -> float:
    assert task.targets is not None
    scores = scoring.log_likelihood(model, params, task.targets)
    return float(success_rate.log_success_rate(scores)) / LN10


def base_of(config: Config, task: Task, runs: Path) -> Base:
    params = task.prior_params
    if config.base == "broadened":
        params = broadened(task, config.broaden, config.task.seed, runs, "digits")
    return Base(params, log10_rate(task.prior, params, task))


def run_method(
    config: Config, name: str, task: Task, base: Base, folder: Path
) -> tuple[dict[str, np.ndarray], Any, Algorithm]:
    """All seeds of a method through the one loop.

    Returns:
      Metrics [seeds, rounds] by name, the last state of the first seed, and the algorithm.
    """
    assert task.targets is not None
    algorithm = build(config, name, task)
    evaluate = success_rate.exact_evaluation(algorithm, task.targets)
    never = lambda sequences: jnp.zeros(len(sequences.tokens))
    reward_fn = jax.jit(never if name == BLIND else task.reward_fn)
    runs: list[loop.RunResult] = []
    for seed in range(config.first_seed, config.first_seed + config.seeds):
        result = loop.run(
            algorithm,
            base.params,
            reward_fn,
            loop.RunConfig(config.rounds, seed, checkpoint_every=5),
            folder / _slug(name) / f"seed_{seed}",
            evaluate=evaluate,
            configuration={"method": name, "task": asdict(config.task)},
            description=f"{name}, seed {seed}",
        )
        runs.append(result)
    names = runs[0].metrics[0]
    metrics = {n: np.array([[record[n] for record in run.metrics] for run in runs]) for n in names}
    return metrics, runs[0].state, algorithm


def _slug(name: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in name.lower()).strip("_")


def fixed_temperatures(task: Task, base: Base) -> dict[float, float]:
    """log10 success rate at single temperatures; picking the best of them is looking."""
    at = lambda t: log10_rate(tempering.tempered(task.prior, t), base.params, task)
    return {t: at(t) for t in TEMPERATURES}


def summarise(metrics: dict[str, np.ndarray], base: float, num_candidates: int) -> dict[str, Any]:
    """Numbers over seeds of one method; rates and gains as factors, not logarithms."""
    rates = metrics["log10_success_rate"]
    candidate_rates = 10.0 ** metrics["log10_filtered_success_rate"]
    expected = [report.expected_evaluations(r, num_candidates) for r in candidate_rates]
    gain = 10.0 ** (rates - base)
    return {
        "final": report.seed_spread(10.0 ** rates[:, -1]),
        "final_over_base": report.seed_spread(gain[:, -1]),
        "median_of_rounds_over_base": report.seed_spread(np.median(gain, axis=1)),
        "best_over_base": report.seed_spread(gain.max(1)),
        "successes_met": report.seed_spread(metrics["num_successes"][:, -1]),
        "expected_evaluations_to_first_success": report.seed_spread(expected),
        "log10_success_rate_by_round": report.seed_spread(rates),
        **{
            f"log10_{part}_gain_by_round": report.seed_spread(metrics[f"log10_{part}_gain"])
            for part in PARTS
        },
    }


def best_temperature(temperatures: dict[float, float], base: Base) -> claims.Result:
    """The best of the single temperatures, a control that costs nothing, in times the base."""
    best = max(temperatures, key=lambda t: temperatures[t])
    gain = 10 ** (temperatures[best] - base.log10_rate)
    return claims.Result(f"T = {best:g}, chosen by looking", [gain])


def table(
    config: Config, summary: dict[str, Any], seconds: dict[str, float], free: claims.Result
) -> list[dict]:
    controls = [summary[n]["final_over_base"]["median"] for n in CONTROLS if n in summary]
    best = max([free.median, *controls])
    return [
        {
            "method": name + (" (control)" if name in CONTROLS else ""),
            "final x base": report.format_spread(s["final_over_base"]["values"]),
            "final": s["final"]["median"],
            "median of rounds": report.format_spread(s["median_of_rounds_over_base"]["values"]),
            "best": report.format_spread(s["best_over_base"]["values"]),
            "x best control": s["final_over_base"]["median"] / best,
            "successes met": int(np.sum(s["successes_met"]["values"])),
            "first success": s["expected_evaluations_to_first_success"]["median"],
            "NRE": config.rounds * config.num_candidates,
            "seconds": seconds[name],
        }
        for name, s in summary.items()
    ]


def in_words(config: Config, summary: dict[str, Any], base: Base, free: claims.Result) -> str:
    """What the negative evidence adds beyond the controls, whatever the result is."""
    met = {name: int(np.sum(s["successes_met"]["values"])) for name, s in summary.items()}
    result = lambda name: claims.Result(name, summary[name]["final_over_base"]["values"], met[name])
    learners = [n for n in (PUBLISHED, OURS, FILTERING) if n in summary]
    controls = [result(n) for n in CONTROLS if n in summary]
    verdict = claims.verdict([result(n) for n in learners], [free, *controls])
    if verdict is None:
        return "Only controls were run: nothing can be said of learning from failures."
    spread = summary[verdict.best.title]["final_over_base"]
    surprise = config.rounds * config.num_candidates * 10.0**base.log10_rate
    told = report.format_value
    words = (
        f"By the final value {verdict.best.title} does best of all that learn: {verdict.words}. It "
        f"ends at {told(spread['median'])} times the base in the median, {told(spread['min'])} to "
        f"{told(spread['max'])} over seeds, where that control has {told(verdict.control.median)}. "
        f"BaNEL's runs met {sum(met[n] for n in learners)} successes in all. Plain sampling "
        f"expects {surprise:.2g} in the evaluations of one run; where that is well below 1, "
        "failures can tell next to nothing."
    )
    return textwrap.fill(words, 95)


def main(config: Config) -> None:
    started = time.perf_counter()
    output = report.output_folder(config.output)
    runs = report.output_folder(config.runs or config.output)
    task = digits(config.task, runs)
    base = base_of(config, task, runs)
    prior_rate = log10_rate(task.prior, task.prior_params, task)
    assert task.targets is not None
    print(
        f"{task.targets.tokens.shape[0]:,} targets; success rate of the prior "
        f"{10**prior_rate:.3g}, exact; base: {config.base}, {10**base.log10_rate:.3g}"
    )
    summary: dict[str, Any] = {}
    seconds: dict[str, float] = {}
    results: dict[str, dict[str, np.ndarray]] = {}
    images: dict[str, np.ndarray] = {}
    for name in (METHODS[i] for i in config.methods):
        metrics, state, algorithm = run_method(config, name, task, base, runs)
        seconds[name] = sum(
            sum(record.values()) - record["round"]
            for file in (runs / _slug(name)).glob("seed_*/timings.jsonl")
            for record in run_folder.read_records(file)
        )
        results[name] = metrics
        summary[name] = summarise(metrics, base.log10_rate, config.num_candidates)
        if name in (PRIOR, PUBLISHED, OURS, FILTERING):
            images[name] = images_of(task, algorithm, state)
        print(f"  {name}: {seconds[name]:.0f} s", flush=True)
    temperatures = fixed_temperatures(task, base)
    free = best_temperature(temperatures, base)
    print()
    report.print_table(table(config, summary, seconds, free), COLUMNS)
    words = in_words(config, summary, base, free)
    print(
        f"\nThe best single temperature, {free.title}: {free.median:.3g} times the base; x best\n"
        "control counts it.\n"
        "Success rates are exact sums over the targets; Algorithm 1's are up to the acceptance of\n"
        "its filters, which is estimated from its proposals. final, median of rounds, best: times\n"
        "the base, median over seeds [lowest, highest]; successes met: all seeds; first success:\n"
        "expected evaluations until then; seconds: all seeds, compilation included. Told nothing:\n"
        "the oracle answers 0 whatever it is asked.\n\n" + words
    )
    figures = output / "figures"
    images["targets"] = task.render(jax.tree.map(lambda x: x[_spread_rows(x)], task.targets))
    found = report.jsonable(
        report.provenance(started)
        | {"config": asdict(config), "log10_prior_success_rate": prior_rate}
        | {"log10_base_success_rate": base.log10_rate, "conclusion": words}
        | {"log10_success_rate_by_temperature": temperatures}
        | {"methods": summary, "seconds": seconds},
    )
    report.write_json(output / "summary.json", found)
    digits_figures.draw(found, figures)
    digits_figures.samples(figures / "samples.png", images)
    print(
        f"\nwritten: {figures}/{{success_rate,decomposition,samples}}.png, "
        f"{output / 'summary.json'} ({time.perf_counter() - started:.0f} s in all)"
    )


def images_of(task: Task, algorithm: Algorithm, state: Any) -> np.ndarray:
    draw_key = jax.random.key(0)
    return task.render(jax.jit(algorithm.sample, static_argnums=2)(draw_key, state, 64))


def _spread_rows(rows) -> np.ndarray:
    return np.linspace(0, rows.shape[0] - 1, 64).astype(int)
