"""What mkdocs does not know of: pages that stand beside what they tell of, and notebooks.

All files have the paths that they have in the repository, so that a link is the same on the site
and in the repository. Notebooks are scripts; each becomes a page and an .ipynb to download. How to
add to the project is a section of BUILD_NOTES.md, and a page of its own here.
"""

import re
from pathlib import Path

import jupytext
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent
PAGES = ("*.md", "docs/**/*.md", "docs/**/*.css", "experiments/*/README.md")
FILES = ("CITATION.cff", "LICENSE", "experiments/results/**/*.*")
SCRIPTS = {path.stem: path for path in sorted(ROOT.glob("docs/notebooks/*.py"))}


def on_files(files, config):
    """The site's files, by their paths in the repository."""
    for pattern in (*PAGES, *FILES):
        for path in sorted(ROOT.glob(pattern)):
            if path.is_file():
                name = path.relative_to(ROOT).as_posix()
                files.append(File.generated(config, name, abs_src_path=str(path)))
    for path in SCRIPTS.values():
        name = path.relative_to(ROOT).with_suffix("").as_posix()
        notebook = jupytext.read(path)
        page = re.sub(r"\A---\n.*?\n---\n", "", jupytext.writes(notebook, "md"), flags=re.S)
        title, rest = page.strip().split("\n", 1)
        download = f"[As a notebook]({path.stem}.ipynb), [as a script]({path.name})"
        files.append(File.generated(config, f"{name}.md", content=f"{title}\n\n{download}\n{rest}"))
        ipynb = jupytext.writes(notebook, "ipynb")
        files.append(File.generated(config, f"{name}.ipynb", content=ipynb))
        files.append(File.generated(config, f"{name}.py", abs_src_path=str(path)))
    section = re.search(r"^## (How to add.*?)(?=^## )", read("BUILD_NOTES.md"), re.M | re.S)
    files.append(File.generated(config, "how_to_add.md", content=f"# {section[1]}"))
    return Files([file for file in files if file.src_dir != config.docs_dir])


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


def on_page_markdown(markdown, page, config, files):
    """A link to a notebook's script leads to its page."""
    if page.file.name in SCRIPTS:  # which are to be had there as they are
        return markdown
    names = "|".join(map(re.escape, SCRIPTS))
    return re.sub(rf"\]\(((notebooks/)?({names}))\.py\)", r"](\1.md)", markdown)
