"""The addition attack's experiment: its table by hand, and one small run of all of it."""

import dataclasses
import json
from pathlib import Path

import jax
import numpy as np
import pytest
from absl import flags as absl_flags

from banel_jax import sampling
from banel_jax.success_rate import clopper_pearson
from banel_jax.tasks.addition import task as task_module
from banel_jax.types import Task
from experiments.addition import experiment as addition
from experiments.addition import modes as addition_modes
from experiments.addition import prepare as addition_prepare
from experiments.addition import search as addition_search
from experiments.addition import single as addition_single
from experiments.addition import table as addition_table
from experiments.addition.methods import METHODS
from experiments.common import flags, rate_table
from experiments.common.comparison import Experiment
from experiments.common.rate_table import Rate
from experiments.common.seed_runs import SeedRuns

SMOKE = dataclasses.replace(addition.PRESETS["smoke"], algorithms=("prior", "ours"))
M = SMOKE.settings.num_candidates  # 20
ROUNDS, FINAL = 12, SMOKE.num_final  # 200
LENGTH = SMOKE.task.grammar.query_length  # 5


def result(by_round, successes, met, drawn=("1+1=",), **metrics):
    """A SeedRuns of rates by seed and round; `drawn` fills the last snapshot of each seed."""
    by_round = np.array(by_round)
    tokens = np.asarray(task_module.sequences_of(list(drawn), LENGTH).tokens)
    base = np.asarray(task_module.sequences_of(["1+1="] * len(drawn), LENGTH).tokens)
    snapshots = np.stack([np.stack([base, tokens])] * len(by_round))
    same = lambda value: np.full(by_round.shape, value)
    return SeedRuns(
        metrics={
            "round": np.tile(np.arange(by_round.shape[1]), (len(by_round), 1)),
            "success_rate": by_round,
            "num_successes": np.array(met),
            "failure_epochs": same(2.0),
            "acceptance": same(0.5),
        }
        | metrics,
        final={"successes": np.array(successes), "valid": np.array([0.5, 0.25, 0.75])},
        snapshots=snapshots,
        snapshot_rounds=np.array([0, by_round.shape[1]]),
        seconds=30.0,
        about={"commit": "abc", "device": "1 x cpu"},
    )


PREPARED = addition.Prepared(
    task=None, oracle=None, bases={}, prior=Rate(2, 1000), valid=1.0,
    by_temperature={0.5: Rate(0, 100), 2.0: Rate(3, 100), 3.0: Rate(1, 100)},
    by_factor={4: Rate(1, 250), 16: Rate(1, 50)},
    accuracy={1: 1.0}, metrics={},
    modes={
        "proposed": dict.fromkeys(addition_modes.MODES, 5),
        "succeeded": dict.fromkeys(addition_modes.MODES, 0) | {"distinct": 0, "all": 0},
    },
)  # type: ignore[arg-type]  # fmt: skip
LEARNT = np.zeros((3, ROUNDS))
LEARNT[0, :] = [0.5, 0.1, *[0.2] * 9, 0.4]  # the best round is not among the last ten
LEARNT[1, 3:6] = [0.1, 0.3, 0.2]
LEARNT[2, -1] = 0.25
MET = np.zeros((3, ROUNDS), int)
MET[0, :], MET[1, 5:] = 4, 2
RESULTS = {
    "ours": result(LEARNT, [60, 0, 50], MET, filtered_success_rate=np.full((3, ROUNDS), 0.125)),
    "prior": result(np.full((3, ROUNDS), 0.002), [0, 1, 0], MET * 0),
    "ours_f1": result(np.full((3, ROUNDS), 0.01), [4, 2, 1], MET * 0),
}


def table(results=RESULTS):
    found = rate_table.rows(SMOKE, PREPARED, results, METHODS)
    return {row["algorithm"]: row for row in found}


def test_the_numbers_of_a_row_by_hand():
    row = table()["ours"]
    expected = {
        "base": 0.002,
        "final": [0.3, 0.0, 0.25],
        "final_median": 0.25,
        "final_mean": 0.55 / 3,
        "final_over_base_median": 125.0,
        "best_over_base_median": 150.0,
        # The best control by its final value is T = 2, at 3 of 100.
        "improvement_over_best_control_median": 0.25 / 0.03,
        "last10": [0.2, 0.0, 0.0],
        "best": [0.5, 0.3, 0.25],
        "falls_to": [0.2, 0.0, 1.0],
        "successes_met": 6,
        "first_at": [M, 6 * M, None],
        "0.1_at": [M, 4 * M, 12 * M],
        "0.5_at": [M, None, None],
        "valid": 0.5,
        "passed": 0.125,
        "distilled": LEARNT[:, 1:].mean(),
        "generator": LEARNT[:, :-1].mean(),
        # A seed's rates have zeros, which nothing can be divided by.
        "log10_filter_gain": None,
        "log10_distillation_gain": None,
        "log10_falling_back_gain": None,
        "nre": SMOKE.rounds * M,
        "wall_s": 10.0,
    }
    for name, value in expected.items():
        assert row[name] == pytest.approx(value) or row[name] == value, name
    assert row["final_interval"][0] == clopper_pearson(60, FINAL)
    assert row["starts_from"] == "broadened" and not row["control"]
    assert table()["prior"]["final_median"] == 0 and "passed" not in table()["prior"]


def test_where_rounds_gain_and_lose_by_hand():
    """Three rounds: the second one falls back, for it meets 1 success where the first met 10."""
    by_round = np.array([[0.2, 0.4, 0.8]])
    passed = np.array([[0.2, 0.1, 0.5]])
    met = np.array([[10.0, 1.0, 12.0]])
    of = result(by_round, [60], met, filtered_success_rate=passed)
    of.metrics["successes"] = met
    row = rate_table._split(SMOKE, of, by_round, fall_back=0.5)
    assert row["log10_falling_back_gain"] == pytest.approx(np.log10(0.4 / 0.2))
    assert row["log10_filter_gain"] == pytest.approx(np.log10(0.5 / 0.4))
    assert row["log10_distillation_gain"] == pytest.approx(np.log10(0.8 / 0.5))
    row = rate_table._split(SMOKE, of, by_round, fall_back=0.0)
    assert row["log10_falling_back_gain"] == 0
    assert row["log10_filter_gain"] == pytest.approx(np.log10(0.1 / 0.2 * 0.5 / 0.4))
    # 100 samples a round: of 0.05 there are 5 successes, too few to divide by.
    of.metrics["filtered_success_rate"] = passed / 2
    assert rate_table._split(SMOKE, of, by_round, 0.0)["log10_filter_gain"] is None


def test_costless_controls_are_the_best_by_looking():
    rows = table()
    assert rows["best T, chosen by looking (2)"]["final"] == [0.03]
    cut = rows["least likely 1 in f of the prior, chosen by looking (16)"]
    assert cut["final_median"] == 0.02 and cut["control"] and cut["nre"] == 0
    assert cut["final_interval"] == [clopper_pearson(1, 50)]


def test_the_table_on_the_terminal_by_hand():
    lines = rate_table.readable(list(table().values()))
    ours = next(line for line in lines if line["algorithm"] == METHODS["ours"].title)
    assert ours["final"] == "0.25 [0, 0.3]" and ours["best"] == "0.3 [0.25, 0.5]"
    assert ours["first at"] == 6 * M and ours["falls to"] == 0.2
    assert ours["0.1 at"] == 4 * M and ours["0.5 at"] == "never"
    assert [("control" in line["algorithm"]) for line in lines] == [True] * 4 + [False]
    assert lines[0]["first at"] == "never"
    columns = {name for group in rate_table.TABLES for name in group}
    assert all(columns <= line.keys() for line in lines)


def test_what_it_says_in_words():
    words = " ".join(rate_table.in_words(list(table().values())).split())
    assert "BaNEL, ours does best of all that learn, at a success rate of 0.25" in words
    # 50 of 200 and 3 of 100 are far apart, but 6 successes carry nothing.
    assert (
        "8.33 times the best control (best T, chosen by looking (2)); no gain is claimed" in words
    )
    assert "its runs met 6 successes in all" in words and "125 times the prior" in words
    rows = [row | {"successes_met": 600} for row in table().values()]
    met = " ".join(rate_table.in_words(rows).split())
    assert "(best T, chosen by looking (2)), above it on 2 of 3 seeds. It is 125 times" in met
    nothing = RESULTS | {"ours": result(LEARNT, [0, 0, 50], MET)}
    words = rate_table.in_words(list(table(nothing).values()))
    assert words == "Nothing that learns ends with any success in the median."
    less = RESULTS | {"ours": result(LEARNT, [3, 3, 50], MET)}
    assert "below the best control, at 0.5 of it" in " ".join(
        rate_table.in_words(list(table(less).values())).split()
    )
    only = rate_table.in_words([row for row in table().values() if row["control"]])
    assert only == "Only controls were run: nothing can be said of learning from failures."


class Even:
    """An oracle for which a query succeeds if it begins with an even digit, and is answered 7."""

    def compiled_judge(self, sequences):
        texts = task_module.strings_of(sequences)
        reward = np.array([text[:1] in ("0", "2", "4", "6", "8") for text in texts], np.float32)
        answers = task_module.sequences_of(["7"] * len(texts), 3)
        return task_module.Verdict(reward, np.array([bool(t) for t in texts]), answers)


def test_what_was_found_by_hand(capsys):
    prepared = PREPARED._replace(oracle=Even())
    drawn = ("1+1=", "2+1=", "02+1=", "2+1=", "")
    results = RESULTS | {"ours": result(LEARNT, [60, 0, 50], MET, drawn)}
    rates = {"success_rate": np.array([[0.25, 0.5]] * 2)}
    snapshots = np.stack([results[name].snapshots[0, -1] for name in ("ours", "ours")])
    addition_table.watch(prepared, "ours", (7, 8), 5, rates, snapshots)
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        f"  ours, seed {seed}, round 5: 0.5 succeed, such as 2+1= 7, 02+1= 7" for seed in (7, 8)
    ]
    one = {"success_rate": rates["success_rate"][:1]}
    addition_table.watch(prepared, "prior", (7,), 5, one, results["prior"].snapshots[0, -1:])
    assert capsys.readouterr().out == "  prior, seed 7, round 5: 0.5 succeed\n"
    found = addition_table.what_was_found(SMOKE, prepared, results, METHODS)
    row = found["modes"][1]
    assert row["algorithm"] == METHODS["ours"].title and row["distinct"] == "2 of 9"
    assert row["malformed"] == "20 | 0" and row["leading zeros"] == "20 | 33"
    assert row["other"] == "60 | 67"
    assert found["modes"][0]["other"] == "17 | -"  # the prior, of which none succeeded
    lines = [line.split() for line in found["text"].splitlines()]
    assert lines[0][0] == "BaNEL," and lines[2] == ["successful", "failed"]
    assert lines[3] == ["2+1=", "7", "1+1=", "7"]
    assert lines[4] == ["02+1=", "7", "(empty)", "(malformed)"]


def test_gains_without_a_success_count_half_of_one():
    found = rate_table.log10_gain([0.0, 0.002, 0.2], 0.002, 1000)
    np.testing.assert_allclose(found, [np.log10(0.25), 0, 2])


@pytest.mark.slow
def test_every_method_asks_for_as_many_evaluations():
    settings, networks = addition.PRESETS["small"].settings, SMOKE.networks
    for name, method in METHODS.items():
        algorithm = method.build(settings, networks)
        model = networks.model(0.0)
        params = jax.eval_shape(model.init, jax.random.key(0))
        both = {"prior": params, "broadened": params}
        start = both if method.base(settings) == "both" else params
        state = jax.eval_shape(algorithm.init, jax.random.key(0), start)
        candidates, _ = jax.eval_shape(algorithm.ask, jax.random.key(1), state)
        assert candidates.tokens.shape == (250, LENGTH), name
        if method.control:
            assert "failure" not in method.title
    assert addition.PRESETS["small"].rounds * 250 == 7500


def test_ranking_by_novelty_alone_is_told_nothing():
    built = dict(METHODS["ours_by_novelty"].build(SMOKE.settings, SMOKE.networks).settings)
    c = built["settings"]
    # log p_base - 2 log p_phi with p_phi = p_base: the unlikeliest first, and no fit.
    assert (c.kappa, c.failure_start, c.failure_training.epochs) == (2.0, "base", 0)
    assert METHODS["ours_by_novelty"].control


def test_told_nothing_but_zeros_is_ours_but_for_the_answers():
    told, blind = METHODS["ours"], METHODS["ours_told_nothing"]
    settings = [dict(m.build(SMOKE.settings, SMOKE.networks).settings) for m in (told, blind)]
    assert settings[0] == settings[1] and blind.control and not told.control
    ones = Task(None, None, lambda s: np.ones(len(s.tokens)), None, None)
    proposals = task_module.sequences_of(["1+1=", "2+2="], LENGTH)
    assert told.task(ones).reward_fn(proposals).tolist() == [1, 1]
    assert blind.task(ones).reward_fn(proposals).tolist() == [0, 0]
    assert told.configuration != blind.configuration  # so that they never share a folder


def test_baselines_from_the_base_of_ours():
    for name in ("policy_gradient", "rnd"):
        published, broadened = METHODS[name], METHODS[f"{name}_ours"]
        assert published.base(SMOKE.settings) == "prior"
        assert broadened.base(SMOKE.settings) == "broadened"
        assert broadened._replace(title=published.title, base=published.base) == published


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("addition")
    config = dataclasses.replace(SMOKE, runs=str(folder / "runs"), output=str(folder / "results"))
    addition.main(config)
    return config


def test_all_of_it_writes_what_it_promises(done, capsys):
    addition.main(done)  # from disk
    printed = capsys.readouterr().out
    for text in ("the target answers right", "failure modes", "successful", "written:"):
        assert text in printed
    results = json.loads(Path(done.output, "table.json").read_text())
    assert len(results) == len(done.algorithms) + 2
    for row in results:
        assert {"algorithm", "preset", "base", "final", "command", "commit", "device"} <= row.keys()
    summary = json.loads(Path(done.output, "summary.json").read_text())
    assert set(summary["algorithms"]) == set(done.algorithms)
    assert summary["prior"]["samples"] == done.num_prior
    rounds = summary["algorithms"]["ours"]["rounds"]
    assert np.shape(rounds["success_rate"]) == (done.seeds, done.rounds)
    assert Path(done.output, "attacks.txt").read_text().strip() in printed
    for name in ("success_rate", "tempering"):
        assert Path(done.output, "figures", f"{name}.png").stat().st_size > 1000


@pytest.mark.slow
def test_a_second_time_nothing_is_run_anew(done, monkeypatch):
    def no(*_):
        raise AssertionError("run anew")

    monkeypatch.setattr(addition.Runner, "_run", no)
    monkeypatch.setattr(addition_prepare.addition_models.prior_cache, "fit_by_epochs", no)
    addition.EXPERIMENT.run(done, addition.prepare(done))


def test_what_is_measured_of_the_prior_is_what_its_samples_are(done):
    """By the oracle one text at a time, on the same samples."""
    prepared = addition.prepare(done)
    assert done.num_prior <= addition_prepare.JUDGED
    key = jax.random.fold_in(jax.random.key(11), 0)
    drawn, scores = sampling.sample(
        prepared.task.prior, key, prepared.task.prior_params, done.num_prior, temperature=1.0
    )
    texts = task_module.strings_of(drawn)
    known = {text: prepared.oracle(text) for text in set(texts)}
    rewards = np.array([known[text] for text in texts])
    assert 0 < rewards.sum() == prepared.prior.successes
    order = np.argsort(np.asarray(scores), kind="stable")
    for factor, rate in prepared.by_factor.items():
        kept = rewards[order][: -(-len(rewards) // factor)]
        assert rate == (kept.sum(), len(kept))
    assert prepared.modes["succeeded"]["all"] == rewards.sum()
    assert prepared.modes["succeeded"]["distinct"] == len(
        {t for t, r in zip(texts, rewards, strict=True) if r}
    )


@pytest.mark.slow
def test_a_single_round_keeps_the_best_by_the_ratio(done):
    config = dataclasses.replace(
        addition_single.PRESETS["smoke"], experiment=done, kappas=(2.0,), num_samples=150
    )
    prepared = addition.prepare(done)
    rows = addition_single.run(config, prepared)
    assert len(rows) == 3 * len(config.filter_factors)
    keys = jax.random.split(jax.random.key(config.seed), 3)
    drawn, scores = addition_single.draw(config, prepared, keys[1], config.num_proposals, "")
    assert len(scores) == 100
    texts = task_module.strings_of(drawn)
    rewards = np.array([prepared.oracle(text) for text in texts])
    unlikely = np.argsort(scores.astype(np.float64), kind="stable")
    for row in rows[: len(config.filter_factors)]:  # of the prior itself: 1 / p_theta
        number = 100 // row["f"]
        assert row["samples"] == number
        assert row["successes"] == rewards[unlikely][:number].sum()
    paid, _ = addition_single.draw(config, prepared, keys[0], 150, "")
    met = sum(prepared.oracle(text) for text in task_module.strings_of(paid))
    assert all(row["successes_paid_for"] == met for row in rows)


def test_a_sweep_by_hand(monkeypatch, tmp_path, capsys):
    """Two values of failure_epochs, which the control does not feel."""
    final = {1: [20, 20, 0], 5: [40, 40, 40], 9: None}

    def run(self, config, prepared):
        successes = final[config.settings.failure_epochs]
        results = {"prior": result(np.full((3, 3), 0.002), [2, 2, 2], np.zeros((3, 3)))}
        if successes is None:  # BaNEL found no candidates
            return results
        return results | {"banel": result(np.full((3, 3), 0.02), successes, np.zeros((3, 3)))}

    monkeypatch.setattr(addition, "prepare", lambda config: PREPARED)
    monkeypatch.setattr(Experiment, "run", run)
    point = lambda value: dataclasses.replace(
        SMOKE,
        output=str(tmp_path),
        settings=dataclasses.replace(SMOKE.settings, failure_epochs=value),
    )
    addition.EXPERIMENT.sweep("settings.failure_epochs", [(str(n), point(n)) for n in (1, 5, 9)])
    written = json.loads((tmp_path / "sweep_failure_epochs.json").read_text())
    decades = written["log10_gain_final"]
    *reached, stopped = decades[METHODS["banel"].title]
    np.testing.assert_allclose(reached, np.log10([[50, 50, 1.25], [100, 100, 100]]))
    assert stopped == [None] * 3
    np.testing.assert_allclose(decades["best T"], np.log10([[15]] * 3))
    printed = capsys.readouterr().out
    assert "50 [1.25, 50]" in printed and "100 [100, 100]" in printed and "stopped" in printed
    assert (tmp_path / "figures" / "sweep_failure_epochs.png").stat().st_size > 1000
    with pytest.raises(ValueError, match="no sweep"):
        addition.EXPERIMENT.sweep("algorithms", [("banel", SMOKE)])


def test_nothing_is_searched_or_swept_over_a_base_without_success(monkeypatch, tmp_path):
    without = PREPARED._replace(prior=Rate(0, 500))
    monkeypatch.setattr(addition, "prepare", lambda config: without)
    monkeypatch.setattr(Experiment, "run", lambda *_: pytest.fail("evaluations were spent"))
    monkeypatch.setattr(addition, "Runner", lambda *_: pytest.fail("evaluations were spent"))
    search = addition_search.Config(output=str(tmp_path / "search.jsonl"), algorithms=("ours",))
    point = dataclasses.replace(SMOKE, output=str(tmp_path))
    for spend in (
        lambda: addition_search.main(search),
        lambda: addition.EXPERIMENT.sweep("settings.kappa", [("1", point)]),
    ):
        with pytest.raises(ValueError, match="none of num_prior=500 samples of the prior succeeds"):
            spend()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--algorithms=banell"], "algorithms=banell is not known; choose among prior, ladder"),
        (["--rounds=0"], "rounds=0 must be at least 1"),
        (["--num_final=0"], "num_final=0 must be at least 1"),
        (["--task.grammar.max_digits=0"], "max_digits=0 must be at least 1"),
        (["--target_file=nowhere.npz"], "there is no prior nowhere.npz"),
        (["--settings.num_candidates=1000"], "num_distilled=40 is below num_candidates=1000"),
    ],
)
def test_mistakes_are_named(arguments, message, tmp_path):
    values = absl_flags.FlagValues()
    read = flags.define(SMOKE, values)
    values(["addition", f"--runs={tmp_path}", *arguments])
    with pytest.raises(ValueError, match=message):
        addition.prepare(read())
    assert not list(tmp_path.glob("**/*.npz"))
