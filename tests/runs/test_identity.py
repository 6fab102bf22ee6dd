"""A run is named by what is not at its default; its folder goes on where only defaults are new."""

import collections
import dataclasses
import itertools
import json
from typing import Any

import jax
import numpy as np
import pytest
import tiny_run
from tiny_run import reward

from banel_jax import numerics
from banel_jax.algorithms.banel import BanelConfig
from banel_jax.runs import folder as run_folder
from banel_jax.runs import loop, naming
from banel_jax.runs.naming import plain
from banel_jax.training import TrainingConfig
from banel_jax.types import MAY_CHANGE

NOTHING = dataclasses.MISSING
ALGORITHM = tiny_run.learner()


def of(name="Settings", **fields):
    """A dataclass of these fields and defaults, as if it stood in a module."""
    made = dataclasses.make_dataclass(
        name,
        [(k, Any) if v is NOTHING else (k, Any, dataclasses.field(**v)) for k, v in fields.items()],
        frozen=True,
    )
    made.__module__ = "somewhere"
    return made


def default(value, **options):
    return {"default": value, **options}


def named(value):
    return naming.identity({"a": plain(value)})


OLD = of(kappa=default(1.0), width=default(8))
NEW = of(kappa=default(1.0), width=default(8), depth=default(2))


def test_a_new_field_at_its_default_is_no_other_run():
    assert named(OLD()) == named(NEW()) == named(of(kappa=default(1.0))())
    assert named(OLD(kappa=2.0)) == named(NEW(kappa=2.0)) != named(OLD())
    assert named(NEW(depth=3)) != named(OLD())
    assert named([OLD(), {"b": OLD(3.0)}]) == named([NEW(), {"b": NEW(3.0)}])
    outer = of("Outer", inner=default(OLD(2.0))), of("Outer", inner=default(NEW(2.0)))
    values = [[], [OLD(2.0)], [OLD()], [OLD(2.0, 9)]], [[], [NEW(2.0)], [NEW()], [NEW(2.0, 9)]]
    old, new = ([named(o(*v)) for v in vs] for o, vs in zip(outer, values, strict=True))
    assert old == new and old[0] == old[1] and len(set(old)) == 3


def test_named_tuples_are_as_dataclasses():
    pair = collections.namedtuple("Pair", "a", defaults=(1,))
    longer = collections.namedtuple("Pair", "a b", defaults=(1, 2))
    assert named(pair()) == named(longer()) != named(longer(b=3))
    assert named(pair(2)) == named(longer(2)) != named(pair())


@pytest.mark.parametrize(
    "values",
    [
        [OLD(), OLD(2.0), OLD(1.0, 9), OLD(2.0, 9), of("Other", kappa=default(1.0))()],
        [of("A", x=default(0))(), of("B", x=default(0))(), of("A", x=NOTHING)(0), {"x": 0}, {}],
        [of("A", x=default(None))(v) for v in (None, OLD(), OLD(2.0), {}, [], [OLD()], "null", 0)],
        [of("A", x=default(1))(v) for v in (1, 1.0, True, "1", [1])],
        [of("A", f=default(jax.nn.relu))(f) for f in (jax.nn.relu, jax.nn.gelu, lambda x: x)],
        [of("A", x={"default_factory": lambda: np.zeros(2)})(v) for v in (np.zeros(2), np.ones(2))],
        [{"a.b": 1}, {"a": {"b": 1}}, {"a": [{"b": 1}]}, {"a[0]": {"b": 1}}, {'"a.b"': 1}],
        [{"": {"": 1}}, {"": 1}, {"a": {}}, {".": 1}, {"": {}}, [], [[]], [{}], {"a": []}],
        [BanelConfig(), TrainingConfig()],
    ],
)  # fmt: skip
def test_what_differs_in_values_or_classes_has_another_name(values):
    for one, other in itertools.combinations(values, 2):
        assert named(one) != named(other), (one, other)
        assert named({"x": one}) != named({"x": other})


def test_the_version_of_the_numerics_is_in_the_name(monkeypatch):
    before = named(OLD())
    monkeypatch.setattr(numerics, "VERSION", numerics.VERSION + 1)
    assert named(OLD()) != before


def test_what_may_change_is_in_no_name_and_of_whatever_class():
    made = of(floor=default(1, metadata=MAY_CHANGE), kappa=default(1.0))
    assert named(made()) == named(made(2)) == named(made(OLD())) == named(OLD())


def test_all_fields_are_written_for_people(tmp_path):
    path = tmp_path / "config.json"
    run_folder.record_configuration(path, {"a": plain(NEW(2.0))})
    kept = json.loads(path.read_text())
    assert kept["a"] == {"kappa": 2.0, "width": 8, "depth": 2}
    assert kept["identity"]["defaults"] == ["a.depth", "a.width"]
    assert kept["identity"]["classes"] == {"a": "somewhere.Settings"}
    assert run_folder.begun_as(path) == naming.identity({"a": plain(NEW(2.0))})
    with pytest.raises(ValueError, match=r"has identity, .* choose another name"):
        naming.identity({"identity": 1})


CASES = {
    # there, here, the field that is told of
    "the same": (OLD(), OLD(), None),
    "a new field": (OLD(2.0), NEW(2.0), None),
    "a new field, and used": (OLD(), NEW(depth=3), "depth"),
    "a field that is gone": (NEW(), OLD(), None),
    "a field that is gone and was used": (NEW(depth=3), OLD(), "depth"),
    "another default, at it": (OLD(), of(kappa=default(2.0), width=default(8))(), "kappa"),
    "another default, the same value": (
        OLD(), of(kappa=default(2.0), width=default(8))(1.0), None,
    ),
    "another class": (OLD(), of("Other", kappa=default(1.0), width=default(8))(), "class"),
    "a field without a default": (OLD(), of(width=NOTHING, kappa=default(1.0))(8), None),
    "nothing where there was something": (
        of(x=default(None))(OLD()), of(x=default(None))(), "x.class",
    ),
    "something where there was nothing": (
        of(x=default(None))(), of(x=default(None))(OLD()), "x.class",
    ),
    "a new field of fields": (OLD(), of(kappa=default(1.0), n=default(NEW(3.0)))(), None),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_is_compared_where_a_folder_is_opened_again(tmp_path, case):
    there, here, field = CASES[case]
    path = tmp_path / "config.json"
    run_folder.record_configuration(path, {"a": plain(there)})
    check = lambda: run_folder.check_configuration(path, {"a": plain(here)})
    if field is None:
        assert check()
    else:
        with pytest.raises(ValueError, match=rf"another configuration: .*a\.{field} is"):
            check()


@pytest.mark.parametrize("marks", [3, {}, {"numerics": 3, "classes": [], "defaults": [1]}])
def test_damaged_marks_are_one_line(tmp_path, marks):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"a": 1, "identity": marks}))
    with pytest.raises(ValueError, match="is damaged in its identity; put it back from a copy"):
        run_folder.check_configuration(path, {"a": 1})


def go(folder, rounds, settings, oracle=reward, accept=()):
    algorithm = ALGORITHM._replace(settings=(("name", "learner"), ("settings", settings)))
    config = loop.RunConfig(rounds=rounds)
    return loop.run(algorithm, tiny_run.PRIOR, oracle, config, folder, accept=accept)


def refuse(_):
    raise AssertionError("the oracle was asked")


def as_before(folder):
    """What a folder's files said before names left defaults out: the ledger has the old name."""
    path = folder / "config.json"
    kept = json.loads(path.read_text())
    del kept["identity"]
    path.write_text(json.dumps(kept))


@pytest.mark.parametrize("old_form", [False, True])
def test_a_run_goes_on_where_a_field_is_new(tmp_path, monkeypatch, old_form):
    if old_form:
        monkeypatch.setattr(naming, "identity", naming.identity_by_all_fields)
    go(tmp_path, 2, OLD(2.0))
    if old_form:
        monkeypatch.undo()
        as_before(tmp_path)
    go(tmp_path, 3, NEW(2.0))
    go(tmp_path / "whole", 3, NEW(2.0))
    written = lambda folder: (folder / "metrics.jsonl").read_text()
    assert written(tmp_path) == written(tmp_path / "whole")
    with pytest.raises(ValueError, match=r"settings\.depth is \(absent\) there and 5 here"):
        go(tmp_path, 4, NEW(2.0, depth=5))
    if not old_form:
        assert len(go(tmp_path, 3, OLD(2.0), oracle=refuse).metrics) == 3
    go(tmp_path, 4, NEW(2.0, depth=5), accept="algorithm.settings.depth")
    with pytest.raises(ValueError, match=r"settings\.depth is 5 there and \(absent\) here"):
        go(tmp_path, 5, OLD(2.0))  # at its default when it began, and not any more
