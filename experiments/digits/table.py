"""The table of the digits: numbers over seeds, and what they say."""

import textwrap
from typing import Any

import numpy as np

from experiments.common import claims, report
from experiments.digits.config import Config
from experiments.digits.methods import METHODS

PARTS = ("filter", "past_filters", "distillation")  # of a round's gain
CONTROLS = tuple(method.title for method in METHODS.values() if method.control)
COLUMNS = (
    "method", "final x base", "final", "median of rounds", "best", "x best control",
    "successes met", "first success", "NRE", "seconds",
)  # fmt: skip
LEGEND = (
    "x best control counts the best single temperature. Success rates are exact sums over the\n"
    "targets; Algorithm 1's are up to the acceptance of its filters, which is estimated from its\n"
    "proposals. final, median of rounds, best: times the base, median over seeds [lowest,\n"
    "highest]; successes met: all seeds; first success: expected evaluations until then; seconds:\n"
    "all seeds, compilation included. Told nothing: the oracle answers 0 whatever it is asked."
)


def summarise(metrics: dict[str, np.ndarray], base: float, num_candidates: int) -> dict[str, Any]:
    """Numbers over seeds of one method; rates and gains as factors, not logarithms."""
    metrics = {name: np.asarray(values, np.float64) for name, values in metrics.items()}
    rates = metrics["log10_success_rate"]  # 1e-40 is no float32
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


def rows(
    config: Config, summary: dict[str, Any], seconds: dict[str, float], free: claims.Result
) -> list[dict[str, Any]]:
    """A row for each method, by what `summarise` has of it and its seconds."""
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


def in_words(
    config: Config, summary: dict[str, Any], log10_base: float, free: claims.Result
) -> str:
    """What the negative evidence adds beyond the controls, whatever the result is."""
    met = {name: int(np.sum(s["successes_met"]["values"])) for name, s in summary.items()}
    result = lambda name: claims.Result(name, summary[name]["final_over_base"]["values"], met[name])
    learners = [name for name in summary if name not in CONTROLS]
    controls = [result(n) for n in CONTROLS if n in summary]
    verdict = claims.verdict([result(n) for n in learners], [free, *controls])
    if verdict is None:
        return "Only controls were run: nothing can be said of learning from failures."
    spread = summary[verdict.best.title]["final_over_base"]
    surprise = config.rounds * config.num_candidates * 10.0**log10_base
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
