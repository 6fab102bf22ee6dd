"""What the algorithms have in common on a question: the model asked it, and the prior's rates."""

import dataclasses
import json
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from banel_jax import files, numerics, sampling
from banel_jax.models import tempering
from banel_jax.models.language import responses
from banel_jax.models.language.decoder_config import DecoderConfig
from banel_jax.runs import naming
from banel_jax.runs.leaves import checksum
from banel_jax.tasks.gsm8k.data import Problem, question
from banel_jax.tasks.gsm8k.task import GsmOracle
from banel_jax.tasks.text import on_host
from banel_jax.types import Key, Params, SequenceModel, Sequences, Task
from experiments.common import rate_table, report
from experiments.common.batches import in_batches
from experiments.common.broadening import bases
from experiments.common.methods import Networks
from experiments.common.rate_table import FreeControl, Rate
from experiments.gsm8k.config import Config
from experiments.gsm8k.model import LanguageModel


class Prepared(NamedTuple):
    """What the algorithms have in common on one question.

    Attributes:
      question: its row.
      problem: what is asked.
      language: the model that is asked.
      oracle: how an answer is judged.
      networks: the language model asked it.
      bases: parameters to start from, by name.
      prior: its success rate.
      by_temperature: the same at single temperatures.
      others: controls that cost no evaluation and leave nothing to choose.
    """

    question: int
    problem: Problem
    language: LanguageModel
    oracle: GsmOracle
    networks: Networks
    bases: dict[str, Params]
    prior: Rate
    by_temperature: dict[float, Rate]
    others: list[FreeControl]

    @property
    def free_controls(self) -> list[FreeControl]:
        return [rate_table.best_of("best T", self.by_temperature), *self.others]


def flops_per_response(config: DecoderConfig, prompt_tokens: int, tokens: int) -> float:
    """Of one forward pass over a response: its matrix products, attention among them. The prompt
    is computed once for many responses and left out."""
    c = config
    attention = 2 * c.width * (c.query_width + c.kv_width)
    layer = 2.0 * (attention + (2 + c.gated) * c.width * c.mlp_width)
    layer += 4 * c.query_width * (prompt_tokens + tokens / 2)
    return tokens * (c.num_layers * layer + 2 * c.width * c.vocab_size)


def networks_of(language: LanguageModel, problem: Problem) -> Networks:
    """The language model asked a problem. Random network distillation sees its tokens."""
    config, prompt = language.config, language.prompt(problem.prompt)
    model = responses.conditioned(config, language.response, prompt)

    def of(dropout):
        if dropout:
            raise ValueError(
                f"ours_failure_dropout={dropout}: a language model has no dropout here; give 0"
            )
        return model

    size = flops_per_response(config, len(prompt), language.response.max_new_tokens)
    return Networks(of, size, config.vocab_size)


def prepare(config: Config, language: LanguageModel, row: int) -> Prepared:
    """What is measured of the prior at a question, from `config.runs` or now."""
    problem = question(row, config.data_dir or None, config.split)
    networks = networks_of(language, problem)
    oracle = GsmOracle(language.text, problem.gold, config.rule)
    model, cache = networks.model(0.0), files.expand(config.runs)
    rungs = tuple(sorted({*config.temperatures, 1.0}))
    ladder = tempering.ladder(model, rungs)
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

            rewards = in_batches(piece, number, size, f"question {row}, {what}")
            counted = {"settings": settings, "successes": int(rewards.sum())}
            report.write_json(path, counted | report.provenance())
        return Rate(successes_in(path), number)

    n, tempered = config.num_prior, config.num_tempered
    prior = rate("prior", 11, n, language.params, model, 1.0)
    by_temperature = {
        t: rate(f"T{t:g}", 12, tempered, language.params, model, t) for t in config.temperatures
    }
    others = [FreeControl("tempered ladder", None, rate("ladder", 13, n, language.params, ladder))]
    task = Task(model, language.params, on_host(oracle), None, oracle.texts)
    broaden = dataclasses.replace(config.broaden, temperatures=rungs)
    starts = bases(config.bases, task, broaden, config.first_seed, cache, f"q{row}")
    if "broadened" in starts:
        found = rate("broadened", 14, n, starts["broadened"], model, 1.0)
        others.append(FreeControl("broadened prior", None, found))
    return Prepared(row, problem, language, oracle, networks, starts, prior, by_temperature, others)


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


def describe(prepared: Prepared) -> str:
    low, high = map(report.format_value, prepared.prior.interval)
    rates = ", ".join(
        f"{t:g}: {report.format_value(rate.value)}" for t, rate in prepared.by_temperature.items()
    )
    return (
        f"question {prepared.question}, whose answer is {prepared.problem.gold}: the prior is "
        f"right at {report.format_value(prepared.prior.value)} [{low}, {high}] "
        f"({prepared.prior.samples:,} samples, 95% interval); at other temperatures {rates}"
    )


def measured(prepared: Prepared) -> dict[str, Any]:
    told = rate_table.as_told
    return {
        "gold": prepared.problem.gold,
        "prior": told(prepared.prior),
        "by_temperature": {t: told(rate) for t, rate in prepared.by_temperature.items()},
        **{control.kind: told(control.rate) for control in prepared.others},
    }
