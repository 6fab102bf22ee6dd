"""The GPT-2 style decoder in `experiments.benchmark`, beside plain PyTorch."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from banel_jax import sampling, scoring, training
from banel_jax.models.transformer import TransformerConfig, transformer
from banel_jax.training import TrainingConfig
from banel_jax.types import Sequences
from experiments.benchmark.case import CORES, Case

MODELS = {
    "A": TransformerConfig(vocab_size=16, length=196, num_layers=4, num_heads=4, width=128),
    "B": TransformerConfig(vocab_size=64, length=32, num_layers=6, num_heads=6, width=192),
}
COUNTS = {"sampling": 500, "scoring": 1000, "training": 250}
BATCH = 50
TORCH_CHUNKS = {
    "sampling": (50, 100, 250, 500),
    "scoring": (5, 10, 25, 50),
    "training": (5, 10, 25, 50),
}


def case(name: str, work: str, rows: int = 0) -> Case:
    """A work of a model, with its own number of rows where that is 0."""
    config, n = MODELS[name], rows or COUNTS[work]
    return Case(
        amount=n,
        unit="sequences/s",
        flops=flops(config, work, n),
        bytes=bytes_read(config, work, n),
        bfloat16=False,
        run=jax_work(config, work, n),
        library="PyTorch",
        needs=("torch",),
        alternatives=partial(torch_works, config, work, n),
    )


def flops(model: TransformerConfig, work: str, n: int) -> float:
    """FLOPs of the model for n sequences: two for each multiply-add of its products.

    A token costs 24 D^2 a layer in the projections and the MLP and, attending to (L + 1) / 2
    positions on average, 2 (L + 1) D in attention; 2 D V in the head. A training step costs
    three forward passes.
    """
    width, length = model.width, model.length
    token = model.num_layers * (24 * width**2 + 2 * (length + 1) * width)
    token += 2 * width * model.vocab_size
    return n * length * token * (3 if work == "training" else 1)


def bytes_read(model: TransformerConfig, work: str, n: int) -> float:
    """Of memory at the least, were all rows in work at once: the weights, and to sample, at each
    step the weights and each row's keys and values so far."""
    init = jax.eval_shape(transformer(model).init, jax.random.key(0))
    weights = 4 * sum(x.size for x in jax.tree.leaves(init))
    if work != "sampling":
        return weights
    position = 2 * model.num_layers * model.width * jnp.dtype(model.dtype).itemsize
    return model.length * (weights + n * position * (model.length + 1) / 2)


def jax_work(config: TransformerConfig, work: str, n: int) -> Callable[[], Any]:
    model = transformer(config)
    params = model.init(jax.random.key(0))
    key = jax.random.key(1)
    if work == "sampling":
        return lambda: sampling.sample(model, key, params, n)
    sequences = random_sequences(config, n)
    if work == "scoring":
        return lambda: scoring.log_likelihood(model, params, sequences)
    settings = TrainingConfig(epochs=1, batch_size=BATCH, learning_rate=1e-4)
    fit = jax.jit(partial(training.fit, model, settings))
    return lambda: fit(key, params, sequences, jnp.ones(n))


def random_sequences(config: TransformerConfig, n: int) -> Sequences:
    rng = np.random.default_rng(0)
    tokens = rng.integers(config.vocab_size, size=(n, config.length))
    return Sequences(jnp.asarray(tokens, jnp.int32), jnp.ones(tokens.shape, bool))


def torch_works(
    config: TransformerConfig, work: str, n: int, compiled: bool
) -> dict[str, Callable]:
    import torch

    from experiments.benchmark import torch_reference as reference

    torch.set_num_threads(CORES)
    torch.manual_seed(0)
    device = "cuda" if jax.default_backend() == "gpu" else "cpu"
    model = reference.Decoder(
        config.vocab_size, config.length, config.num_layers, config.num_heads, config.width
    ).to(device)
    tokens = torch.tensor(np.asarray(random_sequences(config, n).tokens)).long()
    tokens = tokens.to(device)
    found: dict[str, Callable] = {}
    for chunk in TORCH_CHUNKS[work]:
        if work == "sampling":
            run = partial(reference.sample, model, n, chunk)
            found[f"chunk {chunk}"] = partial(reference.finished, run)
            continue
        forwards = {"": None} | ({", compiled": torch.compile(model)} if compiled else {})
        for suffix, forward in forwards.items():
            if work == "scoring":
                run = partial(reference.score, model, tokens, chunk, forward)
            else:
                adam = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.0)
                run = partial(reference.train_epoch, model, adam, tokens, BATCH, chunk, forward)
            found[f"chunk {chunk}{suffix}"] = partial(reference.finished, run)
    return found
