"""MNIST, 0 -> 6 (Section 5.1): a prior of handwritten 0s is to draw a handwritten 6, exactly.

The prior is pretrained on the 0s of the training set, binarised; the targets are random affine
variants of the 6s of the test set, and the reward is 1 for a sample that equals one of them
pixel by pixel. The paper gives neither architecture nor tokenisation nor affine ranges: those
here are settings, and a rate is comparable with others of the same settings alone.
"""

import os
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from banel_jax import checks, prior_cache, training
from banel_jax.models.transformer import TransformerConfig, TransformerSize, transformer
from banel_jax.prior_cache import Prior
from banel_jax.tasks.affine import AffineRanges, affine_variants
from banel_jax.tasks.mnist.data import Mnist
from banel_jax.tasks.targets import target_set
from banel_jax.types import Sequences, Task

SIZE = 28  # pixels along a side of the original images
PRIOR_DIGIT, TARGET_DIGIT = 0, 6
MAX_PATCH = 12  # pixels of a patch: its 2^12 values are the vocabulary


@dataclass(frozen=True, kw_only=True)
class MnistConfig(TransformerSize):
    """Settings of the task.

    Attributes:
      resolution: pixels along an image's side, 28 or, with blocks of four averaged, 14.
      tokenisation: `pixels`, a token a pixel, or `patches`, a token a patch of pixels: fewer
        steps for the same image, and as exact a likelihood.
      patch_height, patch_width: of a patch, in pixels.
      targets: random variants of the 6s; shifts in pixels of the 28.
      num_targets: how many are drawn. Duplicates, and those that equal a 0 of the pretraining
        data, are left out.
      held_out_fraction: of the 0s, for early stopping.
      pretraining: of the prior; `patience` is in epochs.
      seed: of the split, the targets and the prior.
    """

    resolution: Literal[28, 14] = 28
    tokenisation: Literal["pixels", "patches"] = "patches"
    patch_height: int = 2
    patch_width: int = 4
    targets: AffineRanges = field(default_factory=lambda: AffineRanges(15.0, 2.8, 0.9, 1.1))
    num_targets: int = 50_000
    held_out_fraction: float = 0.1
    pretraining: training.TrainingConfig = field(
        default_factory=lambda: training.TrainingConfig(
            epochs=100, batch_size=50, learning_rate=1e-3, warmup_steps=100, patience=5
        )
    )
    seed: int = 0

    def __post_init__(self):
        checks.fields(self)
        checks.seeds(self, "seed")
        for name in ("patch_height", "patch_width"):
            side = getattr(self, name)
            if self.tokenisation == "patches" and (side < 1 or self.resolution % side):
                raise ValueError(
                    f"{name}={side} must divide the image's side of {self.resolution} pixels"
                )
        if self.patch_height * self.patch_width > MAX_PATCH:
            raise ValueError(
                f"patch_height={self.patch_height} times patch_width={self.patch_width} is above "
                f"{MAX_PATCH} pixels; a patch of that many makes too large a vocabulary"
            )
        checks.integers(self, "num_targets", at_least=1)
        checks.reals(self, "held_out_fraction", above=0, below=1)
        self.transformer  # noqa: B018 (its own checks)

    @property
    def patch(self) -> tuple[int, int]:
        """(height, width) in pixels of what a token stands for."""
        pixels = self.tokenisation == "pixels"
        return (1, 1) if pixels else (self.patch_height, self.patch_width)

    @property
    def vocab_size(self) -> int:
        return 2 ** (self.patch[0] * self.patch[1])

    @property
    def length(self) -> int:
        return self.resolution**2 // (self.patch[0] * self.patch[1])

    @property
    def transformer(self) -> TransformerConfig:
        return self.decoder(self.vocab_size, self.length)


def mnist(config: MnistConfig, data: Mnist, prior: Prior) -> Task:
    """The task around its prior, that of `pretrained_prior`.

    Raises:
      ValueError: if no target is left.
    """
    targets = target_sequences(config, data)
    return Task(
        prior=prior.model,
        prior_params=prior.params,
        reward_fn=target_set(targets, config.vocab_size).reward,
        targets=targets,
        render=lambda sequences: np.asarray(pixels(config, sequences)),
    )


def pretrained_prior(
    config: MnistConfig,
    data: Mnist,
    cache_dir: str | os.PathLike,
    file: str | os.PathLike | None = None,
) -> Prior:
    """The prior of the 0s, from the cache (or a file) or pretrained into the cache.

    Raises:
      ValueError: for a cache or file that cannot be used.
    """
    return prior_cache.pretrained(
        cache_dir,
        "mnist",
        config,
        transformer(config.transformer),
        config.pretraining,
        config.seed,
        partial(pretraining_sequences, config, data),
        file,
        without=("targets", "num_targets"),  # what the targets are changes no prior
    )


def pretraining_sequences(config: MnistConfig, data: Mnist) -> tuple[Sequences, Float[Array, " n"]]:
    """The training set's 0s [n, length], and float32 [n], 1 for the rows that are held out."""
    sequences = tokenise(config, _images(data.train_images, data.train_labels, PRIOR_DIGIT))
    n = sequences.tokens.shape[0]
    order = np.random.default_rng([config.seed, PRIOR_DIGIT]).permutation(n)
    held_out = np.isin(np.arange(n), order[: max(1, round(config.held_out_fraction * n))])
    return sequences, jnp.asarray(held_out, jnp.float32)


def target_sequences(config: MnistConfig, data: Mnist) -> Sequences:
    """The targets [n, length]: variants of the test set's 6s, none twice, none a training 0.

    Raises:
      ValueError: if no target is left.
    """
    rng = np.random.default_rng([config.seed, TARGET_DIGIT])
    images = _images(data.test_images, data.test_labels, TARGET_DIGIT)
    chosen = rng.integers(len(images), size=config.num_targets)
    variants = affine_variants(rng, images[chosen], config.targets)
    targets = np.unique(np.asarray(tokenise(config, variants).tokens), axis=0)
    zeros = {row.tobytes() for row in np.asarray(pretraining_sequences(config, data)[0].tokens)}
    targets = targets[[row.tobytes() not in zeros for row in targets]]
    if not len(targets):
        raise ValueError("all targets equal 0s of the pretraining data; raise the resolution")
    return Sequences(jnp.asarray(targets), jnp.ones(targets.shape, bool))


def tokenise(config: MnistConfig, images: Float[np.ndarray, "n 28 28"]) -> Sequences:
    """Images in [0, 1], averaged to the resolution and binarised at one half, as sequences.

    Tokens go from left to right and top to bottom; in a token the patch's first pixel is the
    highest bit.
    """
    block = SIZE // config.resolution
    rows = config.resolution
    pooled = np.asarray(images).reshape(-1, rows, block, rows, block).mean((2, 4))
    height, width = config.patch
    bits = (pooled >= 0.5).astype(np.int32)
    bits = bits.reshape(-1, rows // height, height, rows // width, width).swapaxes(2, 3)
    tokens = bits.reshape(-1, config.length, height * width) @ _place_values(config)
    return Sequences(jnp.asarray(tokens, jnp.int32), jnp.ones(tokens.shape, bool))


def pixels(config: MnistConfig, sequences: Sequences) -> Float[Array, "n side side"]:
    """The images of sequences [n, length], float32 in {0, 1}: the inverse of `tokenise`."""
    (height, width), rows = config.patch, config.resolution
    bits = sequences.tokens[..., None] // _place_values(config) % 2
    bits = bits.reshape(-1, rows // height, rows // width, height, width).swapaxes(2, 3)
    return bits.reshape(-1, rows, rows).astype(jnp.float32)


def _place_values(config):
    return 2 ** np.arange(config.patch[0] * config.patch[1])[::-1]


def _images(images, labels, digit):
    return images[labels == digit] / np.float32(255)
