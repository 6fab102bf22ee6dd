"""The models that the check tries, by name, at the size that was asked for."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from banel_jax.models.transformer import TransformerConfig, transformer
from banel_jax.types import Params, SequenceModel
from experiments.benchmark import qwen2 as benchmark_qwen2
from experiments.benchmark.qwen2 import Sizes


class Tried(NamedTuple):
    """A model, weights that make its probabilities uneven, and how many sequences to draw."""

    model: SequenceModel
    params: Params
    rows: int


def tried(smoke: bool) -> dict[str, Tried]:
    """A tiny decoder, one of MNIST's size, and a small Qwen2 in float32."""
    mnist = TransformerConfig(256, 98, 4, 4, 128)
    tiny = TransformerConfig(9, 37, 1, 2, 16)
    if smoke:  # the shorter, the less there is to compile
        mnist = dataclasses.replace(mnist, length=8, num_layers=1)
        tiny = dataclasses.replace(tiny, length=9)
    qwen2 = benchmark_qwen2.conditioned(benchmark_qwen2.TINY, sizes(smoke))[0]
    models = {"tiny": transformer(tiny), "mnist": transformer(mnist), "qwen2": qwen2}
    return {name: _tried(model, rows(smoke)) for name, model in models.items()}


def in_bfloat16(smoke: bool) -> Tried:
    """The small Qwen2, its weights and activations in bfloat16."""
    config = dataclasses.replace(benchmark_qwen2.TINY, dtype=jnp.bfloat16, param_dtype=jnp.bfloat16)
    return _tried(benchmark_qwen2.conditioned(config, sizes(smoke))[0], rows(smoke))


def sizes(smoke: bool) -> Sizes:
    return Sizes(16, 8 if smoke else 48)


def rows(smoke: bool) -> int:
    return 24 if smoke else 200


def _tried(model: SequenceModel, rows: int) -> Tried:
    params: Any = jax.jit(model.init)(jax.random.key(1))
    return Tried(model, jax.tree.map(lambda x: 3 * x if x.ndim > 1 else x, params), rows)
