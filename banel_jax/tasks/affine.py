"""Random rotations, shifts and scales of images."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import ndimage

from banel_jax import checks


@dataclass(frozen=True)
class AffineRanges:
    """Ranges of random rotations, shifts and scales about the centre of an image.

    Attributes:
      rotation: degrees; angles are uniform in [-rotation, rotation].
      shift: pixels, along each axis; uniform in [-shift, shift].
      min_scale, max_scale: of the drawing's size; uniform between them.
    """

    rotation: float = 15.0
    shift: float = 0.8
    min_scale: float = 0.9
    max_scale: float = 1.1

    def __post_init__(self):
        checks.fields(self)
        checks.reals(self, "rotation", "shift", at_least=0)
        if not 0 < self.min_scale <= self.max_scale:
            raise ValueError(
                f"min_scale={self.min_scale} must be positive and at most "
                f"max_scale={self.max_scale}"
            )


def affine_variants(
    rng: np.random.Generator, images: Float[np.ndarray, "n h w"], ranges: AffineRanges
) -> Float[np.ndarray, "n h w"]:
    """One random rotation, shift and scale of each image, linearly interpolated."""
    n, height, width = images.shape
    angle = np.deg2rad(rng.uniform(-ranges.rotation, ranges.rotation, n))
    scale = rng.uniform(ranges.min_scale, ranges.max_scale, n)
    shift = rng.uniform(-ranges.shift, ranges.shift, (n, 2))
    centre = np.array([height - 1, width - 1]) / 2
    grid = np.moveaxis(np.indices((height, width)), 0, -1) - centre  # [h, w, 2]
    offset = grid - shift[:, None, None]
    # Where in the original each pixel of the variant comes from: the inverse map.
    cos, sin = (np.cos(angle) / scale)[:, None, None], (np.sin(angle) / scale)[:, None, None]
    row = cos * offset[..., 0] + sin * offset[..., 1] + centre[0]
    column = cos * offset[..., 1] - sin * offset[..., 0] + centre[1]
    which = np.broadcast_to(np.arange(n)[:, None, None], row.shape)
    return ndimage.map_coordinates(images, [which, row, column], order=1)
