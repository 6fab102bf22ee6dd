"""How a GGUF file scales its rotary positions, as `config.json` says it."""

import math
from typing import Any

import numpy as np

from banel_jax.checks import one_line
from banel_jax.models.language.attention import frequencies
from banel_jax.models.language.decoder_config import RopeScaling
from banel_jax.models.language.gguf_file import GgufFile
from banel_jax.models.language.huggingface_rope import written

FACTORS = "rope_freqs.weight"  # a tensor: what llama.cpp divides each frequency by
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
    factor, unscaled = float(found.max()), frequencies(width, theta)
    usable = not linear and 1 <= factor < math.inf
    for context in CONTEXTS if usable else ():  # which the file does not tell
        scaling = RopeScaling("llama3", factor, original_context=context)  # as all of Llama 3 have
        expected = unscaled / frequencies(width, theta, scaling)
        if found.shape == expected.shape and np.allclose(found, expected, rtol=1e-3):
            return written(theta, scaling)["rope_scaling"]
    raise ValueError(
        f"{file.path}: {FACTORS} are not the factors of Llama 3's positions, which alone are "
        "supported; name another model"
    )
