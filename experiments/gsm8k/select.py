"""Choosing GSM8K's hard questions for a model: those that it answers right once in thousands.

    python -m experiments.gsm8k select --model=FOLDER --data_dir=DATA

samples every question in stages and drops one as soon as it is clearly too easy. Each count is on
disk before the next is begun: stopped, it goes on where it was.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp

from banel_jax import checks, numerics
from banel_jax.models.language.prompts import bucket, pad_prompts
from banel_jax.runs import naming
from banel_jax.runs.leaves import checksum
from banel_jax.runs.progress import progress
from banel_jax.success_rate import clopper_pearson
from banel_jax.tasks.gsm8k.data import Problem, load_gsm8k, worked_examples
from banel_jax.tasks.gsm8k.task import Rule, reward
from banel_jax.types import Sequences
from experiments.common import report
from experiments.common.batches import in_batches
from experiments.gsm8k.model import LanguageModel, draw, load

COLUMNS = ("question", "successes", "samples", "success rate", "interval")


@dataclass(frozen=True)
class Config:
    """Settings of the selection.

    Attributes:
      model: its folder, or `smollm2`.
      data_dir: folder of GSM8K's files; empty for that of BANEL_DATA_DIR.
      split: `train` or `test`.
      first, num_questions: rows of the split to look at; 0 for all from `first` on.
      low, high: the success rates to report.
      stages: samples of a question after each stage.
      most: questions that go on to the next stage at the most: those of a rate up to `high`
        first, and of them the ones answered right most often; 0 for all that are not too easy.
      batch: samples in a compiled call.
      max_new_tokens: of a response.
      forbidden_tokens: that no response has, each an id or a name that the tokenizer knows.
      shots: worked problems of the training split before each question.
      rule: of a right answer, `strict` or `flexible`.
      seed: of the samples.
      output: folder of the counts and of the table.
    """

    model: str = "runs/gsm8k/stand_in"
    data_dir: str = ""
    split: Literal["train", "test"] = "test"
    first: int = 0
    num_questions: int = 0
    low: float = 1e-4
    high: float = 3e-3
    stages: tuple[int, ...] = (64, 512, 2048, 10_000)
    most: int = 0
    batch: int = 64
    max_new_tokens: int = 256
    forbidden_tokens: tuple[str, ...] = ()
    shots: int = 0
    rule: Rule = "strict"
    seed: int = 0
    output: str = "runs/gsm8k/select"

    def __post_init__(self):
        checks.fields(self)
        checks.integers(self, "batch", at_least=1)
        checks.integers(self, "most", "shots", at_least=0)
        checks.seeds(self, "seed")
        if not 0 <= self.low < self.high <= 1:
            raise ValueError(f"low={self.low} and high={self.high} must be rates, low below high")
        if not self.stages or list(self.stages) != sorted(set(self.stages)) or self.stages[0] < 1:
            raise ValueError(
                f"stages={self.stages} must be numbers of samples, each above the last"
            )


def main(config: Config) -> None:
    started = time.perf_counter()
    output = report.output_folder(config.output)
    every = load_gsm8k(config.data_dir or None, config.split)
    last = config.first + config.num_questions if config.num_questions else len(every)
    if not 0 <= config.first < last <= len(every):
        raise ValueError(
            f"first={config.first} and num_questions={config.num_questions}: the {config.split} "
            f"split has questions 0 to {len(every) - 1}"
        )
    shots = worked_examples(config.shots, config.data_dir or None)
    forbidden = config.forbidden_tokens
    model = load(config.model, config.max_new_tokens, shots, forbidden_tokens=forbidden)
    prompts = {i: model.prompt(every[i].prompt) for i in range(config.first, last)}
    room = model.config.context - config.max_new_tokens
    counts = _taken_up(output / "counts.jsonl", config, model, every)
    key = jax.random.key(config.seed)
    left = list(prompts)
    for stage in config.stages:
        bar = progress(left, len(left), f"{stage} samples of {len(left)} questions")
        for question in bar:
            successes, samples = counts.get(question, (0, 0))
            if samples < stage:
                ids = prompts[question]
                prompt = pad_prompts([ids], bucket(len(ids), room))
                drawn = samples_of(config, model, key, question, prompt, samples, stage)
                texts = [
                    model.text(row[kept])
                    for row, kept in zip(drawn.tokens, drawn.mask, strict=True)
                ]
                successes += int(reward(texts, every[question].gold, config.rule).sum())
                counts[question] = (successes, stage)
                line = {"question": question, "successes": successes, "samples": stage}
                report.append_json_line(output / "counts.jsonl", line)
        left = going_on(config, counts, left)
    rows = table(config, counts, left)
    report.print_table(rows, COLUMNS)
    print(
        f"\n{len(rows)} of {len(prompts)} questions have a rate from {config.low:g} to "
        f"{config.high:g}; intervals of 95%"
    )
    about = report.provenance(started) | {"config": asdict(config)}
    every_count = {q: counts[q] for q in prompts}
    report.write_json(output / "select.json", about | {"questions": rows, "counts": every_count})
    print(f"written: {output}/select.json ({time.perf_counter() - started:.0f} s in all)")


def samples_of(
    config: Config, model: LanguageModel, key, question: int, prompt, done: int, until: int
) -> Sequences:
    """The responses `done` to `until` of the stream of a question."""
    key = jax.random.fold_in(key, question)
    prompt = jax.tree.map(lambda x: x[0], prompt)
    first = lambda i: jnp.arange(config.batch) + done + i * config.batch
    one = lambda i: draw(model.config, model.response, key, model.params, prompt, first(i))
    return in_batches(one, until - done, config.batch, "")


def going_on(config: Config, counts: dict[int, tuple[int, int]], left: list[int]) -> list[int]:
    """Of the questions sampled in a stage, those that are not clearly too easy, `most` of them."""

    def order(question):
        rate = counts[question][0] / counts[question][1]
        return rate > config.high, -rate

    hard = [q for q in left if clopper_pearson(*counts[q])[0] <= config.high]
    return sorted(sorted(hard, key=order)[: config.most]) if config.most else hard


def table(config: Config, counts: dict[int, tuple[int, int]], left: list[int]) -> list[dict]:
    """Of the questions sampled to the end, those whose rate is in range, the hardest first."""
    rows: list[dict[str, Any]] = []
    for question in left:
        successes, samples = counts[question]
        rate, (low, high) = successes / samples, clopper_pearson(successes, samples)
        if config.low <= rate <= config.high:
            interval = f"[{report.format_value(low)}, {report.format_value(high)}]"
            rows.append(
                {
                    "question": question,
                    "successes": successes,
                    "samples": samples,
                    "success rate": rate,
                    "interval": interval,
                }
            )
    return sorted(rows, key=lambda row: row["success rate"])


def _taken_up(
    path: Path, config: Config, model: LanguageModel, problems: Sequence[Problem]
) -> dict[int, tuple[int, int]]:
    """What was counted before, by the same model and settings, of the same problems."""
    told = {name: getattr(config, name) for name in ("split", "max_new_tokens", "rule", "seed")}
    asked = {"problems": [list(p) for p in problems], "first": model.prompt(problems[0].prompt)}
    settings = told | {
        "model": f"{checksum(model.params):08x}",
        "problems": naming.identity(naming.plain(asked)),
        "numerics": numerics.VERSION,
    }
    if model.response.forbidden_tokens:  # counts from before there was this setting have none
        settings["forbidden_tokens"] = list(model.response.forbidden_tokens)
    lines = report.read_json_lines(path)
    if not lines:
        report.append_json_line(path, {"settings": settings})
    elif lines[0]["settings"] != settings:
        then = lines[0]["settings"]
        differ = [name for name in {**settings, **then} if then.get(name) != settings.get(name)]
        raise ValueError(
            f"{path} was counted with another {', '.join(differ)}; name another output folder"
        )
    return {line["question"]: (line["successes"], line["samples"]) for line in lines[1:]}


PRESETS: dict[str, Config] = {
    "default": Config(),
    "stand_in": Config(num_questions=40, stages=(64, 512, 2048), max_new_tokens=160),
    # Rates that some hundred evaluations can tell something of.
    "smollm2": Config(
        model="smollm2",
        num_questions=24,
        low=1e-3,
        high=3e-2,
        stages=(64, 256, 1024),
        most=8,
        max_new_tokens=80,
        shots=3,
        output="runs/gsm8k/select_smollm2",
    ),
    "smoke": Config(
        model="runs/gsm8k_smoke/stand_in",
        num_questions=3,
        high=1.0,
        low=0.0,
        stages=(4, 8),
        batch=4,
        max_new_tokens=16,
        output="runs/gsm8k_smoke/select",
    ),
}
