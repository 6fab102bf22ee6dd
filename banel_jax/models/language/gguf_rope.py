"""How a GGUF file scales its rotary positions, as `config.json` says it."""

import math
from typing import Any

import numpy as np

from banel_jax.models.language.gguf_file import GgufFile
from banel_jax.models.language.model_files import one_line

FACTORS = "rope_freqs.weight"  # a tensor: what llama.cpp divides each frequency by
LOW, HIGH = 1.0, 4.0  # of all models of Llama 3
CONTEXTS = (8192, *(2**n for n in range(4, 21) if n != 13))  # theirs, and of models like them


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
    factor = float(found.max())
    for context in CONTEXTS:  # which the file does not tell
        expected = _llama3(width, theta, factor, context)
        if found.shape == expected.shape and np.allclose(found, expected, rtol=1e-3) and not linear:
            return {
                "rope_type": "llama3",
                "factor": factor,
                "low_freq_factor": LOW,
                "high_freq_factor": HIGH,
                "original_max_position_embeddings": context,
            }
    raise ValueError(
        f"{file.path}: {FACTORS} are not the factors of Llama 3's positions, which alone are "
        "supported; name another model"
    )


def _llama3(width, theta, factor, context):
    """By how much each frequency of the positions is divided, [width / 2]."""
    turns = context * theta ** -(np.arange(0, width, 2) / width) / (2 * math.pi)  # in the context
    smooth = np.clip((turns - LOW) / (HIGH - LOW), 0, 1)
    return 1 / ((1 - smooth) / factor + smooth)
