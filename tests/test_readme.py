"""The README's Python runs as printed, and what it links to is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
SECTIONS = {
    section.partition("\n")[0]: re.findall(r"^```python\n(.*?)^```", section, re.M | re.S)
    for section in re.split(r"^## ", README, flags=re.M)
}
EXAMPLES = {title: blocks for title, blocks in SECTIONS.items() if blocks}


@pytest.mark.parametrize("title", EXAMPLES)
def test_examples_run(title, tmp_path, monkeypatch):
    """The blocks of a section run one after the other, sharing their names."""
    monkeypatch.chdir(tmp_path)
    names: dict = {"__name__": "readme"}
    for block in EXAMPLES[title]:
        exec(compile(block, f"README.md, {title}", "exec"), names)


def test_every_python_block_is_an_example():
    assert sum(map(len, EXAMPLES.values())) == README.count("```python") >= 4


@pytest.mark.parametrize("document", ["README.md", "BUILD_NOTES.md"])
def test_links_lead_somewhere(document):
    targets = re.findall(r"\]\(([^)#]+)\)", (ROOT / document).read_text(encoding="utf-8"))
    assert [t for t in targets if "://" not in t and not (ROOT / t).exists()] == []


def test_make_targets_named_in_the_readme_exist():
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.M))
    assert set(re.findall(r"^make (\w+)", README, re.M)) <= targets
