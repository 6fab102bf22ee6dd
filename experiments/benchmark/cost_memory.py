"""Bytes of memory that a round takes on one device; letters as in `cost_model`."""

import jax.numpy as jnp

from experiments.benchmark import cost_model
from experiments.benchmark.cost_model import FLOAT32, Shape

BUFFERED = 1.05  # what XLA keeps beside, of all that a program makes


def resident(shape: Shape) -> dict[str, float]:
    """What a run holds all the time: the base, and what is learned.

    Of that there are the generator, the failure model, what a fit ends with and began with, and
    two moments of Adam.
    """
    c = shape.model
    held = {"weights": cost_model.weights(c) * jnp.dtype(c.param_dtype).itemsize / shape.parts}
    copies = 6 * cost_model.trained(shape) * FLOAT32 / shape.parts
    return held | {"what is learned, with Adam's moments": copies}


def sampling(shape: Shape, rows: int) -> dict[str, float]:
    """Of n rows in work at once. First the adapted weights are merged and taken apart, layer by
    layer; then the cache fills up beside them. The head is laid out as a product wants it."""
    c = shape.model
    one_row = 2 * c.num_layers * c.kv_width * shape.itemsize / shape.parts
    merging = {
        "adapted weights": 2 * _layers(shape) + _head(shape),
        "cache": shape.prompt * one_row,
    }
    drawing = {
        "adapted weights": _layers(shape) + _head(shape),
        "cache": (shape.prompt + rows * shape.new) * one_row,
        "logits": 4 * rows * c.vocab_size * FLOAT32 / shape.parts,
    }
    return _larger(merging, drawing)


def scoring(shape: Shape, rows: int) -> dict[str, float]:
    weights = {"adapted weights": _head(shape) + (0 if shape.beside else _layers(shape))}
    activations = {"activations": _activations(shape, rows)}
    return weights | _larger(activations, {"logits": 2 * _logits(shape, rows)})


def training(shape: Shape, rows: int) -> dict[str, float]:
    """A layer's activations are computed again, so that its input alone is kept of each."""
    c = shape.model
    gradients = 0 if shape.beside else 2 * _layers(shape)
    kept = c.num_layers * rows * shape.new * c.width * shape.itemsize
    layer = {"activations": kept + 2.6 * _activations(shape, rows)}
    head = {"activations": kept, "logits": 4 * _logits(shape, rows)}
    return {"adapted weights": _head(shape) + gradients} | _larger(layer, head)


def _larger(a, b):
    return max(a, b, key=lambda parts: sum(parts.values()))


def _logits(shape, rows):
    c = shape.model
    return rows * c.head_block * c.vocab_size * FLOAT32 / shape.parts


def _activations(shape, rows):
    """A layer's between its products, and the scores of a quarter of the rows' positions."""
    c, tokens = shape.model, rows * shape.new
    widths = 2.5 * c.width + (2 * c.query_width + 3.4 * c.mlp_width) / shape.parts
    scores = rows * c.num_heads * shape.new / 4 * (shape.prompt + shape.new) / shape.parts
    return tokens * widths * shape.itemsize + 2 * scores * FLOAT32


def _layers(shape):
    c = shape.model
    return c.num_layers * cost_model.layer_weights(c) * shape.itemsize / shape.parts


def _head(shape):
    c = shape.model
    return c.vocab_size * c.width * shape.itemsize / shape.parts
