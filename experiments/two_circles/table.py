"""The table of the two circles: numbers over seeds, and what they say."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from banel_jax.types import Task
from experiments.common import claims, report
from experiments.common.table_controls import rate, rewarded
from experiments.common.toys import ToyConfig

PUBLISHED = "BaNEL as published"
ALL_FAILURES = "BaNEL, all failures kept"
THRESHOLD = "threshold, all failures kept"
NO_FILTER = "no filter (f = 1)"
COLUMNS = (
    "method", "final", "best", "last ten", "worst fall", "overlap", "successes met",
    "first success", "NRE", "seconds",
)  # fmt: skip
LEGEND = (
    "Success rates are exact; medians over seeds, [lowest, highest] for the final one.\n"
    "worst fall: largest over seeds after a seed's peak; overlap: 1 - total variation to\n"
    "the prior given success; first success: expected evaluations until then;\n"
    "seconds: all seeds, compilation included."
)


def overlap(log_densities: np.ndarray, task: Task) -> np.ndarray:
    """1 - total variation between each density and the prior given success."""
    prior = np.exp(np.asarray(task.prior_params, np.float64))
    wanted = prior * rewarded(task)
    wanted /= wanted.sum()
    return np.minimum(np.exp(log_densities), wanted).sum((-2, -1))


def summarise(config: ToyConfig, metrics: dict[str, np.ndarray], task: Task) -> dict:
    """Numbers over seeds of one method, from its success rates by round."""
    rates = 10.0 ** metrics["log10_success_rate"]
    candidate_rates = 10.0 ** metrics["log10_filtered_success_rate"]
    expected = [report.expected_evaluations(r, config.num_candidates) for r in candidate_rates]
    return {
        "final": report.seed_spread(rates[:, -1]),
        "best": report.seed_spread(rates.max(1)),
        "last_ten_median": report.seed_spread(np.median(rates[:, -10:], axis=1)),
        "fall_after_peak": report.seed_spread([report.fall_after_peak(r) for r in rates]),
        "overlap_with_target": report.seed_spread(overlap(metrics["generator"][:, -1], task)),
        "successes_met": report.seed_spread(metrics["num_successes"][:, -1]),
        "expected_evaluations_to_first_success": report.seed_spread(expected),
        "success_rate_by_round": report.seed_spread(rates),
    }


def row(config: ToyConfig, name: str, summary: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    """Of a method, by what `summarise` has of it."""
    return {
        "method": name,
        "final": report.format_spread(summary["final"]["values"]),
        "best": report.format_spread(summary["best"]["values"]),
        "last ten": summary["last_ten_median"]["median"],
        "worst fall": summary["fall_after_peak"]["max"],
        "overlap": summary["overlap_with_target"]["median"],
        "successes met": round(summary["successes_met"]["median"]),
        "first success": summary["expected_evaluations_to_first_success"]["median"],
        "NRE": config.evaluations,
        "seconds": seconds,
    }


def control_row(config: ToyConfig, name: str, density: np.ndarray, task: Task) -> dict[str, Any]:
    """Of what never learns: its rate is known and constant, what it meets an expectation."""
    known = rate(density, task)
    return dict.fromkeys(("final", "best", "last ten"), known) | {
        "method": name,
        "worst fall": 0,
        "overlap": float(overlap(density, task)),
        "successes met": round(known * config.evaluations),
        "first success": 1 / known,
        "NRE": config.evaluations,
    }


def in_words(summary: dict, constant: dict[str, float]) -> str:
    """What the negative evidence adds beyond the controls, whatever the result is."""
    final = {name: s["final"]["median"] for name, s in summary.items() if "final" in s}
    result = lambda name: claims.Result(
        name, summary[name]["final"]["values"], int(sum(summary[name]["successes_met"]["values"]))
    )
    verdict = claims.verdict(
        [result(name) for name in (PUBLISHED, ALL_FAILURES, THRESHOLD)],
        [result(NO_FILTER), *(claims.Result(name, [rate]) for name, rate in constant.items())],
    )
    assert verdict is not None
    by_chance = summary[NO_FILTER]["best"]
    return (
        f"By the final value {verdict.best.title} does best of all that learn, at "
        f"{verdict.best.median:.3f} (median):\n{verdict.words}.\n"
        f"With all failures kept BaNEL ends at {final[ALL_FAILURES]:.3f}, "
        f"{final[ALL_FAILURES] / constant['prior']:.3g} times the base.\n"
        f"At its best round f = 1 has {by_chance['median']:.4f} in the median and "
        f"{by_chance['max']:.4f} on its best seed, {by_chance['median'] / constant['prior']:.2g} "
        f"and {by_chance['max'] / constant['prior']:.2g} times the base.\nWith the latest "
        f"round's failures alone BaNEL ends at {final[PUBLISHED]:.3f}, the worst seed falling by "
        f"{summary[PUBLISHED]['fall_after_peak']['max']:.2f} after its peak "
        f"(all kept: {summary[ALL_FAILURES]['fall_after_peak']['max']:.2f}).\n"
        "The price is breadth: keeping a fixed share narrows on after success, to an overlap of\n"
        f"{summary[ALL_FAILURES]['overlap_with_target']['median']:.2f} with the prior given "
        f"success; a fixed threshold ends at {final[THRESHOLD]:.3f} with an overlap of "
        f"{summary[THRESHOLD]['overlap_with_target']['median']:.2f}."
    )
