"""Defaults that change raise numerics.VERSION: names of runs do not say what is at its default."""

import dataclasses
import json

import golden_defaults as golden
import golden_numerics
import pytest

import banel_jax as bj
from banel_jax.runs import naming

KEPT = json.loads(golden_numerics.FILE.read_text(encoding="utf-8"))


def test_a_default_that_changed_is_of_another_version():
    others, new = golden.changed(KEPT["defaults"], golden.defaults())
    assert not others, (
        f"defaults changed ({', '.join(others)}): raise VERSION in banel_jax/numerics.py and run: "
        f"{golden_numerics.COMMAND}"
    )
    assert not new, f"fields are new ({', '.join(new)}); run: {golden_numerics.COMMAND}"


def test_the_table_holds_what_runs_are_named_by():
    known = golden.defaults()
    assert known["banel_jax.BanelConfig"]["kappa"] == 1.0
    assert known["banel_jax.BanelConfig"]["failure_training"][0] == "banel_jax.TrainingConfig"
    assert "acceptance_floor" not in known["banel_jax.BanelConfig"]  # may change
    assert "experiments.common.broadening.BroadenConfig" in known
    twice = {name: of for name, of in golden.classes().items() if len(of) > 1}
    settings = {name for name in twice if name in known}
    assert not settings, f"two classes of a name: {settings}; rename one"


def test_changed_new_and_gone_fields_are_told_apart():
    kept = {"A": {"x": 1, "y": 2}, "Gone": {"z": 0}}
    assert golden.changed(kept, {"A": {"x": 1.5, "new": 0}, "B": {"w": 3}}) == (
        ["A.x"], ["A.new", "B.w"],
    )  # fmt: skip


@pytest.mark.parametrize("of", golden.NOT_NAMED)
def test_what_no_name_is_made_of_is_named_by_its_parts(of):
    given = of(num_candidates=10)
    sharper = dataclasses.replace(
        given, both_sides=dataclasses.replace(given.both_sides, kappa=3.0)
    )
    name = lambda config: naming.plain(dict(bj.auto(golden_numerics.MODEL, config).settings))
    assert name(given) != name(sharper)
    assert of.__name__ not in json.dumps(name(given))
