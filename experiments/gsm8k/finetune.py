"""Fine-tuning a language model on GSM8K's training questions, as the paper's prior was.

    python -m experiments.gsm8k finetune --model=FOLDER --data_dir=DATA

A policy gradient whose baseline is the mean reward of a question's group of responses, with a
penalty on the divergence from where it began. Stopped, it goes on from its last checkpoint; at
the end the model is saved as a Hugging Face folder beside its training curve.
"""

import shutil
import time
from contextlib import ExitStack, closing
from dataclasses import asdict
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from jaxtyping import Array, Float, Int

from banel_jax import parallel, sampling, training
from banel_jax.models.language import huggingface, named_models, responses
from banel_jax.models.language.decoder_config import DecoderConfig
from banel_jax.models.language.responses import Prompt, ResponseConfig, pad_prompts
from banel_jax.models.language.weight_files import check_free
from banel_jax.runs import folder as run_folder
from banel_jax.runs import naming
from banel_jax.runs.checkpoint import Checkpoints
from banel_jax.runs.leaves import checksum
from banel_jax.runs.progress import progress
from banel_jax.tasks.gsm8k.data import Problem, Split, load_gsm8k
from banel_jax.tasks.gsm8k.task import Rule, is_right
from banel_jax.types import Key, Params, Sequences
from experiments.common import report
from experiments.common.batches import in_batches
from experiments.gsm8k.finetune_config import PRESETS as PRESETS
from experiments.gsm8k.finetune_config import Config
from experiments.gsm8k.model import LanguageModel, load


@struct.dataclass
class Progress:
    """What a checkpoint holds: parameters, optimiser, and the mean reward of each step."""

    params: Params
    opt_state: Any
    rewards: Float[Array, " steps"]


@partial(jax.jit, static_argnums=(0, 1, 5))
def draw_groups(
    config: DecoderConfig,
    response: ResponseConfig,
    key: Key,
    params: Params,
    prompts: Prompt,
    group: int,
) -> Sequences:
    """Responses [q, group, max_new_tokens] to prompts [q, P]."""

    def of_prompt(replicated, x):
        key, params = replicated
        prompt, row = x
        keys = jax.random.split(jax.random.fold_in(key, row), group)
        return jax.vmap(lambda k: responses.sample(config, response, k, params, prompt)[0])(keys)

    rows = jnp.arange(prompts.tokens.shape[0])
    size = max(1, sampling.default_chunk_size(response.max_new_tokens, params) // group)
    return parallel.map_sequences(of_prompt, (key, params), (prompts, rows), size)


@partial(jax.jit, static_argnums=(0, 1, 2))
def update(
    config: DecoderConfig,
    response: ResponseConfig,
    settings: Config,
    base: Params,
    params: Params,
    opt_state: Any,
    prompts: Prompt,
    drawn: Sequences,
    rewards: Float[Array, "q group"],
) -> tuple[Params, Any]:
    """One step of the policy gradient, a prompt's group in work at a time on each device."""

    def scores_of(params, prompt, group):
        score = lambda x: responses.log_prob(config, response, params, prompt, x)
        return jax.vmap(score)(group)

    def of_prompt(replicated, prompt, group, earned):
        params, base = replicated

        def loss(params):
            scores = scores_of(params, prompt, group)
            drift = jax.lax.stop_gradient(scores) - scores_of(base, prompt, group)
            advantages = earned - settings.kl_coefficient * jax.lax.stop_gradient(drift)
            return -jnp.mean((advantages - jnp.mean(advantages)) * scores)

        return jax.grad(loss)(params)

    def total(replicated, rows):
        def add(total, x):
            return jax.tree.map(jnp.add, total, of_prompt(replicated, *x)), None

        return jax.lax.scan(add, jax.tree.map(jnp.zeros_like, replicated[0]), rows)[0]

    rows = (prompts, drawn, rewards)
    grads = parallel.sum_over_shards(total, (params, base), rows)
    grads = jax.tree.map(lambda g: g / rewards.shape[0], grads)
    updates, opt_state = training.optimizer(settings.optimizer).update(grads, opt_state, params)
    return optax.apply_updates(params, updates), opt_state


def rewards_of(model: LanguageModel, drawn: Sequences, golds: list[str], rule: Rule) -> np.ndarray:
    """float32 [q, group] in {0, 1}."""
    tokens, mask = np.asarray(drawn.tokens), np.asarray(drawn.mask)
    return np.array(
        [
            [is_right(model.text(row[kept]), gold, rule) for row, kept in zip(*group, strict=True)]
            for *group, gold in zip(tokens, mask, golds, strict=True)
        ],
        np.float32,
    )


def mean_at_k(
    config: Config, model: LanguageModel, params: Params, problems: list[Problem], prompts: Prompt
) -> float:
    """The share of right answers among `mean_at` responses to each question."""
    size = min(config.questions, len(problems))

    def earned(i):
        rows = np.arange(i * size, (i + 1) * size) % len(problems)  # the last call is filled
        key = jax.random.fold_in(jax.random.key(config.seed + 1), i * size)
        some = jax.tree.map(lambda x: x[rows], prompts)
        drawn = draw_groups(model.config, model.response, key, params, some, config.mean_at)
        return rewards_of(model, drawn, [problems[row].gold for row in rows], config.rule)

    return float(in_batches(earned, len(problems), size, f"mean@{config.mean_at}").mean())


def questions_of(
    config: Config, model: LanguageModel, split: Split, most: int | None = None
) -> tuple[list[Problem], Prompt | None]:
    """The first `most` problems of a split that are short enough, and their prompts."""
    kept: list[tuple[Problem, list[int]]] = []
    for problem in load_gsm8k(config.data_dir or None, split):
        ids = model.prompt(problem.prompt)
        if len(ids) <= config.max_prompt_tokens:
            kept.append((problem, ids))
        if len(kept) == most:
            break
    prompts = pad_prompts([ids for _, ids in kept], config.max_prompt_tokens) if kept else None
    return [problem for problem, _ in kept], prompts


def chosen(config: Config, step: int, number: int) -> Int[np.ndarray, " q"]:
    """The questions of a step, which follow from the seed and the step alone."""
    return np.random.default_rng([config.seed, step]).choice(number, config.questions, False)


def main(config: Config) -> None:
    started = time.perf_counter()
    folder = report.output_folder(config.folder)
    check_free(folder, like=named_models.folder(config.model))
    model = load(config.model, config.max_new_tokens)
    problems, prompts = questions_of(config, model, "train", config.num_problems or None)
    test, test_prompts = questions_of(config, model, "test", config.num_evaluated)
    if len(problems) < config.questions or not test_prompts:
        raise ValueError(
            f"max_prompt_tokens={config.max_prompt_tokens} and num_problems={config.num_problems} "
            f"leave {len(problems)} questions to train on, and questions={config.questions}; raise "
            "the former or lower the latter"
        )
    print(f"{len(problems):,} questions to train on, {len(test):,} to evaluate", flush=True)
    settings = naming.plain(config).without(("data_dir", "folder", "checkpoint_every")) | {
        "model": f"{checksum(model.params):08x}",
        "problems": naming.identity({"problems": problems}),
    }
    work = folder.with_name(folder.name + ".training")
    with ExitStack() as stack:
        stack.enter_context(run_folder.hold(work))
        checkpoints = Checkpoints(work / "checkpoints", naming.identity(settings))
        stack.enter_context(closing(checkpoints))
        opt_state = training.optimizer(config.optimizer).init(model.params)
        start = Progress(model.params, opt_state, jnp.zeros(config.steps))
        done, state = checkpoints.restore_latest(start) or (0, start)
        before = mean_at_k(config, model, model.params, test, test_prompts)
        print(f"mean@{config.mean_at} before: {before:.4f}", flush=True)
        for step in progress(range(done, config.steps), config.steps, "fine-tuning", done):
            state = one_step(config, model, problems, prompts, step, state)
            if (step + 1) % config.checkpoint_every == 0 or step + 1 == config.steps:
                checkpoints.save(step + 1, state)
        checkpoints.wait()
    after = mean_at_k(config, model, state.params, test, test_prompts)
    rewards = np.asarray(state.rewards)
    tenth = max(1, config.steps // 10)
    print(
        f"mean@{config.mean_at} after: {after:.4f}; reward of the first {tenth} steps "
        f"{rewards[:tenth].mean():.4f}, of the last {rewards[-tenth:].mean():.4f}"
    )
    huggingface.save(folder, model.config, state.params, like=named_models.folder(config.model))
    report.write_json(
        folder / "finetuning.json",
        report.provenance(started)
        | {"config": asdict(config), f"mean_at_{config.mean_at}": [before, after]}
        | {"rewards": rewards},
    )
    shutil.rmtree(work, ignore_errors=True)
    print(f"written: {folder} ({time.perf_counter() - started:.0f} s in all)")


def one_step(config, model, problems, prompts, step: int, state: Progress) -> Progress:
    rows = chosen(config, step, len(problems))
    some = jax.tree.map(lambda x: x[rows], prompts)
    key = jax.random.fold_in(jax.random.key(config.seed), step)
    drawn = draw_groups(model.config, model.response, key, state.params, some, config.group)
    rewards = rewards_of(model, drawn, [problems[row].gold for row in rows], config.rule)
    params, opt_state = update(
        model.config, model.response, config, model.params, state.params, state.opt_state, some,
        drawn, jnp.asarray(rewards),
    )  # fmt: skip
    return Progress(params, opt_state, state.rewards.at[step].set(rewards.mean()))
