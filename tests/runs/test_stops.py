"""Rules that end a run: no row is paid for after them, and a run goes on as if never stopped."""

import json

import numpy as np
import pytest
from tiny_run import PRIOR, M, learner, reward, same

from banel_jax.oracle import Answer, OracleConfig
from banel_jax.runs.loop import RunConfig, run
from banel_jax.runs.stops import Stop, after_a_round

ROUNDS = 6
ALGORITHM = learner()


class Paying:
    def __init__(self):
        self.rewards = []

    def __call__(self, sequences):
        rewards = reward(sequences)
        self.rewards += rewards.tolist()
        return rewards


def go(folder, reward_fn, **settings):
    return run(ALGORITHM, PRIOR, reward_fn, RunConfig(seed=3, **settings), folder)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder, oracle = tmp_path_factory.mktemp("whole") / "run", Paying()
    return folder, go(folder, oracle, rounds=ROUNDS), oracle.rewards


@pytest.mark.parametrize("rounds", [ROUNDS, None])
@pytest.mark.parametrize("successes", [1, 5])
def test_the_run_ends_with_the_success_and_goes_on_from_there(whole, tmp_path, rounds, successes):
    oracle, stop = Paying(), Stop(successes=successes)
    result = go(tmp_path / "b", oracle, rounds=rounds, stop=stop)
    assert f"stop.successes={successes}" in result.stopped
    until = np.flatnonzero(np.cumsum(whole[2]) == successes)[0] + 1
    assert oracle.rewards == whole[2][:until]
    assert len(result.metrics) == (until if until % M == 0 else until - until % M) // M
    summary = json.loads((tmp_path / "b/summary.json").read_text())
    assert summary["stopped"] == result.stopped
    assert summary["num_reward_evaluations"] == until

    again = go(tmp_path / "b", oracle, rounds=rounds, stop=stop)  # nothing more is paid
    assert again.stopped and len(oracle.rewards) == until

    rest = go(tmp_path / "b", oracle, rounds=ROUNDS)
    assert rest.stopped is None and oracle.rewards == whole[2]
    assert same(rest.state, whole[1].state)
    assert (tmp_path / "b/metrics.jsonl").read_bytes() == (whole[0] / "metrics.jsonl").read_bytes()


def test_distinct_successes_are_counted_once(whole, tmp_path):
    met = set()

    def oracle(sequences):
        rewards = reward(sequences)
        met.update(tuple(t) for t, r in zip(sequences.tokens.tolist(), rewards, strict=True) if r)
        return rewards

    go(tmp_path / "b", oracle, rounds=None, stop=Stop(distinct_successes=4))
    assert len(met) == 4


def test_money_ends_it(tmp_path):
    oracle = lambda sequences: [Answer(0, cost=0.5)]
    config = OracleConfig(cost_per_row=9.0)  # which the answers correct
    result = go(tmp_path / "b", oracle, rounds=ROUNDS, stop=Stop(cost=4.0), oracle=config)
    assert "stop.cost=4" in result.stopped
    summary = json.loads((tmp_path / "b/summary.json").read_text())
    assert summary["num_reward_evaluations"] == 8
    oracle = lambda sequences: [0]
    go(tmp_path / "c", oracle, rounds=ROUNDS, stop=Stop(cost=27.0), oracle=config)
    assert json.loads((tmp_path / "c/summary.json").read_text())["num_reward_evaluations"] == 3


def test_time_ends_it_before_anything_is_paid(tmp_path):
    oracle = Paying()
    result = go(tmp_path / "b", oracle, rounds=ROUNDS, stop=Stop(seconds=0))
    assert "stop.seconds=0" in result.stopped and not oracle.rewards and not result.metrics


def test_a_budget_without_rounds_pays_for_as_many_as_fit(tmp_path):
    oracle = Paying()
    result = go(tmp_path / "b", oracle, rounds=None, budget=3 * M + 2)
    assert len(oracle.rewards) == 3 * M and result.stopped is None


def test_the_rate_of_the_last_rounds_by_hand():
    counts = [(10, 0), (20, 1), (30, 4), (40, 10)]
    names = ("num_reward_evaluations", "num_successes")
    metrics = [dict(zip(names, pair, strict=True)) for pair in counts]
    rate = lambda over, level: after_a_round(Stop(success_rate=level, over_rounds=over), metrics)
    assert rate(1, 0.6) and not rate(1, 0.61)  # (10 - 4) / 10
    assert rate(2, 0.45) and not rate(2, 0.46)  # (10 - 1) / 20
    assert rate(4, 0.25) and not rate(4, 0.26)  # 10 / 40
    assert not rate(5, 0.01)  # there are not so many


def test_the_distance_from_the_prior_ends_a_run_that_has_met_nothing():
    told = lambda successes=0.0, **kl: [{"num_successes": successes, **kl}]
    stop = Stop(kl_to_base=1.5)
    assert "1.6 nats" in after_a_round(stop, told(kl_to_base=1.6))
    assert not after_a_round(stop, told(kl_to_base=1.4))
    assert not after_a_round(stop, told(1.0, kl_to_base=9.0))
    assert not after_a_round(stop, told(kl_to_base=float("nan"))) and not after_a_round(
        stop, told()
    )
    assert after_a_round(stop, told(ours_kl_to_base=1.6, theirs_kl_to_base=0.1))  # of a hedge
    assert not after_a_round(Stop(), told(kl_to_base=9.0)) and not after_a_round(stop, [])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kl_to_base": 0.0}, "kl_to_base=0.0 must be positive"),
        ({"successes": 0}, "successes=0 must be at least 1"),
        ({"success_rate": 1.5}, "success_rate=1.5 must be at most 1"),
        ({"seconds": -1}, "seconds=-1 must not be negative"),
    ],
)
def test_rules_are_checked(settings, message):
    with pytest.raises(ValueError, match=message):
        Stop(**settings)
