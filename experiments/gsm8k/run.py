r"""GSM8K-Hard (Section 5.2): a language model learns from its failures at one question.

    python -m experiments.gsm8k run --model=FOLDER --question=143,1248 --data_dir=DATA

runs each algorithm on each question, and beside them what costs no reward evaluation: the prior
itself, tempered, and its ladder of temperatures. It writes a table for each question and the
success rates by reward evaluations (Figures 4 and 10). What is on disk is not run again.

    python -m experiments.gsm8k run --question=143 --algorithms=banel \
        --sweep.settings.filter_factor=2,4,8,16

runs them at several values of any field (Figures 7, 8 and 9). See the README for minutes.
"""

import dataclasses
import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from banel_jax import checks, files, numerics, sampling, success_rate
from banel_jax.algorithms import language_rnd
from banel_jax.algorithms.banel import BanelConfig
from banel_jax.algorithms.language_rnd import LanguageRndConfig
from banel_jax.models import tempering
from banel_jax.models.language import responses
from banel_jax.models.language.qwen2 import Qwen2Config
from banel_jax.models.lora import LoraConfig, lora, lora_algorithm
from banel_jax.runs import naming
from banel_jax.runs.checkpoint import checksum
from banel_jax.tasks.gsm8k.data import HARD_QUESTIONS, Problem, Split, question
from banel_jax.tasks.gsm8k.task import GsmOracle, Rule, on_host
from banel_jax.training import TrainingConfig
from banel_jax.types import Algorithm, Key, Params, SequenceModel, Sequences, State, Task
from experiments.common import methods, rate_table, report, sweeps
from experiments.common.broadening import BroadenConfig, broadened
from experiments.common.cells import Cell, Runner, run_each
from experiments.common.methods import Method, Networks, Settings
from experiments.common.pieces import in_pieces
from experiments.common.rate_table import Costless, Rate
from experiments.gsm8k import figures as gsm8k_figures
from experiments.gsm8k.model import LanguageModel, load

LEGEND = rate_table.legend(
    "give an answer by the rule", "the best T, chosen by looking, and the other free ones"
)
NUM_SNAPSHOT = 8  # responses kept of each block of rounds
SHOWN = 3  # of the last of them, to be read


def _rnd(settings: Settings, networks: Networks) -> Algorithm:
    model = networks.model(0.0)
    policy = dataclasses.replace(settings.rnd_policy, num_candidates=settings.num_candidates)
    return language_rnd.language_rnd(model, policy, LanguageRndConfig(networks.observed))


METHODS: dict[str, Method] = {
    name: methods.METHODS[name]
    for name in (
        "banel_f1", "ours_f1", "ours_by_prior", "banel", "importance", "inverse", "ours",
        "policy_gradient", "negative_rl", "pseudo_count", "gflownet_tb", "gflownet_vargrad", "rtb",
    )
} | {
    # Its networks are small beside the language model.
    "rnd": methods.METHODS["rnd"]._replace(
        title="RND", build=_rnd, other_flops=lambda settings, networks: 0.0
    ),
    "ours_told_nothing": methods.variant_of_ours(
        "ours, told nothing but zeros", True, methods.ours
    )._replace(told=False),
}  # fmt: skip

WITH_FAILURE_MODEL = (  # beside the generator
    "banel_f1", "ours_f1", "ours_by_prior", "ours_told_nothing", "banel", "importance", "inverse",
    "ours",
)  # fmt: skip

OURS = BanelConfig(
    filter_factor=16.0,
    length_normalised=True,
    failure_rounds=30,
    failure_training=TrainingConfig(epochs=5, learning_rate=1e-5),
    generator_training=TrainingConfig(epochs=10, learning_rate=1e-5),
    distinct=True,
)
SETTINGS = Settings(
    filter_factor=16.0,
    length_normalised=True,
    failure_start="base",
    failure_epochs=5,
    failure_learning_rate=1e-5,
    generator_epochs=10,
    generator_learning_rate=1e-5,
    ours=OURS,
    ours_base="broadened",
    ours_failure_dropout=0.0,
    rnd_policy=dataclasses.replace(
        language_rnd.POLICY, training=TrainingConfig(epochs=1, learning_rate=1e-6)
    ),
)


@dataclass(frozen=True)
class Config:
    """Settings of the experiment.

    Attributes:
      model: folder of the prior.
      data_dir: folder of GSM8K's files; empty for that of BANEL_DATA_DIR.
      split: `train` or `test`.
      question: rows of the split, counted from 0; each is a run of its own.
      rule: of a right answer, `strict` or `flexible`.
      max_new_tokens: of a response.
      dtype: of the matrix products, `float32` or `bfloat16`.
      algorithms: which to run: banel_f1, ours_f1, ours_by_prior, ours_told_nothing (controls),
        banel, importance, inverse, ours, rnd, policy_gradient, negative_rl, pseudo_count,
        gflownet_tb, gflownet_vargrad, rtb.
      rounds: of num_candidates reward evaluations each, of every algorithm.
      seeds: how many runs of each algorithm.
      first_seed: the seeds are this one and those that follow.
      block: rounds in a compiled call; what it did is on disk before the next.
      num_evaluated: responses after each round, judged for the success rate.
      num_final: the same of the last state.
      num_prior: the same of the prior, of its ladder and of what `ours` starts from.
      num_tempered: the same of the prior at each temperature.
      temperatures: at which the prior is tried; those and 1 are the ladder's.
      batch: responses in a compiled call outside the rounds.
      lora: which models are adapters over one copy of the base: `none`, the `failure` model
        alone, the `generator` alone, or `both`.
      adapters: their settings.
      output: folder of the tables and figures.
      runs: folder of the runs themselves.
      settings: of the algorithms.
      broaden: the broadened prior; its temperatures are `temperatures`.
    """

    main_flags: ClassVar[tuple[str, ...]] = (
        "model", "data_dir", "question", "algorithms", "rounds", "seeds", "first_seed",
        "settings.num_candidates", "max_new_tokens", "dtype", "lora", "output", "runs",
    )  # fmt: skip

    model: str = "runs/gsm8k/qwen"
    data_dir: str = ""
    split: Split = "test"
    question: tuple[int, ...] = HARD_QUESTIONS
    rule: Rule = "strict"
    max_new_tokens: int = 256
    dtype: Literal["float32", "bfloat16"] = "float32"
    algorithms: tuple[str, ...] = ("banel_f1", "banel", "rnd")
    rounds: int = 30
    seeds: int = 1
    first_seed: int = 0
    block: int = 1
    num_evaluated: int = 10_000
    num_final: int = 10_000
    num_prior: int = 10_000
    num_tempered: int = 10_000
    temperatures: tuple[float, ...] = (0.7, 0.85, 1.15, 1.3, 1.5)
    batch: int = 500
    lora: Literal["none", "failure", "generator", "both"] = "none"
    adapters: LoraConfig = field(default_factory=LoraConfig)
    output: str = "runs/gsm8k/results"
    runs: str = "runs/gsm8k"
    settings: Settings = SETTINGS
    broaden: BroadenConfig = field(
        default_factory=lambda: BroadenConfig(
            num_samples=2000, training=TrainingConfig(epochs=3, learning_rate=1e-5)
        )
    )

    def __post_init__(self):
        checks.fields(self)
        numbers = (
            "rounds", "seeds", "block", "num_evaluated", "num_final", "num_prior", "num_tempered",
            "batch",
        )  # fmt: skip
        checks.integers(self, *numbers, at_least=1)
        checks.seeds(self, "first_seed")
        if not self.question or not self.algorithms:
            raise ValueError("give at least one question and one of algorithms")
        tempering.check(self.temperatures)
        unknown = set(self.algorithms) - set(METHODS)
        if unknown:
            raise ValueError(
                f"algorithms={','.join(sorted(unknown))} is not known; choose among "
                f"{', '.join(METHODS)}"
            )
        if self.lora in ("failure", "generator"):
            differ = [n for n in self.algorithms if n not in WITH_FAILURE_MODEL]
            if differ:
                raise ValueError(
                    f"lora={self.lora}: {', '.join(differ)} has no failure model beside its "
                    "generator; give lora=both or none"
                )

    @property
    def chosen(self) -> tuple[str, ...]:
        return self.algorithms


class Ground(NamedTuple):
    """What the algorithms have in common on one question.

    Attributes:
      question: its row.
      problem, oracle: what is asked, and how an answer is judged.
      networks: the language model asked it.
      bases: parameters to start from, by name.
      prior: its success rate.
      by_temperature: the same at single temperatures.
      others: controls that cost no evaluation and leave nothing to choose.
    """

    question: int
    problem: Problem
    oracle: GsmOracle
    networks: Networks
    bases: dict[str, Params]
    prior: Rate
    by_temperature: dict[float, Rate]
    others: list[Costless]

    @property
    def costless(self) -> list[Costless]:
        return [rate_table.best_of("best T", self.by_temperature), *self.others]


def flops_per_response(config: Qwen2Config, prompt_tokens: int, tokens: int) -> float:
    """Of one forward pass over a response: its matrix products, attention among them. The prompt
    is computed once for many responses and left out."""
    c = config
    attention = 2 * c.width * (c.num_heads + c.num_kv_heads) * c.head_width
    layer = 2.0 * (attention + 3 * c.width * c.mlp_width)
    layer += 4 * c.num_heads * c.head_width * (prompt_tokens + tokens / 2)
    return tokens * (c.num_layers * layer + 2 * c.width * c.vocab_size)


def networks_of(language: LanguageModel, problem: Problem) -> Networks:
    """The language model asked a problem. Random network distillation sees its tokens."""
    config, prompt = language.config, language.prompt(problem)
    model = responses.conditioned(config, language.response, prompt)

    def of(dropout):
        if dropout:
            raise ValueError(f"ours_failure_dropout={dropout}: Qwen2 has no dropout; give 0")
        return model

    size = flops_per_response(config, len(prompt), language.response.max_new_tokens)
    return Networks(of, size, config.vocab_size)


def prepare(config: Config, language: LanguageModel, row: int) -> Ground:
    """What is measured of the prior at a question, from `config.runs` or now."""
    problem = question(row, config.data_dir or None, config.split)
    networks = networks_of(language, problem)
    oracle = GsmOracle(language.text, problem.gold, config.rule)
    model, cache = networks.model(0.0), files.expand(config.runs)
    ladder = tempering.ladder(model, sorted({*config.temperatures, 1.0}))
    bases = {"prior": language.params}
    base = f"{checksum(language.params):08x}"

    def rate(what: str, seed: int, number: int, params, source: SequenceModel, *temperature):
        """A success rate, counted once for its settings."""
        key, size = jax.random.key(seed), min(number, config.batch)
        settings = {
            "what": what, "model": base, "params": f"{checksum(params):08x}", "seed": seed,
            "samples": number, "batch": size, "rule": config.rule, "gold": problem.gold,
            "source": naming.plain(source.settings), "temperature": temperature,
            "numerics": numerics.VERSION,
        }  # fmt: skip
        settings = json.loads(json.dumps(settings))
        path = cache / "rates" / f"q{row}-{what}-{naming.identity(settings)}.json"
        if not path.exists():

            def piece(i):
                at = jax.random.fold_in(key, i)
                return oracle(draw(source, at, params, size, *map(jnp.float32, temperature)))

            rewards = in_pieces(piece, number, size, f"question {row}, {what}")
            counted = {"settings": settings, "successes": int(rewards.sum())}
            report.write_json(path, counted | report.provenance())
        return Rate(successes_in(path), number)

    n, tempered = config.num_prior, config.num_tempered
    prior = rate("prior", 11, n, language.params, model, 1.0)
    by_temperature = {
        t: rate(f"T{t:g}", 12, tempered, language.params, model, t) for t in config.temperatures
    }
    others = [Costless("tempered ladder", None, rate("ladder", 13, n, language.params, ladder))]
    if any(METHODS[name].base(config.settings) == "broadened" for name in config.algorithms):
        broaden = dataclasses.replace(
            config.broaden, temperatures=tuple(sorted({*config.temperatures, 1.0}))
        )
        task = Task(model, language.params, on_host(oracle), None, oracle.texts)
        bases["broadened"] = broadened(task, broaden, config.first_seed, cache, f"q{row}")
        found = rate("broadened", 14, n, bases["broadened"], model, 1.0)
        others.append(Costless("broadened prior", None, found))
    return Ground(row, problem, oracle, networks, bases, prior, by_temperature, others)


def successes_in(path: Path) -> int:
    """What was counted, in a file."""
    try:
        return int(files.read_json(path)["successes"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path} holds no count of successes; delete it") from error


@partial(jax.jit, static_argnums=(0, 3))
def draw(model: SequenceModel, key: Key, params: Params, n: int, *temperature) -> Sequences:
    """n responses; the ladder takes no temperature."""
    at = dict(zip(("temperature",), temperature, strict=False))
    return sampling.sample(model, key, params, n, **at)[0]


def adapted(
    config: Config, ground: Ground, method: Method, base: Params
) -> tuple[Algorithm, Params]:
    """A method with the models that `config.lora` names as adapters over a base, and what it
    starts from."""
    networks, settings = ground.networks, config.settings
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


def evaluation(config: Config, ground: Ground, algorithm: Algorithm):
    """Of each round: what the generator and, where there is a filter, what passed it gets right."""
    judge, key = on_host(ground.oracle), jax.random.key(9)
    measure = lambda samples: {"reward": judge(samples)}
    count = success_rate.monte_carlo(algorithm, measure, config.num_evaluated, key)

    def evaluate(asked: State, state: State):
        found = {"success_rate": count(state).share("reward")}
        if hasattr(asked, "batch"):  # Algorithm 2's, all that it distils
            found["filtered_success_rate"] = jnp.mean(judge(asked.batch))
        return found

    return evaluate


def final_evaluation(config: Config, ground: Ground, algorithm: Algorithm):
    """Of the last state, by other samples."""
    judge, answered = on_host(ground.oracle), on_host(ground.oracle.answered)
    measure = lambda samples: {"reward": judge(samples), "valid": answered(samples)}
    count = success_rate.monte_carlo(algorithm, measure, config.num_final, jax.random.key(10))

    def final(state: State):
        counted = count(state)
        return {"successes": counted.totals["reward"], "valid": counted.share("valid")}

    return final


def runner(config: Config, name: str, ground: Ground) -> Runner:
    method = METHODS[name]
    algorithm, start = adapted(config, ground, method, ground.bases[method.base(config.settings)])
    task = Task(
        ground.networks.model(0.0), start, on_host(ground.oracle), None, ground.oracle.texts
    )
    lora_settings = {} if config.lora == "none" else {"lora": config.lora}
    return Runner(
        f"q{ground.question}-{name}",
        algorithm,
        method.task(task),
        start,
        config.rounds,
        evaluation(config, ground, algorithm),
        final_evaluation(config, ground, algorithm),
        {
            "gold": ground.problem.gold,
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


def run(config: Config, ground: Ground) -> dict[str, Cell]:
    """The algorithms on a question, from disk or run now; one that cannot go on is told of."""

    def in_words(name, cell):
        final = float(np.median(cell.final["successes"])) / config.num_final
        best = float(np.median(cell.metrics["success_rate"].max(1)))
        met = int(cell.metrics["num_successes"][:, -1].sum())
        return (
            f"{report.format_value(final)} at the end, {report.format_value(best)} at best, "
            f"{met:,} successes met"
        )

    seeds = range(config.first_seed, config.first_seed + config.seeds)
    run_one = lambda name: runner(config, name, ground)
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


def table(config: Config, ground: Ground, cells: Mapping[str, Cell]) -> list[dict[str, Any]]:
    with_networks = SimpleNamespace(**vars(config), networks=ground.networks)
    rows = rate_table.rows(with_networks, ground, cells, METHODS)
    return [{"question": ground.question} | row for row in rows]


def main(config: Config) -> None:
    started = time.perf_counter()
    language = begin(config)
    output = files.expand(config.output)
    every: list[dict[str, Any]] = []
    grounds, found, texts = {}, {}, []
    for row in config.question:
        ground = grounds[row] = prepare(config, language, row)
        print(describe(ground), flush=True)
        found[row] = run(config, ground)
        rows = table(config, ground, found[row])
        print()
        for columns in rate_table.TABLES:
            report.print_table(rate_table.readable(rows), columns)
            print()
        print(rate_table.in_words(rows) + "\n", flush=True)
        every += rows
        texts += [responses_as_text(ground, language, name, c) for name, c in found[row].items()]
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
                row: measured(grounds[row])
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


def describe(ground: Ground) -> str:
    low, high = map(report.format_value, ground.prior.interval)
    rates = ", ".join(
        f"{t:g}: {report.format_value(rate.value)}" for t, rate in ground.by_temperature.items()
    )
    return (
        f"question {ground.question}, whose answer is {ground.problem.gold}: the prior is right at "
        f"{report.format_value(ground.prior.value)} [{low}, {high}] ({ground.prior.samples:,} "
        f"samples, 95% interval); at other temperatures {rates}"
    )


def measured(ground: Ground) -> dict[str, Any]:
    told = rate_table.as_told
    return {
        "gold": ground.problem.gold,
        "prior": told(ground.prior),
        "by_temperature": {t: told(rate) for t, rate in ground.by_temperature.items()},
        **{control.kind: told(control.rate) for control in ground.others},
    }


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


def responses_as_text(ground: Ground, language: LanguageModel, name: str, cell: Cell) -> str:
    """The last responses that were drawn, some of them."""
    shown = []
    for tokens in cell.snapshots[0, -1][:SHOWN]:
        ended = np.isin(tokens, language.response.eos_tokens)
        length = int(np.argmax(ended)) if ended.any() else len(tokens)
        shown.append(language.text(tokens[:length]))
    title = f"question {ground.question} ({ground.problem.gold}), {METHODS[name].title}"
    return "\n\n".join([f"=== {title}, after the last round", *shown])


def sweep(field: str, points: list[tuple[str, Config]]) -> None:
    """The algorithms at several values of one field (Figures 7, 8 and 9)."""
    started = time.perf_counter()
    config = points[0][1]
    sweeps.check(field, [point for _, point in points])
    short = field.removeprefix("settings.")
    grounds: dict[int, Ground] = {}
    curves: dict[int, dict[str, Cell]] = {row: {} for row in config.question}
    for value, point in points:
        language = begin(point)
        for row in config.question:
            print(f"{field} = {value}, question {row}", flush=True)
            ground = grounds[row] = prepare(point, language, row)
            for name, cell in run(point, ground).items():
                curves[row][f"{METHODS[name].title}, {short} {value}"] = cell
    output = files.expand(config.output)
    rows = [
        {
            "question": row,
            "algorithm": title,
            "prior": grounds[row].prior.value,
            "final": float(np.median(cell.final["successes"])) / config.num_final,
            "best": float(np.median(cell.metrics["success_rate"].max(1))),
        }
        for row, of in curves.items()
        for title, cell in of.items()
    ]
    print()
    report.print_table(rows, ("question", "algorithm", "prior", "final", "best"))
    about = report.provenance(started) | {"config": asdict(config), "field": field}
    report.write_json(output / f"sweep_{short}.json", about | {"rows": rows})
    gsm8k_figures.success_rate(
        output / "figures" / f"sweep_{short}.png",
        asdict(config),
        {str(row): measured(ground) for row, ground in grounds.items()},
        {str(row): {title: c.metrics for title, c in of.items()} for row, of in curves.items()},
        {},  # the same method at several values
    )
    print(f"\nwritten: {output}/sweep_{short}.json, figures/sweep_{short}.png")


def _small(rate: float, num_candidates: int, distilled: int) -> Settings:
    """For a small model, which learns at a higher rate, and few candidates a round; on a CPU most
    of the time is training, of which ours is given less."""
    fit = lambda epochs: TrainingConfig(epochs=epochs, learning_rate=rate)
    return dataclasses.replace(
        SETTINGS,
        num_candidates=num_candidates,
        filter_factor=8.0,
        failure_learning_rate=rate,
        generator_learning_rate=rate,
        ours=dataclasses.replace(
            OURS,
            num_candidates=num_candidates,
            filter_factor=4.0,
            num_distilled=distilled,
            failure_rounds=5,
            failure_training=fit(3),
            generator_training=fit(4),
        ),
        rnd_policy=dataclasses.replace(
            SETTINGS.rnd_policy, training=TrainingConfig(epochs=1, learning_rate=rate / 10)
        ),
    )


PRESETS: dict[str, Config] = {
    "default": Config(),
    # Of the stand-in's own hard questions, as `select` found them.
    "stand_in": Config(
        model="runs/gsm8k/stand_in",
        question=(10, 9, 3),
        max_new_tokens=160,
        rounds=8,
        num_evaluated=250,
        num_final=2000,
        num_prior=4000,
        num_tempered=1000,
        temperatures=(0.7, 0.85, 1.15, 1.5),
        batch=500,
        output="runs/gsm8k/results_stand_in",
        settings=_small(3e-4, num_candidates=50, distilled=100),
        broaden=BroadenConfig(
            num_samples=1000, training=TrainingConfig(epochs=3, learning_rate=3e-4)
        ),
    ),
    "smoke": Config(
        model="runs/gsm8k_smoke/stand_in",
        question=(0,),
        max_new_tokens=16,
        algorithms=("banel_f1", "ours_f1", "banel", "ours", "rnd"),
        rounds=2,
        num_evaluated=8,
        num_final=8,
        num_prior=8,
        num_tempered=8,
        temperatures=(0.7, 1.5),
        batch=8,
        output="runs/gsm8k_smoke/results",
        runs="runs/gsm8k_smoke",
        settings=_small(1e-3, num_candidates=4, distilled=8),
        broaden=BroadenConfig(num_samples=8, training=TrainingConfig(epochs=1)),
    ),
}
