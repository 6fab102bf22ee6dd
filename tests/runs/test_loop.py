import json
import logging
import os
import re
import shutil
from dataclasses import replace
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_run
from tiny_run import PRIOR, M, compiled_alike, evaluate, learner, reward, same

from banel_jax.algorithms.banel import BanelConfig, banel
from banel_jax.algorithms.prior_sampling import prior_sampling
from banel_jax.oracle import BudgetExceeded, LedgerError, OracleConfig, OracleError
from banel_jax.runs import folder as run_folder
from banel_jax.runs import loop
from banel_jax.runs.checkpoint import Checkpoints
from banel_jax.runs.loop import RunConfig, compiled_run, run
from banel_jax.runs.rounds import init_key, round_keys
from banel_jax.training import TrainingConfig
from banel_jax.types import Sequences

ROUNDS = 6
CONFIG = RunConfig(rounds=ROUNDS, seed=3, oracle=OracleConfig(batch_size=4))
ALGORITHM = learner()


def go(folder, config=CONFIG, reward_fn=reward, algorithm=ALGORITHM, **more):
    return run(algorithm, PRIOR, reward_fn, config, folder, evaluate=evaluate, **more)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "one"
    return folder, go(folder)


class Paying:
    """The reward with a count of rows, which raises at one of them."""

    def __init__(self, fail_at=None):
        self.rows, self.fail_at = 0, fail_at

    def __call__(self, sequences):
        if self.fail_at is not None and self.rows + len(sequences.tokens) > self.fail_at:
            raise RuntimeError("out of reagent")
        self.rows += len(sequences.tokens)
        return reward(sequences)


def refuse(sequences):
    raise AssertionError("the oracle was asked")


def text(folder, name="metrics.jsonl"):
    return (folder / name).read_text()


def test_a_run_is_ask_pay_tell_by_hand(uninterrupted):
    _, result = uninterrupted
    key = jax.random.key(3)
    begin, rounds = jax.random.split(key)
    state = ALGORITHM.init(begin, PRIOR)
    paid = successes = 0
    for round in range(ROUNDS):
        ask_key, tell_key = jax.random.split(jax.random.fold_in(rounds, round))
        candidates, asked = ALGORITHM.ask(ask_key, state)
        rewards = jnp.array([float(sum(t) >= 5) for t in candidates.tokens.tolist()])
        state, info = ALGORITHM.tell(tell_key, asked, candidates, rewards)
        paid, successes = paid + M, successes + int(rewards.sum())
        record = result.metrics[round]
        assert record["round"] == round
        assert record["num_reward_evaluations"] == paid
        assert record["num_successes"] == successes
        np.testing.assert_allclose(record["loss"], info["loss"], rtol=1e-5)
        moved = np.abs(state["params"] - asked["params"]).max()
        np.testing.assert_allclose(record["moved"], moved, rtol=1e-4)
        assert np.isnan(record["unknown"])
    np.testing.assert_allclose(result.state["params"], state["params"], rtol=1e-5)
    assert 0 < successes < paid


def test_the_folder_holds_what_the_docstring_says(uninterrupted):
    folder, result = uninterrupted
    assert {p.name for p in folder.iterdir()} == {
        "checkpoints", "config.json", "metrics.csv", "metrics.jsonl", "oracle.sqlite",
        "oracle.sqlite.mark", "report.html", "status.json", "successes.jsonl",
        "summary.json", "timings.jsonl",
    }  # fmt: skip
    lines = [json.loads(line, parse_constant=pytest.fail) for line in text(folder).splitlines()]
    assert [line["round"] for line in lines] == list(range(ROUNDS))
    assert lines[0]["unknown"] == "nan"
    np.testing.assert_equal(run_folder.read_records(folder / "metrics.jsonl"), result.metrics)
    timings = run_folder.read_records(folder / "timings.jsonl")
    assert set(timings[0]) == {"round", "ask", "oracle", "tell", "evaluate", "checkpoint"}


def test_a_complete_run_is_read_and_not_run(uninterrupted, monkeypatch):
    folder, result = uninterrupted
    before = text(folder)
    monkeypatch.setattr(loop.Pipeline, "next", refuse)
    again = go(folder, reward_fn=refuse)
    assert same(again.state, result.state)
    np.testing.assert_equal(again.metrics, result.metrics)
    assert text(folder) == before


@pytest.mark.parametrize("fail_at", [0, 3, 13, 4 * M, ROUNDS * M - 1])
@pytest.mark.parametrize("checkpoint_every", [1, 4])
def test_stopped_by_the_oracle_and_resumed(
    uninterrupted, tmp_path, fail_at, checkpoint_every, caplog
):
    config = RunConfig(
        rounds=ROUNDS, seed=3, oracle=OracleConfig(batch_size=4), checkpoint_every=checkpoint_every
    )
    broken, mended = Paying(fail_at), Paying()
    with pytest.raises(OracleError, match="out of reagent for "):
        go(tmp_path / "b", config, broken)
    with caplog.at_level(logging.WARNING):
        result = go(tmp_path / "b", config, mended)
    assert "in flight" not in caplog.text  # what became of them is known
    assert broken.rows + mended.rows == ROUNDS * M
    assert same(result.state, uninterrupted[1].state)
    assert text(tmp_path / "b") == text(uninterrupted[0])


def test_stopped_in_a_checkpoint_and_resumed(uninterrupted, tmp_path, monkeypatch):
    saved = []

    def save(self, rounds, *more):
        if rounds == 4:
            raise OSError("no space left on device")
        saved.append(rounds)
        original(self, rounds, *more)

    original = Checkpoints.save
    first, rest = Paying(), Paying()
    monkeypatch.setattr(Checkpoints, "save", save)
    with pytest.raises(OSError, match="no space"):
        go(tmp_path / "b", reward_fn=first)
    monkeypatch.setattr(Checkpoints, "save", original)
    result = go(tmp_path / "b", reward_fn=rest)
    assert saved == [1, 2, 3]
    assert (first.rows, rest.rows) == (4 * M, 2 * M)  # round 3 is re-made from the ledger
    assert same(result.state, uninterrupted[1].state)
    assert text(tmp_path / "b") == text(uninterrupted[0])


def half_a_line(folder):
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"round": 6, "lo')


def extra_lines(folder):
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"round": 6}\n{"round": 7}\n')


@pytest.mark.parametrize("harm", [half_a_line, extra_lines])
def test_records_are_cut_to_the_checkpoint(uninterrupted, tmp_path, harm):
    shutil.copytree(uninterrupted[0], tmp_path / "b")
    harm(tmp_path / "b")
    go(tmp_path / "b", reward_fn=refuse)
    assert text(tmp_path / "b") == text(uninterrupted[0])


def test_lost_records_are_told_with_their_mend(uninterrupted, tmp_path):
    folder = tmp_path / "b"
    shutil.copytree(uninterrupted[0], folder)
    (folder / "metrics.jsonl").unlink()
    with pytest.raises(ValueError, match=r"does not hold the 6 rounds .*checkpoints"):
        go(folder, reward_fn=refuse)
    shutil.rmtree(folder / "checkpoints")
    result = go(folder, reward_fn=refuse)
    assert same(result.state, uninterrupted[1].state)
    assert text(folder) == text(uninterrupted[0])


@pytest.mark.parametrize("seeds_at_once", [1, 2, None])
def test_the_compiled_form_has_the_numbers_of_the_loop(uninterrupted, tmp_path, seeds_at_once):
    experiment = compiled_run(ALGORITHM, reward, ROUNDS, evaluate, seeds_at_once)
    states, metrics = experiment(jax.vmap(jax.random.key)(jnp.array([2, 3])), PRIOR)
    other = go(tmp_path / "two", RunConfig(rounds=ROUNDS, seed=2))
    for i, result in enumerate([other, uninterrupted[1]]):
        state = jax.tree.map(lambda x, i=i: x[i], states)
        if seeds_at_once == 1:
            assert same(state, result.state)
        np.testing.assert_allclose(state["params"], result.state["params"], rtol=1e-5, atol=1e-6)
        assert set(metrics) == set(result.metrics[0])
        for name, values in metrics.items():
            assert values.shape == (2, ROUNDS)
            expected = [record[name] for record in result.metrics]
            np.testing.assert_allclose(values[i], expected, rtol=1e-4, err_msg=name)


def test_the_compiled_form_refuses_what_would_be_broadcast():
    with pytest.raises(ValueError, match=r"shape \(\) for 6 candidates"):
        compiled_run(ALGORITHM, lambda s: 1.0, 2)(jax.random.split(jax.random.key(0), 1), PRIOR)


def test_seeds_must_divide():
    with pytest.raises(ValueError, match="3 seeds are not a multiple of seeds_at_once=2"):
        compiled_run(ALGORITHM, reward, 2, None, 2)(jax.random.split(jax.random.key(0), 3), PRIOR)


def test_each_function_is_compiled_once_over_rounds_seeds_and_resumes(tmp_path, compilations):
    traces: dict = {}
    algorithm = learner(traces)
    for seed in (0, 1):
        go(tmp_path / str(seed), RunConfig(rounds=4, seed=seed), algorithm=algorithm)
    with pytest.raises(OracleError):
        go(tmp_path / "2", RunConfig(rounds=4, seed=2), Paying(15), algorithm=algorithm)
    go(tmp_path / "2", RunConfig(rounds=4, seed=2), algorithm=algorithm)
    assert traces == {"init": 1, "ask": 1, "tell": 1}
    own = [name for name in compilations if name in ("jit(init)", "jit(ask)", "jit(tell)")]
    assert sorted(own) == ["jit(ask)", "jit(init)", "jit(tell)"]


def test_another_configuration_is_refused_field_by_field(uninterrupted):
    folder = uninterrupted[0]
    with pytest.raises(ValueError) as caught:
        go(folder, RunConfig(rounds=7, seed=4), refuse, configuration={"name": "other"})
    message = str(caught.value)
    assert "name is (absent) there and other here; run.seed is 3 there and 4 here" in message
    assert "may_change" not in message and "\n" not in message
    with pytest.raises(ValueError, match=r"banel\.kappa is \(absent\) there and 2\.0 here"):
        go(folder, reward_fn=refuse, configuration={"banel": {"kappa": 2.0}})
    with pytest.raises(ValueError, match="prior_params is "):
        run(ALGORITHM, PRIOR + 1, refuse, CONFIG, folder, evaluate=evaluate)


def test_a_budget_that_does_not_fit_is_refused_at_the_start(tmp_path):
    config = RunConfig(rounds=ROUNDS, budget=ROUNDS * M - 1)
    with pytest.raises(BudgetExceeded, match=r"36 reward evaluations, more than budget=35.* 5 "):
        go(tmp_path / "b", config, refuse)
    assert not (tmp_path / "b").exists()
    go(tmp_path / "b", RunConfig(rounds=2, budget=2 * M))


@pytest.mark.parametrize(
    "setting",
    [
        {"rounds": 0}, {"checkpoint_every": 0}, {"rounds_in_flight": 0}, {"budget": -1},
        {"seed": -1}, {"seed": 2**32}, {"seed": 2**64}, {"rounds": 2.5}, {"rounds": "3"},
        {"oracle": None}, {"rounds": True}, {"budget": float("nan")}, {"checkpoint_every": None},
        {"stop": 1.0}, {"seed": np.float32(1)}, {"ledger_patience": -1},
    ],
)  # fmt: skip
def test_settings_are_checked(setting):
    name, value = next(iter(setting.items()))
    with pytest.raises(ValueError, match=re.escape(f"{name}={value!r} must")) as caught:
        RunConfig(**setting)
    assert "\n" not in str(caught.value)


def test_numpy_integers_are_integers():
    config = RunConfig(np.int64(2), np.uint32(7), jnp.int32(9), checkpoint_every=np.int8(1))
    assert config == RunConfig(2, 7, 9, checkpoint_every=1)
    values = (config.rounds, config.seed, config.budget, config.checkpoint_every)
    assert all(type(value) is int for value in values)


def test_a_run_without_an_end_is_refused():
    with pytest.raises(ValueError, match="rounds=None has no end; give a budget or a stop"):
        RunConfig(rounds=None)


def test_a_folder_in_use_is_refused(tmp_path):
    with run_folder.hold(tmp_path), pytest.raises(ValueError, match="another process runs in"):
        go(tmp_path, reward_fn=refuse)
    go(tmp_path, RunConfig(rounds=1))


def test_a_file_in_the_folders_place(tmp_path):
    (tmp_path / "b").write_text("")
    for folder in (tmp_path / "b", tmp_path / "b" / "c"):
        with pytest.raises(ValueError, match=r"cannot write into the run's folder .*/b"):
            go(folder, reward_fn=refuse)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder(tmp_path):
    tmp_path.chmod(0o555)
    with pytest.raises(ValueError, match="cannot write into the run's folder"):
        go(tmp_path, reward_fn=refuse)


def test_a_file_in_the_checkpoints_place(tmp_path):
    go(tmp_path, RunConfig(rounds=1, seed=3))
    shutil.rmtree(tmp_path / "checkpoints")
    (tmp_path / "checkpoints").write_text("")
    with pytest.raises(ValueError, match=r"cannot keep checkpoints in .*choose another"):
        go(tmp_path, reward_fn=refuse)


def test_a_corrupt_ledger_or_configuration(uninterrupted, tmp_path):
    folder = tmp_path / "b"
    shutil.copytree(uninterrupted[0], folder)
    (folder / "oracle.sqlite").write_bytes(b"no database" * 1000)
    with pytest.raises(LedgerError, match=r"oracle.sqlite cannot be used"):
        go(folder, reward_fn=refuse)
    (folder / "oracle.sqlite").unlink()
    with pytest.raises(LedgerError, match="missing or empty"):
        go(folder, reward_fn=refuse)
    (folder / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config.json is no JSON .*; put it back from a copy"):
        go(folder, reward_fn=refuse)


def test_a_ledger_older_than_the_checkpoint(uninterrupted, tmp_path):
    folder = tmp_path / "b"
    with pytest.raises(OracleError):
        go(folder, reward_fn=Paying(2 * M))
    shutil.copytree(uninterrupted[0] / "checkpoints", folder / "checkpoints", dirs_exist_ok=True)
    with pytest.raises(LedgerError, match=r"16 evaluations for 6 rounds of 6"):
        go(folder, reward_fn=refuse)


def test_metrics_testify_between_checkpoints(tmp_path):
    """A ledger of an earlier moment, without its mark, against the lines since the checkpoint."""
    folder, older = tmp_path / "b", tmp_path / "older.sqlite"
    sparse = replace(CONFIG, checkpoint_every=4)
    for fail_at in (M, 2 * M):
        with pytest.raises(OracleError):
            go(folder, sparse, Paying(fail_at))
        if not older.exists():
            shutil.copy(folder / "oracle.sqlite", older)
    assert not any((folder / "checkpoints").iterdir())
    shutil.copy(older, folder / "oracle.sqlite")
    with pytest.raises(LedgerError, match="is not the one that had"):
        go(folder, sparse, refuse)
    (folder / "oracle.sqlite.mark").unlink()
    with pytest.raises(LedgerError, match=r"holds .* evaluations, and .*metrics.jsonl tells of"):
        go(folder, sparse, refuse)
    (folder / "metrics.jsonl").unlink()  # as it says: what is lacking is paid for again
    go(folder, sparse)


def test_the_checkpoint_testifies_to_the_rewards(uninterrupted, tmp_path):
    """Another ledger of the same run, with its mark and metrics."""
    folder, other = tmp_path / "b", tmp_path / "other"
    go(other, reward_fn=lambda sequences: 1 - reward(sequences))
    shutil.copytree(uninterrupted[0], folder)
    for name in ("oracle.sqlite", "oracle.sqlite.mark", "metrics.jsonl"):
        shutil.copy(other / name, folder / name)
    with pytest.raises(LedgerError, match="other rewards than those that the checkpoint of 6"):
        go(folder, reward_fn=refuse)


def test_a_run_goes_on_under_settings_that_change_no_number(uninterrupted, tmp_path):
    with pytest.raises(OracleError):
        go(tmp_path, reward_fn=Paying(13))
    changed = RunConfig(ROUNDS, 3, checkpoint_every=5, ledger_patience=0.5)
    assert same(go(tmp_path, changed).state, uninterrupted[1].state)


def files_of(checkpoint):
    return sorted(p for p in checkpoint.rglob("*") if p.is_file())


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # orbax's threads
def test_any_damage_to_the_newest_checkpoint_falls_back(uninterrupted, tmp_path, caplog):
    number = len(files_of(uninterrupted[0] / "checkpoints" / str(ROUNDS)))
    assert number > 5
    warned = 0
    for i in range(number):
        folder = tmp_path / str(i)
        shutil.copytree(uninterrupted[0], folder)
        harmed = files_of(folder / "checkpoints" / str(ROUNDS))[i]
        harmed.write_bytes(harmed.read_bytes()[: harmed.stat().st_size // 2])
        caplog.clear()
        result = go(folder, reward_fn=refuse)
        assert same(result.state, uninterrupted[1].state), harmed
        assert text(folder) == text(uninterrupted[0])
        warned += "is damaged" in caplog.text
    assert warned >= 3  # what orbax does not need to read, it may do without


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_no_sound_checkpoint_at_all(uninterrupted, tmp_path, caplog):
    folder = tmp_path / "b"
    shutil.copytree(uninterrupted[0], folder)
    for path in files_of(folder / "checkpoints"):
        path.write_bytes(b"")
    result = go(folder, reward_fn=refuse)
    assert "is damaged" in caplog.text
    assert same(result.state, uninterrupted[1].state)
    assert text(folder) == text(uninterrupted[0])


def test_a_checkpoint_of_other_bytes_is_damaged(uninterrupted, tmp_path, caplog):
    folder = tmp_path / "b"
    shutil.copytree(uninterrupted[0], folder)
    newest, before = (folder / "checkpoints" / str(ROUNDS - i) / "state" for i in (0, 1))
    shutil.rmtree(newest)
    shutil.copytree(before, newest)
    assert same(go(folder, reward_fn=refuse).state, uninterrupted[1].state)
    assert "is damaged (checksum differs)" in caplog.text


def test_a_foreign_checkpoint_names_what_differs(tmp_path):
    state = {"params": jnp.zeros((3, 4)), "count": jnp.int32(0), "key": jax.random.key(1)}
    checkpoints = Checkpoints(tmp_path, "a")
    checkpoints.save(1, state)
    checkpoints.close()
    wider = state | {"params": jnp.zeros((3, 5)), "more": jnp.zeros(2)}
    message = (
        r"\['more'\] is absent there and float32\[2\] here; "
        r"\['params'\] is float32\[3,4\] there and float32\[3,5\] here"
    )
    with pytest.raises(ValueError, match=message):
        Checkpoints(tmp_path, "a").restore_latest(jax.eval_shape(lambda: wider))
    with pytest.raises(ValueError, match=r"another configuration .*a, this one is b"):
        Checkpoints(tmp_path, "b").restore_latest(jax.eval_shape(lambda: state))
    rounds, restored = Checkpoints(tmp_path, "a").restore_latest(jax.eval_shape(lambda: state))
    assert rounds == 1 and same(restored, state)


def test_candidates_that_were_not_found_are_not_paid_for(tmp_path):
    def ask(key, state):
        candidates, state = ALGORITHM.ask(key, state)
        missing = (jnp.arange(M) >= 4) & (state["round"] == 1)
        return Sequences(candidates.tokens, candidates.mask & ~missing[:, None]), state

    oracle = Paying()
    with pytest.raises(ValueError, match=r"in round 1 only 4 of 6 candidates .*acceptance_floor"):
        go(tmp_path, reward_fn=oracle, algorithm=ALGORITHM._replace(ask=ask))
    assert oracle.rows == M


def test_a_metric_given_twice_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"metrics \['loss', 'round'\] are given twice"):
        twice = lambda asked, state: {"loss": 0.0, "round": 1.0}
        run(ALGORITHM, PRIOR, reward, CONFIG, tmp_path, evaluate=twice)


def test_rounds_and_phases_have_keys_of_their_own():
    key = jax.random.key(5)
    used = [init_key(key), *(k for r in range(50) for k in round_keys(key, r))]
    data = sorted(tuple(jax.random.key_data(k).tolist()) for k in used)
    assert all(a != b for a, b in pairwise(data))


def test_the_tiny_model_is_normalised():
    tokens = np.stack(np.meshgrid(*[range(tiny_run.V)] * tiny_run.LENGTH), -1).reshape(-1, 4)
    every = Sequences(jnp.asarray(tokens, jnp.int32), jnp.ones(tokens.shape, bool))
    log_probs = ALGORITHM.log_prob({"params": PRIOR}, every)
    np.testing.assert_allclose(np.exp(log_probs).sum(), 1, rtol=1e-5)


def filtering(**settings):
    """Algorithm 2 whose filter lets through only what is rare among the failures."""
    settings = dict(num_candidates=M, filter_factor=2, kappa=1.0) | settings
    fit = TrainingConfig(epochs=2, batch_size=3, learning_rate=0.3)
    return banel(
        tiny_run.MODEL, BanelConfig(generator_training=fit, failure_training=fit, **settings)
    )


def test_a_folder_of_another_algorithm_is_refused_by_its_settings(tmp_path):
    begin = lambda algorithm, reward_fn: run(
        algorithm, PRIOR, reward_fn, RunConfig(rounds=2), tmp_path / "a"
    )
    begin(filtering(), reward)
    begin(filtering(), refuse)  # the same settings, another object
    changed = r"algorithm\.settings\.kappa is 1\.0 there and 0\.2 here\. Choose"
    with pytest.raises(ValueError, match=changed):
        begin(filtering(kappa=0.2), refuse)
    with pytest.raises(ValueError, match=r"algorithm\.name is banel there"):
        begin(prior_sampling(tiny_run.MODEL, M), refuse)


def test_the_summary_says_what_was_paid_and_met(uninterrupted, tmp_path):
    folder, result = uninterrupted
    summary = json.loads(text(folder, "summary.json"))
    key, paid, first = jax.random.key(3), 0, None
    state = ALGORITHM.init(init_key(key), PRIOR)
    for round in range(ROUNDS):  # the first success, by running the rounds by hand
        keys = round_keys(key, round)
        candidates, asked = ALGORITHM.ask(keys.ask, state)
        rewards = [float(sum(t) >= 5) for t in candidates.tokens.tolist()]
        if first is None and 1.0 in rewards:
            first = paid + rewards.index(1.0) + 1
        paid += M
        state, _ = ALGORITHM.tell(keys.tell, asked, candidates, jnp.array(rewards))
    assert summary["evaluations_to_first_success"] == first
    assert summary["num_reward_evaluations"] == summary["rounds"] * M == ROUNDS * M
    assert summary["num_successes"] == result.metrics[-1]["num_successes"]
    assert summary["last_round"]["unknown"] == "nan" and summary["asked_again_after_a_stop"] == 0
    assert set(summary["seconds"]) == {"ask", "oracle", "tell", "evaluate", "checkpoint"}
    (folder / "summary.json").unlink()  # as if killed just before it
    go(folder, reward_fn=refuse)
    assert json.loads(text(folder, "summary.json")) == summary

    go(tmp_path / "none", reward_fn=lambda s: np.zeros(len(s.tokens)))
    assert (
        json.loads(text(tmp_path / "none", "summary.json"))["evaluations_to_first_success"] is None
    )


# A threshold that nothing can reach: the first round is unfiltered, the second finds nothing.
UNREACHABLE = dict(rejection="threshold", threshold=30.0, acceptance_floor=0.01)


def test_the_compiled_form_pays_for_no_candidate_that_was_not_found(tmp_path):
    algorithm, seeds = filtering(**UNREACHABLE), jax.random.split(jax.random.key(0), 2)
    with pytest.raises(ValueError, match=r"in round 1 only 0 of 6 candidates were found"):
        run(algorithm, PRIOR, reward, RunConfig(rounds=3), tmp_path / "loop")
    everything = lambda sequences: jnp.ones(len(sequences.tokens))
    experiment = compiled_run(algorithm, everything, 3)
    with pytest.raises(ValueError, match=r"in round 1 only 0 of 6 candidates were found"):
        experiment(seeds, PRIOR)
    _, metrics = jax.jit(experiment)(seeds, PRIOR)  # where it cannot raise
    np.testing.assert_array_equal(metrics["num_reward_evaluations"], [[M, M, M]] * 2)
    np.testing.assert_array_equal(metrics["num_successes"], [[M, M, M]] * 2)


@pytest.mark.parametrize("wrong", [0.5, 2.0, jnp.nan])
def test_the_compiled_form_refuses_rewards_that_are_neither_0_nor_1(wrong):
    answer = lambda sequences: jnp.full(len(sequences.tokens), wrong).at[0].set(1.0)
    with pytest.raises(ValueError, match="neither 0 nor 1 in round 0 of seed number 0"):
        compiled_run(ALGORITHM, answer, 2)(jax.random.split(jax.random.key(0), 1), PRIOR)


def in_blocks(experiment, keys, blocks, prior_params=PRIOR):
    """(states, metrics) of an experiment in calls of so many rounds each."""
    progress, done, parts = experiment.start(keys, prior_params), 0, []
    for rounds in blocks:
        progress, metrics = experiment.advance(keys, progress, done, rounds)
        assert {values.shape for values in metrics.values()} == {(len(keys), rounds)}
        parts.append(metrics)
        done += rounds
    return progress, {k: np.concatenate([p[k] for p in parts], axis=1) for k in parts[0]}


def test_in_blocks_of_rounds_it_is_the_same_experiment(uninterrupted, tmp_path):
    keys = jax.vmap(jax.random.key)(jnp.array([2, 3]))
    experiment = loop.compiled_blocks(ALGORITHM, reward, evaluate, seeds_at_once=1)
    progress, metrics = in_blocks(experiment, keys, (2, 3, 1))
    whole_states, whole_metrics = compiled_run(ALGORITHM, reward, ROUNDS, evaluate, 1)(keys, PRIOR)
    assert compiled_alike(progress.states, whole_states)
    other = go(tmp_path / "two", RunConfig(rounds=ROUNDS, seed=2))
    for i, result in enumerate([other, uninterrupted[1]]):
        assert compiled_alike(jax.tree.map(lambda x, i=i: x[i], progress.states), result.state)
        last = result.metrics[-1]
        counts = [last["num_reward_evaluations"], last["num_successes"]]
        assert progress.counts[i].tolist() == counts
        for name, values in metrics.items():
            expected = np.float32([record[name] for record in result.metrics])
            assert compiled_alike(values[i], whole_metrics[name][i]), name
            if name == "moved":  # what is evaluated is so to rounding
                np.testing.assert_allclose(values[i], expected, rtol=1e-5)
            else:
                assert compiled_alike(np.float32(values[i]), expected), name


def test_blocks_move_nothing_but_what_they_are_given():
    experiment = loop.compiled_blocks(ALGORITHM, reward, evaluate, seeds_at_once=1)
    keys, prior = jax.vmap(jax.random.key)(jnp.array([2, 3])), jnp.asarray(PRIOR)
    firsts = [jnp.int32(0), jnp.int32(2)]
    with jax.transfer_guard("disallow"):
        progress = experiment.start(keys, prior)
        for first in firsts:
            progress, metrics = experiment.advance(keys, progress, first, 2)
    np.testing.assert_array_equal(metrics["round"], [[2, 3]] * 2)


def test_what_is_wrong_in_a_later_block_is_told_by_its_round():
    def ask(key, state):
        candidates, state = ALGORITHM.ask(key, state)
        tokens = jnp.full_like(candidates.tokens, state["round"])
        return Sequences(tokens, candidates.mask), state

    # The tokens tell the round, whatever the model says of them.
    marked = ALGORITHM._replace(ask=ask, log_prob=lambda state, sequences: jnp.zeros(M))
    keys = jax.random.split(jax.random.key(0), 2)
    answer = lambda s: jnp.where(s.tokens[:, 0] == 4, 0.5, 0.0)
    experiment = loop.compiled_blocks(marked, answer, evaluate)
    with pytest.raises(ValueError, match="neither 0 nor 1 in round 4 of seed number 0"):
        in_blocks(experiment, keys, (3, 3))

    def lose(key, state):
        candidates, state = ask(key, state)
        lost = (jnp.arange(M) >= 4) & (state["round"] == 4)
        return Sequences(candidates.tokens, candidates.mask & ~lost[:, None]), state

    experiment = loop.compiled_blocks(marked._replace(ask=lose), reward, evaluate)
    with pytest.raises(ValueError, match="in round 4 only 4 of 6 candidates were found"):
        in_blocks(experiment, keys, (3, 3))
