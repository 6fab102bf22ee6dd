r"""GSM8K-Hard (Section 5.2): a language model learns from its failures at one question.

    python -m experiments.gsm8k run --model=FOLDER --question=143,1248 --data_dir=DATA

runs each algorithm on each question, and beside them what costs no reward evaluation: the prior
itself, tempered, and its ladder of temperatures. It writes a table for each question and the
success rates by reward evaluations (Figures 4 and 10). What is on disk is not run again.

    python -m experiments.gsm8k run --question=143 --algorithms=banel \
        --sweep.settings.filter_factor=2,4,8,16

runs them at several values of any field (Figures 7, 8 and 9). Minutes stand in
experiments/gsm8k/README.md.
"""

import dataclasses
import time
from collections.abc import Mapping
from dataclasses import asdict
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from banel_jax import files, success_rate
from banel_jax.models.lora import lora, lora_algorithm
from banel_jax.runs.checkpoint import checksum
from banel_jax.tasks.gsm8k.data import question
from banel_jax.tasks.gsm8k.task import on_host
from banel_jax.types import Algorithm, Params, SequenceModel, State, Task
from experiments.common import rate_table, report, sweeps
from experiments.common.methods import Method
from experiments.common.seed_runs import Runner, SeedRuns, run_each
from experiments.gsm8k import figures as gsm8k_figures
from experiments.gsm8k.config import Config
from experiments.gsm8k.methods import METHODS
from experiments.gsm8k.model import LanguageModel, load
from experiments.gsm8k.prepare import Prepared, describe, measured, networks_of, prepare

LEGEND = rate_table.legend(
    "give an answer by the rule", "the best T, chosen by looking, and the other free ones"
)


NUM_SNAPSHOT = 8  # responses kept of each block of rounds


SHOWN = 3  # of the last of them, to be read


def adapted(
    config: Config, prepared: Prepared, method: Method, base: Params
) -> tuple[Algorithm, Params]:
    """A method with the models that `config.lora` names as adapters over a base, and what it
    starts from."""
    networks, settings = prepared.networks, config.settings
    if config.lora == "none":
        return method.build(settings, networks), base
    # Adapters start as the base, so a fresh failure model is one that starts there.
    ours = dataclasses.replace(settings.ours, failure_start="fresh")
    settings = dataclasses.replace(settings, ours=ours, failure_start="fresh")
    model = networks.model(0.0)

    def build(adapters: SequenceModel, base: Params) -> Algorithm:
        full = model._replace(init=lambda key: base)
        generator = model if config.lora == "failure" else adapters
        failure_model = full if config.lora == "generator" else adapters
        return method.build(
            settings,
            dataclasses.replace(
                networks, model=lambda dropout: generator, failure_model=failure_model
            ),
        )

    algorithm = lora_algorithm(model, base, config.adapters, build)
    if config.lora == "failure":
        return algorithm, base
    key = jax.random.key(config.first_seed)
    return algorithm, lora(model, base, config.adapters).init(key)


def evaluation(config: Config, prepared: Prepared, algorithm: Algorithm):
    """Of each round: what the generator and, where there is a filter, what passed it gets right."""
    judge, key = on_host(prepared.oracle), jax.random.key(9)
    measure = lambda samples: {"reward": judge(samples)}
    count = success_rate.monte_carlo(algorithm, measure, config.num_evaluated, key)

    def evaluate(asked: State, state: State):
        found = {"success_rate": count(state).share("reward")}
        if hasattr(asked, "batch"):  # Algorithm 2's, all that it distils
            found["filtered_success_rate"] = jnp.mean(judge(asked.batch))
        return found

    return evaluate


def final_evaluation(config: Config, prepared: Prepared, algorithm: Algorithm):
    """Of the last state, by other samples."""
    judge, answered = on_host(prepared.oracle), on_host(prepared.oracle.answered)
    measure = lambda samples: {"reward": judge(samples), "valid": answered(samples)}
    count = success_rate.monte_carlo(algorithm, measure, config.num_final, jax.random.key(10))

    def final(state: State):
        counted = count(state)
        return {"successes": counted.totals["reward"], "valid": counted.share("valid")}

    return final


def runner(config: Config, name: str, prepared: Prepared) -> Runner:
    method = METHODS[name]
    algorithm, start = adapted(
        config, prepared, method, prepared.bases[method.base(config.settings)]
    )
    task = Task(
        prepared.networks.model(0.0), start, on_host(prepared.oracle), None, prepared.oracle.texts
    )
    lora_settings = {} if config.lora == "none" else {"lora": config.lora}
    return Runner(
        f"q{prepared.question}-{name}",
        algorithm,
        method.task(task),
        start,
        config.rounds,
        evaluation(config, prepared, algorithm),
        final_evaluation(config, prepared, algorithm),
        {
            "gold": prepared.problem.gold,
            "rule": config.rule,
            "num_evaluated": config.num_evaluated,
            "num_final": config.num_final,
            **lora_settings,
            **method.configuration,
        },
        files.expand(config.runs) / "cells",
        config.block,
        num_snapshot=NUM_SNAPSHOT,
    )


def run(config: Config, prepared: Prepared) -> dict[str, SeedRuns]:
    """The algorithms on a question, from disk or run now; one that cannot go on is told of."""

    def in_words(name, result):
        final = float(np.median(result.final["successes"])) / config.num_final
        best = float(np.median(result.metrics["success_rate"].max(1)))
        met = int(result.metrics["num_successes"][:, -1].sum())
        return (
            f"{report.format_value(final)} at the end, {report.format_value(best)} at best, "
            f"{met:,} successes met"
        )

    seeds = range(config.first_seed, config.first_seed + config.seeds)
    run_one = lambda name: runner(config, name, prepared)
    return run_each(METHODS, config.algorithms, run_one, seeds, in_words)


def begin(config: Config) -> LanguageModel:
    """The model, once everything that is asked of it is known to be possible."""
    for folder in (config.output, config.runs):
        report.output_folder(folder)
    language = load(config.model, config.max_new_tokens, dtype=jnp.dtype(config.dtype))
    for row in config.question:
        networks = networks_of(language, question(row, config.data_dir or None, config.split))
        for name in config.algorithms:
            METHODS[name].build(config.settings, networks)
    return language


def table(
    config: Config, prepared: Prepared, results: Mapping[str, SeedRuns]
) -> list[dict[str, Any]]:
    with_networks = SimpleNamespace(**vars(config), networks=prepared.networks)
    rows = rate_table.rows(with_networks, prepared, results, METHODS)
    return [{"question": prepared.question} | row for row in rows]


def main(config: Config) -> None:
    started = time.perf_counter()
    language = begin(config)
    output = files.expand(config.output)
    every: list[dict[str, Any]] = []
    every_prepared, found, texts = {}, {}, []
    for row in config.question:
        prepared = every_prepared[row] = prepare(config, language, row)
        print(describe(prepared), flush=True)
        found[row] = run(config, prepared)
        rows = table(config, prepared, found[row])
        print()
        for columns in rate_table.TABLES:
            report.print_table(rate_table.readable(rows), columns)
            print()
        print(rate_table.in_words(rows) + "\n", flush=True)
        every += rows
        texts += [responses_as_text(prepared, language, name, c) for name, c in found[row].items()]
    print(LEGEND + "\n")
    report.print_table(*over_questions(every))
    print("\nsuccess rates at the end (and at the best round), by question")
    about = report.provenance(started)
    report.write_json(output / "table.json", every)
    summary = report.jsonable(
        about
        | {"config": asdict(config), "model": f"{checksum(language.params):08x}"}
        | {
            "questions": {
                row: measured(every_prepared[row])
                | {"algorithms": {name: rate_table.details(c) for name, c in found[row].items()}}
                for row in config.question
            }
        },
    )
    report.write_json(output / "summary.json", summary)
    files.write_atomically(output / "responses.txt", "\n\n".join(texts) + "\n")
    gsm8k_figures.draw(summary, output / "figures", METHODS)
    print(
        f"written: {output}/table.json, summary.json, responses.txt, figures/ "
        f"({time.perf_counter() - started:.0f} s in all)"
    )


def over_questions(rows: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[str]]:
    """A line for each algorithm, its success rates at each question."""
    questions = list(dict.fromkeys(row["question"] for row in rows))
    lines: dict[str, dict[str, Any]] = {"prior": {"algorithm": "prior (control)"}}
    for row in rows:
        column = str(row["question"])
        lines["prior"][column] = row["base"]
        line = lines.setdefault(
            row["kind"],
            {"algorithm": row["kind"] + (" (control)" if row["control"] else "")},
        )
        final = report.format_value(row["final_median"])
        best = report.format_value(float(np.median(row["best"])))
        line[column] = f"{final} ({best})" if row["seeds"] else final
    return list(lines.values()), ["algorithm", *map(str, questions)]


def responses_as_text(
    prepared: Prepared, language: LanguageModel, name: str, result: SeedRuns
) -> str:
    """The last responses that were drawn, some of them."""
    shown = []
    for tokens in result.snapshots[0, -1][:SHOWN]:
        ended = np.isin(tokens, language.response.eos_tokens)
        length = int(np.argmax(ended)) if ended.any() else len(tokens)
        shown.append(language.text(tokens[:length]))
    title = f"question {prepared.question} ({prepared.problem.gold}), {METHODS[name].title}"
    return "\n\n".join([f"=== {title}, after the last round", *shown])


def sweep(field: str, points: list[tuple[str, Config]]) -> None:
    """The algorithms at several values of one field (Figures 7, 8 and 9)."""
    started = time.perf_counter()
    config = points[0][1]
    sweeps.check(field, [point for _, point in points])
    short = field.removeprefix("settings.")
    every_prepared: dict[int, Prepared] = {}
    curves: dict[int, dict[str, SeedRuns]] = {row: {} for row in config.question}
    for value, point in points:
        language = begin(point)
        for row in config.question:
            print(f"{field} = {value}, question {row}", flush=True)
            prepared = every_prepared[row] = prepare(point, language, row)
            for name, result in run(point, prepared).items():
                curves[row][f"{METHODS[name].title}, {short} {value}"] = result
    output = files.expand(config.output)
    rows = [
        {
            "question": row,
            "algorithm": title,
            "prior": every_prepared[row].prior.value,
            "final": float(np.median(result.final["successes"])) / config.num_final,
            "best": float(np.median(result.metrics["success_rate"].max(1))),
        }
        for row, of in curves.items()
        for title, result in of.items()
    ]
    print()
    report.print_table(rows, ("question", "algorithm", "prior", "final", "best"))
    about = report.provenance(started) | {"config": asdict(config), "field": field}
    report.write_json(output / f"sweep_{short}.json", about | {"rows": rows})
    gsm8k_figures.success_rate(
        output / "figures" / f"sweep_{short}.png",
        asdict(config),
        {str(row): measured(prepared) for row, prepared in every_prepared.items()},
        {str(row): {title: c.metrics for title, c in of.items()} for row, of in curves.items()},
        {},  # the same method at several values
    )
    print(f"\nwritten: {output}/sweep_{short}.json, figures/sweep_{short}.png")
