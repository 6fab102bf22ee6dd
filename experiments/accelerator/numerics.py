"""Whether sampling, scoring and training keep their promises on the device."""

import json
import os
import subprocess
import sys
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from banel_jax import parallel, sampling, scoring, training
from banel_jax.training import TrainingConfig
from experiments.accelerator.models import Tried, in_bfloat16, tried
from experiments.accelerator.section import Section, Skip, within

KEY = 2
ROUNDING = 2e-5  # of log-likelihoods, relative to one nat and their size
COARSE = 2e-2  # the same in bfloat16
FIT = TrainingConfig(epochs=2, batch_size=8, learning_rate=1e-3)


def run(section: Section) -> None:
    every = tried(section.smoke)
    for name, of in every.items():
        section.part(f"sampler_against_scorer_{name}", partial(sampler_against_scorer, of))
    for name, of in every.items():
        section.part(f"any_chunk_{name}", partial(any_chunk, of))
    section.part("resume", partial(resume, ""), needs=10)
    if jax.default_backend() == "gpu":
        flag = "--xla_gpu_deterministic_ops=true"
        section.part("resume_deterministic", partial(resume, flag), needs=10)
    for name, of in every.items():
        section.part(f"against_cpu_{name}", partial(against_cpu, of))
    section.part("training_against_cpu", partial(training_against_cpu, every["tiny"]))
    section.part("frequencies", frequencies)
    # A mesh of one device is none, and says little.
    for name in every if jax.device_count() > 1 and not section.smoke else ("tiny",):
        section.part(f"several_devices_{name}", partial(several_devices, every[name]))
    section.part("training_on_several_devices", partial(training_on_several, every["tiny"]))
    section.part("pmap", partial(pmap, every["tiny"]))
    coarse = partial(sampler_against_scorer, in_bfloat16(section.smoke), COARSE)
    section.part("sampler_against_scorer_bfloat16", coarse)


def draw(of: Tried, n: int, chunk: int | None = None):
    return sampling.sample(of.model, jax.random.key(KEY), of.params, n, chunk)


def difference(found, expected) -> float:
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    return float(np.max(np.abs(found - expected) / (1 + np.abs(expected))))


def same_rows(found, expected) -> float:
    """The share of sequences that are the same, token by token."""
    found, expected = np.asarray(found.tokens), np.asarray(expected.tokens)
    return float(np.mean(np.all(found == expected, axis=1)))


def sampler_against_scorer(of: Tried, limit: float = ROUNDING) -> dict[str, Any]:
    """Decoding with a cache and a whole forward pass: two ways to one likelihood."""
    drawn, log_probs = draw(of, of.rows)
    scores = scoring.log_likelihood(of.model, of.params, drawn)
    return within(difference(log_probs, scores), limit, mean_nats=-float(jnp.mean(scores)))


def frequencies() -> dict[str, Any]:
    """Draws of a small model against the likelihood of every outcome, in standard deviations."""
    from banel_jax.models.transformer import TransformerConfig, transformer
    from banel_jax.types import Sequences

    model, n = transformer(TransformerConfig(3, 4, 1, 2, 8)), 20_000
    params = jax.tree.map(lambda x: 6 * x, model.init(jax.random.key(4)))
    outcomes = jnp.stack(jnp.meshgrid(*[jnp.arange(3)] * 4, indexing="ij"), -1).reshape(-1, 4)
    every = Sequences(outcomes.astype(jnp.int32), jnp.ones(outcomes.shape, bool))
    p = np.exp(np.asarray(scoring.log_likelihood(model, params, every), np.float64))
    drawn, _ = sampling.sample(model, jax.random.key(0), params, n)
    observed = np.bincount(np.asarray(drawn.tokens) @ [27, 9, 3, 1], minlength=81)
    often = p * n >= 5
    statistic = np.sum((observed - p * n)[often] ** 2 / (p * n)[often])
    cells = often.sum()
    deviations = (statistic - cells) / (2 * cells) ** 0.5  # of a chi-square
    return within(deviations, 4, total_probability=float(p.sum()))


def any_chunk(of: Tried) -> dict[str, Any]:
    """A sequence depends neither on the chunk nor on how many are drawn.

    On a CPU it is so bit by bit. Where another shape means another order of summation it may be
    another token, and then the rows after it differ; how many do is what this tells.
    """
    whole, log_probs = draw(of, of.rows, of.rows)
    shares, gap = {}, 0.0
    for n, chunk in ((of.rows, 7), (of.rows // 2 + 1, 512)):
        part, others = draw(of, n, chunk)
        first = jax.tree.map(lambda x, n=n: x[:n], whole)
        shares[f"n={n}, chunk={chunk}"] = same_rows(part, first)
        same = np.all(np.asarray(part.tokens) == np.asarray(first.tokens), axis=1)
        gap = max(gap, difference(np.asarray(others)[same], np.asarray(log_probs)[:n][same]))
    passed = min(shares.values()) == 1
    return {"passed": passed, "same_rows": shares, "difference_of_same_rows": gap}


def on_cpu(tree):
    return jax.device_put(tree, jax.devices("cpu")[0])


def against_cpu(of: Tried) -> dict[str, Any]:
    """The same weights and sequences scored on the CPU; and how many it would draw the same."""
    if jax.default_backend() == "cpu":
        raise Skip("the device is the CPU")
    drawn, _ = draw(of, of.rows)
    scores = scoring.log_likelihood(of.model, of.params, drawn)
    params, sequences, key = on_cpu((of.params, drawn, jax.random.key(KEY)))
    expected = scoring.log_likelihood(of.model, params, sequences, 16)
    again, _ = sampling.sample(of.model, key, params, of.rows, 64)
    return within(difference(scores, expected), ROUNDING, same_rows=same_rows(drawn, again))


def fitted(of: Tried):
    drawn, _ = draw(of, of.rows)
    fit = jax.jit(partial(training.fit, of.model, FIT))
    return fit, (jax.random.key(3), of.params, drawn, jnp.ones(of.rows))


def training_against_cpu(of: Tried) -> dict[str, Any]:
    if jax.default_backend() == "cpu":
        raise Skip("the device is the CPU")
    fit, arguments = fitted(of)
    found = fit(*arguments)[1].train_loss
    expected = fit(*on_cpu(arguments))[1].train_loss
    return within(difference(found, expected), 1e-4, losses=np.asarray(found).tolist())


def several_devices(of: Tried) -> dict[str, Any]:
    """On a mesh of all devices, of a number that they do not share evenly."""
    n = of.rows - 1
    one, _ = draw(of, n)
    scores = scoring.log_likelihood(of.model, of.params, one)
    with jax.set_mesh(parallel.data_mesh()):
        several, _ = draw(of, n)
        others = scoring.log_likelihood(of.model, of.params, one)
    share, gap = same_rows(several, one), difference(others, scores)
    passed = share == 1 and gap <= ROUNDING
    return {
        "passed": passed, "same_rows": share, "difference": gap, "devices": jax.device_count()
    }  # fmt: skip


def training_on_several(of: Tried) -> dict[str, Any]:
    fit, arguments = fitted(of)
    expected = fit(*arguments)[1].train_loss
    with jax.set_mesh(parallel.data_mesh()):
        found = jax.jit(partial(training.fit, of.model, FIT))(*arguments)[1].train_loss
    return within(difference(found, expected), 1e-4, devices=jax.device_count())


def pmap(of: Tried) -> dict[str, Any]:
    """The scorer inside a caller's own `pmap`."""
    devices = jax.local_device_count()
    drawn, _ = draw(of, of.rows // devices * devices)
    expected = scoring.log_likelihood(of.model, of.params, drawn)
    split = jax.tree.map(lambda x: x.reshape(devices, -1, *x.shape[1:]), drawn)
    score = jax.pmap(partial(scoring.log_likelihood, of.model), axis_name="data", in_axes=(None, 0))
    found = score(of.params, split)
    return within(difference(np.ravel(found), expected), ROUNDING, devices=devices)


def resume(flag: str) -> dict[str, Any]:
    """Runs stopped and begun anew, in a process of their own, whose compiler has the flag."""
    flags = f"{flag} {os.environ.get('XLA_FLAGS', '')}"
    if "host_platform_device_count" in flags:  # the mesh is no matter here
        flags = flag
    command = [sys.executable, "-m", "experiments.accelerator.resume"]
    ended = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "XLA_FLAGS": flags.strip()}
    )
    if ended.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with code {ended.returncode}")
    return json.loads(ended.stdout.splitlines()[-1])
