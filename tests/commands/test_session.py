"""A whole run by command and by hand, against the same in Python."""

import csv
import json
import re
import shutil
import sqlite3
import sys
from pathlib import Path

import pytest

import banel_jax as bj
from banel_jax.commands import settings
from banel_jax.commands.main import command
from banel_jax.oracle import read
from banel_jax.tasks.two_circles import TwoCirclesConfig, two_circles

SETTINGS = ("num_candidates=6", "generator_training.epochs=2", "failure_training.epochs=2")
PRIOR = ["--prior=two_circles", "--algorithm=banel", *(f"--set={pair}" for pair in SETTINGS)]
LAB = """
def score(x):
    return [int(tokens[0] + tokens[1] >= 50) for tokens in x.tokens]

def text(x):
    return [f'=dial {a},\\n"{b}"' for a, b in x.tokens.tolist()]
"""


def works(tokens) -> int:
    return int(sum(tokens) >= 50)


def oracle(x):
    return [works(tokens) for tokens in x.tokens.tolist()]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder to work in, with an oracle beside it."""
    name = f"lab_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(LAB)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return name


@pytest.fixture(scope="module")
def at_once(tmp_path_factory):
    """The metrics of the same run in Python, four rounds of it."""
    task, fit = two_circles(TwoCirclesConfig()), {"epochs": 2}
    config = bj.BanelConfig(
        num_candidates=6,
        generator_training=bj.TrainingConfig(**fit | {"learning_rate": 1e-4}),
        failure_training=bj.TrainingConfig(**fit | {"learning_rate": 1e-3}),
    )
    folder = tmp_path_factory.mktemp("python") / "run"
    algorithm = bj.banel(task.prior, config)
    bj.run(algorithm, task.prior_params, oracle, bj.RunConfig(rounds=4), folder)
    return (folder / "metrics.jsonl").read_text().splitlines()


def metrics(folder):
    return Path(folder, "metrics.jsonl").read_text().splitlines()


def table(folder, round):
    text = Path(folder, "by_hand", f"round_{round:04d}.csv").read_bytes().decode()
    return list(csv.DictReader(text.splitlines(keepends=True)))


def write(path, rows):
    answers = [(row["id"], works(map(int, row["tokens"].split()))) for row in rows]
    Path(path).write_text("".join(f"{a},{b}\n" for a, b in [("id", "reward"), *answers]))


def test_by_hand_in_parts_then_by_an_oracle_then_extended(
    here, at_once, capsys, caplog, tmp_path, monkeypatch
):
    text = f"--text={here}:text"
    assert command(["ask", "run", *PRIOR, "--rounds=3", text]) == 75
    assert "6 of the 6 answers of round 0 are awaited" in capsys.readouterr().out
    rows = table("run", 0)
    assert rows[0]["text"].startswith("'=dial ") and '\n"' in rows[0]["text"]
    assert all(not row["reward"] for row in rows)
    write("b.csv", [rows[5], rows[2]])
    write("a.csv", [rows[4], rows[0], rows[1]])
    assert command(["tell", "run", "b.csv", "a.csv"]) == 75
    assert "1 of the 6 answers of round 0 are awaited" in capsys.readouterr().out
    write("c.csv", rows)  # those that are known already among them
    assert command(["tell", "run", "c.csv"]) == 0
    assert command(["tell", "run", "c.csv"]) == 0  # once more does no harm
    assert not Path("run/metrics.jsonl").exists()  # learned by the next command
    assert command(["ask", "run"]) == 75
    assert metrics("run") == at_once[:1]
    lines = Path("run/by_hand/round_0001.jsonl").read_text().splitlines()
    filled = [
        json.loads(line) | {"reward": works(map(int, json.loads(line)["tokens"].split()))}
        for line in lines[::-1]
    ]
    Path("filled.jsonl").write_text("\n".join(map(json.dumps, filled)))  # without an end of line
    capsys.readouterr()
    assert command(["tell", "run", "filled.jsonl"]) == 0
    assert "all 6 answers of round 1 are there" in capsys.readouterr().out
    assert command(["run", "run", f"--oracle={here}:score"]) == 0
    assert metrics("run") == at_once[:3]
    assert "3 rounds, 18 evaluations" in capsys.readouterr().out
    assert "in flight" not in caplog.text  # what is awaited is not in doubt
    sys.modules.pop(here)
    monkeypatch.setattr(sys, "path", [one for one in sys.path if one != str(tmp_path)])
    monkeypatch.chdir("/")  # it knows where its oracle is
    assert command(["show", str(tmp_path / "run"), "--text"]) == 0
    sys.modules.pop(here)
    monkeypatch.setattr(sys, "path", [one for one in sys.path if one != str(tmp_path)])
    assert command(["extend", str(tmp_path / "run"), "--rounds=4"]) == 0
    monkeypatch.chdir(tmp_path)
    assert metrics("run") == at_once
    assert (read("run").attempts == 1).all()
    assert command(["run", "run"]) == 0  # complete
    assert metrics("run") == at_once


def test_rows_out_of_range_of_another_run_and_contradictions_are_refused(here, at_once, capsys):
    assert command(["ask", "run", *PRIOR]) == 75
    assert command(["ask", "other", *PRIOR, "--seed=1"]) == 75
    rows = table("run", 0)
    write("a.csv", rows[:3])
    assert command(["tell", "run", "a.csv"]) == 75
    before = sorted(Path("run/by_hand").iterdir())
    other = 1 - works(map(int, rows[1]["tokens"].split()))
    for text, said in [
        (f"row,reward\n1,{other}\n", "say different things of row 1"),
        ("row,reward\n6,1\n", "row=6, which was not asked for; the last that was is 5"),
        ("row,reward\n4,2\n", r"line 2 of .*reward=2; write 0, 1 or failed: why"),
        ("row,reward\n4,1\n4,0\n", "say different things of row 4"),
        ("row,prize\n4,1\n", "it must have row or id, and reward"),
        ('row,reward\n4,"1\n', "is no CSV"),
        ("row,reward\n4,1,1\n", "has 3 cells"),
    ]:
        Path("x.csv").write_text(text)
        with pytest.raises(ValueError, match=said):
            command(["tell", "run", "x.csv"])
        assert sorted(Path("run/by_hand").iterdir()) == before  # nothing of it stays
    shutil.copy("other/by_hand/round_0000.csv", "theirs.csv")
    write("theirs.csv", table("other", 0))
    with pytest.raises(ValueError, match="which is not of this run, whose ids begin with"):
        command(["tell", "run", "theirs.csv"])
    with pytest.raises(ValueError, match=r"is none of .csv, .jsonl"):
        command(["tell", "run", f"{here}.py"])
    write("b.csv", rows[3:])
    assert command(["tell", "run", "b.csv"]) == 0
    with pytest.raises(ValueError, match=r"awaits no answers yet|holds no run"):
        command(["tell", "nothing", "b.csv"])


def test_show_export_and_verify(here, at_once, capsys, tmp_path):
    words = [*PRIOR, "--rounds=2", f"--oracle={here}:score", f"--text={here}:text"]
    assert command(["run", "run", *words]) == 0
    capsys.readouterr()
    assert command(["show", "run", "--rounds=1", "--last=4"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert len(shown) == 1 + 4 + 1 and shown[-1].endswith("report.html")
    assert command(["export", "run", "out.csv", "--text", "--states=done"]) == 0
    rows = list(csv.DictReader(Path("out.csv").read_bytes().decode().splitlines(keepends=True)))
    assert [json.loads(row["tokens"]) for row in rows] == [
        json.loads(line)["tokens"] for line in exported("jsonl")
    ]
    assert all(row["text"].startswith("'=dial ") and "\n" in row["text"] for row in rows)
    assert [float(row["reward"]) for row in rows] == [
        works(json.loads(row["tokens"])) for row in rows
    ]
    assert command(["export", "run", "ones.jsonl", "--reward=1"]) == 0
    assert len(Path("ones.jsonl").read_text().splitlines()) == sum(
        float(row["reward"]) for row in rows
    )
    capsys.readouterr()
    assert command(["verify", "run"]) == 0 and "sound; 12 paid" in capsys.readouterr().out
    assert command(["status", "run"]) == 0 and "12 of 12" in capsys.readouterr().out
    with sqlite3.connect("run/oracle.sqlite") as database:
        database.execute("UPDATE evaluations SET reward = 1 - reward WHERE row = 3")
    database.close()
    assert command(["verify", "run"]) == 1
    assert "row 3" in capsys.readouterr().out


def exported(ending):
    assert command(["export", "run", f"out.{ending}"]) == 0
    return Path(f"out.{ending}").read_text().splitlines()


def test_the_algorithm_is_kept_and_folders_from_before_auto_go_on_with_banel(here):
    words = ["--prior=two_circles", "--algorithm=prior_sampling", "--set=num_candidates=5"]
    assert command(["run", "run", *words, f"--oracle={here}:score", "--rounds=1"]) == 0
    assert settings.kept(Path("run"))["algorithm"] == "prior_sampling"
    config = Path("run/config.json")
    before = re.sub(r'"algorithm=prior_sampling",?', "", config.read_text())
    config.write_text(before)
    assert settings.kept(Path("run"))["algorithm"] == "banel"
    assert "algorithm=auto" in settings.to_keep({"set": []})["may_change"]["command"]


def test_a_file_says_the_same_as_flags(here, at_once):
    Path("run.toml").write_text(
        'folder = "run"\nprior = "two_circles"\nalgorithm = "banel"\nrounds = 2\n'
        f'oracle = "{here}:score"\ntimeout = 60\n[stop]\nseconds = 1000.0\n'
        "[set]\nnum_candidates = 6\n[set.generator_training]\nepochs = 2\n"
        "[set.failure_training]\nepochs = 7\n"
    )
    assert command(["run", "--config=run.toml", "--set=failure_training.epochs=2"]) == 0
    assert metrics("run") == at_once[:2]
    assert command(["extend", "run", "--budget=18", "--timeout=none"]) == 0
    assert metrics("run") == at_once[:3]


def test_a_rule_ends_a_run_with_0(here, capsys):
    words = [*PRIOR, "--rounds=50", f"--oracle={here}:score", "--stop.successes=1"]
    assert command(["run", "run", *words]) == 0
    assert "stopped: 1 successes reached" in capsys.readouterr().out
