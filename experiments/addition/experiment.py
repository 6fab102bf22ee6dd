r"""The addition attack over many rounds (Appendix B.1): every method, and its controls.

    python -m experiments.addition --preset=small

trains the target and the attacker, runs each algorithm from each seed for the same number of
reward evaluations, and writes a table, the success rates by round, and what was found. What is
on disk is not run again.

    python -m experiments.addition --preset=small --algorithms=banel,banel_f1 \
        --task.grammar.leading_zeros=false --sweep.failure_epochs=1,2,3,5,10,20,50,100

runs them at several values of any field. Minutes and results stand in
experiments/addition/README.md.
"""

import dataclasses
import time
from dataclasses import asdict
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from banel_jax import files, success_rate
from banel_jax.runs.checkpoint import checksum
from banel_jax.types import Algorithm, State
from experiments.addition import figures as addition_figures
from experiments.addition import table as addition_table
from experiments.addition.config import PRESETS, Config
from experiments.addition.methods import METHODS
from experiments.addition.prepare import Prepared, describe, measured, prepare
from experiments.common import methods, rate_table, report, sweeps
from experiments.common.methods import Method
from experiments.common.seed_runs import Runner, SeedRuns, run_each

NUM_SNAPSHOT = 500  # samples kept of each block of rounds, from which failure modes are counted


LEGEND = rate_table.legend(
    "are grammatical", "the best T and the best 1 in f, chosen by looking,",
    "; the target's own are left out",
)  # fmt: skip


def evaluation(config: Config, prepared: Prepared, algorithm: Algorithm):
    """Of each round: what the generator and, where there is a filter, what passed it gets right."""
    count = _counted(prepared, algorithm, config.num_evaluated, 9)

    def evaluate(asked: State, state: State):
        counted = count(state)
        found = {"success_rate": counted.share("reward"), "valid_rate": counted.share("valid")}
        if hasattr(asked, "batch"):  # Algorithm 2's, all that it distils
            found["filtered_success_rate"] = jnp.mean(prepared.oracle.reward(asked.batch))
        return found

    return evaluate


def final_evaluation(config: Config, prepared: Prepared, algorithm: Algorithm):
    """Of the last state, by more samples."""
    count = _counted(prepared, algorithm, config.num_final, 10)

    def final(state: State):
        counted = count(state)
        return {"successes": counted.totals["reward"], "valid": counted.share("valid")}

    return final


def _counted(prepared: Prepared, algorithm: Algorithm, n: int, seed: int):
    def measure(samples):
        verdict = prepared.oracle.judge(samples)
        return {"reward": verdict.reward, "valid": verdict.valid}

    return success_rate.monte_carlo(algorithm, measure, n, jax.random.key(seed))


def runner(config: Config, name: str, prepared: Prepared, watch=None) -> Runner:
    method: Method = METHODS[name]
    algorithm = method.build(config.settings, config.networks)
    return Runner(
        name,
        algorithm,
        method.task(prepared.task),
        prepared.bases[method.base(config.settings)],
        config.rounds,
        evaluation(config, prepared, algorithm),
        final_evaluation(config, prepared, algorithm),
        {
            "task": asdict(config.task),
            "num_evaluated": config.num_evaluated,
            "num_final": config.num_final,
            "target": f"{checksum(prepared.oracle.params):08x}",
            **method.configuration,
        },
        files.expand(config.runs) / "cells",
        config.block,
        min(config.seeds_at_once, config.seeds),
        NUM_SNAPSHOT,
        watch,
    )


def run(config: Config, prepared: Prepared) -> dict[str, SeedRuns]:
    """The chosen algorithms, from disk or run now; one that cannot go on is told of and left."""
    methods.check_rounds(config)

    def watched(name):
        learns = name not in ("prior", "ladder", "broadened")
        watch = partial(addition_table.watch, prepared, METHODS[name].title) if learns else None
        return runner(config, name, prepared, watch)

    def in_words(name, result):
        rate = np.median(result.final["successes"]) / config.num_final
        met = int(result.metrics["num_successes"][:, -1].sum())
        spent = f", {met:,} successes met" if METHODS[name].sees_rewards else ""
        return f"{rate:.3g} in the median{spent}"

    seeds = range(config.first_seed, config.first_seed + config.seeds)
    return run_each(METHODS, config.chosen, watched, seeds, in_words)


def main(config: Config) -> None:
    started = time.perf_counter()
    output = report.output_folder(config.output)
    prepared = prepare(config)
    print(describe(prepared))
    results = run(config, prepared)
    if not results:
        raise ValueError("no algorithm came to its end; see above")
    rows = rate_table.rows(config, prepared, results, METHODS)
    print()
    for columns in rate_table.TABLES:
        report.print_table(rate_table.readable(rows), columns)
        print()
    words = rate_table.in_words(rows)
    print(LEGEND + "\n\n" + words + "\n")
    found = addition_table.what_was_found(config, prepared, results, METHODS)
    report.print_table(found["modes"], addition_table.MODES)
    print("\nfailure modes, of 100 proposals after the last round | of 100 that succeed\n")
    print(found["text"])
    about = report.provenance(started)
    stamp: dict[str, Any] = {k: about[k] for k in ("command", "commit", "device")}
    report.write_json(
        output / "table.json",
        [stamp | {"preset": methods.preset_of(config, PRESETS)} | row for row in rows],
    )
    summary = report.jsonable(
        about
        | {"config": asdict(config), "conclusion": words, **measured(prepared)}
        | {"found": found}
        | {"algorithms": {name: rate_table.details(result) for name, result in results.items()}},
    )
    report.write_json(output / "summary.json", summary)
    files.write_atomically(output / "attacks.txt", found["text"] + "\n")
    addition_figures.draw(summary, output / "figures", METHODS)
    print(
        f"\nwritten: {output}/table.json, summary.json, attacks.txt, figures/ "
        f"({time.perf_counter() - started:.0f} s in all)"
    )


def sweep(field: str, points: list[tuple[str, Config]]) -> None:
    """The algorithms at several values of one field."""
    started = time.perf_counter()
    config = points[0][1]
    sweeps.check(field, [c for _, c in points])
    output = report.output_folder(config.output)
    found: dict[str, list[dict[str, np.ndarray]]] = {"best": [], "final": []}
    every_prepared: dict[Any, Prepared] = {}  # most fields are of algorithms alone
    for value, point in points:
        print(f"{field} = {value}", flush=True)
        bases = frozenset(METHODS[name].base(point.settings) for name in point.chosen)
        needs = (dataclasses.replace(point, settings=config.settings), bases)
        prepared = every_prepared[needs] = every_prepared.get(needs) or prepare(point)
        rate_table.check_base(prepared.prior)
        rows = rate_table.rows(point, prepared, run(point, prepared), METHODS)
        for measure, samples in (("best", point.num_evaluated), ("final", point.num_final)):
            gains = {
                row["kind"]: rate_table.log10_gain(row[measure], row["base"], samples)
                for row in rows
            }
            found[measure].append(gains)
    stacked = {measure: sweeps.stack(gains) for measure, gains in found.items()}
    about = report.provenance(started) | {"config": asdict(config)}
    sweeps.show(
        output, field, [value for value, _ in points], stacked, about, sweeps.colours(METHODS)
    )
