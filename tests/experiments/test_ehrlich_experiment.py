"""Ehrlich functions screened: which thresholds are chosen, rates against exact ones, instances."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from banel_jax import sampling, scoring
from banel_jax.algorithms.banel import BanelConfig, banel
from banel_jax.models.markov import chain_params, markov_chain
from banel_jax.models.table import table
from banel_jax.prior_cache import Prior
from banel_jax.tasks.ehrlich import Ehrlich, EhrlichConfig, draw, ehrlich
from banel_jax.training import TrainingConfig
from banel_jax.types import Sequences
from experiments.ehrlich import climbing, instances, rates, screen
from experiments.ehrlich.config import PRESETS, Config, of_size

FLAT = Ehrlich([0.5, 0.5], [[0.5, 0.5], [0.5, 0.5]], [[0, 1], [1, 1]], [[2], [1]], 6, 2)
SMOKE = PRESETS["smoke"]


def test_the_priors_rates_are_exact_up_to_the_draws():
    """The prior is another chain, all of whose successes can be enumerated."""
    model = markov_chain(2, 6)
    params = chain_params(np.array([0.7, 0.3]), np.array([[0.8, 0.2], [0.6, 0.4]]))
    prior = Prior(model, params, {})
    task = ehrlich(FLAT, 1.0, prior)
    exact = float(jnp.exp(scoring.log_likelihood(model, params, task.targets)).sum())
    draws = rates.drawing(FLAT, 1000)
    expected = {0.5: 0.9, 1.0: 0.001}  # three batches of 1,000 for the first, all for the second
    counts, found = rates.of_prior(prior, draws(jax.random.key(0), 4000), expected, 1000)
    assert sum(counts.values()) == 4000
    chain = rates.reaching(counts, 1.0)
    assert (found[0.5].draws, found[1.0].draws) == (3000, 4000)
    assert found[1.0].successes == chain.successes and chain.value == pytest.approx(
        len(task.targets.tokens) / 64, abs=0.03
    )
    low, high = found[1.0].interval
    assert exact == pytest.approx(found[1.0].value, abs=0.02) and low < exact < high
    assert high - low < 0.05 and chain.value > exact + 0.1
    beside = rates.sampled(prior, FLAT, jax.random.key(1), 3000)
    assert rates.reaching(beside.counts, 1.0).value == pytest.approx(exact, abs=0.03)
    assert beside.feasible == 1 and sum(beside.counts.values()) == 3000


def test_none_among_the_draws_is_a_rate_of_zero_with_its_interval():
    never = Prior(*(markov_chain(2, 6), chain_params(np.array([1.0, 0]), np.eye(2))), {})
    draws = rates.drawing(FLAT, 500)
    _, found = rates.of_prior(never, draws(jax.random.key(0), 500), {1.5: 0.1}, 500)
    assert found[1.5][0] == 0 and found[1.5].interval == pytest.approx((0, 0.00735), abs=1e-4)


def test_thresholds_are_the_levels_nearest_to_the_middle_of_their_bands():
    levels = {0.0: 9000, 0.25: 800, 0.5: 196, 1.0: 4}  # of 10,000: 0.1, 0.02, 0.0004
    chosen = screen.thresholds(FLAT, levels, (1.0, 0.01, 0.001, 1e-5))
    assert chosen == {0.25: 0.1, 1.0: 0.0004}  # both 0.1 and 0.02 lie in the first band
    assert rates.reaching(levels, 0.5) == (200, 10_000)


def test_no_motif_of_a_screened_function_has_a_token_twice():
    first, second = screen.functions("12-24-3-4-4", 2)
    assert first.seed < second.seed and (first.vocab_size, first.length) == (12, 24)
    for seed in range(second.seed + 1):
        motifs = draw(of_size("12-24-3-4-4", seed)).motifs.tolist()
        twice = any(len(set(motif)) < 4 for motif in motifs)
        assert twice == (seed not in (first.seed, second.seed))
    with pytest.raises(ValueError, match="of 2-9-1-3-3 all motifs have a token twice"):
        screen.functions("2-9-1-3-3", 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sizes": ("8-32-4-4",)}, "'8-32-4-4' must be five whole numbers"),
        ({"sizes": ("8-12-4-4-4",)}, "do not fit into length=12"),
        ({"bands": (0.1, 0.2)}, "bands="),
        ({"bands": (0.1,)}, "bands="),
        ({"batch": 0}, "batch=0"),
    ],
)
def test_bad_settings_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        Config(**change)


def test_the_smoke_preset_and_what_is_prepared_of_it(tmp_path, capsys):
    runs, file = tmp_path / "runs", tmp_path / "results" / "instances.json"
    where = {"output": str(file.parent), "runs": str(runs)}
    screen.main(Config(**vars(SMOKE) | where))
    assert "prior" in capsys.readouterr().out
    told = json.loads(file.read_text())
    assert {"command", "commit", "config", "wall_seconds"} <= told.keys()
    every = instances.named(file)
    assert len(every) == 2
    fitted = {path: path.stat().st_mtime_ns for path in runs.glob("*.npz")}
    for name, instance in every.items():
        found = instances.prepared(name, runs, file)
        assert found.instance == instance and found.instance.prior == SMOKE.prior
        drawn, _ = sampling.sample(found.task.prior, jax.random.key(5), found.prior.params, 1000)
        rate = float(found.task.reward_fn(drawn).mean())
        assert rate == pytest.approx(instance.rate, abs=0.06), name
    assert {path: path.stat().st_mtime_ns for path in runs.glob("*.npz")} == fitted
    with pytest.raises(ValueError, match="no instance 'v9'; choose one of v4_"):
        instances.prepared("v9", runs, file)
    told["instances"][0]["spacings"][0][0] += 1
    file.write_text(json.dumps(told))
    with pytest.raises(ValueError, match="draws another function"):
        instances.prepared(told["instances"][0]["name"], runs, file)
    file.write_text("{}")
    with pytest.raises(ValueError, match=r"instances.json has no instances"):
        instances.named(file)


def test_the_instances_that_are_kept():
    """Three and more a decade of rates, none of them trivial, as they were drawn."""
    told = json.loads(instances.FILE.read_text(encoding="utf-8"))["instances"]
    every = instances.named()
    assert len(every) == len(told) >= 9
    rate = np.array([instance.rate for instance in every.values()])
    for low, high in ((1e-3, 1e-2), (1e-4, 1e-3), (1e-5, 1e-4)):
        assert np.sum((rate >= low) & (rate < high)) >= 3
    for row, instance in zip(told, every.values(), strict=True):
        function = draw(instance.config)
        assert instances.described(function) == instance.drawn
        assert screen.no_token_twice(function) and instance.threshold in function.levels
        low, high = instance.interval
        assert low < instance.rate < high < 3 * low
        direct = row["sampled"]["interval"]
        assert direct[0] < high and low < direct[1]  # of the prior's own samples, fewer
        assert screen.name(EhrlichConfig(**row["function"]), row["threshold"]) == row["name"]


SMALL = climbing.Config(
    num_candidates=20, budget=80, at_the_top=2, seeds=2, prior=SMOKE.prior,
    banel=dataclasses.replace(
        climbing.BOTH_SIDES, num_candidates=20, num_distilled=40,
        generator_training=TrainingConfig(epochs=2, batch_size=20, learning_rate=1e-2),
    ),
)  # fmt: skip


def climbed(tmp_path):
    """(configuration, recorded runs) on a function of 4 tokens, 8 places and two motifs of 3."""
    function = draw(of_size("4-8-2-3-3", 1))
    told = {
        "function": {
            "initial": function.initial.tolist(), "transitions": function.transitions.tolist(),
            **instances.described(function), "length": 8, "quantisation": 3, "epistasis": 0.0,
        },
        "chosen": {}, "trials": [], "runs": [{"evaluations": [40, 80], "best": [0.1, 0.2]}],
    }  # fmt: skip
    (tmp_path / "evolution.json").write_text(json.dumps(told))
    config = dataclasses.replace(
        SMALL, evolution=str(tmp_path / "evolution.json"), output=str(tmp_path / "results"),
        runs=str(tmp_path / "runs"),
    )  # fmt: skip
    climbing.main(config)
    path = tmp_path / "results" / "climb.jsonl"
    return config, function, [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.slow
def test_a_climbs_threshold_is_what_its_best_few_reach_and_never_falls(tmp_path, capsys):
    config, function, runs = climbed(tmp_path)
    assert [run["seed"] for run in runs] == [0, 1]
    for run in runs:
        assert run["evaluations"] == [20, 40, 60, 80] and max(run["distinct"]) <= 80
        assert run["best"] == sorted(run["best"]) and run["threshold"] == sorted(run["threshold"])
        assert all(
            b >= t >= function.levels[1] for b, t in zip(run["best"], run["threshold"], strict=True)
        )
    assert "seeds" in capsys.readouterr().out
    climbing.main(config)  # nothing is run again
    assert len((tmp_path / "results" / "climb.jsonl").read_text().splitlines()) == 2
    assert (tmp_path / "results" / "figures" / "best_value.png").exists()


def test_what_was_paid_for_is_judged_anew_by_a_higher_threshold():
    """By hand: of four tokens the odd ones succeeded, and now 3 alone does."""
    model = table(4, 1)
    algorithm = banel(model, BanelConfig(num_candidates=4, failure_rounds=2, replay=1.0))
    state = algorithm.init(jax.random.key(0), jnp.zeros(4))
    paid = Sequences(jnp.arange(4, dtype=jnp.int32)[:, None], jnp.ones((4, 1), bool))
    odd = jnp.float32([0, 1, 0, 1])
    state = state.replace(
        failures=state.failures.add(0, paid, (1 - odd) * 0.5),
        successes=state.successes.add(paid, odd),
    )
    anew = climbing.judged_anew(state, lambda x: x.tokens[:, 0] == 3)
    assert anew.failures.weights.tolist() == [0.5, 1.0, 0.5, 0.0, *[0.0] * 4]  # the rest is empty
    there = anew.successes.there()
    assert int(there.sum()) == 1 and anew.successes.sequences.tokens[there].tolist() == [[3]]


def test_a_file_without_a_function_is_refused_in_one_line(tmp_path):
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(ValueError, match=r"other\.json has no function"):
        climbing.read_function(str(tmp_path / "other.json"))
