"""Flags from dataclasses, and the reports' arithmetic by hand."""

import dataclasses
import importlib
import io
import json
import re
import sys
from pathlib import Path
from typing import Literal

import enumeration
import forked
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl import flags as absl_flags

from banel_jax import training
from banel_jax.models import tempering
from banel_jax.runs.progress import progress
from banel_jax.training import TrainingConfig
from banel_jax.types import Sequences, Task
from experiments.addition import search as addition_search
from experiments.common import flags, report, search
from experiments.common.batches import over
from experiments.common.broadening import BroadenConfig, broadened
from experiments.digits import search as digits_search
from experiments.mnist import search as mnist_search


@dataclasses.dataclass(frozen=True)
class Inner:
    kappa: float = 1.0
    budget: int | None = 5


@dataclasses.dataclass(frozen=True)
class Outer:
    rounds: int = 3
    rungs: tuple[float, ...] = (1.0, 2.0)
    fast: bool = False
    inner: Inner = dataclasses.field(default_factory=Inner)


def parse(*arguments):
    values = absl_flags.FlagValues()
    read = flags.define(Outer(), values)
    values(["program", *arguments])
    return read()


def test_flags_fill_the_fields_and_leave_the_defaults():
    assert parse() == Outer()
    parsed = parse("--rounds=7", "--rungs=0.5,3", "--fast", "--inner.budget=none")
    assert parsed == Outer(7, (0.5, 3.0), True, Inner(1.0, None))


@pytest.mark.parametrize("argument", ["--rounds=x", "--rungs=1,b", "--unknown=1"])
def test_bad_flags_are_refused(argument):
    with pytest.raises(absl_flags.Error):
        parse(argument)


def test_expected_evaluations_by_hand():
    assert report.expected_evaluations([0.25], 10) == pytest.approx(4)  # geometric
    # Two draws at 1/2, then certainty: 1 * 1/2 + 2 * 1/4 + 3 * 1/4.
    assert report.expected_evaluations([0.5, 1.0], 2) == pytest.approx(1.75)
    assert report.expected_evaluations([0.0, 1.0], 2) == pytest.approx(3)
    assert report.expected_evaluations([0.0], 2) == float("inf")
    # Draws at 1/2, 1/5 and 1: 1 * 1/2 + 2 * 1/2 * 1/5 + 3 * 1/2 * 4/5.
    assert report.expected_evaluations([0.5, 0.2, 1.0], 1) == pytest.approx(1.9)


def test_fall_after_peak_ignores_what_was_before():
    assert report.fall_after_peak([0.1, 0.9, 0.6, 0.8]) == pytest.approx(0.3)
    assert report.fall_after_peak([0.1, 0.5, 0.9]) == 0


def test_json_is_strict_and_whole(tmp_path):
    path = tmp_path / "folder" / "x.json"
    report.write_json(path, {"a": np.float32(0.5), "b": [float("nan"), np.arange(2)]})
    assert json.loads(path.read_text()) == {"a": 0.5, "b": [None, [0, 1]]}
    assert [p.name for p in path.parent.iterdir()] == ["x.json"]


def test_table_aligns_and_marks_what_is_missing():
    lines = report.format_table([{"a": "x", "b": 12345}, {"a": "long"}], ["a", "b"]).split("\n")
    assert lines[2:] == ["x     12,345", "long       -"]


@pytest.mark.parametrize("seed", range(20))
def test_every_table_fits_the_terminal_and_loses_nothing(seed):
    draw = np.random.default_rng(seed)
    word = lambda most: "".join(draw.choice(list("abcdefgh"), draw.integers(1, most)))
    text = lambda: " ".join(word(12) for _ in range(draw.integers(1, 12)))
    columns = list(dict.fromkeys(text() for _ in range(draw.integers(1, 15))))
    values = (text, lambda: 10.0 ** draw.uniform(-30, 30), lambda: None, lambda: "6e+10 [1, 2e-9]")
    rows = [{c: values[draw.integers(4)]() for c in columns} for _ in range(draw.integers(5))]
    found = report.format_table(rows, columns)
    lines = found.split("\n")
    assert max(map(len, lines)) <= 120
    tables = found.split("\n\n")
    once = [columns[0]] * (len(tables) - 1) + columns
    body = [report.format_value(row[c]) for row in rows for c in once]
    shown = lambda text: sorted(re.sub(r"[\s-]", "", text))
    assert shown(found) == shown("".join([*once, *body]))


def test_a_wide_table_folds_its_names_before_it_goes_on_below():
    columns = ["algorithm", *[f"a name of three{i}" for i in range(10)]]
    row = {c: 0.5 for c in columns} | {"algorithm": "x"}
    folded = report.format_table([row], columns, 100)
    assert folded.count("algorithm") == 1 and max(map(len, folded.split("\n"))) <= 100
    below = report.format_table([row], columns, 60)
    assert below.count("algorithm") == 2 and below.count("0.5") == 10


@dataclasses.dataclass(frozen=True)
class Fit:
    epochs: int = 3
    rate: float | None = 0.5

    def __post_init__(self):
        if self.epochs < 1:
            raise ValueError(f"epochs={self.epochs} must be at least 1")


@dataclasses.dataclass(frozen=True)
class Experiment:
    rounds: int = 3
    fast: bool = False
    start: Literal["prior", "broadened"] = "prior"
    sizes: tuple[int, ...] = (1, 2)
    first: Fit = dataclasses.field(default_factory=Fit)
    second: Inner = dataclasses.field(default_factory=Inner)
    kappa: float = 2.0


@pytest.fixture
def points(monkeypatch):
    """What a sweep runs, from its arguments."""
    values = absl_flags.FlagValues()
    monkeypatch.setattr(absl_flags, "FLAGS", values)
    read = flags.define(Experiment(), values)
    values(["program", "--rounds=5"])
    return lambda *given: flags._points(list(given), read)


BEFORE = Experiment(rounds=5)
FIRST = lambda **changes: dataclasses.replace(BEFORE, first=Fit(**changes))


@pytest.mark.parametrize(
    ("argument", "name", "expected"),
    [
        ("--sweep.rounds=1,20", "rounds", [("1", Experiment(1)), ("20", Experiment(20))]),
        (
            "-sweep.first.epochs=2,7", "first.epochs",
            [("2", FIRST(epochs=2)), ("7", FIRST(epochs=7))],
        ),
        ("--sweep.epochs=2", "first.epochs", [("2", FIRST(epochs=2))]),
        (
            "--sweep.rate=1e-3,none", "first.rate",
            [("1e-3", FIRST(rate=0.001)), ("none", FIRST(rate=None))],
        ),
        # A whole name goes before the last part of another.
        ("--sweep.kappa=3", "kappa", [("3", dataclasses.replace(BEFORE, kappa=3.0))]),
        (
            "--sweep.second.kappa=3", "second.kappa",
            [("3", dataclasses.replace(BEFORE, second=Inner(kappa=3.0)))],
        ),
        (
            "--sweep.start=broadened,prior", "start",
            [("broadened", dataclasses.replace(BEFORE, start="broadened")), ("prior", BEFORE)],
        ),
        (
            "--sweep.fast=true,false", "fast",
            [("true", dataclasses.replace(BEFORE, fast=True)), ("false", BEFORE)],
        ),
    ],
)  # fmt: skip
def test_a_sweep_names_one_field_and_changes_it_alone(points, argument, name, expected):
    field, found = points(argument)
    assert (field, found) == (name, expected)
    kinds = lambda config: [type(v) for v in dataclasses.astuple(config)]
    assert [kinds(c) for _, c in found] == [kinds(c) for _, c in expected]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--sweep.unknown=1"], "--sweep.unknown=1 names no one field"),
        (["--sweep.rounds="], "names no one field and its values; there are rounds"),
        (["--sweep.rounds"], "names no one field and its values; there are rounds"),
        (["--sweep.rounds=1", "--sweep.kappa=1"], "sweep one field at a time"),
        (["--sweep.rounds=1,x"], "--sweep.rounds=1,x: flag --rounds=x"),
        (["--sweep.rounds=1.5"], "--sweep.rounds=1.5: flag --rounds=1.5"),
        (["--sweep.start=posterior"], "'posterior' is not one of prior, broadened"),
        (["--sweep.epochs=1,0"], "epochs=0 must be at least 1"),
    ],
)
def test_a_wrong_sweep_is_one_line(points, given, message):
    with pytest.raises(ValueError) as caught:
        points(*given)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_last_part_of_several_fields_names_them(monkeypatch):
    values = absl_flags.FlagValues()
    monkeypatch.setattr(absl_flags, "FLAGS", values)
    two = dataclasses.make_dataclass(
        "Two", [("a", Fit, dataclasses.field(default=Fit())), ("b", Fit, Fit())], frozen=True
    )
    read = flags.define(two(), values)
    with pytest.raises(ValueError, match=r"names no one field .*; there are a\.epochs, b\.epochs;"):
        flags._points(["--sweep.epochs=1"], read)


PROGRAM = """
import dataclasses
from experiments.common import flags

@dataclasses.dataclass(frozen=True)
class Config:
    rounds: int = 3
    width: int = 4

flags.run(
    lambda config: print("main", config.rounds, config.width),
    Config(),
    {"wide": Config(width=8)},
    lambda field, points: print(field, [(v, c.rounds, c.width) for v, c in points]),
)
"""


def test_a_sweep_takes_the_place_of_the_program():
    wide = ["--preset=wide", "--sweep.rounds=1,2", "--rounds=5"]
    cases = [
        (["--rounds=5"], "main 5 4", ""),
        (wide, "rounds [('1', 1, 8), ('2', 2, 8)]", ""),
        (["--sweep.rounds=1,x"], "", "error: --sweep.rounds=1,x: flag --rounds=x: "),
    ]
    ended = forked.ends(PROGRAM, [arguments for arguments, *_ in cases])
    for (_, output, error), (code, stdout, stderr) in zip(cases, ended, strict=True):
        assert stdout.strip() == output
        assert stderr.startswith(error) and stderr.count("\n") == bool(error)
        assert (code != 0) == bool(error)


def test_fields_are_changed_by_their_path_and_nothing_else():
    changes = {"first.epochs": 9, "second.budget": None, "sizes": (3,), "first.rate": 0.25}
    found = search.with_fields(Experiment(), changes)
    assert found == Experiment(sizes=(3,), first=Fit(9, 0.25), second=Inner(1.0, None))
    assert search.with_fields(found, {}) == found
    with pytest.raises(ValueError, match="epochs=0"):
        search.with_fields(Experiment(), {"first.epochs": 0})
    with pytest.raises((AttributeError, TypeError)):
        search.with_fields(Experiment(), {"first.epoch": 1})


@pytest.mark.parametrize("module", [addition_search, digits_search, mnist_search])
def test_every_trial_of_a_search_is_another_experiment(module):
    start = module.Config().experiment
    banels = ("ours", "filtering", "banel")
    most = max(len(module.TRIALS[name]) for name in banels if name in module.TRIALS)
    for name, trials in module.TRIALS.items():
        found = [
            search.with_fields(start, {"algorithms": (name,), **changes}) for changes in trials
        ]
        assert all(a != b for i, a in enumerate(found) for b in found[:i])
        assert len(found) >= (4 if name in banels else most)
    table = module.EXPERIMENT
    assert {start.first_seed + i for i in range(start.seeds)}.isdisjoint(
        range(table.first_seed, table.first_seed + table.seeds)
    )
    with pytest.raises(ValueError, match="algorithms=x has no trials; choose among ours, "):
        module.Config(algorithms=("x",))


def test_the_search_on_mnist_has_another_prior_and_other_targets():
    assert mnist_search.Config().experiment.task.seed != mnist_search.EXPERIMENT.task.seed


def refuse(*_, **__):
    raise AssertionError("it was trained again")


def test_a_broadened_prior_is_made_once_and_from_its_settings(tmp_path, monkeypatch):
    model = enumeration.TABLE
    params = enumeration.table_params(0)
    task = Task(model, params, lambda x: jnp.zeros(x.tokens.shape[0]), None, None)
    config = BroadenConfig((1.0, 4.0), 2000, TrainingConfig(epochs=3, learning_rate=0.01))
    make = lambda config, seed=3: broadened(task, config, seed, tmp_path, "toy")
    first = make(config)
    wide = tempering.ladder(model, config.temperatures)
    expected, _ = jax.jit(
        lambda p: training.broaden(wide, model, config.training, jax.random.key(3), p, 2000)
    )(params)
    np.testing.assert_array_equal(first, expected)
    assert np.abs(first - params).max() > 0.1
    with monkeypatch.context() as patch:
        patch.setattr(training, "broaden", refuse)
        np.testing.assert_array_equal(make(config), first)
        with pytest.raises(AssertionError, match="trained again"):  # of another prior
            broadened(task._replace(prior_params=params + 1), config, 3, tmp_path, "toy")
    other = make(dataclasses.replace(config, temperatures=(0.25, 1.0)))
    assert np.abs(other - first).max() > 0.1


def test_calls_of_one_shape_over_any_number():
    shapes = []

    def double(x):
        shapes.append(x.tokens.shape)
        return x.tokens * 2, x.tokens.sum(axis=1)

    tokens = np.arange(14).reshape(7, 2)
    sequences = Sequences(tokens, np.ones((7, 2), bool))
    doubled, sums = over(double, sequences, 3, "doubling")
    np.testing.assert_array_equal(doubled, tokens * 2)
    np.testing.assert_array_equal(sums, tokens.sum(axis=1))
    assert shapes == [(3, 2)] * 3
    np.testing.assert_array_equal(over(double, sequences, 10, "doubling")[1], tokens.sum(axis=1))


def test_a_result_has_a_place_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert report.output_folder("~/a") == tmp_path / "a"
    assert report.output_file("~/b/c.json") == tmp_path / "b" / "c.json"
    assert (tmp_path / "b").is_dir()
    with pytest.raises(ValueError, match="is a folder; name a file in it"):
        report.output_file(tmp_path)
    (tmp_path / "c").write_text("")
    with pytest.raises(ValueError, match=f"cannot write into the folder {tmp_path / 'c'}"):
        report.output_file(tmp_path / "c" / "d.json")


# What each program does first after the place of its result: in none of them is that work.
PROGRAMS = {
    "addition.experiment": "prepare", "addition.single": "addition.prepare",
    "addition.known": "prepare",
    "digits.experiment": "prepare", "gaussian_1d.experiment": "gaussian_1d",
    "gsm8k.finetune": "load", "gsm8k.pretrain": "load_gsm8k", "gsm8k.run": "load",
    "gsm8k.select": "load_gsm8k", "mnist.experiment": "prepare",
    "mnist.filters": "mnist.prepare", "two_circles.experiment": "two_circles",
    "benchmark.experiment": "benchmark_ceiling.products", "digits.search": "digits.prepare",
    "addition.search": "addition.prepare", "mnist.search": "mnist.prepare",
    "race.__main__": "cells.prepare",
}  # fmt: skip


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_program_tries_its_output_before_any_work(name, tmp_path, monkeypatch):
    module = importlib.import_module(f"experiments.{name}")
    owner, _, first = PROGRAMS[name].rpartition(".")
    work = lambda *_, **__: pytest.fail("it began to work")
    monkeypatch.setattr(getattr(module, owner) if owner else module, first, work)
    (tmp_path / "file").write_text("")
    place = str(tmp_path / "file" / "a")
    presets = getattr(module, "PRESETS", None)
    config = presets["smoke"] if presets else module.Config()
    field = "folder" if hasattr(config, "folder") else "output"
    if hasattr(config, field):
        config = dataclasses.replace(config, **{field: place})
    else:
        config = search.with_fields(config, {"experiment.output": place})
    with pytest.raises(ValueError, match=f"cannot write into the folder {tmp_path / 'file'}"):
        module.main(config)


@pytest.mark.parametrize("stderr", [None, "closed"])
def test_a_bar_needs_no_stderr(stderr, monkeypatch):
    stream = io.StringIO() if stderr else None
    if stream:
        stream.close()
    monkeypatch.setattr(sys, "stderr", stream)
    assert list(progress(range(3), 3, "bar")) == [0, 1, 2]
    bar = progress(range(3), 3)
    bar.update(1)
    bar.close()


def test_lines_of_json_with_a_mark_and_other_line_ends_are_read(tmp_path):
    path = tmp_path / "lines.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}\r\n{"a": 2}\r\n\r\n')
    assert report.read_json_lines(path) == [{"a": 1}, {"a": 2}]
    report.append_json_line(path, {"a": 3})
    assert report.read_json_lines(path)[-1] == {"a": 3}


def test_results_that_are_no_numbers_have_names():
    values = {"path": Path("a"), "dtype": jnp.dtype("int8"), 3: {2, 1}, "nan": [np.float32("nan")]}
    expected = {"path": "a", "dtype": "int8", "3": [1, 2], "nan": [None]}
    assert report.jsonable(values) == expected
    assert report.jsonable([np.arange(2), jnp.float32(0.5), np.int8(1)]) == [[0, 1], 0.5, 1]
    with pytest.raises(ValueError, match=r"a result is an object of"):
        report.jsonable([object.__new__(type("Nameless", (), {}))])


def test_a_line_of_json_is_added_whole(tmp_path):
    path = tmp_path / "folder" / "lines.jsonl"
    report.append_json_line(path, {"a": np.float32(0.5), "b": float("inf")})
    report.append_json_line(path, {"a": (1, 2)})
    whole = [{"a": 0.5, "b": None}, {"a": [1, 2]}]
    assert report.read_json_lines(path) == whole
    with path.open("a") as file:
        file.write('{"a": 3')  # a kill
    assert report.read_json_lines(path) == whole
    report.append_json_line(path, {"a": 4})
    assert report.read_json_lines(path) == [*whole, {"a": 4}]
    assert report.read_json_lines(tmp_path / "none.jsonl") == []
    path.write_text("a\n")
    with pytest.raises(ValueError, match=r"lines.jsonl is damaged"):
        report.read_json_lines(path)
