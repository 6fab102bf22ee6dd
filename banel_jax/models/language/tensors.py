"""Where each tensor of a model's files stands in the parameters, and the form that it has there."""

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from banel_jax.models.language.decoder import Decoder
from banel_jax.models.language.decoder_config import DecoderConfig
from banel_jax.models.language.families import HEAD, Family
from banel_jax.models.language.stacking import by_layer

LISTED = 10  # of what is amiss


@dataclass(frozen=True)
class Tensor:
    """Where one stands: the paths in the flattened parameters, and whether it is turned there."""

    paths: tuple[str, ...]
    turned: bool

    def in_file(self, flat: Mapping[str, Any]) -> np.ndarray:
        """The tensor as a file has it; `flat` is the flattened parameters."""
        parts = [np.asarray(flat[path]) for path in self.paths]
        whole = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1)
        return np.ascontiguousarray(whole.T if self.turned else whole)

    def in_params(self, tensor: np.ndarray, shapes: Mapping[str, tuple[int, ...]]) -> dict:
        """The parts of a file's tensor, by their paths; `shapes` are those of all parameters."""
        ends = np.cumsum([shapes[path][-1] for path in self.paths])[:-1]
        parts = np.split(tensor.T if self.turned else tensor, ends, axis=-1)
        return dict(zip(self.paths, parts, strict=True))

    def shape(self, shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, ...]:
        """The shape in a file."""
        *rows, columns = shapes[self.paths[0]]
        whole = (*rows, columns + sum(shapes[path][-1] for path in self.paths[1:]))
        return whole[::-1] if self.turned else whole


@functools.lru_cache(maxsize=8)
def shapes_of(config: DecoderConfig) -> dict[str, tuple[int, ...]]:
    """The shape of each of a model's parameters, by its path, layer by layer."""
    init = lambda key: Decoder(config).init(key, jnp.zeros((1,), jnp.int32))["params"]
    made = jax.eval_shape(lambda key: by_layer(init(key)), jax.random.key(0))
    return {path: x.shape for path, x in made.items()}


def tensors(family: Family, config: DecoderConfig, names: Iterable[str] = ()) -> dict[str, Tensor]:
    """The tensors of a model's files, by name; `names` are those found, if there are any."""
    names = list(names)
    bare = names and not any(name.startswith(family.prefix) for name in names)
    prefix = "" if bare else family.prefix
    held, found = shapes_of(config), {}
    for name, places in family.tensors.items():
        turned = family.turned and places[0].endswith("/kernel")
        for i in range(config.num_layers if "{}" in name else 1):
            paths = tuple(f"layer_{i}/{p}" if "{}" in name else p for p in places)
            if held.keys() >= set(paths):
                whole = name if name == HEAD else prefix + name
                found[whole.format(i)] = Tensor(paths, turned)
    return found


def check(
    where: Any, family: Family, config: DecoderConfig, found: Mapping[str, tuple[int, ...]]
) -> None:
    """That the tensors found, by name and shape, are those of the configuration.

    Raises:
      ValueError: naming `where` and the first of those that are missing, of another shape or of
        no use.
    """
    if config.num_layers > len(found):  # each has several; no need to spell out what is missing
        raise ValueError(
            f"{where}: {len(found)} tensors are too few for {family.key('num_layers')}="
            f"{config.num_layers} of the configuration; mend config.json or complete the weights"
        )
    shapes = shapes_of(config)
    expected = {name: x.shape(shapes) for name, x in tensors(family, config, found).items()}
    problems = [f"{name} is missing" for name in expected.keys() - found.keys()]
    for name, shape in found.items():
        if name not in expected and not (config.tied and name == HEAD):
            problems.append(f"{name} is not of this model")
        elif name in expected and shape != expected[name]:
            problems.append(f"{name} is {list(shape)}, not {list(expected[name])}")
    if problems:
        more = f"; and {len(problems) - LISTED} more" if len(problems) > LISTED else ""
        listed = "; ".join(" ".join(problem.split()) for problem in sorted(problems)[:LISTED])
        raise ValueError(
            f"{where}: {len(problems)} tensors do not fit the configuration: {listed}{more}"
        )
