"""Peak memory of BaNEL with low-rank adapters over one base of a language model's size.

    python -m experiments.benchmark.lora_memory

takes some minutes on 2 CPU cores and runs two rounds, the first of which distils nothing, on
random weights of Qwen2.5-0.5B's shape. Every part of a round is there, at tiny numbers of
sequences: what counts is how many copies of the weights are.
"""

import resource
import sys
import tempfile
import time
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from banel_jax.algorithms.banel import BanelConfig, banel
from banel_jax.models.language import responses
from banel_jax.models.language.decoder_config import QWEN2_5_0_5B, DecoderConfig
from banel_jax.models.language.responses import ResponseConfig
from banel_jax.models.lora import LoraConfig, lora, lora_algorithm
from banel_jax.runs import loop
from banel_jax.training import TrainingConfig
from banel_jax.types import Params, SequenceModel
from experiments.common import flags, report

ONE_EPOCH = TrainingConfig(epochs=1, batch_size=4)


@dataclass(frozen=True)
class Config:
    """Settings of the measurement.

    Attributes:
      vocab_size, width, num_layers, num_heads, num_kv_heads, mlp_width: of the decoder.
      prompt_tokens: random ones.
      max_new_tokens: of a response.
      rounds: of Algorithm 2.
      lora: settings of the adapters.
      banel: settings of the algorithm.
    """

    vocab_size: int = QWEN2_5_0_5B.vocab_size
    width: int = QWEN2_5_0_5B.width
    num_layers: int = QWEN2_5_0_5B.num_layers
    num_heads: int = QWEN2_5_0_5B.num_heads
    num_kv_heads: int = QWEN2_5_0_5B.num_kv_heads
    mlp_width: int = QWEN2_5_0_5B.mlp_width
    prompt_tokens: int = 16
    max_new_tokens: int = 8
    rounds: int = 2
    lora: LoraConfig = field(default_factory=LoraConfig)
    banel: BanelConfig = field(
        default_factory=lambda: BanelConfig(
            num_candidates=4,
            filter_factor=2.0,
            generator_training=ONE_EPOCH,
            failure_training=ONE_EPOCH,
        )
    )

    def model(self) -> DecoderConfig:
        return DecoderConfig(
            vocab_size=self.vocab_size,
            width=self.width,
            num_layers=self.num_layers,
            num_heads=self.num_heads,
            num_kv_heads=self.num_kv_heads,
            mlp_width=self.mlp_width,
        )


def peak_gib() -> float:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def random_params(model: SequenceModel) -> Params:
    """Leaf by leaf: drawn all at once they would take more memory than what is measured."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    return jax.tree.map(
        lambda x: jnp.asarray(rng.standard_normal(x.shape, np.float32) * np.float32(0.02)), shapes
    )


def size_gib(tree) -> float:
    return sum(x.nbytes for x in jax.tree.leaves(tree)) / 2**30


def main(config: Config) -> None:
    started = time.perf_counter()
    rows: list[dict[str, Any]] = []

    def record(after: str) -> None:
        seconds = time.perf_counter() - started
        rows.append({"after": after, "peak GiB": peak_gib(), "seconds": seconds})

    prompt = range(config.prompt_tokens)
    response = ResponseConfig(config.max_new_tokens)
    model = responses.conditioned(config.model(), response, prompt)
    jax.block_until_ready(jnp.zeros(1))
    record("JAX itself")
    base = random_params(model)
    adapters = lora(model, base, config.lora).init(jax.random.key(0))
    copy, adapted = size_gib(base), size_gib(adapters)
    record("the base")
    build = lambda adapted, base: banel(adapted, config.banel)
    algorithm = lora_algorithm(model, base, config.lora, build)
    del base
    record("the algorithm, which copies the base")
    with tempfile.TemporaryDirectory() as folder:
        failures = jax.jit(lambda sequences: jnp.zeros(len(sequences.tokens)))
        loop.run(algorithm, adapters, failures, loop.RunConfig(rounds=config.rounds), folder)
    record(f"{config.rounds} rounds")
    report.print_table(rows, ("after", "peak GiB", "seconds"))
    peak = rows[-1]["peak GiB"]
    told = report.format_value
    print(
        f"\none copy of the weights: {told(copy)} GiB; adapters: {told(adapted)} GiB a model\n"
        f"peak: {told(peak)} GiB, {told((peak - rows[0]['peak GiB']) / copy)} copies beside JAX\n"
        f"base, generator and failure model in full: {told(3 * copy)} GiB, and {told(7 * copy)} "
        "GiB with Adam's moments\nof the two that are trained, before any gradient or activation"
    )


PRESETS = {
    "default": Config(),
    "smoke": Config(
        vocab_size=400, width=32, num_layers=1, num_heads=2, num_kv_heads=1, mlp_width=64
    ),
}


if __name__ == "__main__":
    flags.run(main, PRESETS["default"], PRESETS, resumes=False)
