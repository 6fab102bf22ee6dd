"""Flags from dataclasses, and the reports' arithmetic by hand."""

import dataclasses
import json

import numpy as np
import pytest
from absl import flags as absl_flags

from experiments import flags, report


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
