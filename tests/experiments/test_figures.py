"""What figures show: chosen lines, their names apart, one colour a method, rounds that change."""

import json
from itertools import pairwise
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from experiments.addition import figures as addition_figures
from experiments.addition.methods import METHODS
from experiments.common import curves, figures
from experiments.common.curves import Curve
from experiments.digits import figures as digits_figures
from experiments.gsm8k import figures as gsm8k_figures
from experiments.gsm8k.methods import METHODS as GSM8K_METHODS
from experiments.mnist import figures as mnist_figures
from experiments.two_circles import figures as two_circles_figures

RESULTS = Path(__file__).parents[2] / "experiments" / "results"


def curve(name, final, control=False):
    return Curve(name, name, np.array([[0.5, final], [0.5, final / 2], [0.5, 1.0]]), control)


def test_shown_are_banel_the_two_best_others_and_the_best_control():
    every = [
        curve("rnd", 0.1), curve("rtb", 0.6), curve("banel", 0.01), curve("pseudo_count", 0.3),
        curve("ours", 0.2), curve("ladder", 0.02, True), curve("ours_f1", 0.03, True),
        curve("prior", 0.9, True),
    ]  # fmt: skip
    names = [c.name for c in curves.chosen(every)]
    assert set(names) == {"ours", "banel", "rtb", "pseudo_count", "ours_f1"}
    assert len(names) == 5


@pytest.mark.parametrize("seed", range(10))
def test_names_lie_apart_and_in_order(seed):
    draw = np.random.default_rng(seed)
    places = sorted(draw.uniform(size=9).round(1))
    heights = draw.uniform(0.03, 0.09, 9)
    found = curves.spread(places, heights)
    for (a, b), (h, k) in zip(pairwise(found), pairwise(heights), strict=True):
        assert b - a >= (h + k) / 2 - 1e-6
    free = [0.1, 0.5, 0.9]
    assert curves.spread(free, [0.1] * 3) == free


def test_every_method_has_one_colour_of_its_own():
    names = [n for n in {**METHODS, **GSM8K_METHODS} if not n.endswith("_every_round")]
    colours = [figures.colour(name) for name in names]
    assert len(set(colours)) == len(names) and "#999999" not in colours
    assert {figures.colour(n) for n in digits_figures.NAMES.values()} <= set(colours)
    titles = ("best T, chosen by looking", "likeliest 1 in 16 of the prior", "least likely 1 in f")
    free = {figures.of_control(title) for title in titles}
    assert len(free) == 3 and not free & set(colours)
    assert figures.of_control("T = 1.1, chosen by looking") == figures.of_control("best T")


def test_names_at_the_ends_of_lines_are_dark_enough_to_read_and_of_the_lines_hue():
    for name, colour in figures.OF_METHODS.items():
        parts = np.array(curves.ink(colour))
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        contrast = 1.05 / (linear @ [0.2126, 0.7152, 0.0722] + 0.05)  # WCAG 2, on white
        assert contrast > 4, name
        hue = figures.matplotlib.colors.rgb_to_hsv(figures.matplotlib.colors.to_rgb(colour))[0]
        assert figures.matplotlib.colors.rgb_to_hsv(parts)[0] == pytest.approx(hue, abs=1e-6)


def test_what_lies_below_the_floor_is_named_once_and_takes_no_room():
    figure, axes = figures.plt.subplots(layout="constrained")
    floor = figures.Floor(0.1, "below 0.1")
    floor.curve(axes, [1, 2, 3], [0.5, 0.05, 0.01], colour="#000000", label=None)
    floor.level(axes, 0.01, colour="#FF0000", label=None)
    figure.draw_without_rendering()
    assert axes.get_legend_handles_labels()[1] == ["below 0.1"]
    assert axes.get_position().x0 < 0.1
    figures.plt.close(figure)


@pytest.mark.parametrize(
    ("number", "rows", "columns"), [(1, 1, 1), (3, 1, 3), (4, 2, 2), (5, 2, 3), (6, 2, 3)]
)
def test_many_panels_stand_in_rows(number, rows, columns):
    figure, panels = figures.grid(number, 3)
    assert tuple(figure.get_size_inches()) == (figures.WIDTH, 3 * rows) and len(panels) == number
    assert panels[-1].get_gridspec().ncols == columns
    figures.plt.close(figure)


@pytest.mark.parametrize(
    ("rates", "count"),
    [
        ([0.1, 0.5, 0.999, 0.998, 0.999, 0.999], 4),
        ([0.1, 0.5], 2),
        ([0.3] * 5, 1),
        ([0.1] * 9 + [0.9], 10),
    ],
)
def test_rounds_end_where_nothing_changes_any_more(rates, count):
    assert two_circles_figures.settled(rates) == count


@pytest.mark.parametrize("name", ["addition", "digits", "gsm8k", "mnist", "two_circles"])
def test_committed_results_are_drawn_again(name, tmp_path):
    summary = json.loads((RESULTS / name / "summary.json").read_text())
    if name == "mnist":
        mnist_figures.success_rate(tmp_path / "success_rate.png", summary)
        told = json.loads((RESULTS / name / "filters_14.json").read_text())
        mnist_figures.filters(tmp_path / "filters.png", told)
        assert (tmp_path / "filters.png").exists()
    elif name in ("digits", "two_circles"):
        {"digits": digits_figures, "two_circles": two_circles_figures}[name].draw(summary, tmp_path)
    else:
        module, methods = {
            "addition": (addition_figures, METHODS), "gsm8k": (gsm8k_figures, GSM8K_METHODS),
        }[name]  # fmt: skip
        module.draw(summary, tmp_path, methods)
    image = matplotlib.image.imread(tmp_path / "success_rate.png")
    assert (
        image.shape[0] > 300
        and image.shape[1] == 150 * figures.WIDTH
        and image[..., :3].std() > 0.02
    )


def test_a_sweep_over_a_question_has_a_line_for_each_value(tmp_path):
    summary = json.loads((RESULTS / "gsm8k" / "summary.json").read_text())
    question, told = next(iter(summary["questions"].items()))
    of = [algorithm["rounds"] for algorithm in told["algorithms"].values()]
    swept = {f"a method, kappa {value}": of[value] for value in (0, 1)}
    gsm8k_figures.swept(tmp_path / "swept.png", summary["config"], question, told, swept)
    assert matplotlib.image.imread(tmp_path / "swept.png")[..., :3].std() > 0.02
