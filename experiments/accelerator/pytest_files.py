"""The project's own tests of numbers, on the device, for as long as there is time."""

import collections
import importlib
import os
import re
import sys
from typing import Any

from experiments.accelerator.processes import ROOT, follow
from experiments.accelerator.section import Section

# In order: what counts most comes first.
NAMES = (
    "test_numerics", "test_sampling", "test_scoring", "models/test_decoder",
    "models/test_transformer", "test_training", "test_parallel", "models/test_table",
    "algorithms/test_banel", "runs/test_loop",
)  # fmt: skip
SMOKE = ("test_checks",)
OUTCOME = re.compile(r"\b(PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS)\b")
TEST = re.compile(r"\S+::\S+")


def run(section: Section) -> None:
    names = SMOKE if section.smoke else NAMES
    section.part("pytest", lambda: pytest(names, section.left - 8))


def pytest(names, seconds: float) -> dict[str, Any]:
    """How many tests ended how before the time was up, and which failed."""
    importlib.import_module("pytest")
    files = [ROOT / "tests" / f"{name}.py" for name in names]
    addopts = "addopts=--import-mode=importlib -m 'not slow'"
    options = ["-o", addopts, "-v", "--tb=short", "-p", "no:cacheprovider"]
    os.environ.setdefault("BANEL_FULL_COMPILER", "1")  # the device's, as users have it
    ended: dict[str, str] = {}

    def say(line):
        print(line, flush=True)
        outcome, test = OUTCOME.search(line), TEST.search(line)
        if outcome and test:
            ended[test[0]] = outcome[1].lower()

    there = [str(file) for file in files if file.exists()]
    code = follow([sys.executable, "-m", "pytest", *options, *there], seconds, say)
    wrong = [test for test, outcome in ended.items() if outcome in ("failed", "error")]
    return {
        "passed": not wrong and code in (0, None),
        "counts": dict(collections.Counter(ended.values())),
        "wrong": wrong,
        "time_was_up": code is None,
    }
