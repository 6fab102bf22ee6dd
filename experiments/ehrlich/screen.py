"""Ehrlich functions screened by how rarely a prior reaches a value.

For each function some draws of its chain say which threshold is reached at which rate; one for each
band of rates becomes an instance. Then its prior is fitted, and further draws say how often chain
and prior succeed.
"""

import itertools
import math
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import jax
import numpy as np

from banel_jax.tasks.ehrlich import Ehrlich, EhrlichConfig, draw, fitted
from experiments.common import rate_table, report
from experiments.ehrlich import rates
from experiments.ehrlich.config import PRESETS as PRESETS
from experiments.ehrlich.config import Config, of_size
from experiments.ehrlich.instances import described

COLUMNS = ("instance", "prior", "interval", "chain", "sampled from the prior")
MOST_SEEDS = 1000  # looked at for a function of which no motif has a token twice
FILE = "instances.json"


def main(config: Config) -> None:
    started = time.perf_counter()
    output = report.output_folder(config.output)
    report.output_folder(config.runs)
    found: list[dict[str, Any]] = []
    for size in config.sizes:
        for settings in functions(size, config.functions):
            print(f"{size}, seed {settings.seed}", flush=True)
            found += instances_of(config, settings)
            found.sort(key=lambda row: -row["prior"]["success_rate"])
            about = report.provenance(started) | {"config": asdict(config)}
            report.write_json(output / FILE, about | {"instances": found})  # what there is so far
    report.print_table([_row(row) for row in found], COLUMNS)
    print(f"written: {output / FILE} ({time.perf_counter() - started:.0f} s in all)")


def functions(size: str, number: int) -> list[EhrlichConfig]:
    """The first seeds of a size of which no motif has a token twice; others may be trivial.

    Raises:
      ValueError: where there are not so many.
    """
    seeds = (of_size(size, seed) for seed in range(MOST_SEEDS))
    found = list(itertools.islice((s for s in seeds if no_token_twice(draw(s))), number))
    if len(found) < number:
        raise ValueError(f"sizes: of {size} all motifs have a token twice; choose shorter ones")
    return found


def no_token_twice(function: Ehrlich) -> bool:
    return all(len(set(motif)) == len(motif) for motif in function.motifs.tolist())


def instances_of(config: Config, settings: EhrlichConfig) -> list[dict[str, Any]]:
    """A function's instances with their rates, at most one a band."""
    function = draw(settings)
    draws = rates.drawing(function, config.batch)
    screen, drawn, sampled = jax.random.split(jax.random.key(config.seed), 3)
    screened = rates.counted(draws(screen, config.num_screened))
    chosen = thresholds(function, screened, config.bands)
    told = ", ".join(f"{t:.3g} at {rate:.2g}" for t, rate in chosen.items())
    print(f"  thresholds, by the chain: {told or 'none'}", flush=True)
    if not chosen:
        return []
    prior = fitted(function, config.prior, config.runs)
    counts, by_threshold = rates.of_prior(
        prior, draws(drawn, config.num_drawn), chosen, config.batch
    )
    beside = rates.sampled(prior, function, sampled, config.num_sampled)
    return [
        {
            "name": name(settings, t),
            "function": asdict(settings),
            "threshold": t,
            **described(function),
            "prior": rates.as_told(by_threshold[t]),
            "sampled": rate_table.as_told(rates.reaching(beside.counts, t)),
            "chain": rate_table.as_told(rates.reaching(counts, t)),
            "feasible": beside.feasible,
            "held_out_nats": prior.metrics["held_out_nats"],
        }
        for t in chosen
    ]


def thresholds(
    function: Ehrlich, counts: Mapping[float, int], bands: tuple[float, ...]
) -> dict[float, float]:
    """Of each band the level whose rate is nearest to the middle, with that rate."""
    of = {t: rates.reaching(counts, t).value for t in function.levels if t > 0}
    chosen = {}
    for high, low in itertools.pairwise(bands):
        inside = [t for t, rate in of.items() if low <= rate < high]
        if inside:
            middle = math.sqrt(high * low)
            best = min(inside, key=lambda t: abs(np.log(of[t] / middle)))
            chosen[best] = of[best]
    return chosen


def name(settings: EhrlichConfig, threshold: float) -> str:
    s = settings
    size = f"v{s.vocab_size}_L{s.length}_c{s.num_motifs}_k{s.motif_length}_q{s.quantisation}"
    return f"{size}_s{s.seed}_t{threshold:.3g}"


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    low, high = row["prior"]["interval"]
    return {
        "instance": row["name"],
        "prior": row["prior"]["success_rate"],
        "interval": f"[{report.format_value(low)}, {report.format_value(high)}]",
        "chain": row["chain"]["success_rate"],
        "sampled from the prior": row["sampled"]["success_rate"],
    }
