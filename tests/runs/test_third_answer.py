"""An evaluation that failed is no reward of 0: what becomes of its row, and after a resume."""

import contextlib
import json
import shutil

import numpy as np
import pytest
from tiny_run import MODEL, PRIOR, M, learner, reward, same

from banel_jax.algorithms.banel import BanelConfig, banel
from banel_jax.oracle import (
    Answer,
    Failed,
    Oracle,
    OracleConfig,
    OracleError,
    Pending,
    read,
    threads,
)
from banel_jax.runs.loop import RunConfig, run
from banel_jax.training import TrainingConfig
from banel_jax.types import Sequences

ROUNDS = 4
FIT = TrainingConfig(epochs=2, batch_size=M, learning_rate=0.1)
ALGORITHM = banel(
    MODEL, BanelConfig(M, failure_rounds=ROUNDS, generator_training=FIT, failure_training=FIT)
)


class Docking:
    """Fails where the first token is 0, so long as it is broken."""

    def __init__(self, kind=lambda: Failed("the pose did not converge"), broken=True):
        self.kind, self.broken, self.asked = kind, broken, []

    def __call__(self, sequences):
        self.asked.append(tuple(sequences.tokens[0].tolist()))
        if self.broken and sequences.tokens[0, 0] == 0:
            raise self.kind()
        return reward(sequences)


def go(folder, oracle, on_failure="stop", rounds=ROUNDS, algorithm=ALGORITHM, **settings):
    config = RunConfig(
        rounds=rounds, seed=3, oracle=OracleConfig(on_failure=on_failure), **settings
    )
    return run(algorithm, PRIOR, oracle, config, folder)


def test_it_stops_and_the_row_is_asked_for_again(tmp_path):
    with pytest.raises(OracleError, match="the pose did not converge for row"):
        go(tmp_path / "b", Docking())
    mended = go(tmp_path / "b", Docking(broken=False))
    never = go(tmp_path / "c", Docking(broken=False))
    assert same(mended.state, never.state)
    assert (read(tmp_path / "b").state == "done").all()


def test_dropped_rows_teach_nothing_and_stay_dropped(tmp_path):
    broken = Docking()
    result = go(tmp_path / "b", broken, "drop", checkpoint_every=3)
    failed = [t for t in broken.asked if t[0] == 0]
    assert failed and sum(r.get("failed_evaluations", 0) for r in result.metrics) == len(failed)
    assert len(broken.asked) == ROUNDS * M  # none was asked for twice
    learned = result.state.failures.sequences.tokens[result.state.failures.weights > 0]
    assert len(learned) and not (learned[:, 0] == 0).any()
    seen = read(tmp_path / "b")
    assert (seen.state == "failed").sum() == len(failed)
    assert "the pose did not converge" in seen.reason[list(seen.state).index("failed")]
    # Whatever is asked of it later, what was learned from stays as it was.
    for stale in (tmp_path / "b/checkpoints").iterdir():
        if stale.name.isdigit() and int(stale.name) > 3:
            shutil.rmtree(stale)
    again = go(tmp_path / "b", Docking(broken=False), "drop")
    assert same(again.state, result.state)


def test_zero_counts_as_a_failure_of_the_candidate(tmp_path):
    result = go(tmp_path / "b", Docking(), "zero")
    assert all("failed_evaluations" not in record for record in result.metrics)
    seen = read(tmp_path / "b")
    failed = seen.tokens[:, 0] == 0
    assert (seen.reward[failed] == 0).all() and (seen.state == "done").all()


def test_later_asks_again_as_long_as_that_helps(tmp_path):
    class Flaky(Docking):
        def __call__(self, sequences):
            self.broken = self.asked.count(tuple(sequences.tokens[0].tolist())) == 0
            return super().__call__(sequences)

    flaky = Flaky()
    result = go(tmp_path / "b", flaky, "later")
    assert same(result.state, go(tmp_path / "c", Docking(broken=False)).state)
    assert len(flaky.asked) > ROUNDS * M
    with pytest.raises(OracleError, match="asking again brought no answer"):
        go(tmp_path / "d", Docking(), "later")


def test_an_answer_that_comes_later_ends_the_run_in_order(tmp_path):
    waiting = Docking(kind=lambda: Pending("the wet lab"))
    with pytest.raises(OracleError, match=r"answers of round \d are awaited: the wet lab"):
        go(tmp_path / "b", waiting)
    first = len(waiting.asked)
    assert first % M == 0  # the round was asked for to its end
    arrived = Docking(broken=False)
    result = go(tmp_path / "b", arrived)
    assert same(result.state, go(tmp_path / "c", Docking(broken=False)).state)
    assert result.metrics[-1]["num_reward_evaluations"] == ROUNDS * M
    assert (read(tmp_path / "b").attempts == 1).all()  # nothing counts as asked twice


def test_an_algorithm_that_cannot_hear_of_it_is_refused_before_anything_is_paid(tmp_path):
    with pytest.raises(ValueError, match=r'on_failure="drop" needs an algorithm whose tell'):
        go(tmp_path / "b", Docking(), "drop", algorithm=learner())
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("memo", ["free", "counted"])
def test_a_sequence_met_before_is_answered_from_the_ledger(tmp_path, memo):
    oracle = Docking(broken=False)
    config = RunConfig(rounds=ROUNDS, seed=3, oracle=OracleConfig(memo=memo))
    result = run(ALGORITHM, PRIOR, oracle, config, tmp_path / "b")
    plain = go(tmp_path / "c", Docking(broken=False))
    assert same(result.state, plain.state)  # the answers are the same
    counts = {t: oracle.asked.count(t) for t in oracle.asked}
    seen = read(tmp_path / "b")
    rounds = [{tuple(t) for t in seen.tokens[seen.round == r].tolist()} for r in range(ROUNDS)]
    again = sum(
        tuple(t) in set().union(*rounds[: int(r)])
        for t, r in zip(seen.tokens.tolist(), seen.round, strict=True)
        if r
    )
    assert len(oracle.asked) == ROUNDS * M - again and again > 0, counts
    paid = result.metrics[-1]["num_reward_evaluations"]
    assert paid == (ROUNDS * M if memo == "counted" else ROUNDS * M - again)
    np.testing.assert_array_equal(seen.reward, [float(sum(t) >= 5) for t in seen.tokens.tolist()])


@pytest.mark.parametrize("ahead", [1, 2])
def test_what_is_answered_from_the_ledger_does_not_depend_on_where_a_run_was_stopped(
    tmp_path, ahead
):
    """Of equal rows in flight it depends on the clock which is answered first."""

    class Stopping:
        def __init__(self, at):
            self.left = at

        def __call__(self, sequences):
            self.left -= 1
            if self.left < 0:
                raise RuntimeError("out of reagent")
            return reward(sequences)

    def metrics(name, *moments):
        config = RunConfig(
            rounds=6, seed=1, oracle=OracleConfig(memo="free"), rounds_in_flight=ahead
        )
        for at in (*moments, 1000):
            oracle = threads(Stopping(at), workers=1)
            with contextlib.suppress(OracleError):
                run(learned, PRIOR, oracle, config, tmp_path / name, report=False)
        return (tmp_path / name / "metrics.jsonl").read_text()

    learned, whole = learner(), None
    for at in (1000, 1, 4, 8, 14):
        told = metrics(str(at), at)
        whole = whole or told
        assert told == whole
    assert json.loads(whole.splitlines()[-1])["num_reward_evaluations"] < 6 * M


def test_what_was_told_beside_an_answer_is_remembered_as_it_was():
    told = {"docking": -9.5, "poses": [1, 2]}
    oracle = Oracle(lambda x: [Answer(1, told)] * len(x.tokens), config=OracleConfig(memo="free"))
    same_twice = Sequences(np.zeros((1, 3), np.int32), np.ones((1, 3), bool))
    for round in range(2):
        assert oracle.evaluate(round, same_twice).tolist() == [1]
    scores = oracle.ledger._store.database.read("SELECT score FROM evaluations ORDER BY row")
    assert [json.loads(score) for (score,) in scores] == [told, told]
    assert oracle.num_reward_evaluations == 1
