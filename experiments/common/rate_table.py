"""The table of a comparison by Monte Carlo success rates: numbers over seeds, and what they say."""

import textwrap
from collections.abc import Mapping
from typing import Any

import numpy as np

from banel_jax.success_rate import clopper_pearson
from experiments.common import claims, report
from experiments.common.method import Method, flops
from experiments.common.rates import FreeControl as FreeControl
from experiments.common.rates import Rate as Rate
from experiments.common.rates import as_told as as_told
from experiments.common.rates import best_of as best_of
from experiments.common.rates import check_base as check_base
from experiments.common.rates import log10_gain as log10_gain
from experiments.common.rates import rate_of as rate_of
from experiments.common.rates import rates_of as rates_of
from experiments.common.seed_results import SeedRuns

SHARES = (0.1, 0.5)  # success rates that it is told when they were reached
LAST = 10  # rounds of "median of the last ten"
RATES = ("algorithm", "final", "x prior", "x best control", "last 10", "best", "falls to")
SPENT = ("algorithm", "met", "first at", "0.1 at", "0.5 at", "NRE", "valid", "Tflop", "seconds")
SPLIT = ("algorithm", "generator", "passed", "distilled", "filter", "distillation", "back")
TABLES = (RATES, SPENT, SPLIT)


def legend(valid: str, chosen: str, left_out: str = "") -> str:
    """What the columns mean.

    Args:
      valid: proposals that count as valid.
      chosen: the controls that cost nothing.
      left_out: whose computation Tflop does not count.
    """
    return textwrap.fill(
        "Success rates, median over seeds [lowest, highest], or of what does not change one "
        "estimate (its 95% interval). final: after the last round; last 10: median of the last "
        "ten rounds; best: of the rounds, as the paper counts; x prior and x best control: of the "
        f"final medians, {chosen} among the controls; falls to: the lowest rate after the best "
        "round, over the best. met: successes among the evaluations of all seeds; first at: "
        "reward evaluations until the round of the first one was paid; 0.1 at and 0.5 at: until "
        "the first round that ends at that success rate. valid: share of the last proposals that "
        f"{valid}. Tflop (matrix products, a training step counted as three passes{left_out}) and "
        "seconds are of one seed, the latter with compilation and evaluation. generator, passed, "
        "distilled: mean over the rounds from the second on of the rate of what the generator "
        "proposed, of what passed the filter, and of what was distilled from that; filter, "
        "distillation, back: decades gained by what passes, by distilling it, and by falling back "
        "to an earlier generator, summed over the rounds, - where some rounds hardly succeed. All "
        "rounds are judged by samples of one key, and best is the highest of as many estimates as "
        "there are rounds: of small rates it is mostly chance.",
        95,
    )


def rows(config, prepared, results: Mapping[str, SeedRuns], methods: Mapping[str, Method]):
    """A row for each algorithm, and one for each control that costs no evaluation."""
    found = [
        _row(config, prepared, name, result, methods[name]) for name, result in results.items()
    ]
    for control in prepared.free_controls:
        value = control.rate.value
        found.append(
            {
                "algorithm": control.title,
                "title": control.title,
                "kind": control.kind,
                "control": True,
                "seeds": 0,
                "base": prepared.prior.value,
                **{name: [value] for name in ("final", "last10", "best")},
                "final_interval": [control.rate.interval],
                "final_median": value,
                "nre": 0,
            }
        )
    best = max(row["final_median"] for row in found if row["control"])
    for row in found:
        row["improvement_over_best_control_median"] = row["final_median"] / best if best else None
        if prepared.prior.successes:
            row["final_over_base_median"] = row["final_median"] / prepared.prior.value
            row["best_over_base_median"] = float(np.median(row["best"])) / prepared.prior.value
    return found


def _row(config, prepared, name: str, result: SeedRuns, method: Method) -> dict[str, Any]:
    by_round = result.metrics["success_rate"].astype(float)
    successes = result.final["successes"].astype(int)
    met = result.metrics["num_successes"]
    m = config.settings.num_candidates
    peaks = by_round.argmax(axis=1)
    lowest = [rates[peak:].min() for rates, peak in zip(by_round, peaks, strict=True)]
    best = by_round.max(axis=1)
    final = successes / config.num_final
    learner = dict(method.build(config.settings, config.networks).settings)
    fall_back = getattr(learner.get("settings"), "fall_back", 0.0)
    return {
        "algorithm": name,
        "title": method.title,
        "kind": method.title,
        "control": method.control,
        "starts_from": method.base(config.settings),
        "seeds": len(final),
        "base": prepared.prior.value,
        "final": final.tolist(),
        "final_interval": [clopper_pearson(int(k), config.num_final) for k in successes],
        "final_median": float(np.median(final)),
        "final_mean": float(np.mean(final)),
        "last10": np.median(by_round[:, -LAST:], axis=1).tolist(),
        "best": best.tolist(),
        # Of one distribution, so that all rounds and seeds are one estimate.
        "fixed": bool(np.all(by_round == by_round[0, 0])),
        "falls_to": [low / high if high else 1.0 for low, high in zip(lowest, best, strict=True)],
        "successes_met": int(met[:, -1].sum()) if method.sees_rewards else None,
        "first_at": [_until(of > 0, m) for of in met] if method.sees_rewards else None,
        **{f"{share}_at": [_until(rates >= share, m) for rates in by_round] for share in SHARES},
        "valid": float(np.median(result.final["valid"])),
        **_split(config, result, by_round, fall_back),
        "nre": config.rounds * m,
        "wall_s": result.seconds / len(final),
        "flops": flops(config, method, result.metrics),
        "commit": result.about["commit"],
        "device": result.about["device"],
    }


def _until(reached: np.ndarray, num_candidates: int) -> int | None:
    """Evaluations up to the first round that is True, it included; None where none is."""
    return int(num_candidates * (1 + np.argmax(reached))) if reached.any() else None


def _split(config, result: SeedRuns, by_round: np.ndarray, fall_back: float) -> dict[str, Any]:
    """Where the rounds from the second on gain and lose.

    Mean rates of what a round's generator proposed, of what passed, and of what was distilled
    from that; and in decades what the filter, the distillation and falling back gain, summed over
    the rounds, the median over seeds. None where a rate rests on too few successes to divide by.
    """
    if "filtered_success_rate" not in result.metrics or by_round.shape[1] < 2:
        return {}
    steps = {
        "generator": by_round[:, :-1],
        "passed": result.metrics["filtered_success_rate"][:, 1:].astype(float),
        "distilled": by_round[:, 1:],
    }
    gains = dict.fromkeys(("filter", "distillation", "falling_back"))
    if min(rates.min() for rates in steps.values()) * config.num_evaluated >= claims.FEWEST:
        decades = {name: np.log10(rates) for name, rates in steps.items()}
        met = result.metrics["successes"].astype(float)
        fell = met < fall_back * np.maximum.accumulate(met, axis=1)
        fell = fell[:, 1:]  # the best of all rounds up to it, itself among them
        whole = decades["distilled"] - decades["generator"]
        kept = decades["passed"] - decades["generator"]
        over_seeds = lambda gain: float(np.median(np.sum(gain, axis=1)))
        gains = {
            "filter": over_seeds(np.where(fell, 0, kept)),
            "distillation": over_seeds(np.where(fell, 0, whole - kept)),
            "falling_back": over_seeds(np.where(fell, whole, 0)),
        }
    return {name: float(rates.mean()) for name, rates in steps.items()} | {
        f"log10_{name}_gain": gain for name, gain in gains.items()
    }


def readable(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows as the terminal shows them: controls first."""
    lines = []
    for row in sorted(found, key=lambda row: not row["control"]):
        fixed = row.get("fixed", True)
        low, high = map(report.format_value, row["final_interval"][0])
        final = f"{report.format_value(row['final_median'])} ({low} to {high})"
        spent = row.get("flops")
        lines.append(
            {
                "algorithm": row["title"].replace(", chosen by looking", "")
                + (" (control)" if row["control"] else ""),
                "final": final if fixed else report.format_spread(row["final"]),
                "x prior": row.get("final_over_base_median"),
                "x best control": row["improvement_over_best_control_median"],
                "last 10": float(np.median(row["last10"])),
                "best": None if fixed else report.format_spread(row["best"]),
                "falls to": None if fixed else float(np.median(row["falls_to"])),
                "met": row.get("successes_met"),
                "first at": _median_until(row.get("first_at")),
                **{f"{share} at": _median_until(row.get(f"{share}_at")) for share in SHARES},
                "NRE": row["nre"],
                "valid": row.get("valid"),
                "Tflop": spent / 1e12 if spent else None,
                "seconds": row.get("wall_s"),
                **{name: row.get(name) for name in ("generator", "passed", "distilled")},
                "filter": row.get("log10_filter_gain"),
                "distillation": row.get("log10_distillation_gain"),
                "back": row.get("log10_falling_back_gain"),
            }
        )
    return lines


def _median_until(at: list[int | None] | None) -> Any:
    if not at:
        return None
    middle = float(np.median([np.inf if spent is None else spent for spent in at]))
    return "never" if np.isinf(middle) else int(middle)


def in_words(found: list[dict[str, Any]]) -> str:
    """What the comparison says, whatever it says."""
    learners = [row for row in found if not row["control"]]
    if not learners:
        return "Only controls were run: nothing can be said of learning from failures."
    result = lambda row: claims.Result(
        row["title"], row["final"], row.get("successes_met"), row["final_interval"]
    )
    verdict = claims.verdict(
        [result(row) for row in learners], [result(row) for row in found if row["control"]]
    )
    if verdict is None:
        return "No control was run: what the evidence adds cannot be told."
    end, told = verdict.best.median, report.format_value
    if not end:
        return "Nothing that learns ends with any success in the median."
    words = (
        f"By the final value {verdict.best.title} does best of all that learn, at a success rate "
        f"of {told(end)} in the median: {verdict.words}"
    )
    if learners[0]["base"]:
        words += f". It is {told(end / learners[0]['base'])} times the prior"
    return textwrap.fill(words + ".", 95)


def details(result: SeedRuns) -> dict[str, Any]:
    """Every round and seed of an algorithm, for summary.json."""
    return {
        "seconds": result.seconds,
        **result.about,
        "final": result.final,
        "rounds": {name: np.round(values, 5) for name, values in result.metrics.items()},
    }
