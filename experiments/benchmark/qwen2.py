"""The Qwen2 decoder in `experiments.benchmark`, beside Hugging Face `transformers`.

Responses to one prompt, of fixed length, from random weights that both libraries have.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from banel_jax import sampling, scoring, training
from banel_jax.models.language import decoder, responses
from banel_jax.models.language.decoder_config import QWEN2_5_0_5B, DecoderConfig
from banel_jax.models.language.responses import ResponseConfig
from banel_jax.training import TrainingConfig
from banel_jax.types import Params, SequenceModel, Sequences
from experiments.benchmark.case import CORES, Case
from experiments.gsm8k import pretrain as gsm8k_pretrain


class Sizes(NamedTuple):
    """What is sampled and scored.

    Attributes:
      prompt_tokens, new_tokens: of a row.
      sampling, scoring, training: rows in one run; training is one epoch of them.
      sampling_chunks, scoring_chunks: rows that `transformers` may have in work at a time.
    """

    prompt_tokens: int = 80
    new_tokens: int = 128
    sampling: int = 64
    scoring: int = 128
    sampling_chunks: tuple[int, ...] = (16, 32, 64)
    scoring_chunks: tuple[int, ...] = (4, 8, 16, 32)
    training: int = 64


TINY = DecoderConfig(
    vocab_size=512, width=64, num_layers=2, num_heads=4, num_kv_heads=2, mlp_width=176,
    head_block=64, remat=False,
)  # fmt: skip
# SmolLM2-135M: of Llama's family.
SMOLLM2 = DecoderConfig(
    vocab_size=49152, width=576, num_layers=30, num_heads=9, num_kv_heads=3, mlp_width=1536,
    rope_theta=1e5, norm_eps=1e-5, context=8192, qkv_bias=False, head_block=16,
)  # fmt: skip
MODELS = {
    "tiny": (TINY, Sizes()),
    "stand_in": (gsm8k_pretrain.Config().model(2048), Sizes()),
    "smollm2": (SMOLLM2, Sizes(scoring=64, sampling_chunks=(64,), scoring_chunks=(8, 16))),
    # A round of 250 candidates at a filter factor of 16.
    "qwen2_0_5b": (
        dataclasses.replace(QWEN2_5_0_5B, dtype=jnp.bfloat16, param_dtype=jnp.bfloat16),
        Sizes(80, 256, 4000, 4000, (500, 1000, 2000), (16, 32, 64)),
    ),
    "qwen2_0_5b_float32": (QWEN2_5_0_5B, Sizes(80, 256, 1000, 1000, (500, 1000), (16, 32, 64))),
}
WORKS = ("sampling", "scoring")  # those with an alternative
BATCH = 16  # of training


def case(name: str, work: str, rows: int, new_tokens: int) -> Case:
    """A work of a model, with its own number of rows and new tokens where these are 0."""
    config, sizes = MODELS[name]
    n = rows or getattr(sizes, work)
    sizes = sizes._replace(new_tokens=new_tokens or sizes.new_tokens, **{work: n})  # type: ignore[arg-type]
    model, prompt = conditioned(config, sizes)
    params = jax.jit(model.init)(jax.random.key(0))
    tokens = np.random.default_rng(1).integers(config.vocab_size, size=(n, sizes.new_tokens))
    return Case(
        amount=n * sizes.new_tokens,
        unit="tokens/s",
        flops=flops(config, sizes, n) * (3 if work == "training" else 1),
        bytes=bytes_read(config, sizes, n, work, sum(x.nbytes for x in jax.tree.leaves(params))),
        bfloat16=config.dtype == jnp.bfloat16,
        run=jax_work(model, params, work, tokens),
        library="transformers",
        needs=("torch", "transformers", "safetensors"),
        alternatives=partial(transformers_works, config, sizes, work, params, prompt, tokens),
        products=products(config, params, sizes) if work == "sampling" else None,
    )


def products(config: DecoderConfig, params: Params, sizes: Sizes) -> Callable[[], Any]:
    """The products of a step of each token of the responses, all rows in each."""
    dot = partial(jnp.matmul, precision=config.precision)

    @jax.jit
    def run(params, x):
        layers = decoder.unstacked(params["layers"])
        head = params["embedding" if config.tied else "head"].T.astype(config.dtype)

        def step(i, x):
            for layer in layers:
                kernel = lambda name: layer[name]["kernel"].astype(config.dtype)  # noqa: B023
                q, k, v = (dot(x, kernel(name)) for name in "qkv")
                x = dot(q, kernel("attention_out")) + k[:, :1] + v[:, :1]
                x = dot(dot(x, kernel("gate")) * dot(x, kernel("up")), kernel("down"))
            return x + jnp.max(dot(x, head), axis=1, keepdims=True)

        return jax.lax.fori_loop(0, sizes.new_tokens, step, x)

    rows = jnp.zeros((sizes.sampling, config.width), config.dtype)
    return lambda: run(params, rows)


def conditioned(config: DecoderConfig, sizes: Sizes) -> tuple[SequenceModel, np.ndarray]:
    """The model of responses to a random prompt, and the prompt."""
    prompt = np.random.default_rng(0).integers(config.vocab_size, size=sizes.prompt_tokens)
    return responses.conditioned(config, ResponseConfig(sizes.new_tokens), prompt.tolist()), prompt


def flops(config: DecoderConfig, sizes: Sizes, n: int) -> float:
    """FLOPs of n responses, the prompt's counted once: two for each multiply-add.

    A token costs a layer 2 D (2 D + 2 D_kv) in attention's projections, 6 D M in the MLP and
    4 D for each position that it attends to; each token of a response 2 D V in the head.
    """
    c, (prompt, new) = config, sizes[:2]
    layer = 2 * c.width * (2 * c.width + 2 * c.kv_width) + 6 * c.width * c.mlp_width
    attended = prompt * (prompt + 1) / 2 + n * new * (prompt + (new + 1) / 2)
    tokens = prompt + n * new
    everywhere = c.num_layers * (tokens * layer + 4 * c.width * attended)
    return everywhere + n * new * 2 * c.width * c.vocab_size


def bytes_read(config: DecoderConfig, sizes: Sizes, n: int, work: str, weights: int) -> float:
    """Of memory at the least, were all rows in work at once: to score or train, the weights; to
    sample, at each step the weights, the prompt's keys and values and each row's own."""
    if work != "sampling":
        return weights
    c, (prompt, new) = config, sizes[:2]
    position = 2 * c.num_layers * c.kv_width * jnp.dtype(c.dtype).itemsize
    return new * (weights + position * (prompt + n * (new + 1) / 2))


def jax_work(
    model: SequenceModel, params: Params, work: str, tokens: np.ndarray
) -> Callable[[], Any]:
    if work == "sampling":
        return lambda: sampling.sample(model, jax.random.key(1), params, len(tokens))
    sequences = Sequences(jnp.asarray(tokens, jnp.int32), jnp.ones(tokens.shape, bool))
    if work == "training":
        settings = TrainingConfig(epochs=1, batch_size=BATCH, learning_rate=1e-5)
        fit = jax.jit(partial(training.fit, model, settings))
        return lambda: fit(jax.random.key(1), params, sequences, jnp.ones(len(tokens)))
    return lambda: scoring.log_likelihood(model, params, sequences)


def transformers_works(
    config: DecoderConfig,
    sizes: Sizes,
    work: str,
    params: Params,
    prompt: np.ndarray,
    tokens: np.ndarray,
    compiled: bool,
) -> dict[str, Callable]:
    import torch

    from experiments.benchmark import transformers_reference as reference

    torch.set_num_threads(CORES)
    torch.manual_seed(0)
    device = "cuda" if jax.default_backend() == "gpu" else "cpu"
    model = reference.load(config, params, device)
    on_device = lambda x: torch.tensor(x, device=device)
    asked, given = on_device(prompt), on_device(tokens)
    found: dict[str, Callable] = {}
    # With a static cache `generate` compiles its step; on a CPU that takes many minutes.
    static = compiled and device == "cuda"
    caches = {"": None} | ({", static cache, compiled": "static"} if static else {})
    for chunk in getattr(sizes, f"{work}_chunks"):
        if work == "scoring":
            run = partial(reference.score, model, asked, given, chunk)
            found[f"chunk {chunk}"] = finished(run)
            continue
        for suffix, cache in caches.items():
            n, length = tokens.shape
            run = partial(reference.sample, model, asked, n, length, chunk, cache)
            found[f"chunk {chunk}{suffix}"] = finished(run)
    return found


def finished(run: Callable[[], Any]) -> Callable[[], Any]:
    """`run`, whose result is there when it returns, for on a GPU PyTorch does not wait."""
    return lambda: run().cpu()
