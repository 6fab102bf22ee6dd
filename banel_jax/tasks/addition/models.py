"""The addition attack's two models (Appendix B.1): the target that answers, the attacker that asks.

Both are trained on the same distribution of problems, the target on the answers alone and the
attacker on the queries alone.
"""

import os
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from banel_jax import checks, prior_cache
from banel_jax.models.transformer import TransformerConfig, TransformerSize, transformer
from banel_jax.prior_cache import Prior
from banel_jax.tasks.addition import task as addition
from banel_jax.tasks.addition.task import AdditionOracle, GrammarConfig
from banel_jax.training import TrainingConfig
from banel_jax.types import Sequences, Task


@dataclass(frozen=True, kw_only=True)
class ModelConfig(TransformerSize):
    """Settings of one of the two models and of its training.

    Attributes:
      num_layers, num_heads, width, dropout: of the decoder.
      num_problems: drawn for its training.
      training: the fit; `patience` is in epochs.
    """

    num_layers: int = 6
    num_heads: int = 6
    width: int = 192
    dropout: float = 0.0
    num_problems: int = 1_000_000
    training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(
            epochs=10, batch_size=256, learning_rate=1e-3, warmup_steps=200, patience=3
        )
    )

    def __post_init__(self):
        checks.fields(self)
        checks.integers(self, "num_problems", at_least=2)

    def transformer(self, length: int) -> TransformerConfig:
        return self.decoder(addition.VOCAB_SIZE, length, addition.EOS)


@dataclass(frozen=True)
class AdditionConfig:
    """Settings of the task.

    Attributes:
      grammar: what a query may be.
      target: the model that answers.
      attacker: the model that asks, the prior of the attack.
      held_out: problems of each model's that are held out, for early stopping.
      seed: of the problems and of both models.
    """

    grammar: GrammarConfig = field(default_factory=GrammarConfig)
    target: ModelConfig = field(default_factory=ModelConfig)
    attacker: ModelConfig = field(default_factory=ModelConfig)
    held_out: int = 2000
    seed: int = 0

    def __post_init__(self):
        checks.fields(self)
        checks.seeds(self, "seed")
        for name in ("target", "attacker"):
            number = getattr(self, name).num_problems
            if not 0 < self.held_out < number:
                raise ValueError(
                    f"held_out={self.held_out} must be positive and below "
                    f"{name}.num_problems={number}"
                )
        self.target_transformer, self.attacker_transformer  # noqa: B018 (their own checks)

    @property
    def target_transformer(self) -> TransformerConfig:
        return self.target.transformer(addition.target_length(self.grammar))

    @property
    def attacker_transformer(self) -> TransformerConfig:
        return self.attacker.transformer(self.grammar.query_length)


def problems(rng: np.random.Generator, max_digits: int, number: int) -> list[tuple[int, int]]:
    """Pairs of operands, of 1 to `max_digits` digits each, evenly, and without leading zeros."""
    digits = rng.integers(1, max_digits + 1, size=(number, 2)).astype(object)
    low = np.where(digits == 1, 0, 10 ** (digits - 1))
    span = 10**digits - low
    # Of any size, in parts of nine digits; two digits more than needed, so that the remainder
    # below is uniform to a hundredth.
    parts = rng.integers(0, 10**9, size=(number, 2, -(-(max_digits + 2) // 9))).astype(object)
    drawn = sum(parts[..., i] * 10 ** (9 * i) for i in range(parts.shape[-1]))
    return [tuple(pair) for pair in (low + drawn % span).tolist()]


def target_sequences(config: AdditionConfig) -> tuple[Sequences, Float[Array, " n"]]:
    """Queries with answers [n, target_length], scored in the answers alone; 1 for held out."""
    pairs = _problems_of(config, "target")
    sequences = addition.sequences_of(
        [f"{a}+{b}={a + b}" for a, b in pairs], addition.target_length(config.grammar)
    )
    equals = jnp.argmax(sequences.tokens == addition.EQUALS, axis=1)
    answer = jnp.arange(sequences.tokens.shape[1]) > equals[:, None]
    return Sequences(sequences.tokens, sequences.mask & answer), _held_out(config, len(pairs))


def attacker_sequences(config: AdditionConfig) -> tuple[Sequences, Float[Array, " n"]]:
    """Queries alone [n, query_length]; 1 for held out."""
    pairs = _problems_of(config, "attacker")
    sequences = addition.sequences_of([f"{a}+{b}=" for a, b in pairs], config.grammar.query_length)
    return sequences, _held_out(config, len(pairs))


def _problems_of(config, name):
    rng = np.random.default_rng([config.seed, ("target", "attacker").index(name)])
    return problems(rng, config.grammar.max_digits, getattr(config, name).num_problems)


def _held_out(config, number):
    return jnp.asarray(np.arange(number) < config.held_out, jnp.float32)


def trained(
    config: AdditionConfig,
    name: str,
    cache_dir: str | os.PathLike,
    file: str | os.PathLike | None = None,
) -> Prior:
    """The `target` or the `attacker`, from the cache (or a file) or trained into the cache.

    Raises:
      ValueError: for a cache or file that cannot be used.
    """
    model: ModelConfig = getattr(config, name)
    settings: dict[str, Any] = {
        # Whether leading zeros are rewarded changes no model.
        "max_digits": config.grammar.max_digits,
        "model": model,
        "held_out": config.held_out,
        "seed": config.seed,
        "characters": addition.CHARACTERS,
    }
    sizes = {"target": config.target_transformer, "attacker": config.attacker_transformer}
    data = {"target": target_sequences, "attacker": attacker_sequences}
    return prior_cache.pretrained(
        cache_dir,
        f"addition-{name}",
        settings,
        transformer(sizes[name]),
        model.training,
        config.seed,
        partial(data[name], config),
        file,
    )


def attack(config: AdditionConfig, target: Prior, attacker: Prior) -> tuple[Task, AdditionOracle]:
    """The task around its trained models, and its oracle, which says more than the reward."""
    oracle = AdditionOracle(config.grammar, config.target_transformer, target.params)
    task = Task(
        prior=attacker.model,
        prior_params=attacker.params,
        reward_fn=oracle.reward,
        targets=None,
        render=addition.strings_of,
    )
    return task, oracle


def accuracy(oracle: AdditionOracle, seed: int, number: int) -> dict[int, float]:
    """Of the target, by the digits of the longer operand, on `number` problems of each.

    They are drawn anew, so that of the shorter ones most were trained on as well.
    """
    found = {}
    for digits in range(1, oracle.grammar.max_digits + 1):
        rng = np.random.default_rng([seed, digits])
        drawn: list[tuple[int, int]] = []
        while len(drawn) < number:
            pairs = problems(rng, digits, 4 * number)
            drawn += [pair for pair in pairs if len(str(max(pair))) == digits]
        queries = [f"{a}+{b}=" for a, b in drawn[:number]]
        proposals = addition.sequences_of(queries, oracle.grammar.query_length)
        found[digits] = 1 - float(jnp.mean(oracle.compiled_judge(proposals).reward))
    return found
