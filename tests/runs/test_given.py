"""What is known before a run costs nothing, is learned from, and answers what is proposed."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_run import LENGTH, MODEL, PRIOR, M, V, learner, reward, same

from banel_jax.algorithms.banel import BanelConfig, banel
from banel_jax.oracle import OracleConfig, known
from banel_jax.runs import given
from banel_jax.runs.loop import RunConfig, run
from banel_jax.training import TrainingConfig
from banel_jax.types import Sequences

ROUNDS = 3
FIT = TrainingConfig(epochs=20, batch_size=8, learning_rate=0.2)
ALGORITHM = banel(
    MODEL, BanelConfig(M, filter_factor=3, generator_training=FIT, failure_training=FIT)
)
FLAT = jnp.zeros((LENGTH, V))


class Recording:
    def __init__(self):
        self.asked = []

    def __call__(self, sequences):
        self.asked += [tuple(t) for t in sequences.tokens.tolist()]
        return reward(sequences)


@pytest.fixture
def file(tmp_path):
    """All sequences that begin with 0: failures, one success, one evaluation that failed."""
    rows = [[0, *np.unravel_index(i, (V,) * (LENGTH - 1))] for i in range(V ** (LENGTH - 1))]
    rewards = ["0"] * len(rows)
    rewards[3], rewards[-1] = "1", "failed"
    path = tmp_path / "known.csv"
    lines = [f'"{json.dumps([int(x) for x in row])}",{r}' for row, r in zip(rows, rewards)]  # noqa: B905
    path.write_text("tokens,reward\n" + "\n".join(lines) + "\n")
    return path


def go(folder, oracle, file=None, algorithm=ALGORITHM, rounds=ROUNDS, memo="off"):
    config = RunConfig(rounds=rounds, seed=1, oracle=OracleConfig(memo=memo))
    return run(algorithm, FLAT, oracle, config, folder, known=file)


def test_what_is_known_to_fail_is_filtered_from_the_first_round(tmp_path, file):
    oracle, ignorant = Recording(), Recording()
    result = go(tmp_path / "a", oracle, file)
    go(tmp_path / "b", ignorant)
    begin = lambda rows: np.mean([row[0] == 0 for row in rows[:M]])
    assert begin(oracle.asked) == 0 < begin(ignorant.asked)
    assert result.metrics[-1]["num_reward_evaluations"] == ROUNDS * M  # none of them was paid for
    assert (
        result.state.failures.num_known == V ** (LENGTH - 1) - 1
    )  # the failed one teaches nothing
    weights = result.state.failures.weights[: result.state.failures.num_known]
    assert weights.tolist() == [1.0] * 3 + [0.0] + [1.0] * (V ** (LENGTH - 1) - 5)


def test_resumed_it_is_the_same_and_other_knowledge_is_another_run(tmp_path, file):
    whole = go(tmp_path / "a", Recording(), file)
    go(tmp_path / "b", Recording(), file, rounds=1)
    assert same(go(tmp_path / "b", Recording(), known.read(file, LENGTH)).state, whole.state)
    file.write_text(file.read_text().replace("failed", "0"))
    for other in (file, None):
        with pytest.raises(ValueError, match="another configuration: known"):
            go(tmp_path / "b", Recording(), other, rounds=ROUNDS + 1)


def test_what_is_proposed_is_answered_from_it_where_the_user_says_so(tmp_path, file, caplog):
    oracle = Recording()
    result = go(tmp_path / "a", oracle, file, algorithm=learner(), memo="free")
    assert "learns nothing from what is known" in caplog.text
    asked = [row for row in oracle.asked if row[0] == 0]
    assert all(row == (0, V - 1, V - 1, V - 1) for row in asked)  # what failed is asked for
    assert len(oracle.asked) == result.metrics[-1]["num_reward_evaluations"] < ROUNDS * M


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (7, "known is a int; give a file"),
        ("tokens,reward\n1 2,2\n", "line 2 of .* has the reward '2'; give 0, 1 or failed"),
        ("tokens,reward\n1 2 0 1 2,1\n", "has 5 tokens, more than 4"),
    ],
)
def test_what_does_not_fit_is_told_before_anything_is_made(tmp_path, given, message):
    if isinstance(given, str):
        (tmp_path / "known.csv").write_text(given)
        given = tmp_path / "known.csv"
    with pytest.raises(ValueError, match=message):
        go(tmp_path / "a", Recording(), given)
    assert not (tmp_path / "a").exists()


def test_successes_are_written_when_they_are_known_and_completed_after_a_stop(tmp_path):
    folder, texts = tmp_path / "a", lambda x: ["".join(map(str, t)) for t in x.tokens.tolist()]
    seen = []

    def oracle(sequences):
        path = folder / "successes.jsonl"
        seen.append(path.read_text().count("\n") if path.exists() else 0)
        return reward(sequences)

    config = RunConfig(rounds=ROUNDS, seed=1)
    result = run(learner(), PRIOR, oracle, config, folder, text=texts)
    lines = [json.loads(line) for line in (folder / "successes.jsonl").read_text().splitlines()]
    assert len(lines) == result.metrics[-1]["num_successes"] > 0
    assert all(sum(line["tokens"]) >= 5 for line in lines)
    assert all(line["text"] == "".join(map(str, line["tokens"])) for line in lines)
    rows = [line["row"] for line in lines]
    assert seen == [sum(row < i for row in rows) for i in range(ROUNDS * M)]  # at once
    kept = (folder / "successes.jsonl").read_text().splitlines(keepends=True)
    (folder / "successes.jsonl").write_text("".join(kept[:1]) + kept[1][:9])  # a torn line
    run(learner(), PRIOR, reward, RunConfig(rounds=ROUNDS + 1, seed=1), folder, text=texts)
    again = [json.loads(line) for line in (folder / "successes.jsonl").read_text().splitlines()]
    assert again[: len(lines)] == lines


def test_the_compiler_is_not_to_work_out_what_follows_from_what_is_known():
    known_rows = Sequences(jnp.zeros((9, LENGTH), jnp.int32), jnp.arange(36).reshape(9, 4) < 30)

    def know(key, state, sequences, rewards):
        return jnp.sum(jnp.any(sequences.mask, axis=1) * (1 - rewards))

    counting = ALGORITHM._replace(init=lambda key, params: None, know=know)
    init = given.begun_with(counting, known_rows, jnp.zeros(9)).init
    compiled = jax.jit(init).lower(jax.random.key(0), FLAT).compile()
    assert "reduce(" in compiled.as_text() and float(compiled(jax.random.key(0), FLAT)) == 8
