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

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from banel_jax import files, success_rate
from banel_jax.runs.leaves import checksum
from banel_jax.types import Algorithm, State
from experiments.addition import figures as addition_figures
from experiments.addition import table as addition_table
from experiments.addition.config import PRESETS, Config
from experiments.addition.methods import METHODS
from experiments.addition.prepare import Prepared, describe, measured, prepare
from experiments.common import rate_table, report, sampled
from experiments.common.comparison import Experiment, Found, Part, Results
from experiments.common.seed_runs import Runner, SeedRuns

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


def runner(config: Config, name: str, prepared: Prepared) -> Runner:
    method = METHODS[name]
    algorithm = method.build(config.settings, config.networks)
    learns = name not in ("prior", "ladder", "broadened")
    return Runner(
        name,
        algorithm,
        method.task(prepared.task),
        prepared.bases[method.base(config.settings)],
        config.rounds,
        evaluation(config, prepared, algorithm),
        final_evaluation(config, prepared, algorithm),
        {
            "task": config.task,
            "num_evaluated": config.num_evaluated,
            "num_final": config.num_final,
            "target": f"{checksum(prepared.oracle.params):08x}",
            **method.configuration,
        },
        files.expand(config.runs) / "cells",
        config.block,
        min(config.seeds_at_once, config.seeds),
        NUM_SNAPSHOT,
        partial(addition_table.watch, prepared, method.title) if learns else None,
    )


def outcome(config: Config, name: str, prepared: Prepared, result: SeedRuns) -> str:
    rate = np.median(result.final["successes"]) / config.num_final
    met = int(result.metrics["num_successes"][:, -1].sum())
    spent = f", {met:,} successes met" if METHODS[name].sees_rewards else ""
    return f"{rate:.3g} in the median{spent}"


def found(config: Config, prepared: Prepared, results: Results) -> Found:
    rows = rate_table.rows(config, prepared, results, METHODS)
    words = rate_table.in_words(rows)
    attacks = addition_table.what_was_found(config, prepared, results, METHODS)
    modes = report.format_table(attacks["modes"], addition_table.MODES)
    about_modes = "failure modes, of 100 proposals after the last round | of 100 that succeed"
    return Found(
        rows,
        [(rate_table.readable(rows), columns) for columns in rate_table.TABLES],
        words,
        {"conclusion": words, **measured(prepared)}
        | {"found": attacks}
        | {"algorithms": {name: rate_table.details(result) for name, result in results.items()}},
        f"{modes}\n\n{about_modes}\n\n{attacks['text']}",
        {"attacks.txt": attacks["text"] + "\n"},
    )


def draw(config: Config, parts: Sequence[Part[Prepared]], summary: dict[str, Any], folder: Path):
    addition_figures.draw(summary, folder, METHODS)


EXPERIMENT = Experiment[Config, Prepared](
    PRESETS,
    prepare=lambda config: [prepare(config)],
    describe=lambda config, prepared: describe(prepared),
    runner=runner,
    outcome=outcome,
    found=found,
    draw=draw,
    gains=sampled.gains,
    free_gains=sampled.free_gains,
    legend=LEGEND,
    check=lambda config, prepared: rate_table.check_base(prepared.prior),
)
main = EXPERIMENT.main
