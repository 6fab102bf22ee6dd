"""What may be claimed of made-up results, and floors of plots that are no rates."""

import json

import matplotlib.pyplot as plt
import numpy as np
import pytest
from scipy import stats

from banel_jax.models import tempering
from banel_jax.tasks.gaussian_1d import mode_bins
from experiments.common.claims import FEWEST, Result, verdict
from experiments.common.figures import Floor, rate_by_temperature
from experiments.common.rate_table import Rate
from experiments.digits import table as digits_table
from experiments.digits.config import PRESETS as DIGITS
from experiments.digits.methods import METHODS
from experiments.digits.prepare import Prepared
from experiments.gaussian_1d import experiment as gaussian_1d
from experiments.two_circles import table as two_circles

PRIOR = Result("prior", [1.0])
T = Result("T = 0.5, chosen by looking", [2.55])


def test_a_free_control_chosen_by_looking_counts_and_a_gain_rests_on_successes():
    ours = lambda finals, met=500: Result("ours", finals, met)
    found = verdict([ours([1.1, 1.5, 1.9])], [PRIOR, T])
    assert not found.gain and found.control == T and found.factor == pytest.approx(1.5 / 2.55)
    assert found.words == "below the best control, at 0.588 of it (T = 0.5, chosen by looking)"
    found = verdict([ours([1.1, 1.5, 1.9], 0)], [PRIOR])
    assert not found.gain and found.words == (
        "1.5 times the best control (prior); no gain is claimed, for its runs met 0 successes in "
        "all, and one must rest on 10 or more"
    )
    assert "met 1 success in all" in verdict([ours([3.0], 1)], [PRIOR]).words
    assert not verdict([ours([3.0], FEWEST - 1)], [PRIOR]).gain
    assert verdict([ours([3.0], FEWEST)], [PRIOR]).gain
    found = verdict([ours([0.5, 3.0, 9.0]), ours([2.0, 2.0])], [PRIOR])
    assert found.gain and found.words == (
        "3 times the best control (prior), above it on 2 of 3 seeds"
    )
    assert not verdict([ours([1.09])], [PRIOR]).gain
    assert "within a tenth" in verdict([ours([1.09])], [PRIOR]).words
    assert verdict([], [PRIOR]) is None and verdict([PRIOR], []) is None


def test_counted_rates_claim_nothing_where_their_intervals_overlap():
    interval = lambda k, n: tuple(stats.binomtest(k, n).proportion_ci(method="exact"))
    counted = lambda name, ks, n, met=None: Result(
        name, [k / n for k in ks], met, [interval(k, n) for k in ks]
    )
    few = verdict([counted("ours", [6], 1000, 99)], [counted("prior", [2], 1000)])
    assert few.factor == pytest.approx(3) and not few.gain and "intervals overlap" in few.words
    many = verdict([counted("ours", [600], 10_000, 99)], [counted("prior", [200], 10_000)])
    assert many.gain
    none = verdict([counted("ours", [2], 1000, 99)], [counted("prior", [0], 1000)])
    assert none.factor is None and not none.gain  # 0.0002 to 0.0072, and at most 0.0037
    assert none.words.startswith("no control has any success; no gain is claimed")
    found = verdict([counted("ours", [50], 1000, 99)], [counted("prior", [0], 1000)])
    assert found.gain and found.words == "no control has any success"
    # Of four seeds the second counts, for the median lies between it and the third.
    of_four = counted("ours", [10, 20, 400, 500], 1000, 99)
    assert of_four.interval == interval(20, 1000)


def test_the_digits_claim_nothing_of_no_success():
    warm = {0.5: -3.78 + np.log10(2.55), 2.0: -5.0}
    prepared = Prepared(None, {}, "prior", -3.78, -3.78, warm)  # type: ignore[arg-type]
    spread = lambda values: {"values": values, "median": np.median(values)} | {
        "min": min(values), "max": max(values)
    }  # fmt: skip
    method = lambda finals, met: {
        "final_over_base": spread(finals), "successes_met": spread(met), "final": spread(finals),
        "median_of_rounds_over_base": spread(finals), "best_over_base": spread(finals),
        "expected_evaluations_to_first_success": spread([1.0]),
    }  # fmt: skip
    summary = {
        METHODS["ladder"].title: method([1.0, 1.0], [0, 0]),
        METHODS["filtering"].title: method([1.11, 1.95], [0, 0]),
    }
    free = prepared.best_temperature
    assert free.title == "T = 0.5, chosen by looking" and free.median == pytest.approx(2.55)
    in_words = lambda summary: " ".join(
        digits_table.in_words(DIGITS["smoke"], summary, -3.78, free).split()
    )
    words = in_words(summary)
    assert "below the best control, at 0.6 of it (T = 0.5, chosen by looking)" in words
    assert "adds" not in words and "met 0 successes in all" in words
    rows = digits_table.rows(DIGITS["demo"], summary, dict.fromkeys(summary, 1.0), free)
    assert rows[1]["x best control"] == pytest.approx(1.53 / 2.55)
    ladder = METHODS["ladder"].title
    only = in_words({ladder: summary[ladder]})
    assert only == "Only controls were run: nothing can be said of learning from failures."


def test_rates_of_the_digits_that_are_no_float32_are_kept():
    names = ["success_rate", "filtered_success_rate", *(f"{p}_gain" for p in digits_table.PARTS)]
    same = lambda value: np.full((2, 3), value, np.float32)
    metrics = {f"log10_{name}": same(-42) for name in names} | {"num_successes": same(0)}
    found = digits_table.summarise(metrics, -41.0, 10)
    assert found["final"]["median"] == pytest.approx(1e-42, rel=1e-6, abs=0)
    assert found["final_over_base"]["values"] == pytest.approx([0.1, 0.1])


@pytest.mark.slow
def test_the_toys_name_their_best_control(tmp_path, capsys):
    gaussian_1d.main(gaussian_1d.Config(seeds=2, rounds=2, output=str(tmp_path)))
    words = json.loads((tmp_path / "summary.json").read_text())["conclusion"]
    assert words in capsys.readouterr().out and (tmp_path / "figures/gaussian_1d.png").exists()
    # Of a standard normal and T on its log density: as wide as the square root of T.
    config = gaussian_1d.Config().task
    mass = lambda t: np.exp(-(gaussian_1d.centres(config) ** 2) / (2 * t))
    bins = np.unique(np.concatenate([mode_bins(config, m) for m in config.modes]))
    rates = {t: mass(t)[bins].sum() / mass(t).sum() for t in tempering.LADDER}
    best = max(rates, key=rates.get)
    assert f"T = {best:g} (chosen by looking)" in " ".join(words.split())


def test_the_circles_name_their_best_control():
    number = lambda value: {"values": [value], "median": value, "min": value, "max": value}
    method = lambda final, met: {
        "final": number(final), "best": number(final), "fall_after_peak": number(0.0),
        "successes_met": number(met), "overlap_with_target": number(0.1),
    }  # fmt: skip
    summary = {
        two_circles.PUBLISHED: method(0.3, 500), two_circles.ALL_FAILURES: method(0.9, 9),
        two_circles.THRESHOLD: method(0.5, 700), two_circles.NO_FILTER: method(0.02, 50),
    }  # fmt: skip
    constant = {"prior": 0.01, "T = 2 (chosen by looking)": 0.03}
    words = two_circles.in_words(summary, constant)
    assert "30 times the best control (T = 2 (chosen by looking)); no gain is claimed" in words
    assert "90 times the base" in words
    summary[two_circles.ALL_FAILURES] = method(0.9, 900)
    assert "no gain" not in two_circles.in_words(summary, constant)


@pytest.fixture
def axes():
    figure, axes = plt.subplots()
    yield axes
    plt.close(figure)


def test_a_floor_is_a_mark_that_points_down_and_no_rate(axes):
    floor = Floor.of_samples(100)
    assert floor.height == pytest.approx(1 - 0.025 ** (1 / 100))  # the 95% bound of 0 of 100
    floor.curve(axes, [1, 2, 3, 4], [0.0, 0.5, 0.0, 0.25], colour="k", label="ours")
    line, marks = axes.lines[:2]
    np.testing.assert_array_equal(line.get_ydata(), [np.nan, 0.5, np.nan, 0.25])
    assert list(marks.get_xdata()) == [1, 3] and marks.get_marker() == "v"
    assert list(marks.get_ydata()) == [floor.height] * 2
    floor.curve(axes, [1], [0.0], colour="r", label="other")
    labels = axes.get_legend_handles_labels()[1]
    assert labels.count("no success in 100 samples (95% bound)") == 1


def test_a_constant_rate_below_the_floor_is_no_line(axes):
    floor = Floor.of_samples(4000)
    floor.level(axes, 0.0, colour="k", label="the prior", ls="-")
    floor.level(axes, 0.01, colour="k", label="the ladder", ls=":")
    marks, line = axes.lines
    assert marks.get_marker() == "v" and marks.get_linestyle() == "None"
    assert set(marks.get_ydata()) == {floor.height} and "no success in 4,000" in marks.get_label()
    assert set(line.get_ydata()) == {0.01} and line.get_label() == "the ladder"


def test_a_temperature_without_success_is_drawn_at_its_bound(axes):
    rates = {0.5: Rate(0, 50), 1.0: Rate(5, 1000), 2.0: Rate(0, 1000)}
    rate_by_temperature(axes, rates, "k")
    marks = [line for line in axes.lines if line.get_marker() == "v" and line.get_xdata().size]
    found = {float(m.get_xdata()[0]): float(m.get_ydata()[0]) for m in marks}
    assert found == {t: pytest.approx(rates[t].interval[1]) for t in (0.5, 2.0)}
