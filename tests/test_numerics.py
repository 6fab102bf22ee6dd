"""Numbers that change raise numerics.VERSION, or what is on disk would be taken for theirs."""

import json

import golden_numerics as golden
import numpy as np
import pytest

from banel_jax import numerics

KEPT = json.loads(golden.FILE.read_text(encoding="utf-8"))


def test_the_numbers_are_those_of_their_version():
    assert KEPT["version"] == numerics.VERSION, f"run: {golden.COMMAND}"
    changed = golden.differences(KEPT["numbers"], golden.numbers())
    assert not changed, (
        f"{len(changed)} numbers changed ({'; '.join(changed[:5])}, ...): raise VERSION in "
        f"banel_jax/numerics.py and run: {golden.COMMAND}"
    )


def test_rounding_is_no_change_and_another_number_is(monkeypatch, tmp_path):
    numbers = {"drawn": [[1, 2, 3]], "score": [[-1.5, float("nan")]]}
    differ = lambda **other: golden.differences(numbers, numbers | other)
    assert not differ(score=[[-1.500001, float("nan")]])
    assert differ(score=[[-1.501, float("nan")]]) == ["score"]
    assert differ(drawn=[[1, 2, 4]]) == ["drawn"] and differ(drawn=[[1.0, 2, 3]]) == ["drawn"]
    assert differ(more=[1]) == ["more"]
    # They are not written anew without another version.
    monkeypatch.setattr(golden, "FILE", tmp_path / "golden.json")
    monkeypatch.setattr(golden, "numbers", lambda: {"score": [np.arange(2.0).tolist()]})
    golden.main()
    monkeypatch.setattr(golden, "numbers", lambda: {"score": [np.arange(3.0).tolist()]})
    with pytest.raises(SystemExit, match="raise it first"):
        golden.main()
    monkeypatch.setattr(numerics, "VERSION", numerics.VERSION + 1)
    golden.main()
    assert json.loads(golden.FILE.read_text())["version"] == numerics.VERSION
