"""What the documents print as Python runs, and what they link to is there."""

import inspect
import re
from pathlib import Path

import pytest

import banel_jax

ROOT = Path(__file__).parent.parent
FILES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("experiments/*/README.md")]
DOCUMENTS = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in FILES}
README, PYTHON = DOCUMENTS["README.md"], "```python\n"
# <!-- not run: why --> above a block leaves it out.
BLOCK = re.compile(r"^(<!-- not run: [^>]+ -->\n)?```python\n(.*?)^```$", re.M | re.S)
EXAMPLES = {name: BLOCK.findall(text) for name, text in DOCUMENTS.items() if PYTHON in text}


@pytest.mark.docs
@pytest.mark.parametrize("document", EXAMPLES)
def test_examples_run(document, tmp_path, monkeypatch, capsys):
    """The blocks of a document run one after the other, sharing their names, and print what it
    says that they print."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)  # where scripts that it writes lie
    names: dict = {"__name__": "document"}
    for match in BLOCK.finditer(DOCUMENTS[document]):
        why_not, block = match.groups()
        lines_before = DOCUMENTS[document][: match.start(2)].count("\n")
        if not why_not:  # with the document's own line numbers in a traceback
            exec(compile("\n" * lines_before + block, ROOT / document, "exec"), names)
    printed = capsys.readouterr().out
    assert [p for p in re.findall(r"prints `(.*?)`", DOCUMENTS[document]) if p not in printed] == []


def test_every_python_block_is_an_example():
    for document, examples in EXAMPLES.items():
        assert len(examples) == DOCUMENTS[document].count(PYTHON)
    assert {"README.md", "docs/quick_start.md", "docs/prior.md", "docs/oracle.md"} <= set(EXAMPLES)


def anchors(text):
    """Of the headings, as GitHub and the site make them."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document):
    links = re.findall(r"\]\(([^)#\s]*)#?([^)\s]*)\)", DOCUMENTS[document])
    for path, anchor in links:
        if "://" in path:
            continue
        target = (ROOT / document).parent / path if path else ROOT / document
        assert target.exists(), path
        if anchor:
            assert anchor in anchors(target.read_text(encoding="utf-8")), f"{path}#{anchor}"


@pytest.mark.parametrize("document", ["README.md", "docs/quick_start.md"])
def test_make_targets_that_are_named_exist(document):
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.M))
    assert set(re.findall(r"^make (\w+)", DOCUMENTS[document], re.M)) <= targets


def test_front_door_is_short():
    assert len(README.split()) <= 1000
    lines = [line for _, block in EXAMPLES["README.md"] for line in block.splitlines() if line]
    assert len(lines) <= 15 and max(map(len, lines)) <= 100  # a statement each, as none is packed
    assert (ROOT / "BUILD_NOTES.md").stat().st_size <= 17_000


def test_every_public_name_has_its_place_in_the_reference():
    names = re.findall(r"^::: banel_jax\.(\w+)$", DOCUMENTS["docs/api.md"], re.M)
    assert sorted(names) == banel_jax.__all__


@pytest.mark.parametrize("name", dir(banel_jax))
def test_what_a_public_name_takes_gives_and_raises_is_told(name):
    """Every argument or field; what comes back; the errors of what checks its settings."""
    public = getattr(banel_jax, name)
    text = inspect.getdoc(public)
    head, *rest = re.split(r"^(\w+):\n", text, flags=re.M)
    sections = dict(zip(rest[::2], rest[1::2], strict=True))
    listed = sections.get("Args", "") + sections.get("Attributes", "")
    told = {n for names in re.findall(r"^  ([\w, ]+):", listed, re.M) for n in names.split(", ")}
    assert set(inspect.signature(public).parameters) <= told
    if inspect.isfunction(public) and public is not banel_jax.check_model:  # which gives nothing
        assert "Returns" in sections
    if "__post_init__" in vars(public):
        assert "ValueError" in sections["Raises"]
    assert head.strip() and not re.search(r"``|:param|:class:|:func:", text)
