"""Low-rank adapters over any model: W + (alpha / rank) A B at each adapted kernel W, the base
W itself frozen and shared by all that adapt it (Hu et al., 2022).

A model's parameters are its adapters alone, for a base among them would be optimised,
checkpointed and copied with the generator and the failure model; the base is closed over
instead. `lora_algorithm` keeps the closed-over base in references, which JAX hands to a compiled
program as arguments, so that one copy serves every model, program and seed and none is baked in.
"""

import zlib
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from banel_jax import hosts
from banel_jax.models.lora_config import LoraConfig
from banel_jax.models.low_rank import LowRank
from banel_jax.partitioning import placed
from banel_jax.types import Algorithm, Params, SequenceModel


class Adapter(NamedTuple):
    """The factors of a kernel [in, out], or of a stack of them [layers, in, out]."""

    a: Float[Array, "*layers in rank"]
    b: Float[Array, "*layers rank out"]


Adapters = dict[str, Adapter]  # by the path of the kernel


def lora(model: SequenceModel, base_params: Params, config: LoraConfig) -> SequenceModel:
    """The model with its kernels adapted; its parameters are `Adapters`.

    It starts as the base, A being random and B zero, and serves wherever a model does. Called
    inside a compiled function on an argument of that function it bakes nothing in; on concrete
    arrays the base becomes a constant of each program that uses the model, which suits small
    ones. Each call makes a model to be compiled anew: keep what it returns.

    Args:
      model: whose parameters are a tree with kernels [in, out] or [layers, in, out].
      base_params: of the model; no gradient reaches them.
      config: settings.

    Raises:
      ValueError: if `config` finds nothing to adapt, or what is no kernel.
    """
    kernels = targets(base_params, config)

    def full(params):
        return merge(jax.lax.stop_gradient(base_params), params, config)

    scored = partial(_beside, base_params, config=config) if model.takes_low_rank else full

    def init(key):
        keys = jax.random.split(key, len(kernels))
        return {
            path: _new(key, kernel.shape, config.rank)
            for key, (path, kernel) in zip(keys, kernels.items(), strict=True)
        }

    def log_prob(params, sequence, *, temperature=1.0, dropout_key=None):
        return model.log_prob(
            scored(params), sequence, temperature=temperature, dropout_key=dropout_key
        )

    def sample(key, params, *, temperature=1.0):
        return model.sample(key, full(params), temperature=temperature)

    settings = "lora", config, _checksum(base_params), model.settings
    beside = ("low rank",) if model.takes_low_rank else ()  # other roundings
    return SequenceModel(init, log_prob, sample, (*settings, *beside))


def merge(base_params: Params, adapters: Adapters, config: LoraConfig) -> Params:
    """The full parameters that the adapters stand for: those of the model that was adapted.

    Each kernel keeps its type, so where the base is bfloat16 the sum is rounded to it.

    Raises:
      ValueError: if the adapters are not this base's, or not of `config.rank`.
    """
    return _map_adapted(partial(_merged, config), base_params, adapters, config)


def _beside(base_params, adapters, config):
    """As `merge`, with each adapter beside its kernel for a model that takes `LowRank`."""

    def beside(path, leaf, adapter):
        # A sampler draws from what was merged, so what its type would round is merged here too.
        if leaf.dtype != jnp.float32 or not path.endswith("/kernel"):
            return _merged(config, path, leaf, adapter)
        return LowRank(leaf, adapter.a, config.scale * adapter.b)

    return _map_adapted(beside, jax.lax.stop_gradient(base_params), adapters, config)


def _merged(config, path, leaf, adapter):
    # Likelihood ratios are small differences of large numbers: float32 on every device.
    product = jnp.matmul(adapter.a, adapter.b, precision="highest")
    return (leaf + config.scale * product).astype(leaf.dtype)


def _map_adapted(function, base_params, adapters, config):
    """The parameters with function(path, kernel, adapter) in place of what is adapted."""
    foreign = set(adapters) ^ set(targets(base_params, config))
    if foreign:
        raise ValueError(
            f"the adapters and the base differ at {min(foreign)}; take the base and the targets "
            "that they were made with"
        )

    def at(path, leaf):
        adapter = adapters.get(_name(path))
        if adapter is None:
            return leaf
        if adapter.a.shape[-1] != config.rank:
            raise ValueError(
                f"rank={config.rank}, but the adapter of {_name(path)} has rank "
                f"{adapter.a.shape[-1]}; take the settings that it was made with"
            )
        return function(_name(path), leaf, adapter)

    return jax.tree_util.tree_map_with_path(at, base_params)


def targets(base_params: Params, config: LoraConfig) -> dict[str, Any]:
    """The kernels to adapt, by path.

    Raises:
      ValueError: if there is none, or one is no kernel.
    """
    leaves = {_name(path): x for path, x in jax.tree_util.tree_leaves_with_path(base_params)}
    found = {path: leaf for path, leaf in leaves.items() if config.adapts(path)}
    if not found:
        raise ValueError(
            f"targets={config.targets!r} without exclude={config.exclude!r} finds no parameter; "
            f"their paths are like {next(iter(leaves), 'none at all')}"
        )
    for path, leaf in found.items():
        if leaf.ndim not in (2, 3):
            raise ValueError(
                f"targets={config.targets!r} finds {path} of shape {list(leaf.shape)}, but an "
                "adapter needs [in, out] or [layers, in, out]; narrow targets, or exclude it"
            )
    return found


def _name(path):
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _new(key, shape, rank):
    *layers, inputs, outputs = shape
    a = jax.random.normal(key, (*layers, inputs, rank), jnp.float32) / inputs**0.5
    return Adapter(a, jnp.zeros((*layers, rank, outputs), jnp.float32))


def _checksum(base_params):
    """CRC-32 of a concrete base, for no run's record holds its values otherwise; else None."""
    total = 0
    leaves = jax.tree.leaves(base_params)
    if any(isinstance(leaf, jax.core.Tracer) for leaf in leaves):
        return None
    for leaf in map(hosts.local, leaves):
        total = zlib.crc32(np.ascontiguousarray(leaf).tobytes(), total)
    return total


def lora_algorithm(
    model: SequenceModel,
    base_params: Params,
    config: LoraConfig,
    build: Callable[[SequenceModel, Params], Algorithm],
) -> Algorithm:
    """An algorithm whose models are adapters over one base, for bases of any size.

    Its `init` takes adapters for the prior's parameters: those of `lora(...).init`, or trained
    ones. Under a mesh, call it with the mesh in force, for the base is placed on its devices
    (`partitioning`).

    Args:
      model: the prior's functions.
      base_params: of the model. They are copied, once, so the caller may let go of theirs.
      config: settings of the adapters.
      build: from the adapted model and the base to the algorithm, e.g. `lambda m, base: banel(m,
        BanelConfig())`; called anew at each tracing.
    """
    outline = build(lora(model, base_params, config), base_params)
    settings = outline.settings
    filters, learns = outline.proposal_log_prob is not None, outline.know is not None
    takes_evidence = outline.takes_evidence
    del outline  # it holds on to the caller's base
    references = jax.tree.map(jax.new_ref, placed(base_params))
    del base_params

    def over_base(name):
        """The algorithm's function of this name on the base, read before all else: JAX allows
        no reads within a branch that is mapped."""

        def function(*args):
            base = jax.tree.map(lambda reference: reference[...], references)
            return getattr(build(lora(model, base, config), base), name)(*args)

        return function

    return Algorithm(
        init=over_base("init"),
        ask=over_base("ask"),
        tell=over_base("tell"),
        sample=over_base("sample"),
        log_prob=over_base("log_prob"),
        candidate_log_prob=over_base("candidate_log_prob"),
        proposal_log_prob=over_base("proposal_log_prob") if filters else None,
        settings=settings,
        know=over_base("know") if learns else None,
        takes_evidence=takes_evidence,
    )
