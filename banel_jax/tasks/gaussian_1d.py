"""A standard normal in bins, rewarded near two points: the smallest task with two modes.

A sequence is one token, the bin. A method that finds one of the points and forgets the other
has a perfect success rate, and has lost half of what there was to find.
"""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

from banel_jax import checks
from banel_jax.models.table import table
from banel_jax.types import Sequences, Task


@dataclass(frozen=True)
class Gaussian1DConfig:
    """Settings of the task; with the defaults 6.7% of the prior's mass earns the reward.

    Attributes:
      limit: the bins' centres run from -limit to limit.
      bin_width: the distance between them; limit is a multiple of it.
      modes: where the rewards lie.
      reward_width: the reward is 1 for bins with their centre this close to a mode.
    """

    limit: float = 3.0
    bin_width: float = 0.2
    modes: tuple[float, ...] = (-2.0, 2.0)
    reward_width: float = 0.2

    def __post_init__(self):
        checks.fields(self)
        checks.reals(self, "limit", "bin_width", above=0)
        checks.reals(self, "reward_width", at_least=0)
        if abs(self.limit / self.bin_width - round(self.limit / self.bin_width)) > 1e-6:
            raise ValueError(
                f"limit={self.limit} is not a whole number of bin_width={self.bin_width}"
            )
        if not self.modes or not all(len(mode_bins(self, mode)) for mode in self.modes):
            raise ValueError(
                f"modes={self.modes} must be one or more, each with a bin within "
                f"reward_width={self.reward_width}"
            )


def gaussian_1d(config: Gaussian1DConfig) -> Task:
    """The task; `render` gives each bin's centre as a string."""
    positions = centres(config)
    rewarded = np.unique(np.concatenate([mode_bins(config, mode) for mode in config.modes]))
    lookup = jnp.zeros(len(positions), jnp.float32).at[rewarded].set(1.0)
    targets = jnp.asarray(rewarded[:, None], jnp.int32)
    log_density = -(positions**2) / 2

    return Task(
        prior=table(len(positions), 1),
        prior_params=jnp.asarray(log_density - np.logaddexp.reduce(log_density), jnp.float32),
        reward_fn=lambda sequences: lookup[sequences.tokens[:, 0]],
        targets=Sequences(targets, jnp.ones(targets.shape, bool)),
        render=lambda sequences: [
            f"{positions[t]:+.1f}" for t in np.asarray(sequences.tokens)[:, 0]
        ],
    )


def centres(config: Gaussian1DConfig) -> np.ndarray:
    """The bins' centres, float64 [V]."""
    half = round(config.limit / config.bin_width)
    return np.arange(-half, half + 1) * config.bin_width


def mode_bins(config: Gaussian1DConfig, mode: float) -> np.ndarray:
    """The rewarded bins about one mode."""
    return np.flatnonzero(np.abs(centres(config) - mode) <= config.reward_width + 1e-9)
