"""What a command adds to a run: its controls, TensorBoard's files, a change that is accepted."""

import json
import re
import sys
from pathlib import Path

import pytest

from banel_jax.commands import settings
from banel_jax.commands.main import command
from banel_jax.oracle import export, read, tables
from banel_jax.runs import callbacks, control_file

LAB = "def score(x):\n    return [int(a + b >= 60) for a, b in x.tokens.tolist()]\n"
RUN = ["--prior=two_circles", "--oracle=controls_lab:score", "--algorithm=prior_sampling"]
RUN += ["--set=num_candidates=6"]  # what is quick


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A folder with an oracle and a run of two rounds."""
    folder = tmp_path_factory.mktemp("lab")
    (folder / "controls_lab.py").write_text(LAB)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(str(folder))
        assert command(["run", "run", *RUN, "--rounds=2"]) == 0
        yield folder


@pytest.fixture(autouse=True)
def here(lab, monkeypatch):
    monkeypatch.chdir(lab)


def test_controls_are_judged_by_command_and_cost_nothing(lab, capsys):
    before = len(read("run"))
    assert command(["controls", "run", "--samples=20", "--temperatures=0.5,2", "--seed=7"]) == 0
    told = capsys.readouterr().out
    found = control_file.read(lab / "run")
    assert [one.control for one in found.controls] == [
        "the prior", "the ladder of temperatures", "the prior at T = 0.5", "the prior at T = 2",
        "the likeliest 1 / 2 of the prior", "the least likely 1 / 2 of the prior",
        "the method told nothing but 0", "the method with f = 1",
    ]  # fmt: skip
    assert len(read("run")) == before == found.answered
    for one in found.controls:
        assert one.control in told and one.conclusion.split()[0] in told
    assert [one.samples for one in found.controls] == [20] * 6 + [12, 0]
    zeros = found.controls[6]
    assert 0 < zeros.known + zeros.would_cost <= 12
    assert "The controls of this run" in Path("run/report.html").read_text()
    assert command(["controls", "run", "--samples=20", "--told-nothing=false"]) == 0
    assert control_file.read(lab / "run").controls[-2].samples == 0


def test_controls_at_the_end_of_a_run_and_kept_for_the_next(lab, capsys, monkeypatch):
    asked = []
    from banel_jax.commands import judging

    real = judging.judge_controls
    few = lambda *args, **more: asked.append(1) or real(*args, samples=20, **more)
    monkeypatch.setattr(judging, "judge_controls", few)
    assert command(["run", "ended", *RUN, "--rounds=1", "--controls"]) == 0
    told = capsys.readouterr().out
    assert "1 rounds, 6 evaluations" in told and "the least likely 1 / 2 of the prior" in told
    assert control_file.read(lab / "ended").answered == 6
    assert command(["extend", "ended", "--rounds=2"]) == 0
    assert control_file.read(lab / "ended").answered == 12
    assert command(["run", "ended", "--controls=false"]) == 0 and len(asked) == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["controls"], "controls needs the folder of a run"),
        (["controls", "nothing"], "nothing holds no run that a command began"),
        (["controls", "run", "x"], "unknown argument 'x'"),
        (["controls", "run", "--rounds=3"], "controls takes no --rounds"),
        (["controls", "run", "--samples=x"], "--samples=x must be int"),
        (["controls", "run", "--samples=0"], "--samples=0 must be at least 1"),
        (["controls", "run", "--filter-factor=1"], "--filter_factor=1.0 must be a number above 1"),
        (["controls", "run", "--temperatures=0"], "--temperatures=(0.0,) must be one or more"),
        (["controls", "run", "--told-nothing=maybe"], "--told_nothing=maybe must be bool"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(words, said):
    with pytest.raises(ValueError, match=re.escape(said)) as error:
        command(words)
    assert "\n" not in str(error.value)


def test_tensorboard_has_the_metrics_of_all_rounds(lab):
    pytest.importorskip("tensorboardX")
    assert command(["run", "board", *RUN, "--rounds=1", "--tensorboard"]) == 0
    assert command(["extend", "board", "--rounds=2"]) == 0  # the flag is kept
    files = sorted(Path("board/tensorboard").iterdir())
    assert len(files) == 2 and all(b"num_successes" in path.read_bytes() for path in files)
    plain, watched = (Path(name, "metrics.jsonl").read_bytes() for name in ("run", "board"))
    assert plain == watched


def test_without_a_writer_tensorboard_is_refused_before_anything_is_begun(lab, monkeypatch):
    for module, _ in callbacks.WRITERS:
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ValueError, match=r"^--tensorboard: .*pip install tensorboardX"):
        command(["run", "no_board", *RUN, "--tensorboard"])
    assert not Path("no_board").exists()


def test_a_change_of_the_environment_is_accepted_where_it_is_named(lab):
    assert command(["run", "old", *RUN, "--rounds=1"]) == 0
    path = Path("old/config.json")
    begun = json.loads(path.read_text())
    begun["environment"]["jax"] = "0.0.1"
    path.write_text(json.dumps(begun))
    with pytest.raises(ValueError, match=r"by command --accept=environment\.jax$") as error:
        command(["extend", "old", "--rounds=2"])
    assert "\n" not in str(error.value)
    flag = str(error.value).split()[-1]
    assert command(["extend", "old", "--rounds=2", flag]) == 0
    changes = json.loads(path.read_text())["changes"]
    assert "environment.jax" in changes[-1]["fields"]
    assert Path("old/metrics.jsonl").read_bytes() == Path("run/metrics.jsonl").read_bytes()
    assert "accept" not in settings.kept(Path("old"))  # the next change is looked at again
    assert command(["extend", "old", "--rounds=3"]) == 0


def test_answers_are_told_as_parquet(lab, capsys):
    pytest.importorskip("pyarrow")
    words = [word for word in RUN if not word.startswith("--oracle")]
    assert command(["ask", "hand", *words, "--rounds=1"]) == 75
    tables.write("half.parquet", {"row": [5, 0, 3], "reward": [0.0, 1.0, None]})
    assert command(["tell", "hand", "half.parquet"]) == 75
    assert "4 of the 6 answers of round 0 are awaited" in capsys.readouterr().out
    assert [row for row in read("hand").row[read("hand").reward == 1]] == [0]
    Path("text.parquet").write_text("row,reward\n1,1\n")
    with pytest.raises(ValueError, match=r"text.parquet is no Parquet"):
        command(["tell", "hand", "text.parquet"])
    rows = read("hand", states=("pending", "running", "abandoned"))
    tables.write("rest.parquet", {"row": rows.row.tolist(), "reward": [0] * len(rows)})
    assert command(["tell", "hand", "rest.parquet"]) == 0
    assert command(["run", "hand", "--oracle=by-hand"]) == 0
    export.write(read("hand"), "again.parquet")  # what was exported says the same again
    assert command(["verify", "hand"]) == 0
