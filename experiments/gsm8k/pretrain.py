"""A stand-in for Qwen2.5: a small model of its architecture, trained on GSM8K's own text.

    python -m experiments.gsm8k pretrain --data_dir=DATA

trains a byte-pair tokenizer and a decoder on the training problems, as chats of a question and
its worked solution, and saves both as a Hugging Face folder. Stopped, it goes on where it was.
What it can do is its own; nothing measured on it is a result of Qwen's.
"""

import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from banel_jax import checks, prior_cache
from banel_jax.models.language import huggingface, responses
from banel_jax.models.language.decoder_config import DecoderConfig
from banel_jax.models.language.responses import ResponseConfig
from banel_jax.models.language.tokenizer import END
from banel_jax.models.language.tokenizer import tokenizer as load_tokenizer
from banel_jax.models.language.weight_files import check_free
from banel_jax.tasks.gsm8k.data import Problem, load_gsm8k
from banel_jax.tasks.gsm8k.tokens import TokenizerConfig, train_tokenizer
from banel_jax.training import TrainingConfig
from banel_jax.types import Sequences
from experiments.common import report


@dataclass(frozen=True)
class Config:
    """Settings of the stand-in and of its training.

    Attributes:
      data_dir: folder of GSM8K's files; empty for that of BANEL_DATA_DIR.
      folder: where the model is saved.
      annotations: keep the calculator annotations of the solutions.
      tokenizer: settings of the tokenizer.
      num_layers, width, num_heads, num_kv_heads, mlp_width: of the decoder.
      context: the most tokens of a prompt and its response together.
      length: the longest chat to train on; longer ones are left out.
      num_problems: of the training split; 0 for all.
      held_out: of them, to stop early by.
      training: the fit.
      seed: of the weights and of the order of problems.
    """

    data_dir: str = ""
    folder: str = "runs/gsm8k/stand_in"
    annotations: bool = False
    tokenizer: TokenizerConfig = field(default_factory=lambda: TokenizerConfig(vocab_size=2048))
    num_layers: int = 6
    width: int = 256
    num_heads: int = 4
    num_kv_heads: int = 2
    mlp_width: int = 704
    context: int = 1024
    length: int = 288
    num_problems: int = 0
    held_out: int = 200
    training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(
            epochs=6,
            batch_size=32,
            learning_rate=2e-3,
            weight_decay=0.1,
            warmup_steps=100,
            decay_steps=1200,
            patience=2,
        )
    )
    seed: int = 0

    def __post_init__(self):
        checks.fields(self)
        checks.integers(self, "num_problems", "held_out", at_least=0)
        checks.seeds(self, "seed")
        checks.integers(self, "length", at_least=2)
        if self.num_problems and not 0 <= self.held_out < self.num_problems:
            raise ValueError(
                f"held_out={self.held_out} must be below num_problems={self.num_problems}"
            )
        self.model(self.tokenizer.vocab_size)

    def model(self, vocab_size: int) -> DecoderConfig:
        return DecoderConfig(
            vocab_size=vocab_size,
            width=self.width,
            num_layers=self.num_layers,
            num_heads=self.num_heads,
            num_kv_heads=self.num_kv_heads,
            mlp_width=self.mlp_width,
            context=self.context,
            head_block=64,
            remat=False,
        )


def solution(problem: Problem, annotations: bool) -> str:
    return problem.answer if annotations else problem.solution


def chats(tokenizer, problems, annotations: bool) -> list[list[int]]:
    """Each problem as a chat of tokens, to the end of the solution."""
    tokens = []
    for problem in problems:
        messages = [
            {"role": "user", "content": problem.prompt},
            {"role": "assistant", "content": solution(problem, annotations)},
        ]
        text = tokenizer.apply_chat_template(messages, tokenize=False)
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        end = len(ids) - 1 - ids[::-1].index(tokenizer.convert_tokens_to_ids(END))
        tokens.append(ids[: end + 1])
    return tokens


def sequences(tokens: list[list[int]], length: int) -> Sequences:
    """Chats but for their first token, which is the same in all, [n, length]."""
    rows = np.zeros((len(tokens), length), np.int32)
    mask = np.zeros((len(tokens), length), bool)
    for row, ids in enumerate(tokens):
        rows[row, : len(ids) - 1], mask[row, : len(ids) - 1] = ids[1:], True
    return Sequences(jnp.asarray(rows), jnp.asarray(mask))


def data(
    config: Config, tokenizer, problems: Sequence[Problem]
) -> tuple[Sequences, Float[Array, " n"], int, int]:
    """What is trained on, 1 for held out, the first token, and how many chats were too long."""
    tokens = chats(tokenizer, problems, config.annotations)
    short = [ids for ids in tokens if len(ids) <= config.length + 1]
    if len(short) <= config.held_out:
        raise ValueError(
            f"length={config.length} leaves {len(short)} of {len(tokens)} chats, and held_out="
            f"{config.held_out}; give a larger length"
        )
    held_out = jnp.asarray(np.arange(len(short)) < config.held_out, jnp.float32)
    return sequences(short, config.length), held_out, short[0][0], len(tokens) - len(short)


def main(config: Config) -> None:
    started = time.perf_counter()
    folder = report.output_folder(config.folder)
    check_free(folder)
    problems = load_gsm8k(config.data_dir or None, "train")[: config.num_problems or None]
    texts = [f"{p.prompt}\n{solution(p, config.annotations)}" for p in problems]
    work = folder.with_name(folder.name + ".training")
    train_tokenizer(texts, work / "tokenizer", config.tokenizer)
    tokenizer = load_tokenizer(work / "tokenizer")
    rows, held_out, first, too_long = data(config, tokenizer, problems)
    model_config = config.model(len(tokenizer))
    model = responses.conditioned(model_config, ResponseConfig(config.length), [first])
    like = jax.eval_shape(model.init, jax.random.key(0))
    size = sum(x.size for x in jax.tree.leaves(like))
    print(
        f"{len(rows.tokens):,} chats of at most {config.length} tokens ({too_long} longer ones "
        f"left out), {int(rows.mask.sum()):,} tokens; {size:,} parameters, "
        f"{len(tokenizer):,} tokens of vocabulary",
        flush=True,
    )
    _, params, metrics, _ = prior_cache.pretrained(
        work, "stand_in", config, model, config.training, config.seed,
        lambda: (rows, held_out), without=("data_dir", "folder"),
    )  # fmt: skip
    per_chat = float(rows.mask[: config.held_out].sum()) / max(config.held_out, 1)
    nats = metrics["held_out_nats"] / per_chat
    huggingface.save(folder, model_config, params, like=work / "tokenizer")
    report.write_json(
        folder / "pretraining.json",
        report.provenance(started)
        | {
            "config": asdict(config),
            "parameters": size,
            "held_out_nats_per_token": nats,
            **metrics,
        },
    )
    shutil.rmtree(work, ignore_errors=True)
    print(
        f"held out: {nats:.3f} nats a token, after {metrics['epochs']:.0f} epochs\n"
        f"written: {folder} ({time.perf_counter() - started:.0f} s in all)"
    )


PRESETS: dict[str, Config] = {
    "default": Config(),
    "smoke": Config(
        folder="runs/gsm8k_smoke/stand_in",
        tokenizer=TokenizerConfig(vocab_size=400),
        num_layers=1,
        width=32,
        num_heads=2,
        num_kv_heads=1,
        mlp_width=64,
        length=400,
        num_problems=60,
        held_out=10,
        training=TrainingConfig(epochs=2, batch_size=10, learning_rate=5e-3),
    ),
}
