"""Every notebook runs from its first cell to its last, and the site names it."""

import runpy
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"
NOTEBOOKS = sorted(DOCS.glob("notebooks/*.py"))
NEEDS = {  # beyond what the package requires
    "molecules": ("rdkit",),
    "red_team": ("safetensors", "tokenizers", "transformers", "jinja2"),
}


# Those that train a model of their own wait for `make test-all`.
EACH = [
    pytest.param(path, id=path.stem, marks=[pytest.mark.slow] * (path.stem in NEEDS))
    for path in NOTEBOOKS
]


@pytest.mark.docs
@pytest.mark.parametrize("path", EACH)
def test_runs(path, tmp_path, monkeypatch):
    for package in NEEDS.get(path.stem, ()):
        pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(path), run_name="__main__")


def test_all_are_listed():
    listed = (DOCS / "notebooks" / "README.md").read_text(encoding="utf-8")
    assert len(NOTEBOOKS) >= 5
    assert [path.name for path in NOTEBOOKS if f"({path.name})" not in listed] == []
