"""A round of Algorithm 2 as a PyTorch loop, beside the same round here, on the same device."""

import statistics
import time
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import torch

from banel_jax import scoring
from banel_jax.algorithms.banel import BanelConfig, banel
from banel_jax.models.transformer import TransformerConfig, transformer
from banel_jax.runs import loop
from banel_jax.training import TrainingConfig
from experiments.accelerator.section import Section, within
from experiments.benchmark import torch_reference as reference
from experiments.benchmark.transformer import random_sequences


class Sizes(NamedTuple):
    """Of a round, as the published method has it on MNIST.

    Attributes:
      candidates, factor: m and f.
      failure_epochs, generator_epochs: of the two fits, in batches of `batch`.
      seeds, rounds: of the compiled call; PyTorch runs as many rounds of one seed.
    """

    candidates: int = 250
    factor: int = 2
    failure_epochs: int = 50
    generator_epochs: int = 15
    batch: int = 50
    seeds: int = 5
    rounds: int = 3


MODELS = {
    "small": TransformerConfig(256, 98, 2, 2, 32),
    "large": TransformerConfig(256, 98, 4, 4, 128),
}


def run(section: Section) -> None:
    sizes, models = Sizes(), MODELS
    if section.smoke:
        sizes, models = Sizes(12, 2, 2, 1, 6, 1, 2), {"small": TransformerConfig(16, 12, 1, 2, 16)}
    section.part("versions", versions)
    for name, config in models.items():
        section.part(f"same_likelihoods_{name}", partial(same_likelihoods, config))
        torch_seconds = section.part(f"torch_{name}", partial(torch_rounds, config, sizes), 5)
        for seeds in dict.fromkeys((1, sizes.seeds)):
            ours = partial(jax_rounds, config, sizes, seeds, torch_seconds)
            section.part(f"jax_{name}_seeds_{seeds}", ours, 15)


def device() -> str:
    return "cuda" if torch.cuda.is_available() and jax.default_backend() == "gpu" else "cpu"


def versions() -> dict[str, Any]:
    name = torch.cuda.get_device_name() if device() == "cuda" else "CPU"
    return {"torch": torch.__version__, "device": name, "threads": torch.get_num_threads()}


def decoder(config: TransformerConfig) -> reference.Decoder:
    sizes = config.vocab_size, config.length, config.num_layers, config.num_heads, config.width
    return reference.Decoder(*sizes).to(device())


def same_likelihoods(config: TransformerConfig) -> dict[str, Any]:
    """Both libraries compute one function: the same weights, the same sequences."""
    model, ours = decoder(config), transformer(config)
    params = jax.tree.map(lambda x: 3 * x, ours.init(jax.random.key(0)))
    copy_weights(params, model)
    sequences = random_sequences(config, 32)
    tokens = torch.tensor(np.asarray(sequences.tokens)).long().to(device())
    found = reference.score(model, tokens, 32).cpu().numpy().astype(np.float64)
    expected = np.asarray(scoring.log_likelihood(ours, params, sequences), np.float64)
    return within(np.max(np.abs(found - expected) / (1 + np.abs(expected))), 2e-5)


@torch.no_grad()
def copy_weights(params: Any, model: reference.Decoder) -> None:
    """Ours into PyTorch's, whose kernels stand the other way round."""

    def put(place, value, turned=False):
        place.copy_(torch.tensor(np.array(value.T if turned else value)))

    put(model.token_embedding.weight, params["token_embedding"])
    put(model.position_embedding.weight, params["position_embedding"])
    put(model.head.weight, params["head"]["kernel"], turned=True)
    places = [(model.final_norm, params["final_norm"])]
    for i, block in enumerate(model.blocks):
        places += [(getattr(block, name), of) for name, of in params[f"block_{i}"].items()]
    for place, of in places:
        put(place.bias, of["bias"])
        norm = "scale" in of
        put(place.weight, of["scale" if norm else "kernel"], turned=not norm)


def torch_rounds(config: TransformerConfig, sizes: Sizes) -> dict[str, Any]:
    """Seconds of a round of one seed, the median after one to warm up, and of its phases."""
    prior, failure_model = decoder(config), decoder(config)
    generator, phases = prior, []
    for _ in range(1 + sizes.rounds):
        generator, failure_model, seconds = torch_round(
            config, sizes, prior, generator, failure_model
        )
        phases.append(seconds)
    of = lambda name: statistics.median(seconds[name] for seconds in phases[1:])
    found = {name: of(name) for name in phases[0]}
    return {"seconds": sum(found.values()), "phases": found}


def torch_round(config, sizes: Sizes, prior, generator, failure_model):
    """Sample m f, score under both models, keep the best m, fit to the failures, distil."""
    m, times = sizes.candidates, [time.perf_counter()]

    def lap(x=None):
        if device() == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter())
        return x

    n = m * sizes.factor
    drawn, _ = lap(reference.sample(generator, n, n))
    ratio = reference.score(prior, drawn, n) - reference.score(failure_model, drawn, n)
    kept = lap(drawn[ratio.topk(m).indices].clone())
    failed = kept[kept.sum(1) % 1000 != 0]  # a reward, of hardly any success
    failure_model = decoder(config)
    train(failure_model, failed, sizes.failure_epochs, 1e-3, sizes.batch)
    lap()
    generator = decoder(config)
    generator.load_state_dict(prior.state_dict())
    train(generator, kept, sizes.generator_epochs, 1e-4, sizes.batch)
    lap()
    names = ("sample", "filter", "fit_failure_model", "distil")
    return generator, failure_model, dict(zip(names, np.diff(times).tolist(), strict=True))


def train(model, tokens, epochs: int, learning_rate: float, batch: int) -> None:
    adam = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0.0)
    for _ in range(epochs):
        reference.train_epoch(model, adam, tokens, batch, batch)


def jax_rounds(config, sizes: Sizes, seeds: int, torch_found: dict | None) -> dict[str, Any]:
    """The same rounds as one compiled call, of some seeds at once."""
    model = transformer(config)
    fit = lambda epochs, rate: TrainingConfig(epochs, sizes.batch, rate)
    settings = BanelConfig(
        sizes.candidates, float(sizes.factor), failure_start="fresh",
        failure_training=fit(sizes.failure_epochs, 1e-3),
        generator_training=fit(sizes.generator_epochs, 1e-4),
    )  # fmt: skip
    reward = lambda x: (x.tokens.sum(axis=1) % 1000 == 0).astype(jnp.float32)
    experiment = loop.compiled_run(banel(model, settings), reward, sizes.rounds)
    prior = model.init(jax.random.key(0))
    seconds = []
    for first in (0, seeds):
        keys = jax.vmap(jax.random.key)(jnp.arange(first, first + seeds))
        start = time.perf_counter()
        jax.block_until_ready(experiment(keys, prior))
        seconds.append(time.perf_counter() - start)
    each = seconds[1] / (sizes.rounds * seeds)
    return {
        "first_seconds": seconds[0],
        "seconds": each,  # of a round of one seed
        "seeds": seeds,
        "times_torch": torch_found["seconds"] / each if torch_found else None,
    }
