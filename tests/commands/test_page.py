"""The page on commands is a session that works."""

import re
import shlex
import sys
from pathlib import Path

import pytest

from banel_jax.commands.main import command

PAGE = (Path(__file__).parents[2] / "docs" / "commands.md").read_text(encoding="utf-8")
STATUS = {"ask": 75, "tell": 75}


@pytest.mark.docs
def test_its_blocks_one_after_the_other(tmp_path, monkeypatch, capsys):
    """Python, TOML and CSV become files, by the name above or within; `banel` is called."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:/usr/bin:/bin")
    ended = []
    for match in re.finditer(r"^```(\w+)\n(.*?)^```$", PAGE, re.M | re.S):
        kind, block = match.groups()
        if kind == "bash":
            for line in block.splitlines():
                program, name, *words = shlex.split(line)
                assert program == "banel"
                ended.append((line, command([name, *words])))
            continue
        named = block if kind != "csv" else PAGE[: match.start()]
        found = re.findall(r"^# (\S+)$" if kind != "csv" else r"`(\w+\.csv)`", named, re.M)
        Path(found[0] if kind != "csv" else found[-1]).write_text(block)
    whole = ("tell runs/lab rest.csv",)
    wrong = [
        (line, status)
        for line, status in ended
        if status != (0 if line.endswith(whole) else STATUS.get(line.split()[1], 0))
    ]
    assert not wrong and len(ended) == 15
    told = capsys.readouterr().out
    assert "3 rounds, 24 evaluations" in told and "2 of the 4 answers of round 0 are" in told
    assert Path("successes.csv").read_text().startswith("tokens,mask,reward,")
