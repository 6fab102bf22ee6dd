"""The toy tasks against direct sums, and short runs of their experiments."""

import json
import math

import jax.numpy as jnp
import numpy as np
import pytest

from banel_jax import scoring
from banel_jax.tasks.gaussian_1d import Gaussian1DConfig, gaussian_1d
from banel_jax.tasks.two_circles import TwoCirclesConfig, two_circles
from banel_jax.types import Sequences
from experiments.gaussian_1d import experiment as gaussian_experiment
from experiments.gaussian_1d import table as gaussian_table
from experiments.two_circles import experiment as circles_experiment


def direct_success_rate(config):
    """By loops over the grid, in plain Python."""
    centre = (config.grid - 1) / 2
    reach = min(3 * config.noise, (config.outer_radius - config.inner_radius) / 2)
    sums, arc = {}, {}
    for at in (config.inner_radius, config.outer_radius):
        sums[at] = arc[at] = 0.0
        for i in range(config.grid):
            for j in range(config.grid):
                x, y = i - centre, j - centre
                mass = math.exp(-(((math.hypot(x, y) - at) / config.noise) ** 2) / 2)
                sums[at] += mass
                near = abs(math.hypot(x, y) - config.inner_radius) <= reach
                if near and abs(math.degrees(math.atan2(y, x))) <= config.arc_degrees / 2:
                    arc[at] += mass
    inner, outer = config.inner_radius, config.outer_radius
    share = config.inner_share
    return share * arc[inner] / sums[inner] + (1 - share) * arc[outer] / sums[outer]


@pytest.mark.parametrize(
    ("config", "about"),
    [
        (TwoCirclesConfig(), 0.008),
        (TwoCirclesConfig(inner_share=0.3, arc_degrees=60), 0.05),
        (TwoCirclesConfig(grid=20, inner_radius=3, outer_radius=7, arc_degrees=90), 0.032),
    ],
)
def test_prior_success_rate_by_direct_summation(config, about):
    task = two_circles(config)
    scores = scoring.log_likelihood(task.prior, task.prior_params, task.targets)
    rate = float(jnp.exp(scores).sum())
    assert rate == pytest.approx(direct_success_rate(config), rel=1e-4)
    assert rate == pytest.approx(about, rel=0.1)
    assert float(jnp.exp(task.prior_params).sum()) == pytest.approx(1, rel=1e-4)


def test_rewards_are_one_on_the_targets_alone():
    task = two_circles(TwoCirclesConfig())
    points = jnp.asarray(np.argwhere(np.ones((48, 48), bool)))
    rewards = np.asarray(task.reward_fn(Sequences(points, jnp.ones(points.shape, bool))))
    targets = {tuple(t) for t in np.asarray(task.targets.tokens).tolist()}
    assert targets == {tuple(p) for p in np.asarray(points)[rewards == 1].tolist()}
    assert set(rewards.tolist()) == {0.0, 1.0}


def test_render_shows_the_point():
    task = two_circles(TwoCirclesConfig())
    image = task.render(Sequences(jnp.array([[3, 40]]), jnp.ones((1, 2), bool)))
    assert image.shape == (1, 48, 48)
    assert np.argwhere(np.asarray(image[0])).tolist() == [[40, 3]]  # row y, column x


def test_gaussian_rate_and_positions():
    task = gaussian_1d(Gaussian1DConfig())
    x = [round(-3 + 0.2 * i, 1) for i in range(31)]
    mass = [math.exp(-v * v / 2) for v in x]
    hits = [abs(abs(v) - 2) < 0.3 for v in x]
    expected = sum(m for m, hit in zip(mass, hits, strict=True) if hit) / sum(mass)
    scores = scoring.log_likelihood(task.prior, task.prior_params, task.targets)
    assert float(jnp.exp(scores).sum()) == pytest.approx(expected, rel=1e-4)
    every = Sequences(jnp.arange(31)[:, None], jnp.ones((31, 1), bool))
    assert np.asarray(task.reward_fn(every)).astype(bool).tolist() == hits
    assert [float(s) for s in task.render(every)] == x


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (lambda: TwoCirclesConfig(grid=30), "grid=30 is too small"),
        (lambda: TwoCirclesConfig(inner_radius=25), "inner_radius=25"),
        (lambda: TwoCirclesConfig(noise=0), "noise=0"),
        (lambda: TwoCirclesConfig(arc_degrees=0), "arc_degrees=0"),
        (lambda: Gaussian1DConfig(modes=(5.0,)), "modes="),
        (lambda: Gaussian1DConfig(bin_width=0.7), "bin_width=0.7"),
        (lambda: circles_experiment.Config(seeds=0), "seeds=0"),
    ],
)
def test_bad_settings_are_named(config, message):
    with pytest.raises(ValueError, match=message):
        config()


@pytest.mark.slow
def test_failures_of_all_rounds_lead_to_the_arc(tmp_path, capsys):
    config = circles_experiment.Config(rounds=10, seeds=3, first_seed=7, output=str(tmp_path))
    circles_experiment.main(config)
    assert circles_experiment.ALL_FAILURES in capsys.readouterr().out
    summary = json.loads((tmp_path / "summary.json").read_text())
    base, methods = summary["base_success_rate"], summary["methods"]
    assert base == pytest.approx(direct_success_rate(config.task), rel=1e-4)
    learnt = methods[circles_experiment.ALL_FAILURES]
    assert learnt["final"]["median"] > 0.95
    assert learnt["fall_after_peak"]["max"] < 0.05
    assert methods[circles_experiment.NO_FILTER]["final"]["median"] < 3 * base
    # A round improves the success rate by at most f; distillation noise is beside the point.
    rates = np.array(learnt["success_rate_by_round"]["values"])
    assert (rates[:, 0] == pytest.approx(base, rel=1e-3)) and rates[:, 1].max() < 8 * base
    for name in ("rounds", "success_rate"):
        assert (tmp_path / "figures" / f"{name}.png").stat().st_size > 10_000


def test_tempered_controls_by_enumeration():
    config = TwoCirclesConfig(grid=20, inner_radius=3, outer_radius=7, arc_degrees=90)
    task = two_circles(config)
    prior = np.exp(np.asarray(task.prior_params, np.float64))
    rewarded = np.zeros_like(prior, bool)
    rewarded[tuple(np.asarray(task.targets.tokens).T)] = True
    rates = []
    for t in (0.5, 0.7, 1.0, 1.5, 2.0, 3.0):
        x = prior.sum(1) ** (1 / t)
        y_given_x = (prior / prior.sum(1, keepdims=True)) ** (1 / t)
        joint = (x / x.sum())[:, None] * y_given_x / y_given_x.sum(1, keepdims=True)
        rates.append(joint[rewarded].sum())
    controls = circles_experiment.controls(task)
    rate = lambda name: np.exp(controls[name])[rewarded].sum()
    assert rate("tempered ladder") == pytest.approx(np.mean(rates), rel=1e-4)
    assert max(map(rate, controls)) == pytest.approx(max(rates), rel=1e-4)


def test_coverage_by_hand():
    prior = np.array([0.4, 0.1, 0.3, 0.2])
    failures = np.array([3, 0, 0, 0])
    # A bandwidth of half a bin: bin 1 gets 3 exp(-2) = 0.41 of a failure, so bins 1 to 3 are
    # untried, of prior mass 0.6.
    held = lambda generator: gaussian_table.coverage(
        prior, np.array(generator), failures, bandwidth=0.5
    )
    assert held([0, 1 / 6, 3 / 6, 2 / 6]) == pytest.approx(1)
    assert held([0, 0, 1, 0]) == pytest.approx(0.5)
    assert held([1, 0, 0, 0]) == 0


@pytest.mark.slow
def test_the_best_half_loses_a_mode_and_coverage_tells(tmp_path):
    config = gaussian_experiment.Config(seeds=8, first_seed=500, output=str(tmp_path))
    gaussian_experiment.main(config)
    rows = {
        row["method"]: row for row in json.loads((tmp_path / "summary.json").read_text())["rows"]
    }
    lost, kept = rows[gaussian_experiment.ALL_FAILURES], rows[gaussian_experiment.THRESHOLD]
    assert lost["modes"] < 1.3 and kept["modes"] > 1.7
    assert lost["coverage"] < gaussian_experiment.ALARM < kept["coverage"]
    assert lost["tau"] > 1 and kept["tau"] == 0
    assert (tmp_path / "figures" / "gaussian_1d.png").stat().st_size > 10_000
