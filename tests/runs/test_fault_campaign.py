"""A hundred faults of the campaign, by all ways to evaluate."""

import re
import subprocess
import sys
from pathlib import Path

CAMPAIGN = Path(__file__).parents[1] / "fault_campaign.py"


def test_a_hundred_faults_harm_no_run():
    done = subprocess.run(
        [sys.executable, str(CAMPAIGN), "--faults=100", "--seed=9000"],
        capture_output=True,
        text=True,
        timeout=900,
    )
    told = re.search(r"(\d+) faults in \d+ cases, 0 of them in trouble", done.stdout)
    assert done.returncode == 0 and told and int(told[1]) >= 100, done.stdout + done.stderr
