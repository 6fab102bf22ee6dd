"""Two circles in the plane, after Figure 1: success lies on an arc of the inner one.

A point is two tokens, its bins along x and y. The prior is a table over the whole grid, so
every success rate is an exact sum.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from banel_jax import checks
from banel_jax.models.table import table
from banel_jax.types import Sequences, Task


@dataclass(frozen=True)
class TwoCirclesConfig:
    """Settings of the task; with the defaults 0.8% of the prior's mass earns the reward.

    With inner_share=0.3 and arc_degrees=60 it is 4.9%.

    Attributes:
      grid: bins along each axis, V.
      inner_radius, outer_radius: of the two circles, in bins.
      noise: standard deviation of the distance from the circle, in bins.
      inner_share: share of the prior's mass on the inner circle.
      arc_degrees: width of the rewarded arc, about the direction of positive x.
    """

    grid: int = 48
    inner_radius: float = 10.0
    outer_radius: float = 20.0
    noise: float = 1.2
    inner_share: float = 0.09
    arc_degrees: float = 30.0

    def __post_init__(self):
        checks.fields(self)
        checks.integers(self, "grid", at_least=1)
        checks.reals(self, "noise", "inner_radius", "outer_radius", above=0)
        if not 0 < self.inner_radius < self.outer_radius:
            raise ValueError(
                f"inner_radius={self.inner_radius} must lie between 0 and "
                f"outer_radius={self.outer_radius}"
            )
        if self.outer_radius + 2 * self.noise > self.grid / 2:
            raise ValueError(
                f"grid={self.grid} is too small for outer_radius={self.outer_radius} and "
                f"noise={self.noise}; it takes {2 * self.outer_radius + 4 * self.noise:.0f}"
            )
        checks.reals(self, "inner_share", above=0, below=1)
        checks.reals(self, "arc_degrees", above=0, at_most=360)


def two_circles(config: TwoCirclesConfig) -> Task:
    """The task; `render` gives images [n, V, V] with the point's bin at 1, rows along y."""
    grid = config.grid
    rewarded = np.asarray(rewarded_region(config))
    lookup = jnp.asarray(rewarded, jnp.float32)
    points = jnp.asarray(np.argwhere(rewarded), jnp.int32)

    def reward_fn(sequences):
        return lookup[sequences.tokens[:, 0], sequences.tokens[:, 1]]

    def render(sequences):
        x, y = (jax.nn.one_hot(sequences.tokens[:, axis], grid) for axis in (0, 1))
        return y[:, :, None] * x[:, None, :]

    return Task(
        prior=table(grid, 2),
        prior_params=jnp.asarray(log_prior(config), jnp.float32),
        reward_fn=reward_fn,
        targets=Sequences(points, jnp.ones(points.shape, bool)),
        render=render,
    )


def log_prior(config: TwoCirclesConfig) -> np.ndarray:
    """log p of every point (x, y), float64 [V, V], normalised over the grid."""
    radius, _ = _polar(config)

    def circle(at):
        log_density = -(((radius - at) / config.noise) ** 2) / 2
        return log_density - np.logaddexp.reduce(log_density, axis=None)

    return np.logaddexp(
        np.log(config.inner_share) + circle(config.inner_radius),
        np.log1p(-config.inner_share) + circle(config.outer_radius),
    )


def rewarded_region(config: TwoCirclesConfig) -> np.ndarray:
    """bool [V, V]: the arc of the inner circle, 3 `noise` to both sides, at most halfway out."""
    radius, angle = _polar(config)
    reach = min(3 * config.noise, (config.outer_radius - config.inner_radius) / 2)
    on_circle = np.abs(radius - config.inner_radius) <= reach
    return on_circle & (np.abs(angle) <= np.deg2rad(config.arc_degrees) / 2)


def _polar(config):
    x, y = np.mgrid[: config.grid, : config.grid] - (config.grid - 1) / 2
    return np.hypot(x, y), np.arctan2(y, x)
