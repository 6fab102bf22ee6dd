"""Faults of the campaign, by all ways to evaluate: some, and at night a hundred."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

CAMPAIGN = Path(__file__).parents[1] / "fault_campaign.py"


@pytest.mark.parametrize("faults", [8, pytest.param(100, marks=pytest.mark.slow)])
def test_faults_harm_no_run(faults):
    done = subprocess.run(
        [sys.executable, str(CAMPAIGN), f"--faults={faults}", "--seed=9000"],
        capture_output=True,
        text=True,
        timeout=900,
    )
    told = re.search(r"(\d+) faults in \d+ cases, 0 of them in trouble", done.stdout)
    assert done.returncode == 0 and told and int(told[1]) >= faults, done.stdout + done.stderr
