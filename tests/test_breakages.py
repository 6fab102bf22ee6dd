"""The list of breakages is kept true: each still applies, and every room has some."""

import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
breakages = runpy.run_path(str(ROOT / "tests" / "breakages.py"))
LIST = breakages["load"]()


def test_all_of_them_apply():
    for breakage in LIST:
        broken = breakage.broken()
        compile(broken, breakage.file, "exec")
        assert broken != (ROOT / breakage.file).read_text(encoding="utf-8"), breakage.name


def test_every_room_has_some():
    rooms = {path.parent.name for path in (ROOT / "banel_jax").glob("*/__init__.py")}
    broken = {part for breakage in LIST for part in Path(breakage.file).parts}
    assert len(LIST) >= 30 and rooms | {"language", "common"} <= broken


def test_what_does_not_apply_is_named():
    one = LIST[0]
    for old in ("no such text", "import "):
        times = (ROOT / one.file).read_text(encoding="utf-8").count(old)
        with pytest.raises(ValueError, match=f"{one.name}: '{old}' stands {times} times in"):
            one._replace(old=old).broken()
    for test in ("nowhere.py", "test_files.py::test_nothing"):
        with pytest.raises(ValueError, match=f"there is no tests/{test}"):
            one._replace(tests=(test,)).broken()


def test_what_pytest_says_is_understood():
    printed = """
FAILED tests/a/test_b.py::test_c[x-y] - assert 1 == 2
ERROR tests/test_d.py - ImportError: no - name
FAILED tests/test_e.py::test_f
1 failed"""
    found = breakages["FAILED"].findall(printed)
    assert found == ["a/test_b.py::test_c[x-y]", "test_d.py", "test_e.py::test_f"]
