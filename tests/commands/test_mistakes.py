"""A person's mistakes: one line that names the flag, before anything is begun or paid for."""

import subprocess
import sys
from pathlib import Path

import pytest

from banel_jax.commands import main, settings
from banel_jax.commands.help import WIDTH
from banel_jax.commands.main import COMMANDS, command

ROOT = Path(__file__).parents[2]
RUN = ["run", "r", "--prior=two_circles", "--oracle=fine_oracle:score"]
FILES = {
    "fine_oracle.py": "def score(x):\n    return [0, 0]\nthree = 3\nclass Kind: pass\n",
    "broken_oracle.py": "raise RuntimeError('no licence\\nfor this')\n",
    "exiting_oracle.py": "raise SystemExit('not here')\n",
    "wanting_oracle.py": "import no_such_package\n",
    "bad.toml": "prior = \n",
    "unknown.toml": "rouns = 3\n",
    "flat.toml": "set = 3\n",
    "latin.toml": b"prior = '\xff'\n",
    "npz.npz": b"PK no archive",
}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    for name, content in FILES.items():
        Path(tmp_path, name).write_bytes(
            content if isinstance(content, bytes) else content.encode()
        )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield
    for name in [name for name in sys.modules if name.endswith("_oracle")]:
        sys.modules.pop(name)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["rum", "r"], "there is no command 'rum'; give one of run, ask, tell"),
        (["run"], "run needs the folder of a run"),
        ([*RUN, "--rouns=3"], "unknown setting 'rouns'; the nearest are --rounds"),
        ([*RUN, "--rounds"], "--rounds needs a value"),
        ([*RUN, "--rounds=x"], "--rounds=x must be int or none"),
        ([*RUN, "--rounds=0"], "--rounds=0 must be at least 1"),
        ([*RUN, "--timeout=-1"], "--timeout=-1.0 must be positive"),
        ([*RUN, "--workers=0"], "--workers=0 must be at least 1"),
        ([*RUN, "--stop.success-rate=2"], "--stop.success_rate=2.0 must be at most 1"),
        ([*RUN, "--on-failure=ignore"], "--on_failure=ignore must be one of stop, drop"),
        (
            [*RUN, "--algorithm=banell"],
            "--algorithm=banell must be one of auto, banel, ",
        ),
        (
            [*RUN, "--algorithm=banel", "--set=kapa=2"],
            "--set=kapa=2: banel has no setting 'kapa'; the nearest",
        ),
        (
            [*RUN, "--set=kappa=2"],
            "--set=kappa=2: auto has no setting 'kappa', a setting of banel and seq",
        ),
        ([*RUN, "--set=both_sides.kappa=x"], "=x: both_sides.kappa must be float"),
        ([*RUN, "--set=both_sides.kappa=-1"], "--set: both_sides.kappa=-1.0 must"),
        ([*RUN, "--set=num_candidates=4"], "must be at least 5, one for each part of auto; any"),
        ([*RUN, "--set=kappa"], "--set=kappa must be KEY=VALUE"),
        ([*RUN, "--budget=100"], "budget=100|rounds"),
        ([*RUN, "stray"], "unknown argument 'stray'"),
        ([*RUN, "--workers=2", "--how=here"], "--workers=2 needs --how=threads or"),
        ([*RUN, "--retries=2"], "--retries=2 needs transient"),
        (["run", "r", "--oracle=fine_oracle:score"], "there is no --prior"),
        (["run", "r", "--prior=no/where", "--oracle=by-hand"], "--prior=no/where is no folder, no"),
        (
            ["run", "r", "--prior=fine_oracle:three"],
            "fine_oracle:three is a int; give a Task",
        ),
        (["run", "r", "--prior=fine_oracle:score"], "raised TypeError"),
        (["run", "r", "--prior=npz.npz"], "npz.npz cannot be read"),
        ([*RUN, "--text=fine_oracle:three"], "--text=fine_oracle:three is a int"),
        ([*RUN, "--text=alphabet: aa"], "--text: the tokens have 'a' twice"),
        (
            [*RUN[:3], "--oracle=fine_oracle"],
            "--oracle=fine_oracle is none; give module:function",
        ),
        ([*RUN[:3], "--oracle=fine_oracle:no"], "--oracle=fine_oracle:no: fine_oracle has no no"),
        ([*RUN[:3], "--oracle=fine_oracle:Kind"], "is a type; name a function"),
        ([*RUN[:3], "--oracle=absent_oracle:f"], "there is no module absent_oracle, neither in /"),
        (
            [*RUN[:3], "--oracle=broken_oracle:f"],
            "importing broken_oracle raised RuntimeError: no licence for this",
        ),
        ([*RUN[:3], "--oracle=exiting_oracle:f"], "raised SystemExit: not here"),
        ([*RUN[:3], "--oracle=wanting_oracle:f"], "wanting_oracle needs no_such_package"),
        ([*RUN[:3], "--oracle=command: no_such_program x"], "no_such_program' is no program"),
        (
            [*RUN[:3], "--oracle=command: 'python"],
            "'python: No closing quotation",
        ),
        ([*RUN, "--known=none.csv"], "No such file"),
        (["run", "--config=none.toml"], "--config=none.toml cannot be read: No such file"),
        (["run", "--config=bad.toml"], "--config=bad.toml cannot be read: Invalid value"),
        (["run", "--config=latin.toml"], "--config=latin.toml cannot be read"),
        (
            ["run", "--config=unknown.toml"],
            "--config=unknown.toml: unknown setting 'rouns'",
        ),
        (["run", "--config=flat.toml"], "--config=flat.toml: set must be a table"),
        (["extend", "r", "--rounds=3"], "r holds no run; begin one"),
        (["tell", "r", "x.csv"], "r holds no run"),
        (["tell", "r"], "tell needs a table of results"),
        (["status", "r"], "r holds no run"),
        (["show", "r"], "there is no ledger"),
        (["show", "r", "--last=x"], "--last=x must be int"),
        (["show", "r", "--seed=3"], "show takes no --seed"),
        (["export", "r"], "export needs one file to write"),
        (["verify", "r"], "there is no ledger"),
    ],
    ids=lambda x: " ".join(x)[-40:] if isinstance(x, list) else "",
)
def test_a_mistake_is_one_line_and_begins_nothing(words, said, tmp_path):
    with pytest.raises((ValueError, OSError)) as caught:
        command(words)
    line = main._told(caught.value)
    assert any(part in line for part in said.split("|")) and "\n" not in line
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("name", COMMANDS)
def test_help_is_a_screen(name, capsys):
    assert command([name, "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert 2 < len(lines) <= 45 and max(map(len, lines)) <= WIDTH
    assert command([]) == 0
    assert f"  {name} FOLDER" in capsys.readouterr().out


def test_all_flags_are_told_of_and_so_are_the_algorithms(capsys):
    assert command(["run", "--helpfull", "--algorithm=gflownet"]) == 0
    told = capsys.readouterr().out
    assert all(f"--{flag}=" in told for flag in settings.known())
    assert "epsilon=0.001" in told and "kappa" not in told.partition("--set of")[2]


def test_the_program_ends_with_one_line_and_its_status(tmp_path):
    end = lambda *words: subprocess.run(
        [sys.executable, "-m", "banel_jax", *words], cwd=tmp_path, text=True, capture_output=True,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}, timeout=100,
    )  # fmt: skip
    wrong = end("run", "r", "--rouns=3")
    assert wrong.returncode == 1 and not wrong.stdout
    assert (
        wrong.stderr.startswith("error: unknown setting 'rouns'") and wrong.stderr.count("\n") == 1
    )
    words = ["--prior=two_circles", "--algorithm=prior_sampling", "--set=num_candidates=2"]
    awaited = end("ask", "r", *words)
    assert awaited.returncode == 75 and not awaited.stderr
    assert awaited.stdout.count("\n") == 1 and "by_hand/round_0000.csv" in awaited.stdout
