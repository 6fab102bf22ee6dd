"""Digits, 0 -> 6: a prior of handwritten 0s is to draw a handwritten 6, exactly.

After the paper's MNIST task, at a size that needs no download: scikit-learn's 8x8 digits.
The prior is pretrained on the 0s; the targets are affine variants of the 6s, and the reward
is 1 for a sample that equals one of them pixel by pixel.

How much failures can tell depends on how rare success is. At the default resolution about one
sample of the prior in a hundred is a target; at 8x8 black and white pixels (`side=8,
grey_levels=2`) one in a million.
"""

import os
from dataclasses import dataclass, field
from functools import partial

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from sklearn.datasets import load_digits

from banel_jax import checks, prior_cache, training
from banel_jax.models.transformer import TransformerConfig, TransformerSize, transformer
from banel_jax.prior_cache import Prior
from banel_jax.tasks.affine import AffineRanges, affine_variants
from banel_jax.tasks.targets import target_set
from banel_jax.types import Sequences, Task

SIZE = 8  # pixels along a side of the original images
PRIOR_DIGIT, TARGET_DIGIT = 0, 6
MAX_VOCAB_SIZE = 1024


@dataclass(frozen=True, kw_only=True)
class DigitsConfig(TransformerSize):
    """Settings of the task.

    Attributes:
      side: pixels along an image's side, 8 or, with blocks of pixels averaged, 4 or 2.
      grey_levels: g, values of a pixel after rounding; 2 is black and white.
      patch: pixels along a token's side; a token is one of g^(patch^2) patches.
      targets: variants of the 6s.
      num_target_variants: how many are drawn; duplicates and those that equal a 0 of the
        pretraining data are then left out, so there are fewer targets than this.
      augmentation: variants of the 0s.
      augmented_copies: variants of each 0, the image itself among them.
      held_out_fraction: of the 0s (images with all their variants), for early stopping.
      pretraining: of the prior; `patience` is in epochs.
      seed: of the data's variants and split and of the prior.
    """

    side: int = 4
    grey_levels: int = 4
    patch: int = 2
    targets: AffineRanges = field(default_factory=lambda: AffineRanges(5.0, 0.3, 1.0, 1.0))
    num_target_variants: int = 20_000
    augmentation: AffineRanges = field(default_factory=lambda: AffineRanges(10.0, 0.5, 0.95, 1.05))
    augmented_copies: int = 10
    held_out_fraction: float = 0.2
    num_layers: int = 2
    num_heads: int = 4
    width: int = 32
    pretraining: training.TrainingConfig = field(
        default_factory=lambda: training.TrainingConfig(
            epochs=60, batch_size=50, learning_rate=1e-3, warmup_steps=50, patience=6
        )
    )
    seed: int = 0

    def __post_init__(self):
        checks.fields(self)
        checks.seeds(self, "seed")
        checks.integers(self, "grey_levels", at_least=2)
        if self.side < 1 or SIZE % self.side:
            raise ValueError(f"side={self.side} must divide the original {SIZE} pixels")
        if self.patch < 1 or self.side % self.patch:
            raise ValueError(
                f"patch={self.patch} must divide the image's side of {self.side} pixels"
            )
        if self.vocab_size > MAX_VOCAB_SIZE:
            raise ValueError(
                f"grey_levels={self.grey_levels} and patch={self.patch} make {self.vocab_size} "
                f"tokens, above {MAX_VOCAB_SIZE}; choose fewer levels or a smaller patch"
            )
        checks.integers(self, "num_target_variants", "augmented_copies", at_least=1)
        checks.reals(self, "held_out_fraction", above=0, below=1)
        self.transformer  # noqa: B018 (its own checks)

    @property
    def vocab_size(self) -> int:
        return self.grey_levels ** (self.patch**2)

    @property
    def length(self) -> int:
        return (self.side // self.patch) ** 2

    @property
    def transformer(self) -> TransformerConfig:
        return self.decoder(self.vocab_size, self.length)


def digits(config: DigitsConfig, cache_dir: str | os.PathLike) -> Task:
    """The task, with its prior from `cache_dir` or pretrained into it.

    Raises:
      ValueError: for a cache folder that cannot be used, or where no target is left.
    """
    prior = pretrained_prior(config, cache_dir)
    targets = target_sequences(config)
    return Task(
        prior=prior.model,
        prior_params=prior.params,
        reward_fn=target_set(targets, config.vocab_size).reward,
        targets=targets,
        render=partial(render, config),
    )


def pretrained_prior(config: DigitsConfig, cache_dir: str | os.PathLike) -> Prior:
    """The prior of the 0s, from the cache or pretrained with early stopping on held-out 0s."""
    return prior_cache.pretrained(
        cache_dir,
        "digits",
        config,
        transformer(config.transformer),
        config.pretraining,
        config.seed,
        partial(pretraining_sequences, config),
        without=("targets", "num_target_variants"),  # what the targets are changes no prior
    )


def pretraining_sequences(config: DigitsConfig) -> tuple[Sequences, Float[Array, " n"]]:
    """Variants of the 0s [n, length], and float32 [n], 1 for the rows that are held out."""
    rng = np.random.default_rng([config.seed, PRIOR_DIGIT])
    images = _images(PRIOR_DIGIT)
    num_held_out = max(1, round(config.held_out_fraction * len(images)))
    held_out = np.isin(np.arange(len(images)), rng.permutation(len(images))[:num_held_out])
    again = np.tile(np.arange(len(images)), config.augmented_copies - 1)
    variants = affine_variants(rng, images[again], config.augmentation)
    rows = np.concatenate([images, variants])
    return tokenise(config, rows), jnp.asarray(
        np.tile(held_out, config.augmented_copies), "float32"
    )


def target_sequences(config: DigitsConfig) -> Sequences:
    """The targets [n, length]: variants of the 6s, none twice, none that is a 0's variant.

    A drawing that occurs among the pretraining 0s is left out, whichever digit it was made
    from: to draw it would show that the prior had learnt its 0s, not that it draws a 6.

    Raises:
      ValueError: if no target is left.
    """
    rng = np.random.default_rng([config.seed, TARGET_DIGIT])
    images = _images(TARGET_DIGIT)
    chosen = rng.integers(len(images), size=config.num_target_variants)
    variants = affine_variants(rng, images[chosen], config.targets)
    targets = np.unique(np.asarray(tokenise(config, variants).tokens), axis=0)
    zeros = {row.tobytes() for row in np.asarray(pretraining_sequences(config)[0].tokens)}
    targets = targets[[row.tobytes() not in zeros for row in targets]]
    if not len(targets):
        raise ValueError(
            f"all {config.num_target_variants} targets equal 0s of the pretraining data; "
            "narrow the ranges of the targets or of the augmentation"
        )
    return Sequences(jnp.asarray(targets), jnp.ones(targets.shape, bool))


def tokenise(config: DigitsConfig, images: Float[np.ndarray, "n 8 8"]) -> Sequences:
    """Images in [0, 1], averaged to the side, rounded to the grey levels, as sequences.

    Tokens go from left to right and top to bottom; in a token the patch's first pixel is
    the highest digit in base `grey_levels`.
    """
    block = SIZE // config.side
    pooled = np.asarray(images).reshape(-1, config.side, block, config.side, block).mean((2, 4))
    levels = np.floor(pooled * (config.grey_levels - 1) + 0.5).astype(np.int32)
    side, patch = config.side // config.patch, config.patch
    pixels = levels.reshape(-1, side, patch, side, patch).swapaxes(2, 3)
    tokens = pixels.reshape(-1, side * side, patch * patch) @ _place_values(config)
    return Sequences(jnp.asarray(tokens, jnp.int32), jnp.ones(tokens.shape, bool))


def render(config: DigitsConfig, sequences: Sequences) -> Float[np.ndarray, "n side side"]:
    """The images of sequences [n, length], in [0, 1]: the inverse of `tokenise`."""
    side, patch = config.side // config.patch, config.patch
    tokens = np.asarray(sequences.tokens)
    pixels = tokens[..., None] // _place_values(config) % config.grey_levels
    pixels = pixels.reshape(-1, side, side, patch, patch).swapaxes(2, 3)
    return (pixels.reshape(-1, config.side, config.side) / (config.grey_levels - 1)).astype(
        np.float32
    )


def _place_values(config):
    return config.grey_levels ** np.arange(config.patch**2)[::-1]


def _images(digit):
    data = load_digits()
    return data.images[data.target == digit] / 16.0
