"""Parameters layer by layer, as files have them, and with the layers stacked, as the decoder has.

Layer by layer they are flat: the path of one is `layer_3/q/kernel` where in the decoder's it is
`layers/q/kernel`, [layers, in, out].
"""

import re
from typing import Any

import numpy as np
from flax import traverse_util

from banel_jax.partitioning import placed
from banel_jax.types import Params

STACKED = "layers/"


def by_layer(params: Params) -> dict[str, Any]:
    """The decoder's parameters by their paths, layer by layer."""
    found: dict[str, Any] = {}
    for path, leaf in traverse_util.flatten_dict(params, sep="/").items():
        if path.startswith(STACKED) and leaf.ndim:
            rest = path.removeprefix(STACKED)
            found |= {f"layer_{i}/{rest}": leaf[i] for i in range(leaf.shape[0])}
        else:
            found[path] = leaf
    return found


def stacked(flat: dict[str, np.ndarray]) -> Params:
    """The decoder's parameters of those layer by layer, which are let go of one by one."""
    params: dict[str, Any] = {}
    layers: dict[str, dict[int, np.ndarray]] = {}
    for path in list(flat):
        layer = re.fullmatch(r"layer_(\d+)/(.*)", path)
        if layer:
            layers.setdefault(layer[2], {})[int(layer[1])] = flat.pop(path)
        else:
            params |= placed({path: flat.pop(path)})
    for rest in list(layers):
        of = layers.pop(rest)
        params |= placed({STACKED + rest: np.stack([of.pop(i) for i in sorted(of)])})
    return traverse_util.unflatten_dict(params, sep="/")
