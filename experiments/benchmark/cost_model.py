"""Seconds that a round of Algorithm 2 takes on many devices, by formulas.

A work is a list of loads, each limited by products, memory or links. Letters: n rows on a device,
T new tokens, P of the prompt, S positions attended to, D the width, V the vocabulary.
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp

from banel_jax.models.language.decoder_config import DecoderConfig
from banel_jax.models.lora_config import LoraConfig

FLOAT32 = 4
# Times that XLA's programs read or write: a row's logits as they become a token, or a likelihood,
# and a layer's activations between its products, in arrays of n T D and n T M.
LOGIT_PASSES = {"sampling": 8, "scoring": 4}
WIDTH_PASSES, MLP_PASSES, SCORE_PASSES = 24, 6, 5


@dataclass(frozen=True)
class Shape:
    """What is sampled, scored and trained on.

    Attributes:
      model: the decoder.
      lora: settings of the adapters; None for the model in full.
      prompt, new: tokens.
      data, parts: devices that rows are spread over, and over which each layer is split.
    """

    model: DecoderConfig
    lora: LoraConfig | None
    prompt: int
    new: int
    data: int = 1
    parts: int = 1

    @property
    def itemsize(self) -> int:
        return jnp.dtype(self.model.dtype).itemsize

    @property
    def beside(self) -> bool:
        """Whether adapters stand beside the kernels, not merged into a copy of them."""
        return self.lora is not None and jnp.dtype(self.model.param_dtype) == jnp.float32


class Load(NamedTuple):
    """A piece of work on one device.

    Attributes:
      flops: of matrix products.
      moved: bytes of memory, read and written.
      sent: bytes to other devices.
      steps: kernels that are started one after another.
    """

    flops: float = 0.0
    moved: float = 0.0
    sent: float = 0.0
    steps: float = 0.0

    def times(self, n: float) -> "Load":
        return Load(*(n * x for x in self))


class Speed(NamedTuple):
    """What is reached of a device.

    Attributes:
      flops, moved, sent: a second.
      step: seconds to start a kernel.
      overlaps: whether products and memory are busy at once.
    """

    flops: float
    moved: float
    sent: float
    step: float
    overlaps: bool = True


def seconds(loads: list[Load], speed: Speed) -> float:
    total = 0.0
    for load in loads:
        busy = load.flops / speed.flops, load.moved / speed.moved
        total += max(busy) if speed.overlaps else sum(busy)
        total += load.sent / speed.sent + load.steps * speed.step
    return total


def kernels(c: DecoderConfig) -> dict[str, tuple[int, int]]:
    """The [in, out] of a layer's kernels by name."""
    found = dict.fromkeys(("k", "v"), (c.width, c.kv_width))
    found |= {"q": (c.width, c.query_width), "attention_out": (c.query_width, c.width)}
    found |= {"gate": (c.width, c.mlp_width)} if c.gated else {}
    return found | {"up": (c.width, c.mlp_width), "down": (c.mlp_width, c.width)}


def layer_weights(c: DecoderConfig) -> int:
    return sum(a * b for a, b in kernels(c).values())


def weights(c: DecoderConfig) -> int:
    """Numbers in a model, but for its norms and biases."""
    return c.num_layers * layer_weights(c) + (1 if c.tied else 2) * c.vocab_size * c.width


def adapter_weights(c: DecoderConfig, lora: LoraConfig) -> int:
    adapted = (sum(s) for name, s in kernels(c).items() if lora.adapts(f"layers/{name}/kernel"))
    return c.num_layers * lora.rank * sum(adapted)


def step(shape: Shape, n: float, own: float) -> list[Load]:
    """One token of each of n rows, `own` tokens after the prompt."""
    c, item, parts = shape.model, shape.itemsize, shape.parts
    layers, one = c.num_layers, layer_weights(c)
    outputs = sum(b for _, b in kernels(c).values())
    attended = layers * 4 * n * shape.model.query_width * (shape.prompt + own) / parts
    cache = layers * 2 * shape.model.kv_width * item * (shape.prompt + n * own) / parts
    between = layers * n * (WIDTH_PASSES * c.width + outputs) * item / parts
    return [
        Load(layers * 2 * n * one / parts, layers * one * item / parts),
        Load(attended, cache),
        Load(0, between, _summed(shape, n * c.width * item) * layers, 16 * layers),
        _head(shape, n, "sampling")._replace(steps=10),
    ]


def forward(shape: Shape, n: float, tokens: float, before: float) -> list[Load]:
    """Of n rows of `tokens` each at once, after `before` others; without the head."""
    c, item, parts = shape.model, shape.itemsize, shape.parts
    layers, one, rows = c.num_layers, layer_weights(c), n * tokens
    attended = before + 0.625 * tokens  # four blocks of rows, each up to its last
    scores = layers * rows * c.num_heads * attended * FLOAT32 / parts
    between = layers * rows * (WIDTH_PASSES * c.width + MLP_PASSES * c.mlp_width) * item / parts
    return [
        Load(layers * 2 * rows * one / parts, layers * one * item / parts),
        Load(layers * 4 * rows * shape.model.query_width * attended / parts, SCORE_PASSES * scores),
        Load(0, between, _summed(shape, rows * c.width * item) * layers, 40 * layers),
    ]


def _head(shape: Shape, rows: float, work: str) -> Load:
    c, parts = shape.model, shape.parts
    moved = LOGIT_PASSES[work] * rows * c.vocab_size * FLOAT32 / parts
    moved += c.vocab_size * c.width * shape.itemsize / parts
    return Load(2 * rows * c.width * c.vocab_size / parts, moved)


def _summed(shape: Shape, size: float) -> float:
    """Bytes that a device sends in a layer, in which two results are summed over the parts."""
    return 2 * 2 * (shape.parts - 1) / shape.parts * size


def _chunks(shape: Shape, rows: float, chunk: int) -> tuple[float, float]:
    """How many chunks a device has, and rows in each, which are even (`parallel.map_sequences`)."""
    own = -(-rows // shape.data)
    chunks = max(1, -(-own // chunk))
    return chunks, -(-own // chunks)


def sampling(shape: Shape, rows: float, chunk: int) -> list[Load]:
    """Of rows in all, by chunks of at most `chunk` on a device."""
    chunks, n = _chunks(shape, rows, chunk)
    prompt = forward(shape, 1, shape.prompt, 0)
    # The cache that attention reads has the size of a segment's end, up to 8 of them.
    return [load.times(chunks * shape.new) for load in step(shape, n, 0.5625 * shape.new)] + [
        load.times(chunks) for load in prompt
    ]


def scoring(shape: Shape, rows: float, chunk: int) -> list[Load]:
    chunks, n = _chunks(shape, rows, chunk)
    loads = forward(shape, n, shape.new, shape.prompt) + forward(shape, 1, shape.prompt, 0)
    loads.append(_head(shape, n * shape.new, "scoring"))
    return [load.times(chunks) for load in loads]


def training(shape: Shape, rows: float, chunk: int, batch: int) -> list[Load]:
    """One epoch: forward, forward again within the gradient, and the gradient.

    The base has none of its own where adapters stand beside it: a product backward and not two.
    """
    passes = 3 if shape.beside else 4
    once = scoring(shape, rows, min(chunk, -(-batch // shape.data)))
    steps = -(-rows // batch)
    learned = trained(shape)
    update = Load(moved=steps * 8 * learned * FLOAT32 / shape.parts)
    if shape.data > 1:
        ring = 2 * (shape.data - 1) / shape.data
        update = update._replace(sent=steps * ring * learned * FLOAT32 / shape.parts)
    return [load.times(passes) for load in once] + [update]


def trained(shape: Shape) -> int:
    """Numbers that a fit changes."""
    if shape.lora is None:
        return weights(shape.model)
    return adapter_weights(shape.model, shape.lora)
