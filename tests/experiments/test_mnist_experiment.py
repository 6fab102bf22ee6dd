"""The MNIST comparison: its table by hand, its methods, and one small run of all of it."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import forked
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from banel_jax import prior_cache, scoring
from banel_jax.algorithms.classifier import ClassifierConfig
from banel_jax.algorithms.rnd import RndConfig
from banel_jax.algorithms.vsd import VsdConfig
from banel_jax.models.table import table as table_of
from banel_jax.models.transformer import TransformerConfig
from banel_jax.tasks.mnist import task as task_module
from banel_jax.training import TrainingConfig
from banel_jax.types import SequenceModel, Sequences, Task
from experiments.common import methods
from experiments.common.comparison import Experiment
from experiments.common.methods import METHODS, Settings
from experiments.common.seed_runs import Runner, SeedRuns
from experiments.mnist import controls as mnist_controls
from experiments.mnist import experiment as mnist
from experiments.mnist import filtering
from experiments.mnist import filters as mnist_filters
from experiments.mnist import prepare as mnist_prepare
from experiments.mnist import search as mnist_search
from experiments.mnist import table as mnist_table
from experiments.mnist.controls import Rates
from tests.tasks.test_mnist import SMALL
from tests.tasks.test_mnist_data import DATA, SOURCES

SMOKE = mnist.PRESETS["smoke"]
M = SMOKE.settings.num_candidates  # 20
ROUNDS = 12
# Every row of table2.json has these.
KEYS = {
    "algorithm", "preset", "seeds", "base", "best_mean", "best_median", "best_std",
    "last10_median", "final_median", "improvement_mean", "improvement_median",
    "improvement_over_best_control_median", "nre", "wall_s", "flops", "command", "commit",
    "device",
}  # fmt: skip


def result(by_round, final, **metrics):
    """A SeedRuns of decades by seed and round, with the last values by seed."""
    by_round, final = np.array(by_round), np.array(final)
    seeds, rounds = by_round.shape
    same = lambda value: np.full((seeds, rounds), value)
    return SeedRuns(
        metrics={
            "round": np.tile(np.arange(rounds), (seeds, 1)),
            "num_successes": np.cumsum(same(0.0), axis=1),
            "log10_success_rate": by_round,
            "log10_filtered_success_rate": same(-2.0),
            "log10_filter_gain": same(0.25),
            "log10_past_filters_gain": same(0.0),
            "log10_distillation_gain": same(-0.125),
            "failure_epochs": same(2.0),
            "acceptance": same(0.5),
            "targets_accepted": same(0.75),
            "held_out_nats": same(60.0) + np.arange(rounds),
        }
        | metrics,
        final={
            "log10_success_rate": final,
            "log10_success_rate_without_first": final - 1,
            "entropy": np.arange(seeds) + 50.0,
            "duplicate_rate": np.full(seeds, 0.125),
            "nearest_training_pixels": np.full(seeds, 40.0),
            "num_carrying_targets": np.full(seeds, 3),
        },
        snapshots=np.zeros((seeds, 2, 36, 4), np.int32),
        snapshot_rounds=np.array([0, rounds]),
        seconds=30.0,
        about={"commit": "abc", "device": "1 x cpu"},
    )


CONFIG = dataclasses.replace(SMOKE, rounds=ROUNDS, seeds=3)
# The best of seed 0 comes in the first two rounds, which the last ten leave out.
LEARNT = np.full((3, ROUNDS), -6.0)
LEARNT[0, 1], LEARNT[0, 2:] = -4.0, -5.0
LEARNT[1, 5:10], LEARNT[1, 3] = -5.5, -5.25
LEARNT[2, 2:8], LEARNT[2, 11] = -7.0, -4.0
MET = np.zeros((3, ROUNDS))
MET[:, -1] = [3, 0, 4]
RESULTS = {
    "banel": result(LEARNT, [-5.0, -6.0, -4.0], num_successes=MET),
    "prior": result(np.full((3, ROUNDS), -6.0), [-6.0] * 3),
    "banel_f1": result(np.full((3, ROUNDS), -5.75), [-5.75, -5.5, -6.0]),
}
TEMPERATURES = {0.5: Rates(-7.0, -8.0), 1.5: Rates(-5.25, -7.5), 2.0: Rates(-5.5, -7.0)}
CUTS = {16: Rates(-5.5, -8.5), 32: Rates(-5.375, -np.inf), 64: Rates(-np.inf, -np.inf)}
COSTLESS = mnist_controls.shown(TEMPERATURES, CUTS, 16)
PREPARED = mnist.Prepared(None, {}, -6.0, -8.0, None, None, {}, TEMPERATURES, CUTS, COSTLESS)  # type: ignore[arg-type]


def table(results=RESULTS, free_controls=COSTLESS):
    found = mnist_table.rows(CONFIG, PREPARED, results, free_controls)
    return {row["algorithm"]: row for row in found}


TEMPERED = "best T, chosen by looking (1.5)"
CUT, BEST_CUT = "likeliest 1 in 16 of the prior", "likeliest 1 in f, chosen by looking (32)"


def test_the_numbers_of_a_row_by_hand():
    row = table()["banel"]
    best = np.array([1e-4, 10**-5.25, 1e-4])
    mean = best.sum() / 3
    expected = {
        "seeds": 3,
        "base": 1e-6,
        "best_mean": mean,
        "best_median": 1e-4,
        "best_std": np.sqrt(((best - mean) ** 2).sum() / 2),
        # By seed the medians of the last ten rounds are -5, -5.5 and -7.
        "last10_median": 1e-5 * 10**-0.5,
        "mixed_median": 1e-5,
        "final_median": 1e-5,
        "improvement_mean": mean * 1e6,
        "improvement_median": 100.0,
        "improvement_std": np.sqrt(((best - mean) ** 2).sum() / 2) * 1e6,
        "improvement_over_best_control_median": 10**0.25,
        "final_without_top": 1e-6,
        "held_out_nats": 71.0,
        "entropy": 51.0,
        "duplicate_rate": 0.125,
        "nearest_training_pixels": 40.0,
        "num_carrying_targets": 3,
        "samples_accepted": 0.5,
        "targets_accepted": 0.75,
        "successes_met": 7,
        "nre": 240,
        "wall_s": 10.0,
    }
    for name, value in expected.items():
        assert row[name] == pytest.approx(value), name
    lists = {
        "final_over_base": [10, 1, 100],
        "best_over_base": best * 1e6,
        "last10_over_base": [10, 10**0.5, 0.1],
        "mixed_over_base": [10, (10**0.75 + 5 * 10**0.5 + 4) / 10, (6 * 0.1 + 3 + 100) / 10],
        "final_without_top_over_base": [100, 10, 1000],
        "filter_decades": [3.0] * 3,
        "past_filters_decades": [0.0] * 3,
        "distillation_decades": [-1.5] * 3,
        "expected_evaluations_to_first_success": [100.0] * 3,
    }
    for name, values in lists.items():
        np.testing.assert_allclose(row[name], values, rtol=1e-6, err_msg=name)
    work = METHODS["banel"].work(CONFIG.settings, RESULTS["banel"].metrics)
    assert row["flops"] == work * methods.flops_per_sequence(CONFIG.task.transformer)
    assert (row["commit"], row["device"], row["control"]) == ("abc", "1 x cpu", False)
    assert row["starts_from"] == "prior" and json.dumps(row)


def test_the_best_control_is_the_one_that_ends_best():
    found = table()
    assert list(found) == ["banel", "prior", "banel_f1", TEMPERED, CUT, BEST_CUT]
    tempered = found[TEMPERED]
    assert tempered["final_median"] == tempered["best_mean"] == pytest.approx(10**-5.25)
    assert tempered["improvement_median"] == pytest.approx(10**0.75)
    over = lambda found: {
        name: row["improvement_over_best_control_median"] for name, row in found.items()
    }
    expected = {"banel": 10**0.25, "prior": 10**-0.75, "banel_f1": 10**-0.5, TEMPERED: 1.0}
    expected |= {CUT: 10**-0.25, BEST_CUT: 10**-0.125}
    assert over(found) == pytest.approx(expected)
    low = {1.5: Rates(-8.0, -9.0)}
    worse = table(free_controls=mnist_controls.shown(low, {16: Rates(-8.0, -9.0)}, 16))
    # banel_f1 is best then, at -5.75
    assert over(worse)["banel"] == pytest.approx(10**0.75)
    assert over(worse)["banel_f1"] == pytest.approx(1.0)


def test_without_the_likeliest_targets_another_control_may_be_best():
    found = table()
    assert found[BEST_CUT]["final_without_top"] == 0.0  # it lets none of them through
    assert found[CUT]["final_without_top_over_base"] == pytest.approx([10**-0.5])
    over = {n: row["improvement_over_best_control_without_top"] for n, row in found.items()}
    # banel_f1 ends at -6.75 in the median.
    assert over["banel"] == pytest.approx(10**0.75) and over["banel_f1"] == 1.0
    assert over[TEMPERED] == pytest.approx(10**-0.75)
    none = table(
        {"prior": result(np.full((3, ROUNDS), -6.0), [-np.inf] * 3)},
        mnist_controls.shown({1.5: Rates(-5.0, -np.inf)}, {16: Rates(-5.0, -np.inf)}, 16),
    )
    assert all(row["improvement_over_best_control_without_top"] is None for row in none.values())


def test_costless_controls_by_enumeration(monkeypatch):
    """Of a prior of 9 sequences: tempered, and cut to the likeliest of what it draws."""
    monkeypatch.setattr(mnist_controls, "TEMPERATURES", (0.5, 2.0))
    monkeypatch.setattr(mnist_controls, "FACTORS", (16,))
    conditional = np.array([0.6, 0.3, 0.1])
    model = table_of(3, 2)
    every = np.array([[a, b] for a in range(3) for b in range(3)])
    probability = conditional[every].prod(1)
    targets = np.array([[0, 0], [0, 1], [2, 1]])  # of 0.36, 0.18, 0.03: the likeliest first
    task = Task(
        model, jnp.log(jnp.outer(conditional, conditional)), lambda x: jnp.zeros(len(x.tokens)),
        Sequences(jnp.array(targets), jnp.ones(targets.shape, bool)), None,
    )  # fmt: skip
    temperatures = mnist_controls.tempering(task, 1)
    for t, rates in temperatures.items():
        warm = conditional ** (1 / t) / (conditional ** (1 / t)).sum()
        each = warm[targets].prod(1)
        np.testing.assert_allclose(rates, np.log10([each.sum(), each[1:].sum()]), atol=1e-5)
    cuts = mnist_controls.cutting(task, 1, 2, 20_000)
    # Half of the samples: 0.36 is less, with the next two (0.18 each) it is 0.72.
    assert probability[probability >= 0.18].sum() == pytest.approx(0.72)
    np.testing.assert_allclose(cuts[2], np.log10([0.54 / 0.72, 0.18 / 0.72]), atol=0.01)
    # One in 16: the likeliest alone, and none of the others.
    np.testing.assert_allclose(cuts[16][0], 0.0, atol=0.01)
    assert cuts[16][1] == -np.inf
    chosen = mnist_controls.shown(temperatures, cuts, 2)
    assert [control.label for control in chosen] == [
        "best T, chosen by looking", "likeliest 1 in 2 of the prior",
        "likeliest 1 in f, chosen by looking",
    ]  # fmt: skip
    assert [control.setting for control in chosen] == [0.5, None, 16]


def test_one_seed_and_gains_that_are_no_numbers():
    gains = np.array([[np.nan, -np.inf, 0.5]])
    one = result([[-6.0, -5.0, -5.5]], [-5.5], log10_filter_gain=gains)
    row = table({"banel": one})["banel"]
    assert row["best_std"] == 0.0 and row["seeds"] == 1
    # Two rounds in which no target passed tell nothing.
    assert row["filter_decades"] == [0.5] and row["distillation_decades"] == [-0.125]
    assert row["rounds_none_pass"] == [2]


def test_every_row_has_what_the_table_promises():
    for row in table().values():
        # The rest is added by the program.
        assert KEYS - set(row) <= {"preset", "command", "commit", "device"}


def test_the_table_on_the_terminal_by_hand():
    found = mnist_table.rows(CONFIG, PREPARED, RESULTS, COSTLESS)
    lines = mnist_table.readable(found)
    assert [line["algorithm"] for line in lines] == [
        "prior (control)", "BaNEL, no filter (f = 1) (control)", f"{TEMPERED} (control)",
        f"{CUT} (control)", f"{BEST_CUT} (control)", "BaNEL, as published",
    ]  # fmt: skip
    line = lines[-1]
    assert line["final x prior"] == "10 [1, 100]"
    assert line["best"] == "100 [5.62, 100]"
    best = np.array([100, 10**0.75, 100])
    numbers = {
        "last 10": 10**0.5, "mixed": 10, "x best control": 10**0.25, "without top": 100,
        "filter": 3, "distillation": -1.5, "none pass": 0, "mean": best.mean(),
        "std": best.std(ddof=1), "met": 7, "first success": 100, "NRE": 240,
        "0s, nats": 71, "entropy": 51, "duplicates": 0.125, "nearest 0": 40, "carrying": 3,
        "samples pass": 0.5, "targets pass": 0.75, "seconds": 10, "Tflop": found[0]["flops"] / 1e12,
    }  # fmt: skip
    for name, value in numbers.items():
        assert line[name] == pytest.approx(value), name
    shown = set().union(*mnist_table.TABLES)
    assert all(set(line) == shown for line in lines)


def test_what_it_says_in_words():
    words = lambda results, free_controls=COSTLESS: " ".join(
        mnist_table.in_words(mnist_table.rows(CONFIG, PREPARED, results, free_controls)).split()
    )
    said = words(RESULTS)
    assert "BaNEL, as published does best of all that learn: 1.78 times the best control" in said
    assert "no gain is claimed, for its runs met 7 successes in all" in said
    assert f"({TEMPERED})" in said
    assert "gives BaNEL, as published up to 100 times the prior, and without any filter" in said
    assert "BaNEL, no filter (f = 1), up to 1.78 times." in said
    assert (
        "Over the targets but the likeliest, BaNEL, as published does best: 5.62 times the best "
        "control (BaNEL, no filter (f = 1)); no gain is claimed"
    ) in said
    high = mnist_controls.shown({1.5: Rates(-4.0, -np.inf)}, {16: Rates(-5.0, -np.inf)}, 16)
    lost = words({"prior": RESULTS["prior"], "banel": RESULTS["banel"]}, high)
    assert "below the best control, at 0.1 of it" in lost
    assert "up to 100 times the prior." in lost and "without any filter" not in lost
    only = words({"prior": RESULTS["prior"]})
    assert only == "Only controls were run: nothing can be said of learning from failures."


def test_flops_by_hand():
    config = TransformerConfig(vocab_size=7, length=5, num_layers=2, num_heads=2, width=8)
    # A token in a layer: queries, keys, values and output 4 * 8 * 8, the MLP 2 * 8 * 32.
    layers = 2 * 5 * 2 * (4 * 64 + 2 * 8 * 32)
    # In a layer scores and weighted values, 5 * 5 * 8 products each, half of them masked.
    attention = 2 * 2 * 2 * (5 * 5 * 8) / 2
    head = 2 * 5 * 8 * 7
    assert methods.flops_per_sequence(config) == layers + attention + head


@pytest.mark.parametrize("name", METHODS)
def test_every_method_is_built_and_works(name):
    method = METHODS[name]
    method.build(SMOKE.settings, SMOKE.networks)
    base = method.base(SMOKE.settings)
    work = method.work(SMOKE.settings, RESULTS["banel"].metrics)
    assert np.isfinite(work) and work >= M * ROUNDS
    always = {"broadened": "broadened", "hedge": "both"}
    assert base == always.get(name, "prior")
    ours = dataclasses.replace(SMOKE.settings, ours_base="broadened")
    wide = {"ours", "ours_f1", "ours_by_prior", "filtering", "both_sides", "success_only", "auto"}
    assert method.base(ours) == always.get(name, "broadened" if name in wide else "prior")


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_every_method_asks_for_m(name):
    method = METHODS[name]
    algorithm = method.build(SMOKE.settings, SMOKE.networks)
    params = jax.eval_shape(SMOKE.networks.model(0.0).init, jax.random.key(0))
    both = method.base(SMOKE.settings) == "both"
    start = {"prior": params, "broadened": params} if both else params
    state = jax.eval_shape(algorithm.init, jax.random.key(0), start)
    candidates, _ = jax.eval_shape(algorithm.ask, jax.random.key(1), state)
    assert candidates.tokens.shape == (M, SMOKE.task.length)


def test_controls_gain_nothing_from_failures():
    controls = {name for name, method in METHODS.items() if method.control}
    assert controls == {
        "prior", "ladder", "broadened", "banel_f1", "ours_by_prior", "ours_f1", "hedge_free",
        "success_only",
    }  # fmt: skip


def test_work_by_hand():
    settings = Settings(num_candidates=10, failure_epochs=6, generator_epochs=3, filter_factor=2.0)
    rounds = 4
    metrics = {
        "round": np.tile(np.arange(rounds), (2, 1)),
        "failure_epochs": np.array([[6.0] * 4, [6.0, 6.0, 6.0, 2.0]]),
        "acceptance": np.full((2, rounds), 0.5),
        "num_successes": np.array([[0, 1, 1, 4], [2, 2, 2, 2]]),
    }
    work = lambda name, settings=settings: METHODS[name].work(settings, metrics)
    assert work("prior") == work("ladder") == 10 * rounds
    # Drawn and scored; from the second round on distilled, a step as three passes.
    assert work("banel_f1") == 10 * rounds * 2 + 3 * 10 * 3 * (rounds - 1)
    # Twice as many drawn, scored by both models; and the failure model's fits.
    fits = 3 * 10 * (24 + 20) / 2
    assert work("banel") == 20 * rounds * 3 + 3 * 10 * 3 * (rounds - 1) + fits
    assert work("importance") == work("inverse") == work("banel")
    # The prior, its ladder, and both cuts of four times as many; beside them ours, twice.
    assert work("hedge_free") == 10 * rounds * (2 + 2 * 4)
    hedged = {
        f"{arm}_failure_epochs": metrics["failure_epochs"] for arm in ("ours", "ours_broadened")
    }
    twice = METHODS["hedge"].work(settings, metrics | hedged)
    assert twice == work("hedge_free") + 2 * work("ours")
    # Drawn, scored by the policy and by the base, and an epoch.
    assert settings.policy_gradient.training.epochs == 1
    assert work("policy_gradient") == 10 * rounds * (3 + 3)
    longer = dataclasses.replace(
        settings.policy_gradient, training=dataclasses.replace(TrainingConfig(), epochs=4)
    )
    longer = dataclasses.replace(settings, policy_gradient=longer)
    assert work("policy_gradient", longer) == 10 * rounds * (3 + 12)
    # The same, and five epochs over the successes of all rounds so far, or of the last two.
    assert work("expert_iteration") == 10 * rounds * 3 + 3 * 5 * (6 + 8) / 2
    of_two = dataclasses.replace(settings.expert_iteration, success_rounds=2)
    of_two = dataclasses.replace(settings, expert_iteration=of_two)
    assert work("expert_iteration", of_two) == 10 * rounds * 3 + 3 * 5 * (5 + 4) / 2
    assert work("cbas") == work("expert_iteration")
    # As many successes are learned again; four epochs on what was drawn.
    assert work("reinforce_replay") == 10 * rounds * (3 + 6)
    assert work("ppo") == 10 * rounds * (3 + 12)
    # A step of the search: 128 drawn, scored by the prior and learned; in 3 and in 4 rounds.
    assert work("vsd") == 10 * rounds * 3 + 128 * (50 * 5 + 2) * 3.5
    assert work("genetic") == work("prior")
    # As the policy gradient, and each candidate learnt (a pass and a step) and scored again.
    assert work("pseudo_count") == 10 * rounds * (3 + 3 + 4)
    assert work("rnd") == 10 * rounds * (3 + 3)
    assert (
        work("gflownet_tb") == work("rtb") == 10 * rounds * (3 + 3 * settings.rtb.training.epochs)
    )


def test_flops_of_the_networks_of_rnd_by_hand():
    small = RndConfig(width=3, num_layers=3, num_features=5, predictor_extra_layers=1, epochs=2)
    networks = methods.of_transformer(SMOKE.task.transformer, 196)
    target = 2 * (196 * 3 + 3 * 3 + 3 * 5)
    predictor = target + 2 * 5 * 5
    found = METHODS["rnd"].other_flops(Settings(rnd=small), networks)
    assert found == target + predictor * (1 + 1 + 3 * 2)
    assert METHODS["banel"].other_flops(Settings(), networks) == 0
    # VSD's classifier: tokens by two convolutions, or what is observed by dense layers.
    judge = ClassifierConfig(4, 8, 3, 16, training=TrainingConfig(epochs=2, batch_size=5))
    search = TrainingConfig(epochs=3, batch_size=7)
    settings = Settings(10, vsd=VsdConfig(search_training=search, classifier=judge))
    length = SMOKE.task.transformer.length
    convolved = length * 4 * 3 * 8 + -(-length // 2) * 8 * 3 * 8
    each = 2 * (convolved + 8 * 16 + 16)
    found = METHODS["vsd"].other_flops(settings, networks)
    assert found == each * (3 * 2 * 5 + 3 * 7) / 10
    networks = dataclasses.replace(networks, observe=lambda sequences: sequences.tokens)
    each = 2 * (196 * 8 + 8 * 16 + 16)
    assert METHODS["vsd"].other_flops(settings, networks) == each * 51 / 10


def test_the_settings_are_the_papers():
    """Section 5.1, Appendix B.2, and what the cited publications use."""
    s, config = Settings(), mnist.Config()
    assert config.rounds * s.num_candidates == 7500 and s.num_candidates == 250
    published = s.published()
    assert (published.filter_factor, published.kappa) == (2, 1)
    assert published.failure_training.epochs == 50 and published.generator_training.epochs == 15
    assert published.drop_successes and published.reset_generator
    assert (published.failure_rounds, published.past_filters) == (1, 0)
    assert published.distilled == 250
    assert s.rnd_policy.kl_coefficient == 0.01 and s.rnd.epochs == 1
    assert (s.rnd.width, s.rnd.num_layers, s.rnd.num_features) == (1024, 4, 512)
    assert s.rnd.learning_rate == 1e-4 and s.rnd.observation_clip == 5
    assert s.pseudo_count_policy.kl_coefficient == 0.05 and s.pseudo_count.scale == 0.1
    assert s.negative_rl.baseline == 1 and s.policy_gradient.baseline == 0


def test_no_control_fits_or_filters_by_a_failure_model():
    for rejection in ("best", "importance", "threshold"):
        ours = dataclasses.replace(methods.OURS, rejection=rejection)
        settings = Settings(ours=ours)
        for name in ("banel_f1", "ours_f1", "ours_by_prior"):
            built = dict(METHODS[name].build(settings, SMOKE.networks).settings)["settings"]
            assert built.failure_training.epochs == 0
            assert built.rejection == "best"
            assert built.filters == (name == "ours_by_prior") and built.kappa * built.filters == 0
        other = dataclasses.replace(settings, failure_epochs=3)  # it concerns them not at all
        build = METHODS["banel_f1"].build
        assert build(other, SMOKE.networks).settings == build(settings, SMOKE.networks).settings


def test_unknown_algorithms_and_bad_settings_are_named():
    with pytest.raises(ValueError) as caught:
        mnist.Config(algorithms=("banel", "best", "worst"))
    message = str(caught.value)
    assert message.startswith("algorithms=best,worst is not known; choose among ")
    assert all(name in message for name in METHODS) and "\n" not in message
    for name in ("rounds", "seeds", "seeds_at_once", "block", "num_cut_samples"):
        with pytest.raises(ValueError, match=f"{name}=0 must be at least 1"):
            mnist.Config(**{name: 0})
    for name in ("first_seed", "num_round_targets", "without_top"):
        with pytest.raises(ValueError, match=f"{name}=-1 must not be negative"):
            mnist.Config(**{name: -1})
    with pytest.raises(ValueError, match=r"filter_factor=0\.5"):
        mnist.Config(algorithms=("banel",), settings=Settings(filter_factor=0.5))
    assert mnist.Config().chosen == tuple(METHODS)
    with pytest.raises(ValueError, match=r"rounds=24 ends before .*filter_rounds=\(12, 16, 20, 24"):
        mnist.EXPERIMENT.run(mnist.Config(rounds=24), PREPARED)
    with pytest.raises(ValueError, match=r"--sweep\.algorithms is no sweep"):
        mnist.EXPERIMENT.sweep("algorithms", [("prior", SMOKE)])


def test_presets_are_known_by_their_task_and_settings():
    for name, config in mnist.PRESETS.items():
        fewer = dataclasses.replace(config, seeds=1, algorithms=("prior",), output="elsewhere")
        assert methods.preset_of(fewer, mnist.PRESETS) == name
        assert methods.preset_of(dataclasses.replace(config, rounds=1), mnist.PRESETS) == "custom"
    assert (
        methods.preset_of(dataclasses.replace(SMOKE, settings=Settings(kappa=0.5)), mnist.PRESETS)
        == "custom"
    )


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_cut_lets_its_share_through(share):
    ratios = np.random.default_rng(0).normal(size=1001) * 7 + 40
    cut = filtering.threshold_of(ratios, share, None)
    passed = filtering.acceptance(ratios, cut, None)
    np.testing.assert_array_equal(passed, ratios >= cut)
    assert abs(passed.mean() - share) <= 1 / 1001
    assert passed.sum() >= 1 and filtering.acceptance(np.zeros(3), 0.0, None).all()


def test_a_soft_cut_by_hand():
    soft = filtering.acceptance(np.array([1.0, 3.0, -1.0, 1e6, -1e6]), 1.0, 2.0)
    e = np.exp(1)
    np.testing.assert_allclose(soft, [0.5, e / (1 + e), 1 / (1 + e), 1, 0], atol=1e-12)
    find = filtering.threshold_of
    assert find(np.array([-1.0, 1.0]), 0.5, 1.0) == pytest.approx(0)  # by symmetry
    # Of one sample alone the logistic curve says where.
    assert find(np.array([2.0]), 0.25, 3.0) == pytest.approx(2 + 3 * np.log(3))
    ratios = np.random.default_rng(1).normal(size=400) * 5
    for softness in (0.1, 4.0):
        cut = find(ratios, 0.3, softness)
        assert filtering.acceptance(ratios, cut, softness).mean() == pytest.approx(0.3)


V, LENGTH = 9, 6  # half a million sequences, evenly likely: few are drawn twice


def even_model(log_prob):
    def sample(key, params, *, temperature=1.0):
        tokens = jax.random.randint(key, (LENGTH,), 0, V)
        return Sequences(tokens, tokens >= 0), jnp.float32(-LENGTH * np.log(V))

    return SequenceModel(lambda key: jnp.zeros(()), log_prob, sample)


EVEN = even_model(lambda params, x, **_: jnp.float32(-LENGTH * np.log(V)))
SOME = np.array([[i % 9, i // 9 % 9, 1, 2, 3, i // 81] for i in range(400)])
FILTERED = filtering.Base(
    EVEN, jnp.zeros(()), Sequences(jnp.array(SOME), jnp.array(SOME) >= 0),
    np.full(400, -LENGTH * np.log(V)), 10,
)  # fmt: skip


def filtered(monkeypatch, failure_model, fit, **settings):
    """`run_variant` with this failure model, on samples of the even model."""
    monkeypatch.setattr(filtering, "_failure_model", lambda *_: (failure_model, fit))
    config = mnist_filters.Config(**settings)
    samples, scores = filtering.draw(config, FILTERED, 0)
    variant = filtering.Variant()
    return filtering.run_variant(config, FILTERED, variant, EVEN, 0, samples, scores)


def test_what_passes_the_filters_by_enumeration(monkeypatch):
    """A failure model that dislikes a large first token, then a large second one."""
    first = lambda params, x, **_: x.tokens[params.astype(int)] * 1.0
    position = iter([0, 1])
    fit = lambda *_: (jnp.float32(next(position)), None)
    model = even_model(first)
    numbers = filtered(monkeypatch, model, fit, filters=2, num_failures=100, num_samples=60_000)
    # Those of a first token from 0 to 4 pass, more than half; then the same by the second one.
    np.testing.assert_allclose(numbers[:, 0], [5 / 9, 25 / 81], atol=0.01)
    inside = lambda rows, n: np.mean((rows[:, :n] < 5).all(1))
    for n, row in enumerate(numbers, 1):
        gains = [np.log10(inside(rows, n) / row[0]) for rows in (SOME[:200], SOME[10:200])]
        np.testing.assert_allclose(row[1:3], gains, atol=1e-9)
        assert row[3] == pytest.approx(inside(SOME[200:], n))


def test_a_failure_model_that_knows_its_failures_by_heart_gains_nothing(monkeypatch):
    known = lambda failures, x, **_: jnp.any(jnp.all(x.tokens == failures, axis=1)) * 100.0
    fit = lambda key, params, failures: (failures.tokens, None)
    numbers = filtered(
        monkeypatch, even_model(known), fit, filters=2, num_failures=250, num_samples=800
    )
    np.testing.assert_allclose(numbers, [[1, 0, 0, 1]] * 2, atol=0.02)


def test_too_few_samples_for_the_filters_are_refused():
    with pytest.raises(ValueError, match="num_samples=800 leaves none after 3 filters"):
        mnist_filters.Config(filters=3, num_failures=250, num_samples=800)


def test_filters_on_disk_are_read_and_not_run(monkeypatch, tmp_path):
    config = mnist_filters.PRESETS["smoke"]
    config = dataclasses.replace(
        config, seeds=2, experiment=dataclasses.replace(config.experiment, runs=str(tmp_path))
    )
    calls = []

    def run_variant(config, prepared, variant, member, seed, *drawn):
        calls.append((variant, seed))
        return np.full((2, 4), [seed, -np.inf, np.nan, len(calls)])

    monkeypatch.setattr(filtering, "run_variant", run_variant)
    monkeypatch.setattr(filtering, "draw", lambda *_: (None, None))
    monkeypatch.setattr(filtering, "base_of", lambda *_: FILTERED)
    prepared = PREPARED._replace(bases={"prior": None, "broadened": None})
    one = mnist_filters.run(dataclasses.replace(config, seeds=1), prepared)
    assert len(calls) == len(mnist_filters.VARIANTS)
    two = mnist_filters.run(config, prepared)
    assert len(calls) == 2 * len(mnist_filters.VARIANTS) == len(set(calls))
    for name, values in two.items():
        assert values.shape == (2, 2, 4)
        np.testing.assert_array_equal(values[0], one[name][0])
    other = dataclasses.replace(config, seeds=1, softness=2.0)
    mnist_filters.run(other, prepared)
    assert len(calls) == 3 * len(mnist_filters.VARIANTS)


def refuse(*_, **__):
    raise AssertionError("it was run again")


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """(configuration, rows of table2.json) of a smaller smoke preset on synthetic images."""
    folder = tmp_path_factory.mktemp("mnist")
    small = dataclasses.replace(
        SMOKE,
        algorithms=("prior", "banel"),
        rounds=2,
        block=1,
        num_round_targets=0,
        without_top=3,
        output=str(folder / "results"),
        runs=str(folder / "runs"),
        settings=dataclasses.replace(SMOKE.settings, num_candidates=6),
        task=dataclasses.replace(SMOKE.task, width=8, num_heads=1, num_targets=150),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mnist_prepare, "load_mnist", lambda folder: SMALL)
        mnist.main(small)
        yield small, read_table(small)


def read_table(config):
    return json.loads((Path(config.output) / "table2.json").read_text(), parse_constant=pytest.fail)


def test_all_of_it_writes_what_it_promises(done):
    small, rows = done
    names = [row["algorithm"] for row in rows]
    assert names[:2] == list(small.algorithms) and names[2].startswith(
        "best T, chosen by looking ("
    )
    for row in rows:
        assert set(row) >= KEYS, row["algorithm"]
        assert row["preset"] == "custom"
    for row in rows[:2]:
        assert row["nre"] == 2 * 6 and row["seeds"] == 2 and row["flops"] > 0 and row["wall_s"] > 0
    # The prior's rate, from its file and the targets alone.
    prior = task_module.pretrained_prior(small.task, SMALL, small.runs)
    targets = task_module.target_sequences(small.task, SMALL)
    scores = np.asarray(scoring.log_likelihood(prior.model, prior.params, targets), np.float64)
    for row in rows:
        assert np.log10(row["base"]) == pytest.approx(np.logaddexp.reduce(scores) / np.log(10))
    summary = json.loads((Path(small.output) / "summary.json").read_text())
    assert set(summary["algorithms"]) == set(small.algorithms)
    final = {n: a["final"]["log10_success_rate"] for n, a in summary["algorithms"].items()}
    assert final["prior"] == pytest.approx([np.log10(rows[0]["base"])] * 2, abs=1e-4)
    assert all(final[name] != final["prior"] for name in small.algorithms[1:])
    assert summary["prior"]["held_out_nats"] == prior.metrics["held_out_nats"]
    figures = {path.name for path in (Path(small.output) / "figures").iterdir()}
    assert figures == {"success_rate.png", "figure2.png", "figure11.png"}


@pytest.mark.slow
def test_a_second_time_nothing_is_run_anew(done, monkeypatch, capsys):
    small, rows = done
    monkeypatch.setattr(Runner, "_run", refuse)
    monkeypatch.setattr(prior_cache, "fit_by_epochs", refuse)
    mnist.main(small)
    np.testing.assert_equal(read_table(small)[:2], rows[:2])  # with its commit and its seconds
    printed = capsys.readouterr().out
    assert all(METHODS[name].title in printed for name in small.algorithms)
    with pytest.raises(AssertionError, match="it was run again"):
        mnist.main(dataclasses.replace(small, rounds=3))


def test_a_trial_of_the_search_is_kept_and_not_run_again(done, monkeypatch, capsys, tmp_path):
    small, rows = done
    monkeypatch.setattr(Runner, "_run", refuse)
    trials = [{}, {"settings.generator_learning_rate": 0.5}]
    monkeypatch.setattr(mnist_search.Config, "trials", {"banel": trials[:1], "ours": []})
    config = mnist_search.Config(small, output=str(tmp_path / "search.jsonl"))
    read = lambda: [json.loads(line) for line in Path(config.output).read_text().splitlines()]
    mnist_search.main(config)
    (line,) = read()
    row = next(row for row in rows if row["algorithm"] == "banel")
    np.testing.assert_allclose(
        line["log10_gain_final"], np.log10(row["final_over_base"]), atol=6e-4
    )
    assert line["changes"] == {} and line["commit"] == row["commit"] and line["seconds"] > 0
    assert "banel" in capsys.readouterr().out
    mnist_search.main(config)
    assert read() == [line]
    monkeypatch.setattr(mnist_search.Config, "trials", {"banel": trials})
    with pytest.raises(AssertionError, match="it was run again"):
        mnist_search.main(config)
    assert read() == [line]


def test_rates_too_small_for_float32_are_kept(done):
    _, rows = done
    assert 0 < rows[0]["base"] < 1e-40
    for name in ("final_median", "best_median", "last10_median"):
        assert rows[0][name] == pytest.approx(rows[0]["base"], rel=1e-3)
    assert all(0 < row["improvement_median"] < 100 for row in rows[:2])
    assert all(np.isfinite(row["expected_evaluations_to_first_success"]).all() for row in rows[:2])


def test_a_sweep_over_what_is_started_from_has_each_of_them(monkeypatch):
    class Enough(Exception):
        pass

    def prepare(config):
        return PREPARED._replace(bases=dict.fromkeys({"prior"} | config.bases))

    def run(self, config, prepared):
        for name in config.chosen:
            base = METHODS[name].base(config.settings)
            assert base in prepared.bases
            if base == "broadened":
                raise Enough
        return {}

    monkeypatch.setattr(mnist, "prepare", prepare)
    monkeypatch.setattr(Experiment, "run", run)
    base = lambda name: dataclasses.replace(SMOKE.settings, ours_base=name)
    point = lambda name: dataclasses.replace(SMOKE, algorithms=("ours",), settings=base(name))
    with pytest.raises(Enough):
        mnist.EXPERIMENT.sweep(
            "settings.ours_base", [(n, point(n)) for n in ("prior", "broadened")]
        )


def test_a_sweep_by_hand(monkeypatch, tmp_path, capsys):
    """Two values of failure_epochs, which the control does not feel."""
    epochs = {1: -5.0, 5: -4.0}
    by_round = lambda last: np.stack([[-6.0, last + 1, last]] * 2)

    def run(self, config, prepared):
        last = epochs[config.settings.failure_epochs]
        return {
            "banel": result(by_round(last), [last, last + 0.5]),
            "banel_f1": result(by_round(-7.0), [-7.0, -7.5]),
        }

    prepared = []
    monkeypatch.setattr(mnist, "prepare", lambda config: prepared.append(config) or PREPARED)
    monkeypatch.setattr(Experiment, "run", run)
    config = dataclasses.replace(
        SMOKE, rounds=3, algorithms=("banel", "banel_f1"), output=str(tmp_path)
    )
    point = lambda value: dataclasses.replace(
        config, settings=dataclasses.replace(config.settings, failure_epochs=value)
    )
    mnist.EXPERIMENT.sweep("settings.failure_epochs", [("1", point(1)), ("5", point(5))])
    assert len(prepared) == 1  # for both values
    written = json.loads((tmp_path / "sweep_failure_epochs.json").read_text())
    assert written["values"] == ["1", "5"]
    final, best = written["log10_gain_final"], written["log10_gain_best"]
    learner, control = METHODS["banel"].title, METHODS["banel_f1"].title
    assert final[learner] == [[1, 1.5], [2, 2.5]] and best[learner] == [[2, 2], [3, 3]]
    assert final[control] == [[-1, -1.5]] * 2 and best[control] == [[0, 0]] * 2
    assert final["best T, chosen by looking"] == [[0.75]] * 2
    lines = [line.split("  ") for line in capsys.readouterr().out.splitlines()]
    table = [[part.strip() for part in line if part] for line in lines]
    assert ["BaNEL, as published", "1", "100 [100, 100]", "20.8 [10, 31.6]"] in table
    assert ["BaNEL, as published", "5", "1,000 [1,000, 1,000]", "208 [100, 316]"] in table
    (row,) = [line for line in table if line and line[0] == control]
    assert row[1:] == ["any", "1 [1, 1]", "0.0658 [0.0316, 0.1]"]
    assert (tmp_path / "figures" / "sweep_failure_epochs.png").stat().st_size > 1000
    more = dataclasses.replace(point(5), rounds=4)
    with pytest.raises(ValueError, match=r"--sweep\.rounds: points of other rounds"):
        mnist.EXPERIMENT.sweep("rounds", [("3", point(5)), ("4", more)])


def command(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "experiments.mnist", "--preset=smoke", *arguments],
        cwd=Path(__file__).parents[2],
        env=os.environ | {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"} | environment,
        capture_output=True,
        text=True,
    )


@pytest.mark.slow  # what it runs runs above too, on synthetic images
def test_the_command_on_the_real_data(tmp_path):
    if None in SOURCES:
        pytest.skip(f"MNIST's IDX files are not in {DATA}; BANEL_DATA_DIR may name another folder")
    chosen = ("prior", "banel_f1", "banel")
    where = [
        f"--algorithms={','.join(chosen)}",
        f"--data_dir={DATA}",
        f"--output={tmp_path / 'results'}",
        f"--runs={tmp_path}",
    ]
    done = command(*where)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    rows = json.loads((tmp_path / "results" / "table2.json").read_text())
    assert [row["algorithm"] for row in rows[:-3]] == list(chosen)
    assert all(set(row) >= KEYS and row["preset"] == "smoke" for row in rows)
    assert "By the final value" in done.stdout
    figures = {path.name for path in (tmp_path / "results" / "figures").iterdir()}
    assert figures == {"success_rate.png", "figure2.png", "figure11.png"}


def test_mistakes_end_in_one_line(tmp_path):
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "train-images-idx3-ubyte").write_bytes(b"")
    mistakes = {
        "--algorithms=banel,bnael": "algorithms=bnael is not known; choose among prior, ",
        f"--data_dir={damaged}": "there is no train-labels-idx1-ubyte",
        "--task.patch_width=5": "patch_width=5 must divide",
    }
    rest = ["--preset=smoke", f"--runs={tmp_path / 'runs'}"]
    program = forked.module("experiments.mnist")
    ended = forked.ends(program, [[m, *rest] for m in mistakes], BANEL_DATA_DIR=str(damaged))
    for (code, _, err), message in zip(ended, mistakes.values(), strict=True):
        assert code == 1
        assert err.startswith("error: ") and err.count("\n") == 1 and message in err
