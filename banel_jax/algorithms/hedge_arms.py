"""What may be an arm of a hedge (`hedge.py`), and where it starts."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax

from banel_jax import checks
from banel_jax.algorithms.cuts import CutConfig, cut
from banel_jax.algorithms.prior_sampling import prior_sampling
from banel_jax.types import Algorithm, SequenceModel, Sequences


def free_arms(model: SequenceModel, wide: SequenceModel, config: CutConfig) -> dict[str, Algorithm]:
    """Proposals that cost nothing and learn nothing: a model, a wider one, and both cuts.

    Args:
      model: the prior's functions.
      wide: over the same parameters, such as `tempering.ladder(model)`.
      config: of the cuts, whichever it keeps.
    """
    kept = lambda keep: cut(model, dataclasses.replace(config, keep=keep))
    return {
        "prior": prior_sampling(model, config.num_candidates),
        "ladder": prior_sampling(wide, config.num_candidates),
        "likeliest": kept("likeliest"),
        "least_likely": kept("least_likely"),
    }


def starting_at(algorithm: Algorithm, name: str) -> Algorithm:
    """The algorithm from one of several starts, for arms of a hedge that start from different ones.

    Args:
      algorithm: whose `init` is then given, as the prior's parameters, a dict of some by name.
      name: of those that it takes.

    Raises:
      ValueError: by `init`, where there are none of that name.
    """

    def init(key, starts):
        if not isinstance(starts, Mapping) or name not in starts:
            there = ", ".join(starts) if isinstance(starts, Mapping) else "none by name"
            raise ValueError(f"no parameters {name!r} to start from; there are {there}")
        return algorithm.init(key, starts[name])

    settings = (*algorithm.settings, ("start", name))
    return algorithm._replace(init=init, settings=settings, model=None)


def check(arms: Mapping[str, Algorithm]) -> None:
    """Raises ValueError, in one line, for algorithms that cannot share a round."""
    if not arms:
        raise ValueError("a hedge needs arms; give one algorithm or more, by name")
    for name, arm in arms.items():
        if not checks.takes(arm.tell, 5):
            raise ValueError(
                f"the tell of arm {name!r} must take (key, state, candidates, rewards, answered): "
                "not all of what it asks for is paid for"
            )
    models = {name: arm.model for name, arm in arms.items() if arm.model is not None}
    kinds = {name: _parameters(model) for name, model in models.items()}
    for name, kind in kinds.items():
        if kind != next(iter(kinds.values())):
            first = next(iter(kinds))
            raise ValueError(f"the arms {first!r} and {name!r} are over different models")


def num_candidates(asked: Mapping[str, Sequences]) -> int:
    """m, from the candidates that each arm asks for.

    Raises:
      ValueError: in one line, where they differ or are fewer than the arms.
    """
    shapes = {name: one.tokens.shape for name, one in asked.items()}
    if len(set(shapes.values())) > 1:
        told = ", ".join(f"{name} for {m} of {length}" for name, (m, length) in shapes.items())
        raise ValueError(f"the arms must ask for as many candidates of one length each: {told}")
    ((m, _),) = set(shapes.values())
    if len(asked) > m:
        raise ValueError(
            f"{len(asked)} arms cannot share num_candidates={m}; give more, or fewer arms"
        )
    return m


def _parameters(model: SequenceModel) -> Any:
    params = jax.eval_shape(model.init, jax.random.key(0))
    return jax.tree.structure(params), [(x.shape, x.dtype) for x in jax.tree.leaves(params)]
