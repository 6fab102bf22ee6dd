"""A run that was begun with a ledger of format 2 goes on to the same bytes."""

import json

import pytest
from format_2 import as_format_2
from tiny_run import PRIOR, M, evaluate, learner, reward, same

from banel_jax.oracle import OracleError
from banel_jax.runs.loop import RunConfig, run

CONFIG = RunConfig(rounds=4, seed=5, checkpoint_every=2)


def test_it_goes_on_to_the_same_bytes(tmp_path):
    algorithm, asked = learner(), []

    def oracle(sequences):
        asked.append(len(sequences.tokens))
        if len(asked) == 3 * M - 1:
            raise RuntimeError("the instrument is off")
        return reward(sequences)

    whole = run(algorithm, PRIOR, reward, CONFIG, tmp_path / "whole", evaluate=evaluate)
    folder = tmp_path / "stopped"
    with pytest.raises(OracleError, match="the instrument is off"):
        run(algorithm, PRIOR, oracle, CONFIG, folder, evaluate=evaluate)
    as_format_2(folder / "oracle.sqlite")
    result = run(algorithm, PRIOR, oracle, CONFIG, folder, evaluate=evaluate)
    assert same(result.state, whole.state)
    metrics = [(tmp_path / name / "metrics.jsonl").read_bytes() for name in ("whole", "stopped")]
    assert metrics[0] == metrics[1]
    assert len(asked) == 4 * M + 1
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["asked_again_after_a_stop"] == 1
