"""Whether a run that was stopped ends with the bytes of one that was not; one line of JSON.

python -m experiments.accelerator.resume
"""

import json
import tempfile
from pathlib import Path

import jax
import numpy as np

from banel_jax.algorithms.banel import BanelConfig, banel
from banel_jax.models.transformer import TransformerConfig, transformer
from banel_jax.oracle import OracleConfig
from banel_jax.runs import loop
from banel_jax.training import TrainingConfig
from banel_jax.types import Sequences

ROUNDS, CANDIDATES = 4, 24
FIT = TrainingConfig(epochs=2, batch_size=8, learning_rate=1e-3)


def reward(sequences: Sequences):
    """1 where the tokens sum to a multiple of 5; for NumPy and JAX alike."""
    return (sequences.tokens.sum(axis=1) % 5 == 0).astype("float32")


def main() -> None:
    model = transformer(TransformerConfig(9, 12, 1, 2, 16))
    config = BanelConfig(CANDIDATES, generator_training=FIT, failure_training=FIT)
    algorithm, prior = banel(model, config), model.init(jax.random.key(0))
    settings = loop.RunConfig(ROUNDS, seed=0, oracle=OracleConfig(batch_size=CANDIDATES))
    asked = []

    def oracle(sequences):
        asked.append(len(sequences.tokens))
        if len(asked) == 2 * ROUNDS + 3:  # in the third round of the third run
            raise ConnectionError("stopped on purpose")
        return reward(sequences)

    with tempfile.TemporaryDirectory() as top:
        states, bytes_ = [], []
        for name in ("one", "again", "stopped"):
            folder = Path(top) / name
            run = lambda folder=folder: loop.run(algorithm, prior, oracle, settings, folder)
            try:
                result = run()
            except ValueError as error:
                assert "stopped on purpose" in str(error), error
                result = run()
            states.append(result.state)
            bytes_.append((folder / "metrics.jsonl").read_bytes())
    compiled = loop.compiled_run(algorithm, reward, ROUNDS, seeds_at_once=1)
    state, _ = compiled(jax.random.key(settings.seed)[None], prior)
    found = {
        "repeated": bytes_[1] == bytes_[0] and same(states[1], states[0]),
        "resumed": bytes_[2] == bytes_[0] and same(states[2], states[0]),
        "calls_of_the_oracle": len(asked),
        "compiled_run": same(jax.tree.map(lambda x: x[0], state), states[0]),
    }
    found["passed"] = found["repeated"] and found["resumed"] and len(asked) == 3 * ROUNDS + 1
    print(json.dumps(found))


def same(a, b) -> bool:
    """Whether two states are equal bit for bit."""
    leaves = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(np.asarray(x).tobytes() == np.asarray(y).tobytes() for x, y in leaves)


if __name__ == "__main__":
    main()
