"""How a GGUF file scales its rotary positions, as `config.json` says it."""

import math
from typing import Any

import numpy as np

from banel_jax.models.language.gguf_file import GgufFile
from banel_jax.models.language.model_files import one_line

FACTORS = "rope_freqs.weight"  # a tensor: what llama.cpp divides each frequency by
LOW, HIGH, CONTEXT = 1.0, 4.0, 8192  # of all models of Llama 3


def rope_scaling(file: GgufFile, name: str, width: int, theta: float) -> dict[str, Any] | None:
    """The value of `rope_scaling` for a head of this width.

    Raises:
      ValueError: for kinds other than linear, and for factors that are not Llama 3's.
    """
    key = f"{name}.rope."
    kind = file.text(key + "scaling.type", "linear")
    factor = file.number(key + "scaling.factor", file.number(key + "scale_linear", 1.0))
    if kind not in ("none", "linear"):
        raise ValueError(
            f"{file.path}: {key}scaling.type={one_line(repr(kind))} is not supported, only 'none' "
            "and 'linear' are; name a model without"
        )
    linear = kind == "linear" and factor not in (0.0, 1.0)
    if FACTORS not in file.tensors:
        return {"rope_type": "linear", "factor": float(factor)} if linear else None
    found = file.read(FACTORS)
    if not linear and (found == 1).all():
        return None
    values = {
        "rope_type": "llama3",
        "factor": float(found.max()),
        "low_freq_factor": LOW,
        "high_freq_factor": HIGH,
        "original_max_position_embeddings": CONTEXT,
    }
    expected = _llama3(width, theta, values["factor"])
    if linear or found.shape != expected.shape or not np.allclose(found, expected, rtol=1e-3):
        raise ValueError(
            f"{file.path}: {FACTORS} are not the factors of Llama 3's positions, which alone are "
            "supported; name another model"
        )
    return values


def _llama3(width, theta, factor):
    """By how much each frequency of the positions is divided, [width / 2]."""
    turns = CONTEXT * theta ** -(np.arange(0, width, 2) / width) / (2 * math.pi)  # in the context
    smooth = np.clip((turns - LOW) / (HIGH - LOW), 0, 1)
    return 1 / ((1 - smooth) / factor + smooth)
