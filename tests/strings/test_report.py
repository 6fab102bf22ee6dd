"""What is said of a prior's samples, and the command that makes one of a file."""

import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

import banel_jax as bj
from banel_jax.strings.report import report
from experiments import pretrain

# Tokens a, b and the end, of two positions: "a" with 1/4, "ab" and "bb", cut off, with 3/8 each.
PROBABILITIES = np.array([[0, 3 / 8, 1 / 4], [0, 3 / 8, 0], [0, 0, 0]], np.float32)
PRIOR = bj.StringPrior(
    bj.table(3, 2), jnp.log(jnp.asarray(PROBABILITIES)), bj.Vocabulary(("a", "b"))
)


def test_the_shares_are_those_of_the_law():
    found = report(PRIOR, ["ab", "b"], 2000, lambda s: s.startswith("a"))
    assert found["unique"] == 3 / 2000 and sorted(found["examples"]) == ["a", "ab", "bb"]
    assert found["novel"] == pytest.approx(2 / 3)  # all but ab
    assert found["unended"] == pytest.approx(3 / 4, abs=0.05)
    assert found["mean_tokens"] == 2
    assert found["valid"] == pytest.approx(5 / 8, abs=0.05)
    low, high = found["valid_interval"]
    assert low < found["valid"] < high < low + 0.05 and found["valid_strings"] == 0.5
    assert "valid" not in report(PRIOR, ["ab"], 10)


def test_what_a_checker_raises_at_is_not_valid_unless_it_raises_at_all():
    def checker(string):
        if string == "bb":
            raise RuntimeError("no")
        return string

    assert report(PRIOR, ["ab"], 2000, checker)["valid"] == pytest.approx(5 / 8, abs=0.05)
    with pytest.raises(ValueError, match="raises at every string, first TypeError: "):
        report(PRIOR, ["ab"], 20, lambda: True)


SETTINGS = dict(
    num_layers=1, num_heads=1, width=8, samples=50,
    training=bj.TrainingConfig(epochs=2, batch_size=8, learning_rate=1e-2),
)  # fmt: skip
CHECKER = "def valid(string):\n    return string.startswith('=')\nthree = 3\n"


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    name = f"checker_of_{tmp_path.name}".replace("-", "_")
    Path(f"{name}.py").write_text(CHECKER)
    return name


def test_a_file_becomes_a_prior_and_a_report(here, capsys):
    Path("data.csv").write_text(
        "id,smiles\n" + "".join(f"{i},=C{'C' * (i % 7)}\n" for i in range(30))
    )
    config = pretrain.Config(data="data.csv", output="p", checker=f"{here}:valid", **SETTINGS)
    pretrain.main(config)
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("30 strings, 7 of them different; 1 held out; ")
    assert "3 tokens of vocabulary" in said[0]
    assert said[1].startswith("held out: ") and "nats a token, after 2 epochs" in said[1]
    assert said[2].startswith("50 samples of ") and "100.0% of the strings themselves" in said[2]
    found = json.loads(Path("p/report.json").read_text())
    assert found["samples"] == 50 and 0 <= found["valid"] <= 1
    before = {path: path.read_bytes() for path in Path("p").iterdir()}
    pretrain.main(config)
    assert {path: path.read_bytes() for path in Path("p").iterdir()} == before
    assert bj.load_prior("p").vocabulary.tokens == ("=", "C")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": ""}, "there is no --data; give --data=FILE --output=FOLDER"),
        ({"output": ""}, "there is no --output"),
        ({"data": "nowhere.txt"}, r"nowhere\.txt cannot be read"),
        ({"checker": "no_such:valid"}, "--checker=no_such:valid: there is no module no_such"),
        ({"checker": "CHECKER:three"}, "three is a int; name a function"),
        ({"column": "x"}, r"data\.txt is no table with a column 'x'"),
    ],
)
def test_a_mistake_is_one_line_before_anything_is_trained(here, changes, message):
    Path("data.txt").write_text("ab\ncd\n")
    changes = {k: v.replace("CHECKER", here) for k, v in changes.items()}
    with pytest.raises(ValueError, match=message) as caught:
        pretrain.main(pretrain.Config(**{"data": "data.txt", "output": "p"} | SETTINGS | changes))
    assert "\n" not in str(caught.value) and not Path("p").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"samples": 0}, "samples=0 must be at least 1"),
        ({"held_out": 1.0}, "held_out=1.0 must be below 1"),
        ({"width": 10}, "width=10 is not divisible by num_heads=4"),
        ({"too_long": "cut"}, "too_long='cut' is not one of refuse, leave_out"),
        ({"epoch_rows": 0}, "epoch_rows=0 must be at least 1"),
        ({"length": -1}, "length=-1 must not be negative"),
    ],
)
def test_settings_are_checked(changes, message):
    with pytest.raises(ValueError, match=message):
        pretrain.Config(**changes)


def test_what_is_not_printable_is_shown_as_such():
    found = dict(samples=2, mean_tokens=3.0, unique=1.0, novel=1.0, unended=0.0)
    text = pretrain.in_words(found | {"examples": ["a\x1b[31m\n", "b" * 500]})
    assert r"'a\x1b[31m\n'" in text and len(max(text.split("\n"), key=len)) <= 122
