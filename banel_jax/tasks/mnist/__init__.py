"""MNIST, 0 to 6 (Section 5.1)."""

from banel_jax.tasks.mnist.task import (
    MnistConfig,
    mnist,
    pixels,
    pretrained_prior,
    pretraining_sequences,
    target_sequences,
    tokenise,
)

__all__ = [
    "MnistConfig",
    "mnist",
    "pixels",
    "pretrained_prior",
    "pretraining_sequences",
    "target_sequences",
    "tokenise",
]
