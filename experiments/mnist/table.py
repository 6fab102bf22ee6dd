"""Table 2 with its controls: numbers over seeds, and what they say in words."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.common import claims, report
from experiments.common.methods import METHODS, flops
from experiments.common.rates import FreeControl
from experiments.common.seed_runs import SeedRuns

LAST = 10  # rounds of "median of the last ten"
# Four tables, each narrow enough for a terminal.
GAINS = ("algorithm", "final x prior", "last 10", "mixed", "x best control", "without top")
BEST = ("algorithm", "best", "mean", "std", "met", "first success")
RATES = ("best_mean", "best_median", "last10_median", "mixed_median", "final_median")
DIVERSITY = (
    "algorithm", "0s, nats", "entropy", "duplicates", "nearest 0", "carrying", "samples pass",
    "targets pass",
)  # fmt: skip
OVER_BEST_CONTROL = {
    "improvement_over_best_control_median": "final_over_base",
    "improvement_over_best_control_without_top": "final_without_top_over_base",
}
PARTS = ("filter", "past_filters", "distillation")
STATE = ("entropy", "duplicate_rate", "nearest_training_pixels", "num_carrying_targets")
COSTS = (
    "algorithm", "filter", "distillation", "none pass", "NRE", "Tflop", "seconds",
)  # fmt: skip
TABLES = (GAINS, BEST, COSTS, DIVERSITY)
LEGEND = (
    "Times the prior's success rate, median over seeds [lowest, highest]: final, by all targets;\n"
    "last 10, the median of the last ten rounds; mixed, of an even mixture of their generators;\n"
    "best, of the rounds, as the paper counts. x best control: by the final median, what was\n"
    "chosen by looking among the controls. without top: final, over the targets but the\n"
    "likeliest. mean, std: over seeds, of the best of the rounds. filter, distillation: decades\n"
    "that each added up to over the rounds but those, counted by none pass, in which no target\n"
    "passed. met: successes among the evaluations of all seeds. first success: expected\n"
    "evaluations until then, going on as in the last round. Tflop (matrix products, a training\n"
    "step counted as three passes) and seconds are of one seed, the latter with compilation and\n"
    "evaluation.\n"
    "Of the last state, medians over seeds: 0s, what held-out 0s take, in nats; entropy of what\n"
    "it draws, in nats; duplicates, their share; nearest 0, pixels that differ from the nearest\n"
    "training image; carrying, how many targets carry 90% of the rate; samples pass, targets\n"
    "pass, the share of each that the last round's filters let through, of the likeliest targets\n"
    "alone where a round is summed over those."
)


def rows(
    config, prepared, results: Mapping[str, SeedRuns], free_controls: Sequence[FreeControl[Any]]
):
    """A row for each algorithm, and one for each control that costs no evaluation."""
    base = prepared.log10_rate
    found = [_row(config, prepared, name, result) for name, result in results.items()]
    for control in free_controls:
        gain = 10.0 ** (control.rate.log10_rate - base)
        base_without = prepared.log10_rate_without_top
        without = 10.0 ** (control.rate.log10_rate_without_top - base_without)
        over = ("final", "last10", "mixed", "best")
        found.append(
            {
                "algorithm": control.title,
                "control": True,
                "seeds": 0,
                "base": 10.0**base,
                **dict.fromkeys(RATES, gain * 10.0**base),
                "best_std": 0.0,
                "improvement_mean": gain,
                "improvement_median": gain,
                **{f"{name}_over_base": [gain] for name in over},
                "final_without_top": without * 10.0**base_without,
                "final_without_top_over_base": [without],
                **{name: 0 for name in ("nre", "wall_s", "flops")},
            }
        )
    for name, measure in OVER_BEST_CONTROL.items():
        middle = {row["algorithm"]: float(np.median(row[measure])) for row in found}
        best = max(middle[row["algorithm"]] for row in found if row["control"])
        for row in found:
            row[name] = middle[row["algorithm"]] / best if best else None
    return found


def _row(config, prepared, name: str, result: SeedRuns) -> dict[str, Any]:
    method, base = METHODS[name], prepared.log10_rate
    # Rates of 1e-40 are no float32.
    wide = lambda numbers: {k: np.asarray(v, np.float64) for k, v in numbers.items()}
    result = result._replace(metrics=wide(result.metrics), final=wide(result.final))
    # Over the base: rates themselves may be too small for a float.
    rates = result.metrics["log10_success_rate"] - base
    best = 10.0 ** rates.max(axis=1)
    last = 10.0 ** np.median(rates[:, -LAST:], axis=1)
    mixed = np.mean(10.0 ** rates[:, -LAST:], axis=1)
    final = 10.0 ** (result.final["log10_success_rate"] - base)
    base_without = prepared.log10_rate_without_top
    without = 10.0 ** (result.final["log10_success_rate_without_first"] - base_without)
    rate, rate_without = 10.0**base, 10.0**base_without
    last_round = lambda name: (
        float(np.median(result.metrics[name][:, -1])) if name in result.metrics else None
    )
    m, seeds = config.settings.num_candidates, rates.shape[0]
    candidates = 10.0 ** result.metrics["log10_filtered_success_rate"]
    gain = {part: result.metrics[f"log10_{part}_gain"] for part in PARTS}
    # Where no target passes both parts are infinite, and no sum tells anything.
    told = np.all([np.isfinite(values) for values in gain.values()], axis=0)
    # What is below a thousandth in a sum of 30 differences of float32 is rounding.
    parts = {
        part: np.where(told, values, 0.0).sum(axis=1).round(3) + 0.0
        for part, values in gain.items()
    }
    return {
        "algorithm": name,
        "title": method.title,
        "control": method.control,
        "starts_from": method.base(config.settings),
        "seeds": seeds,
        "base": rate,
        "best_mean": float(best.mean() * rate),
        "best_median": float(np.median(best) * rate),
        "best_std": float(best.std(ddof=1) * rate) if seeds > 1 else 0.0,
        "last10_median": float(np.median(last) * rate),
        "mixed_median": float(np.median(mixed) * rate),
        "final_median": float(np.median(final) * rate),
        "improvement_mean": float(best.mean()),
        "improvement_median": float(np.median(best)),
        "improvement_std": float(best.std(ddof=1)) if seeds > 1 else 0.0,
        "final_over_base": final.tolist(),
        "last10_over_base": last.tolist(),
        "mixed_over_base": mixed.tolist(),
        "best_over_base": best.tolist(),
        "final_without_top": float(np.median(without) * rate_without),
        "final_without_top_over_base": without.tolist(),
        "filter_decades": parts["filter"].tolist(),
        "past_filters_decades": parts["past_filters"].tolist(),
        "distillation_decades": parts["distillation"].tolist(),
        "rounds_none_pass": (~told).sum(axis=1).tolist(),
        "held_out_nats": last_round("held_out_nats"),
        **{name: float(np.median(result.final[name])) for name in STATE},
        "samples_accepted": last_round("acceptance"),
        "targets_accepted": last_round("targets_accepted"),
        "successes_met": int(result.metrics["num_successes"][:, -1].sum()),
        "expected_evaluations_to_first_success": [
            report.expected_evaluations(r, m) for r in candidates
        ],
        "nre": config.rounds * m,
        "wall_s": result.seconds / seeds,
        "flops": flops(config, method, result.metrics),
        "commit": result.about["commit"],
        "device": result.about["device"],
    }


def readable(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows as the terminal shows them: controls first."""
    lines = []
    for row in sorted(found, key=lambda row: not row["control"]):
        spread = lambda name, row=row: report.format_spread(row[name]) if name in row else None
        median = lambda name, row=row: float(np.median(row[name])) if name in row else None
        spent = row.get("flops")
        lines.append(
            {
                "algorithm": row.get("title", row["algorithm"])
                + (" (control)" if row["control"] else ""),
                "final x prior": spread("final_over_base"),
                "last 10": median("last10_over_base"),
                "mixed": median("mixed_over_base"),
                "mean": row["improvement_mean"],
                "std": row.get("improvement_std"),
                "best": spread("best_over_base"),
                "x best control": row["improvement_over_best_control_median"],
                "without top": median("final_without_top_over_base"),
                "0s, nats": row.get("held_out_nats"),
                "entropy": row.get("entropy"),
                "duplicates": row.get("duplicate_rate"),
                "nearest 0": row.get("nearest_training_pixels"),
                "carrying": row.get("num_carrying_targets"),
                "samples pass": row.get("samples_accepted"),
                "targets pass": row.get("targets_accepted"),
                "filter": median("filter_decades"),
                "distillation": median("distillation_decades"),
                "none pass": median("rounds_none_pass"),
                "met": row.get("successes_met"),
                "first success": median("expected_evaluations_to_first_success"),
                "NRE": row["nre"],
                "Tflop": spent / 1e12 if spent else None,
                "seconds": row.get("wall_s"),
            }
        )
    return lines


def in_words(found: list[dict[str, Any]]) -> str:
    """What the comparison says, whatever it says."""
    controls = [row for row in found if row["control"]]
    learners = [row for row in found if not row["control"]]
    if not learners:
        return "Only controls were run: nothing can be said of learning from failures."
    name = lambda row: row.get("title", row["algorithm"])

    def verdict(measure):
        result = lambda row: claims.Result(name(row), row[measure], row.get("successes_met"))
        return claims.verdict([*map(result, learners)], [*map(result, controls)])

    by_final = verdict("final_over_base")
    if by_final is None:
        return "No control was run: what the evidence adds cannot be told."
    by_round = lambda row: max(row["best_over_base"]) if "best_over_base" in row else 0.0
    lucky = max(learners, key=by_round)
    words = (
        f"By the final value {by_final.best.title} does best of all that learn: {by_final.words}. "
        f"The paper's measure, the best of the rounds of each seed, gives {name(lucky)} up to "
        f"{by_round(lucky):.3g} times the prior"
    )
    no_filter = [row for row in controls if row["algorithm"] in ("banel_f1", "ours_f1")]
    if no_filter:
        other = max(no_filter, key=by_round)
        words += f", and without any filter, {name(other)}, up to {by_round(other):.3g} times"
    without = verdict("final_without_top_over_base")
    if without and without.factor is not None:
        words += (
            f". Over the targets but the likeliest, {without.best.title} does best: {without.words}"
        )
    return textwrap.fill(words + ".", 95)


def details(result: SeedRuns) -> dict[str, Any]:
    """Every round and seed of an algorithm, for summary.json."""
    return {
        "seconds": result.seconds,
        **result.about,
        "final": result.final,
        "rounds": {name: np.round(values, 4) for name, values in result.metrics.items()},
    }
