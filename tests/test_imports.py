"""Which room imports which, read from the import statements: none runs back up."""

import ast
import sys
from pathlib import Path

import another_process
import pytest

import banel_jax

STANDARD = {
    "importlib", "typing.TYPE_CHECKING", "typing.Any", "banel_jax.compiler",
    "banel_jax.runs.border",
}  # fmt: skip
ROOT = Path(__file__).parent.parent
PACKAGE = sorted((ROOT / "banel_jax").rglob("*.py"))
FLOOR = {
    "types",
    "checks",
    "files",
    "keys",
    "log_domain",
    "numerics",
    "parallel",
    "partitioning",
    "hosts",
}
MODEL = FLOOR | {"sampling", "scoring", "diagnostics", "success_rate", "training"}
ALLOWED = {  # the rooms of banel_jax, and what each may import beside itself
    "types": set(),
    "compiler": set(),
    "numerics": set(),
    "checks": set(),
    "files": set(),
    "keys": {"types"},
    "log_domain": set(),
    "parallel": {"types"},
    "hosts": {"checks"},
    "partitioning": {"parallel"},
    "sampling": FLOOR,
    "scoring": FLOOR,
    "diagnostics": FLOOR,
    "success_rate": FLOOR | {"sampling", "scoring"},
    "rejection": FLOOR | {"sampling", "scoring", "diagnostics"},
    "failures": FLOOR | {"sampling", "scoring", "diagnostics", "training"},
    "replay": FLOOR | {"sampling", "diagnostics", "failures"},
    "successes": FLOOR | {"scoring", "training", "rejection", "replay"},
    "training": FLOOR | {"sampling", "scoring"},
    "models": MODEL,
    "algorithms": MODEL | {"rejection", "failures", "successes", "replay", "models"},
    "oracle": FLOOR,
    "runs": FLOOR | {"oracle", "sampling", "scoring", "success_rate"},
    "pretraining": MODEL | {"runs"},
    "prior_files": MODEL | {"runs", "models"},
    "prior_cache": MODEL | {"runs", "pretraining", "prior_files"},
    "vocabulary": FLOOR | {"strings"},
    "strings": MODEL | {"oracle", "runs", "models", "prior_cache", "prior_files", "vocabulary"},
    "tasks": MODEL | {"models", "prior_cache", "vocabulary"},
    "commands": MODEL
    | {"oracle", "runs", "models", "algorithms", "prior_files", "tasks", "strings", "vocabulary"},
    "__main__": {"commands"},
}


def imported(path):
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def parts(path):
    """The parts of banel_jax that a file imports."""
    return {n.split(".")[1] for n in imported(path) if n.startswith("banel_jax.")}


@pytest.mark.parametrize("path", PACKAGE, ids=lambda p: str(p.relative_to(ROOT)))
def test_the_package_imports_neither_experiments_nor_heavy_extras(path):
    tops = {name.split(".")[0] for name in imported(path)}
    assert not tops & {"experiments", "tests", "torch", "transformers", "tensorflow"}
    part = path.relative_to(ROOT / "banel_jax").parts[0].removesuffix(".py")
    if part != "__init__":
        assert parts(path) <= ALLOWED[part] | {part}


def test_types_import_jax_flax_and_the_standard_library_alone():
    tops = {name.split(".")[0] for name in imported(ROOT / "banel_jax" / "types.py")}
    assert tops - set(sys.stdlib_module_names) <= {"jax", "flax", "jaxtyping"}


def test_these_rules_read_something():
    assert len(PACKAGE) > 20
    assert "rejection" in parts(ROOT / "banel_jax" / "algorithms" / "banel.py")


@pytest.mark.parametrize("room", ["banel_jax", "experiments"])
def test_no_file_and_no_function_is_long(room):
    long = {}
    for path in sorted((ROOT / room).rglob("*.py")):
        text, name = path.read_text(encoding="utf-8"), str(path.relative_to(ROOT))
        if text.count("\n") > 250:
            long[name] = text.count("\n")
        for node in ast.walk(ast.parse(text)):
            if not isinstance(node, ast.FunctionDef):
                continue
            lines = (node.end_lineno or 0) - node.lineno + 1
            lines -= len((ast.get_docstring(node) or "").splitlines())
            if lines > 80:
                long[f"{name}: {node.name}"] = lines
    assert not long, f"split these, with their lines: {long}"


def test_public_names_are_the_same_for_type_checkers_and_are_loaded_when_asked_for():
    assert imported(ROOT / "banel_jax" / "__init__.py") - STANDARD == {
        f"{banel_jax._WHERE[name]}.{name}" for name in dir(banel_jax)
    }
    assert all(callable(getattr(banel_jax, name)) for name in dir(banel_jax))
    with pytest.raises(AttributeError, match="no attribute 'bannel'"):
        getattr(banel_jax, "bannel")  # noqa: B009
    program = "import sys, banel_jax; print([m for m in sys.modules if m in ('orbax', 'flax')])"
    assert another_process.printed(program) == "[]\n"
