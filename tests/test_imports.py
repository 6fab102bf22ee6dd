"""Who imports whom, read from the import statements."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = sorted((ROOT / "banel_jax").rglob("*.py"))
ROUNDS = {"checks", "naming", "rounds", "types"}
LOOP = ROUNDS | {"compiled", "files", "oracle", "checkpoint", "progress", "run_folder"}
LOOP |= {"environment", "rehearsal", "timings", "model_check"}
CORE = {"checks", "sampling", "scoring", "rejection", "training", "diagnostics", "types", "naming"}
CORE |= {"keys"}
ALLOWED = {  # parts of banel_jax by what may import them
    "types": set(),
    "loop": LOOP,
    "compiled": ROUNDS,
    "rounds": {"keys", "types"},
    "naming": set(),
    "oracle": {"checks", "files", "oracle", "types", "run_folder"},
    "algorithms": CORE | {"algorithms"},
    "tasks": {"tasks", "models", "sampling", "scoring", "training", "success_rate", "types"}
    | {"run_folder", "checkpoint", "progress", "parallel", "files", "checks", "naming"}
    | {"fingerprint", "numerics"},
    "fingerprint": set(),
    "numerics": set(),
    "compiler": set(),
    "models": {"files", "checks", "models", "types", "training", "scoring", "parallel"}
    | {"keys", "log_domain"},
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
    if part in ALLOWED:
        assert parts(path) <= ALLOWED[part]


def test_types_import_jax_flax_and_the_standard_library_alone():
    tops = {name.split(".")[0] for name in imported(ROOT / "banel_jax" / "types.py")}
    assert tops - set(sys.stdlib_module_names) <= {"jax", "flax", "jaxtyping"}


def test_these_rules_read_something():
    assert len(PACKAGE) > 20
    assert "rejection" in parts(ROOT / "banel_jax" / "algorithms" / "banel.py")
