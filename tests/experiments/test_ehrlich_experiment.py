"""Ehrlich functions screened: which thresholds are chosen, rates against exact ones, instances."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from banel_jax import sampling, scoring
from banel_jax.models.markov import chain_params, markov_chain
from banel_jax.prior_cache import Prior
from banel_jax.tasks.ehrlich import Ehrlich, EhrlichConfig, draw, ehrlich
from experiments.ehrlich import instances, rates, screen
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
