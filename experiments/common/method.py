"""What one algorithm of a comparison is, and what its task gives it to work with."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from banel_jax.models.transformer import TransformerConfig, transformer
from banel_jax.types import Algorithm, SequenceModel, Sequences, Task
from experiments.common.settings import Settings


@dataclass(frozen=True)
class Networks:
    """What a task gives its algorithms to work with.

    Attributes:
      model: the prior's functions, by the dropout to train it with; one object for one number, so
        that nothing is compiled twice.
      flops: of one forward pass over a sequence.
      observed: numbers in what random network distillation sees of a sequence.
      observe: what it sees of sequences, float32 [n, observed]; None for its tokens as indicators.
      failure_model: of Algorithm 2, where it is not the prior's.
    """

    model: Callable[[float], SequenceModel]
    flops: float
    observed: int
    observe: Callable[[Sequences], jax.Array] | None = None
    failure_model: SequenceModel | None = None


class Method(NamedTuple):
    """One algorithm of the comparison.

    Attributes:
      title: in tables and figures.
      control: whether it is one: what it reaches is no gain from negative evidence.
      build: `build(settings, networks) -> Algorithm`.
      work: `work(settings, metrics) -> sequences`, the forward passes of the sequence model
        that one seed takes, a training step counted as three; evaluation is left out.
      base: what it starts from.
      other_flops: `other_flops(settings, networks)`, of one candidate's passes through other
        networks, their training counted likewise.
      sees_rewards: whether it is told the rewards; one that is not gets 0 for every answer.
    """

    title: str
    control: bool
    build: Callable[[Settings, Networks], Algorithm]
    work: Callable[[Settings, Mapping[str, np.ndarray]], float]
    base: Callable[[Settings], str] = lambda settings: "prior"
    other_flops: Callable[[Settings, Networks], float] = lambda settings, networks: 0.0
    sees_rewards: bool = True

    def task(self, task: Task) -> Task:
        """The task as this method gets to see it."""
        nothing = lambda sequences: jnp.zeros(sequences.tokens.shape[0])
        return task if self.sees_rewards else task._replace(reward_fn=nothing)

    @property
    def configuration(self) -> dict[str, Any]:
        """What determines the numbers beside the algorithm's settings."""
        return {} if self.sees_rewards else {"told": False}


@cache
def network(config: TransformerConfig, dropout: float = 0.0) -> SequenceModel:
    return transformer(dataclasses.replace(config, dropout=dropout))


def of_transformer(
    config: TransformerConfig,
    observed: int,
    observe: Callable[[Sequences], jax.Array] | None = None,
) -> Networks:
    """Where prior and failure model are this decoder."""
    return Networks(partial(network, config), flops_per_sequence(config), observed, observe)


def flops_per_sequence(config: TransformerConfig) -> float:
    """Of one forward pass over a sequence: its matrix products, attention among them."""
    length, width = config.length, config.width
    dense = 2 * length * width * (config.num_layers * width * (4 + 2 * config.mlp_ratio))
    attention = config.num_layers * 2 * 2 * length**2 * width / 2  # causal: half of the square
    return dense + attention + 2 * length * width * config.vocab_size


def flops(config: Any, method: Method, metrics: Mapping[str, np.ndarray]) -> float:
    """Of one seed, from an experiment's configuration and what its rounds measured."""
    per_sequence = config.networks.flops
    candidates = config.rounds * config.settings.num_candidates
    other = candidates * method.other_flops(config.settings, config.networks)
    return float(method.work(config.settings, metrics) * per_sequence + other)
