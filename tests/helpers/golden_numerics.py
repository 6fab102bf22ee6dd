"""Numbers of sampling, scoring and training on tiny models, and where they are kept.

    python tests/helpers/golden_numerics.py

writes them and all defaults anew, after numerics.VERSION was raised.
"""

import json
import sys
from functools import partial
from pathlib import Path

import golden_defaults
import jax
import jax.numpy as jnp
import numpy as np
import tiny_run

from banel_jax import files, numerics, rejection, sampling, scoring, training
from banel_jax.algorithms.banel import BanelConfig, banel
from banel_jax.algorithms.policy_gradient import PolicyGradientConfig
from banel_jax.algorithms.rnd import RndConfig, rnd
from banel_jax.models import tempering
from banel_jax.models.ensemble import ensemble, fit_ensemble
from banel_jax.models.table import smoothed_histogram, table
from banel_jax.models.transformer import TransformerConfig, transformer
from banel_jax.training import TrainingConfig
from banel_jax.types import Sequences

FILE = Path(__file__).with_name("golden_numerics.json")
COMMAND = "python tests/helpers/golden_numerics.py"
VOCAB, LENGTH, N = 5, 4, 12
RNG = np.random.default_rng(0)
TOKENS = RNG.integers(VOCAB, size=(N, LENGTH)).astype(np.int32)
WEIGHTS = RNG.uniform(0.1, 1.0, N).astype(np.float32)
HELD_OUT = (np.arange(N) % 4 == 0).astype(np.float32)
MODEL = transformer(
    TransformerConfig(VOCAB, LENGTH, num_layers=1, num_heads=2, width=8, dropout=0.1, eos_token=0)
)
# Batches smaller than the rows, a last one that is not full, micro-batches.
FIT = TrainingConfig(
    epochs=2, batch_size=4, micro_batch_size=2, learning_rate=1e-2, patience=3, warmup_steps=2,
    decay_steps=9, weight_decay=0.1,
)  # fmt: skip
BROADEN = TrainingConfig(epochs=1, batch_size=6, learning_rate=1e-2)
QUICK = TrainingConfig(epochs=2, batch_size=2, learning_rate=0.1, weight_decay=0.3)


def filled(like):
    """Parameters of the shapes of `like` that depend on no initialiser."""
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape) / 2, x.dtype), like)


def of_a_model(model, fitted=True):
    """Draws, scores, and scores after a fit. What is compared of parameters is what they say:
    some have no gradient but rounding, of which Adam makes whole steps."""
    tokens = jnp.asarray(TOKENS)
    sequences = Sequences(tokens, tokens.cumsum(1) % 7 > 0)
    params = filled(jax.eval_shape(model.init, jax.random.key(0)))
    drawn, log_probs = sampling.sample(model, jax.random.key(1), params, N, 5, 0.7)
    found = {"drawn": drawn.tokens, "mask": drawn.mask, "log_prob": log_probs}
    score = partial(scoring.log_likelihood, model, sequences=sequences, chunk_size=5)
    found["score"] = score(params)
    if not fitted:
        return found
    fit = jax.jit(partial(training.fit, model, FIT))
    weights = jnp.asarray(WEIGHTS * (1 - HELD_OUT))
    after, info = fit(jax.random.key(4), params, sequences, weights, jnp.asarray(HELD_OUT))
    found |= {"fitted": score(after)} | {f"fit: {k}": v for k, v in info._asdict().items()}
    ladder = tempering.ladder(model, (0.5, 2.0))
    broaden = partial(training.broaden, ladder, model, BROADEN, num_samples=N)
    found["broadened"] = score(jax.jit(broaden)(jax.random.key(5), params)[0])
    return found


def of_an_ensemble():
    model, fit = ensemble(tiny_run.MODEL, 2), fit_ensemble(tiny_run.MODEL, QUICK)
    sequences = Sequences(jnp.asarray(TOKENS % tiny_run.V), jnp.ones(TOKENS.shape, bool))
    params = filled(jax.eval_shape(model.init, jax.random.key(0)))
    fitted, _ = jax.jit(fit)(jax.random.key(1), params, sequences, jnp.asarray(WEIGHTS))
    drawn, score = sampling.sample(model, jax.random.key(2), fitted, N)
    return {"drawn": drawn.tokens, "score": score}


def of_parts():
    ratios = jnp.asarray(np.random.default_rng(2).normal(size=N), jnp.float32)
    histogram = smoothed_histogram(3, 2, 0.8, 0.1)
    pairs = Sequences(jnp.asarray(TOKENS[:, :2] % 3), jnp.ones((N, 2), bool))
    density = histogram(None, jnp.zeros((3, 3)), pairs, jnp.asarray(WEIGHTS))[0]
    loss = lambda p, rows, weights: jnp.sum(weights * (rows - p) ** 2) / jnp.sum(weights)
    start = jnp.float32(0.0)
    opt_state = training.optimizer(QUICK).init(start)
    minimised, _, losses = training.minimise(
        loss, QUICK, jax.random.key(0), start, opt_state, ratios
    )
    return {
        "best": rejection.best(ratios, 5)[:3],
        "above": rejection.above(ratios, 0.1, 4),
        "resampled": rejection.resample(jax.random.key(0), ratios, 5),
        "histogram": density,
        "minimised": (minimised, losses),
    }


def of_an_algorithm(algorithm):
    """Two rounds: candidates, and what is told of the first of them after each."""
    reward = lambda tokens: jnp.float32(jnp.sum(tokens, axis=1) % 3 == 0)
    key = jax.random.key(0)
    prior = filled(jax.ShapeDtypeStruct((tiny_run.LENGTH, tiny_run.V), jnp.float32))
    state, found = jax.jit(algorithm.init)(key, prior), {}
    ask, tell, score = map(jax.jit, (algorithm.ask, algorithm.tell, algorithm.log_prob))
    for round in range(2):
        candidates, state = ask(jax.random.fold_in(key, round), state)
        rewards = reward(candidates.tokens)
        state, _ = tell(jax.random.fold_in(key, 10 + round), state, candidates, rewards)
        found[f"candidates {round}"] = candidates.tokens
        found[f"score {round}"] = score(state, candidates)
    return found


def numbers():
    """All of them by name, as JSON values."""
    m, model = dict(num_candidates=6), tiny_run.MODEL
    algorithms = {
        "banel": banel(
            model,
            BanelConfig(
                **m,
                generator_training=QUICK,
                failure_training=QUICK,
                failure_rounds=2,
                failure_weighting=0.5,
                past_filters=1,
                acceptance_floor=0.01,
                distinct=True,
            ),
        ),
        "rnd": rnd(
            model,
            PolicyGradientConfig(**m, training=QUICK, kl_coefficient=0.01),
            RndConfig(width=4, num_layers=2, num_features=4, batch_size=4, vocab_size=tiny_run.V),
        ),
    }
    found = {
        "transformer": of_a_model(MODEL),
        "table": of_a_model(table(VOCAB, LENGTH), fitted=False),
    }
    found |= {"ensemble": of_an_ensemble(), "parts": jax.jit(of_parts)()}
    found |= {name: of_an_algorithm(algorithm) for name, algorithm in algorithms.items()}
    return {
        f"{part}: {name}": [as_json(leaf) for leaf in jax.tree.leaves(value)]
        for part, values in found.items()
        for name, value in values.items()
    }


def as_json(leaf):
    leaf = np.asarray(leaf)
    rounded = [float(f"{x:.7g}") for x in leaf.ravel()] if leaf.dtype.kind == "f" else leaf.ravel()
    return np.reshape(rounded, leaf.shape).tolist()


def differences(kept, found):
    """Names of the numbers that are not those kept, beyond the rounding of another machine."""
    return [name for name in kept | found if not same(kept.get(name, []), found.get(name, []))]


def same(kept, found):
    if len(kept) != len(found):
        return False
    pairs = [(np.asarray(a), np.asarray(b)) for a, b in zip(kept, found, strict=True)]
    return all(
        a.shape == b.shape
        and a.dtype.kind == b.dtype.kind
        and (
            np.allclose(a, b, rtol=1e-4, atol=1e-5, equal_nan=True)
            if a.dtype.kind == "f"
            else np.array_equal(a, b)
        )
        for a, b in pairs
    )


def main():
    found, defaults = numbers(), golden_defaults.defaults()
    if FILE.exists():
        kept = json.loads(FILE.read_text(encoding="utf-8"))
        changed = differences(kept["numbers"], found)
        found = found if changed else kept["numbers"]  # not by rounding alone
        changed += golden_defaults.changed(kept.get("defaults", {}), defaults)[0]
        if changed and kept["version"] == numerics.VERSION:
            sys.exit(
                f"{len(changed)} numbers or defaults changed, and "
                f"numerics.VERSION={numerics.VERSION} is still that of {FILE.name}: raise it "
                f"first. Where nothing was kept on disk under it yet, delete {FILE.name} instead"
            )
    lines = ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in sorted(found.items()))
    defaults = ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in defaults.items())
    text = (
        f'{{"version": {numerics.VERSION}, "defaults": {{\n{defaults}\n}}, '
        f'"numbers": {{\n{lines}\n}}}}\n'
    )
    files.write_atomically(FILE, text)


if __name__ == "__main__":
    main()
