"""The programs of a decoder with adapters that `plan_check` measures, and of which sizes."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from banel_jax import parallel, partitioning, sampling, scoring, training
from banel_jax.models.language import responses
from banel_jax.models.language.decoder_config import DecoderConfig
from banel_jax.models.language.responses import ResponseConfig
from banel_jax.models.lora import LoraConfig, lora
from banel_jax.training import TrainingConfig
from banel_jax.types import Sequences
from experiments.benchmark.cost_model import Shape

LORA = LoraConfig(rank=16)
WORKS = ("sampling", "scoring", "training")


class Measured(NamedTuple):
    """A shape to measure: sizes of the decoder, tokens, rows, the mesh."""

    vocab: int
    width: int
    layers: int
    heads: int
    kv_heads: int
    mlp: int
    prompt: int
    new: int
    rows: int
    mesh: str = "data:1"

    def shape(self) -> Shape:
        sizes = dict(part.split(":") for part in self.mesh.split(","))
        config = DecoderConfig(
            self.vocab, self.width, self.layers, self.heads, self.kv_heads, self.mlp, tied=False
        )
        data, parts = (int(sizes.get(axis, 1)) for axis in (parallel.DATA, parallel.MODEL))
        return Shape(config, LORA, self.prompt, self.new, data, parts)


MEMORY = (
    Measured(32000, 1024, 8, 16, 4, 4096, 128, 128, 64),
    Measured(32000, 1024, 8, 16, 4, 4096, 128, 128, 256),
    Measured(32000, 1024, 8, 16, 4, 4096, 512, 128, 64),
    Measured(32000, 1024, 8, 16, 4, 4096, 128, 256, 64),
    Measured(32000, 1024, 16, 16, 4, 4096, 128, 128, 64),
    Measured(49152, 576, 30, 9, 3, 1536, 128, 128, 64),
    Measured(32000, 1024, 8, 16, 4, 4096, 128, 128, 512, "data:8"),
    Measured(32000, 1024, 8, 16, 4, 4096, 128, 128, 256, "data:4,model:2"),
    Measured(32000, 2048, 8, 16, 8, 8192, 128, 128, 64, "data:1,model:8"),
)
SECONDS = (
    Measured(2048, 128, 4, 4, 2, 512, 64, 64, 64),
    Measured(8192, 256, 8, 8, 4, 1024, 32, 128, 64),
    Measured(4096, 512, 6, 8, 8, 1536, 128, 64, 64),
    Measured(32000, 384, 12, 6, 2, 1024, 64, 64, 32),
    Measured(4096, 192, 6, 6, 3, 768, 64, 96, 64),
    Measured(16384, 320, 10, 5, 5, 1280, 96, 64, 64),
    Measured(2048, 512, 4, 8, 2, 2048, 32, 128, 32),
    Measured(49152, 576, 8, 9, 3, 1536, 64, 64, 64),
)


def programs(case: Measured) -> dict[str, tuple[jax.stages.Wrapped, tuple[Any, ...]]]:
    """By work: a jitted function, and the shapes of its arguments under the mesh in force."""
    n, shape = case.rows, case.shape()
    model = responses.conditioned(
        shape.model, ResponseConfig(case.new), [i % case.vocab for i in range(case.prompt)]
    )
    adapted = lambda base: lora(model, base, LORA)
    base = _placed(jax.eval_shape(model.init, jax.random.key(0)))
    adapters = _placed(jax.eval_shape(lambda base: adapted(base).init(jax.random.key(0)), base))
    tokens = jax.ShapeDtypeStruct((n, case.new), jnp.int32)
    sequences: Any = Sequences(tokens, jax.ShapeDtypeStruct(tokens.shape, bool))  # type: ignore[arg-type]
    own = -(-n // shape.data)
    settings = TrainingConfig(epochs=1, batch_size=n, micro_batch_size=own)

    def draw(base, adapters, key):
        return sampling.sample(adapted(base), key, adapters, n, chunk_size=own)

    def score(base, adapters, sequences):
        return scoring.log_likelihood(adapted(base), adapters, sequences, chunk_size=own)

    def fit(base, adapters, sequences, weights, key):
        fitted, _ = training.fit(adapted(base), settings, key, adapters, sequences, weights)
        return partitioning.settled(fitted)

    key, weights = (
        jax.eval_shape(lambda: jax.random.key(0)),
        jax.ShapeDtypeStruct((n,), jnp.float32),
    )
    return {
        "sampling": (jax.jit(draw), (base, adapters, key)),
        "scoring": (jax.jit(score), (base, adapters, sequences)),
        "training": (jax.jit(fit), (base, adapters, sequences, weights, key)),
    }


def _placed(tree: Any) -> Any:
    """The shapes of a tree, as `partitioning` places them under the mesh in force."""
    mesh, specs = jax.sharding.get_mesh(), partitioning.named_specs(tree)
    at = lambda x, spec: jax.ShapeDtypeStruct(
        x.shape, x.dtype, sharding=jax.NamedSharding(mesh, spec)
    )
    return jax.tree.map(at, tree, specs)
