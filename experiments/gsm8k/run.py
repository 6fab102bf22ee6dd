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

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax.numpy as jnp
import numpy as np

from banel_jax.runs.leaves import checksum
from banel_jax.tasks.gsm8k.data import question, worked_examples
from experiments.common import rate_table, report, sampled
from experiments.common.comparison import Experiment, Found, Part, Results
from experiments.common.seed_runs import SeedRuns
from experiments.gsm8k import figures as gsm8k_figures
from experiments.gsm8k.config import Config
from experiments.gsm8k.methods import METHODS
from experiments.gsm8k.model import LanguageModel, load
from experiments.gsm8k.prepare import Prepared, describe, measured, networks_of, prepare
from experiments.gsm8k.presets import PRESETS
from experiments.gsm8k.runner import runner

LEGEND = rate_table.legend(
    "give an answer by the rule", "the best T, chosen by looking, and the other free ones"
)
SHOWN = 3  # of the last responses, to be read


def begin(config: Config) -> LanguageModel:
    """The model, once everything that is asked of it is known to be possible."""
    report.output_folder(config.runs)
    shots = worked_examples(config.shots, config.data_dir or None)
    settings = {"forbidden_tokens": config.forbidden_tokens, "dtype": jnp.dtype(config.dtype)}
    language = load(config.model, config.max_new_tokens, shots, **settings)
    for row in config.question:
        networks = networks_of(language, question(row, config.data_dir or None, config.split))
        check(config, networks)
    return language


def check(config: Config, networks) -> None:
    """Raises ValueError for settings that a chosen method refuses, before anything is drawn."""
    for name in config.chosen:
        METHODS[name].build(config.settings, networks)


def questions(config: Config) -> Iterator[Prepared]:
    language = begin(config)
    for row in config.question:
        yield prepare(config, language, row)


def outcome(config: Config, name: str, prepared: Prepared, result: SeedRuns) -> str:
    final = float(np.median(result.final["successes"])) / config.num_final
    best = float(np.median(result.metrics["success_rate"].max(1)))
    met = int(result.metrics["num_successes"][:, -1].sum())
    return (
        f"{report.format_value(final)} at the end, {report.format_value(best)} at best, "
        f"{met:,} successes met"
    )


def found(config: Config, prepared: Prepared, results: Results) -> Found:
    """On one question."""
    with_networks = SimpleNamespace(**vars(config), networks=prepared.networks)
    rows = rate_table.rows(with_networks, prepared, results, METHODS)
    return Found(
        [{"question": prepared.question} | row for row in rows],
        [(rate_table.readable(rows), columns) for columns in rate_table.TABLES],
        rate_table.in_words(rows),
        measured(prepared)
        | {"algorithms": {name: rate_table.details(result) for name, result in results.items()}},
    )


def join(config: Config, parts: Sequence[Part[Prepared]]) -> Found:
    """On all of them."""
    rows = [dict(row) for part in parts for row in part.found.rows]
    model = checksum(parts[0].prepared.language.params)
    texts = [
        responses_as_text(part.prepared, name, result)
        for part in parts
        for name, result in part.results.items()
    ]
    return Found(
        rows,
        [],
        "",
        {
            "model": f"{model:08x}",
            "questions": {part.prepared.question: part.found.summary for part in parts},
        },
        report.format_table(*over_questions(rows))
        + "\n\nsuccess rates at the end (and at the best round), by question",
        {"responses.txt": "\n\n".join(texts) + "\n"},
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


def responses_as_text(prepared: Prepared, name: str, result: SeedRuns) -> str:
    """The last responses that were drawn, some of them."""
    language, shown = prepared.language, []
    for tokens in result.snapshots[0, -1][:SHOWN]:
        ended = np.isin(tokens, language.response.eos_tokens)
        length = int(np.argmax(ended)) if ended.any() else len(tokens)
        shown.append(language.text(tokens[:length]))
    title = f"question {prepared.question} ({prepared.problem.gold}), {METHODS[name].title}"
    return "\n\n".join([f"=== {title}, after the last round", *shown])


def draw(config: Config, parts: Sequence[Part[Prepared]], summary: dict[str, Any], folder: Path):
    gsm8k_figures.draw(summary, folder, METHODS)


def draw_sweep(path: Path, config: Config, prepared: Prepared, results: Mapping[str, SeedRuns]):
    """Success rates by reward evaluations, a line for each method and value (Figures 7, 8, 9)."""
    metrics = {title: result.metrics for title, result in results.items()}
    told = measured(prepared)
    gsm8k_figures.swept(path, vars(config), str(prepared.question), told, metrics)


EXPERIMENT = Experiment[Config, Prepared](
    PRESETS,
    prepare=questions,
    describe=lambda config, prepared: describe(prepared),
    runner=runner,
    outcome=outcome,
    found=found,
    draw=draw,
    gains=sampled.gains,
    free_gains=sampled.free_gains,
    legend=LEGEND,
    join=join,
    label=lambda prepared: f"question {prepared.question}",
    check=lambda config, prepared: check(config, prepared.networks),
    draw_sweep=draw_sweep,
)
main = EXPERIMENT.main
sweep = EXPERIMENT.sweep
