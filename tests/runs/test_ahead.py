"""Rounds proposed before the last is answered: the same by hand, resumed, and extended."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_run import MODEL, PRIOR, M, learner, reward, same

from banel_jax.algorithms.banel import BanelConfig, banel
from banel_jax.oracle import OracleError, read, threads
from banel_jax.runs import ahead
from banel_jax.runs.loop import RunConfig, run
from banel_jax.training import TrainingConfig

ROUNDS = 5
ALGORITHM = learner()


def go(folder, rounds=ROUNDS, fn=reward, algorithm=ALGORITHM, **settings):
    config = RunConfig(rounds=rounds, seed=3, rounds_in_flight=2, **settings)
    return run(algorithm, PRIOR, threads(fn, workers=4), config, folder)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ahead") / "run"
    return folder, go(folder)


def test_each_round_is_asked_of_the_state_before_the_last(whole):
    """By hand: round r is drawn from what was learned of the rounds up to r - 2."""
    begin, rounds = jax.random.split(jax.random.key(3))
    keys = [jax.random.split(jax.random.fold_in(rounds, r)) for r in range(ROUNDS)]
    states = [ALGORITHM.init(begin, PRIOR)]
    successes = 0
    for r in range(ROUNDS):
        candidates, _ = ALGORITHM.ask(keys[r][0], states[max(r - 1, 0)])
        rewards = jnp.array([float(sum(t) >= 5) for t in candidates.tokens.tolist()])
        state, info = ALGORITHM.tell(keys[r][1], states[-1], candidates, rewards)
        states.append(state)
        record = whole[1].metrics[r]
        successes += int(rewards.sum())
        assert (record["num_successes"], record["staleness"]) == (successes, min(r, 1))
        np.testing.assert_allclose(record["loss"], info["loss"], rtol=1e-5)
    np.testing.assert_allclose(whole[1].state["params"], states[-1]["params"], rtol=1e-5)


@pytest.mark.parametrize("fail_at", [2, M + 1, 3 * M])
@pytest.mark.parametrize("checkpoint_every", [1, 3])
def test_stopped_and_resumed_it_is_the_same(whole, tmp_path, fail_at, checkpoint_every):
    asked = []

    def failing(sequences):
        asked.append(sequences.tokens.copy())
        if len(asked) > fail_at:
            raise RuntimeError("out of reagent")
        return reward(sequences)

    with pytest.raises(OracleError, match="out of reagent"):
        go(tmp_path / "b", fn=failing, checkpoint_every=checkpoint_every)
    result = go(tmp_path / "b", checkpoint_every=checkpoint_every)
    assert same(result.state, whole[1].state)
    for name in ("metrics.jsonl",):
        assert (tmp_path / "b" / name).read_bytes() == (whole[0] / name).read_bytes()


def test_extended_it_is_as_if_asked_for_at_once(whole, tmp_path):
    for rounds in (1, 3, ROUNDS):
        result = go(tmp_path / "b", rounds)
        assert result.metrics[-1]["num_reward_evaluations"] == rounds * M  # no row ahead is paid
    assert same(result.state, whole[1].state)
    assert (tmp_path / "b/metrics.jsonl").read_bytes() == (whole[0] / "metrics.jsonl").read_bytes()


FIT = TrainingConfig(epochs=2, batch_size=M, learning_rate=0.1)


def make(**settings):
    return banel(MODEL, BanelConfig(M, generator_training=FIT, failure_training=FIT, **settings))


def test_what_is_a_rounds_own_is_seen_from_its_ask():
    state = jax.eval_shape(make().init, jax.random.key(0), PRIOR)
    by_ask = ahead.changed_by_ask(make(), jax.random.key(0), state)
    own = {
        jax.tree_util.keystr(path[:1], simple=True)
        for path, changed in jax.tree_util.tree_leaves_with_path(by_ask)
        if changed
    }
    assert {"batch", "threshold", "report"} <= own
    assert not own & {"generator", "failure_model", "failures", "round", "base"}


def test_an_algorithm_whose_rounds_build_on_each_other_is_refused(tmp_path):
    algorithm = make(past_filters=2, num_distilled=2 * M)
    with pytest.raises(ValueError, match=r"rounds_in_flight must be 1.*filters"):
        go(tmp_path / "b", algorithm=algorithm)
    assert not (tmp_path / "b").exists()


def test_algorithm_2_runs_ahead(tmp_path):
    """By hand: a round is told with its own batch, and of what all before it taught."""
    algorithm = make()
    result = go(tmp_path / "b", rounds=3, algorithm=algorithm)
    assert [record["staleness"] for record in result.metrics] == [0, 1, 1]
    begin, rounds = jax.random.split(jax.random.key(3))
    keys = [jax.random.split(jax.random.fold_in(rounds, r)) for r in range(3)]
    ask, tell = jax.jit(algorithm.ask), jax.jit(algorithm.tell)
    states = [algorithm.init(begin, PRIOR)]
    for r in range(3):
        candidates, asked = ask(keys[r][0], states[max(r - 1, 0)])
        np.testing.assert_array_equal(read(tmp_path / "b", rounds=r).tokens, candidates.tokens)
        own = {name: getattr(asked, name) for name in ("batch", "threshold", "report")}
        told = states[-1].replace(**own)
        states.append(tell(keys[r][1], told, candidates, reward(candidates))[0])
    np.testing.assert_allclose(result.state.generator, states[-1].generator, rtol=1e-5)
    np.testing.assert_allclose(result.state.failure_model, states[-1].failure_model, rtol=1e-5)
