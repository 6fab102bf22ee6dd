"""Ehrlich functions as a task: a transformer that learnt what is feasible is to reach a value."""

import itertools
import os
import sys
from dataclasses import dataclass, field
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from banel_jax import checks, prior_cache, sampling
from banel_jax.models.markov import chain_params, markov_chain
from banel_jax.models.transformer import TransformerSize, transformer
from banel_jax.prior_cache import Prior
from banel_jax.tasks.ehrlich.function import Ehrlich
from banel_jax.training import TrainingConfig
from banel_jax.types import Params, SequenceModel, Sequences, Task
from banel_jax.vocabulary import Vocabulary

MOST_ENUMERATED = 1 << 16  # sequences


@dataclass(frozen=True, kw_only=True)
class EhrlichPriorConfig(TransformerSize):
    """Settings of the prior, fitted to sequences that the chain draws.

    Attributes:
      num_layers, num_heads, width, dropout: of the transformer.
      num_sequences: drawn for it.
      held_out: of these, for early stopping.
      pretraining: the fit; `patience` is in epochs.
      seed: of the sequences and of the fit.
    """

    num_layers: int = 2
    num_heads: int = 4
    width: int = 48
    dropout: float = 0.0
    num_sequences: int = 30_000
    held_out: int = 2000
    pretraining: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(
            epochs=2,
            batch_size=100,
            learning_rate=3e-3,
            warmup_steps=50,
            decay_steps=560,
        )
    )
    seed: int = 0

    def __post_init__(self):
        checks.fields(self)
        checks.integers(self, "num_sequences", at_least=2)
        checks.integers(self, "held_out", at_least=1, below=self.num_sequences)
        checks.seeds(self, "seed")
        self.decoder(2, 2)  # its own checks


def ehrlich(function: Ehrlich, threshold: float, prior: Prior) -> Task:
    """The task of reaching a value.

    Args:
      function: what is maximised.
      threshold: a sequence succeeds from this value on; in (0, 1].
      prior: as from `fitted`, a model of sequences of the function's length and vocabulary.

    Returns:
      The task. Its targets are enumerated where there are few sequences in all, its `render` gives
      strings of one character a token.

    Raises:
      ValueError: for a threshold outside (0, 1].
    """
    reward = function.reward(threshold)
    return Task(
        prior=prior.model,
        prior_params=prior.params,
        reward_fn=reward,
        targets=_targets(function, reward),
        render=alphabet(function.vocab_size).strings_of,
    )


def fitted(function: Ehrlich, config: EhrlichPriorConfig, cache_dir: str | os.PathLike) -> Prior:
    """The transformer of what the function's chain draws, from the cache or fitted into it.

    It knows nothing of the motifs: functions of one chain and length share it.

    Raises:
      ValueError: for a cache folder that cannot be used.
    """
    decoder = config.decoder(function.vocab_size, function.length)
    return prior_cache.pretrained(
        cache_dir,
        "ehrlich",
        {"num_sequences": config.num_sequences, "held_out": config.held_out},
        transformer(decoder),
        config.pretraining,
        config.seed,
        partial(_pretraining_sequences, function, config),
    )


def chain(function: Ehrlich) -> tuple[SequenceModel, Params]:
    """The function's own chain, which draws feasible sequences, and its parameters."""
    model = markov_chain(function.vocab_size, function.length)
    return model, chain_params(function.initial, function.transitions)


def alphabet(vocab_size: int) -> Vocabulary:
    """A letter for each token: A to Z, a to z, and on through Unicode's."""
    letters = (c for c in map(chr, range(sys.maxunicode)) if c.isalpha())
    return Vocabulary(tuple(itertools.islice(letters, vocab_size)))


def _pretraining_sequences(
    function: Ehrlich, config: EhrlichPriorConfig
) -> tuple[Sequences, Float[Array, " n"]]:
    model, params = chain(function)
    key = jax.random.fold_in(jax.random.key(config.seed), 1)
    sequences, _ = sampling.sample(model, key, params, config.num_sequences)
    held_out = np.arange(config.num_sequences) < config.held_out
    return sequences, jnp.asarray(held_out, jnp.float32)


def _targets(function, reward):
    v, length = function.vocab_size, function.length
    if v**length > MOST_ENUMERATED:
        return None
    tokens = jnp.asarray(np.indices((v,) * length).reshape(length, -1).T, jnp.int32)
    every = Sequences(tokens, jnp.ones(tokens.shape, bool))
    rows = np.flatnonzero(np.asarray(reward(every)))
    return jax.tree.map(lambda x: x[rows], every)
