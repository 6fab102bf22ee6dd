"""GSM8K's files, and both rules of what counts as the right answer."""

import gzip
import json
import os
from decimal import Decimal
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from banel_jax import parallel
from banel_jax.oracle import Oracle, OracleError
from banel_jax.tasks.gsm8k import data as gsm8k_data
from banel_jax.tasks.gsm8k.data import HARD_QUESTIONS, load_gsm8k, question, strip_annotations
from banel_jax.tasks.gsm8k.task import (
    GsmOracle,
    is_right,
    reward,
    strict_answer,
)
from banel_jax.tasks.text import last_number, on_host
from banel_jax.types import Sequences

# Where the environment names no folder, a data folder shared by checkouts that lie beside it.
DATA = Path(
    os.environ.get("BANEL_DATA_DIR") or Path(__file__).parents[3].joinpath("shared", "data")
)
RECORDS = [
    {"question": "Six\u2028 times  7?", "answer": "6*7=<<6*7=42>>42\n#### 42"},
    {"question": "In all?", "answer": "That is $<<540*2=1080>>1,080.\n#### 1,080"},
    {"question": "The change?", "answer": "It falls.\n#### -3"},
]
NAMES = ("train.jsonl", "test.jsonl")


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """Not the environment's data, and files of three lines."""
    monkeypatch.delenv("BANEL_DATA_DIR", raising=False)
    monkeypatch.setattr(gsm8k_data, "LINES", {"train": 3, "test": 3})


@pytest.fixture
def folder(tmp_path):
    for name in NAMES:
        write(tmp_path / name, RECORDS)
    return tmp_path


def write(file, records):
    text = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    file.write_text(text, encoding="utf-8")


def message(call, *args):
    with pytest.raises(ValueError) as caught:
        call(*args)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_mark_and_other_line_ends_are_read(folder):
    expected = load_gsm8k(folder)
    for name in NAMES:
        text = (folder / name).read_bytes()
        changed = b"\xef\xbb\xbf" + text.replace(b"\n", b"\r\n") + b"\r\n\n"
        (folder / name).write_bytes(changed)
    assert load_gsm8k(folder) == expected


def test_problems_stand_in_the_order_of_the_file(folder):
    problems = load_gsm8k(folder)
    assert [p.question for p in problems] == [r["question"] for r in RECORDS]
    assert [p.answer for p in problems] == [r["answer"] for r in RECORDS]
    assert [p.gold for p in problems] == ["42", "1080", "-3"]
    assert question(1, folder).prompt == (
        'In all? Let\'s think step by step and output the final answer after "####".'
    )


def test_plain_and_gzip_in_the_folder_or_in_gsm8k_and_by_the_environment(
    folder, monkeypatch, tmp_path_factory
):
    expected = load_gsm8k(folder, "train")
    monkeypatch.setenv("BANEL_DATA_DIR", str(folder))
    assert load_gsm8k(split="train") == expected
    other = tmp_path_factory.mktemp("other")
    (other / "gsm8k").mkdir()
    content = (folder / "train.jsonl").read_bytes()
    (other / "gsm8k" / "train.jsonl.gz").write_bytes(gzip.compress(content))
    assert load_gsm8k(other, "train") == expected
    assert str(other) in message(load_gsm8k, other, "test")  # not the environment's


@pytest.mark.parametrize(
    "change",
    [
        lambda content: b"\xef\xbb\xbf" + content,
        lambda content: content.replace(b"\n", b"\r\n"),
        lambda content: content.replace(b"\n", b"\r"),
        lambda content: content + b"\n \r\n",
        lambda content: content.rstrip(b"\n"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_marks_and_ends_of_lines_are_no_matter(folder, change, packed):
    expected = load_gsm8k(folder)
    file = folder / "test.jsonl"
    content = change(file.read_bytes())
    file.unlink()
    if packed:
        (folder / "test.jsonl.gz").write_bytes(gzip.compress(content))
    else:
        file.write_bytes(content)
    assert load_gsm8k(folder) == expected


def test_a_changed_file_is_read_again(folder):
    load_gsm8k(folder)
    write(folder / "test.jsonl", [*RECORDS[:2], RECORDS[1]])
    assert load_gsm8k(folder)[2].gold == "1080"


def test_what_is_missing_is_named(folder):
    for text in (
        message(load_gsm8k),
        message(load_gsm8k, folder / "nowhere"),
        message(load_gsm8k, folder / "test.jsonl"),
    ):
        assert "folder" in text and "--data_dir or BANEL_DATA_DIR" in text
    (folder / "test.jsonl").unlink()
    text = message(load_gsm8k, folder)
    assert f"there is no test.jsonl or test.jsonl.gz in {folder}" in text
    assert "--data_dir or BANEL_DATA_DIR" in text and "https://" in text
    assert message(load_gsm8k, folder, "dev") == "split='dev' must be train or test"


@pytest.mark.parametrize("row", [-1, 3, 5000, 1.0, True, None, float("nan")])
def test_a_question_out_of_range_names_the_flag(folder, row):
    text = message(question, row, folder)
    assert f"question={row} is no row" in text and "--question a number from 0 to 2" in text


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"question": "a", "answer": "####', "line 2 of the GSM8K file {file} is no JSON"),
        ("", "is no JSON"),
        ('["question", "answer"]', "has no question and answer"),
        ('{"question": "a"}', "has no question and answer"),
        ('{"question": "a", "answer": 5}', "has no question and answer"),
        ('{"question": "a", "answer": "5"}', "has no number after ####"),
        ('{"question": "a", "answer": "#### five"}', "has no number after ####"),
        ('{"question": "a", "answer": "#### 5\\nor 6"}', "has no number after ####"),
        ('{"question": " ", "answer": "#### 5"}', "has no question and answer"),
        ('{"question": "\\ud800", "answer": "#### 5"}', "has what is no text"),
        ("[" * 100_000, "is no JSON"),
    ],
)
def test_a_damaged_line_is_named(folder, line, reason):
    file = folder / "test.jsonl"
    lines = file.read_text(encoding="utf-8").split("\n")
    file.write_text("\n".join([lines[0], line, *lines[2:]]), encoding="utf-8")
    text = message(load_gsm8k, folder)
    assert reason.format(file=file) in text and f"line 2 of the GSM8K file {file}" in text
    assert "--data_dir or BANEL_DATA_DIR" in text


def test_damaged_files_are_named(folder):
    file = folder / "test.jsonl"
    write(file, RECORDS[:2])
    assert f"{file} has 2 lines in place of 3" in message(load_gsm8k, folder)
    file.write_bytes(b"\xff\xfe")
    text = message(load_gsm8k, folder)
    assert f"line 1 of the GSM8K file {file} is not text in UTF-8" in text
    write(file, RECORDS)
    file.write_bytes(file.read_bytes().replace(b"In all?", b"In \xe9 all?"))
    assert f"line 2 of the GSM8K file {file} is not text in UTF-8" in message(load_gsm8k, folder)
    packed = gzip.compress((folder / "train.jsonl").read_bytes())
    file.unlink()
    file = folder / "test.jsonl.gz"
    file.write_bytes(packed[:-9])
    assert f"{file} is truncated" in message(load_gsm8k, folder)
    file.write_bytes(b"no gzip")
    assert f"{file} is damaged" in message(load_gsm8k, folder)


def test_the_data_set_itself(monkeypatch):
    monkeypatch.undo()
    if not any(DATA.glob("**/gsm8k/test.jsonl*")):
        pytest.skip(f"GSM8K is not in {DATA}; BANEL_DATA_DIR may name another folder")
    problems = load_gsm8k(DATA)
    assert len(problems) == 1319 and len(load_gsm8k(DATA, "train")) == 7473
    assert [problems[row].gold for row in HARD_QUESTIONS] == ["16", "750", "94", "525", "205", "98"]
    assert problems[0].question.startswith("Janet\u2019s ducks lay 16 eggs per day.")
    both = [*problems, *load_gsm8k(DATA, "train")]
    for rule in ("strict", "flexible"):  # the solutions given are right, if 1,080 is 1080
        assert all(is_right(p.answer, p.gold, rule) for p in both)
    assert not any(mark in strip_annotations(p.answer) for p in both for mark in ("<<", ">>"))


def test_annotations_are_removed_and_nothing_else():
    assert strip_annotations("2*3=$<<2*3=6>>6, 1/2=<<1/2=.5>>.5") == "2*3=$6, 1/2=.5"
    assert strip_annotations("1 < 2 << 3 > 2, a <<b") == "1 < 2 << 3 > 2, a <<b"
    assert strip_annotations("<<>>x") == "x"


# text, the strict answer and the flexible one
TABLE = [
    ("#### 16", "16", "16"),
    ("so 4*4=16\n#### 16", "16", "16"),
    ("#### 16<|im_end|>", "16", "16"),
    ("#### 16\n", "16", "16"),
    ("#### 16 eggs", "16", "16"),
    ("#### 16 of 20", "16", "20"),
    ("####16", None, "16"),
    ("####  16", None, "16"),
    ("####\n16", None, "16"),
    ("#### $16", None, "16"),
    ("#### **16**", None, "16"),
    ("#### x = 16", None, "16"),
    ("### 16", None, "16"),
    ("##### 16", "16", "16"),
    ("#### 16.", "16.", "16"),
    ("#### 16.00", "16.00", "16.00"),
    ("#### 016", "016", "16"),
    ("#### 16%", "16", "16"),
    ("#### 16,", "16", "16"),
    ("#### 1,080", "1080", "1080"),
    ("#### 10,80", "1080", "80"),
    ("#### 1,080.50", "1080.50", "1080.5"),
    ("#### -3", "-3", "-3"),
    ("#### - 3", None, "3"),
    ("#### +3", None, "3"),
    ("#### --3", None, "-3"),
    ("#### .5", ".5", "0.5"),
    ("#### -.5", "-.5", "-0.5"),
    ("#### 0.5", "0.5", "0.5"),
    ("#### 1/2", "1", "2"),
    ("#### 7-5", "7", "5"),
    ("#### (3)", None, "3"),
    ("#### .", ".", None),
    ("#### ,", "", None),
    ("#### 1.2.3", "1.2.3", "3"),
    ("#### 12 #### 16", "16", "16"),
    ("#### 16\n#### none", "16", "16"),
    ("#### 16\n#### $12", "16", "12"),
    ("#### none", None, None),
    ("The answer is 16.", None, "16"),
    ("16 eggs, that is all", None, "16"),
    ("$1,080 a year", None, "1080"),
    ("from 20 down to -3.", None, "-3"),
    ("#### sixteen", None, None),
    ("", None, None),
    ("####", None, None),
    ("#### 1e3", "1", "3"),
    ("#### \u0661\u0666", None, None),
]


@pytest.mark.parametrize(("text", "strict", "flexible"), TABLE)
def test_the_answer_of_a_text(text, strict, flexible):
    assert strict_answer(text) == strict
    assert last_number(text) == (None if flexible is None else Decimal(flexible))


@pytest.mark.parametrize(
    ("text", "gold", "strict", "flexible"),
    [
        ("#### 16", "16", True, True),
        ("#### 16.", "16", False, True),
        ("#### 16.00", "16", False, True),
        ("#### $16", "16", False, True),
        ("#### 1,080", "1080", True, True),
        ("#### -3", "3", False, False),
        ("#### 16 and 4 are left", "16", True, False),
        ("#### 160", "16", False, False),
        ("nothing", "16", False, False),
        ("#### 0.10", "0.1", False, True),
    ],
)
def test_strings_and_numbers_are_compared(text, gold, strict, flexible):
    assert is_right(text, gold) == is_right(text, gold, "strict") == strict
    assert is_right(text, gold, "flexible") == flexible
    assert not strict or strict_answer(text) == gold


def test_rewards_are_float32_in_order():
    texts = ["#### 16", "16", "#### 17"]
    for rule, expected in (("strict", [1, 0, 0]), ("flexible", [1, 1, 0])):
        found = reward(texts, "16", rule)
        assert found.dtype == np.float32 and found.tolist() == expected
    assert reward([], "16").shape == (0,)
    assert message(reward, texts, "16", "exact") == "rule='exact' must be strict or flexible"


def letters(tokens):
    return "".join(chr(token) for token in tokens)


def batch(*rows):
    """Sequences of characters; what stands before a | is the prompt."""
    length = max(map(len, rows))
    tokens = np.zeros((len(rows), length), np.int32)
    mask = np.zeros((len(rows), length), bool)
    for i, row in enumerate(rows):
        prompt, _, written = row.partition("|")
        tokens[i, : len(row) - 1] = [ord(c) for c in prompt + written]
        mask[i, len(prompt) : len(row) - 1] = True
    return Sequences(tokens, mask)


def test_the_oracle_reads_what_was_written_and_is_counted():
    oracle = GsmOracle(letters, "16")
    rows = batch("say #### 16|no", "why?|#### 16", "|#### 16. So", "|#### 16")
    assert oracle.texts(rows) == ["no", "#### 16", "#### 16. So", "#### 16"]
    counted = Oracle(oracle, budget=8)
    assert counted.evaluate(0, rows).tolist() == [0, 1, 0, 1]
    assert counted.num_reward_evaluations == 4 and counted.num_successes == 2
    assert GsmOracle(letters, "16", "flexible")(rows).tolist() == [0, 1, 1, 1]


def test_a_decoder_that_fails_is_the_oracles_error():
    with pytest.raises(OracleError, match="chr"):
        Oracle(GsmOracle(letters, "16")).evaluate(
            0, Sequences(np.full((1, 2), -1), np.ones((1, 2)))
        )


def test_the_oracles_settings_are_checked():
    assert "rule='last'" in message(GsmOracle, letters, "16", "last")
    assert "gold='1,080' is no number" in message(GsmOracle, letters, "1,080")


def test_an_oracle_of_the_host_is_called_by_compiled_programs():
    texts = ["#### 16", "#### 17", "16", "so #### 16"]
    length = max(map(len, texts))
    tokens = jnp.array([[ord(c) for c in text.ljust(length)] for text in texts])
    mask = jnp.array([[i < len(text) for i in range(length)] for text in texts])
    letters = lambda row: "".join(map(chr, row))
    judge = on_host(GsmOracle(letters, "16"))
    rows = Sequences(tokens, mask)
    np.testing.assert_array_equal(jax.jit(judge)(rows), [1, 0, 0, 1])
    pairs = jax.tree.map(lambda x: x.reshape(2, 2, length), rows)
    for every in (jax.vmap, lambda f: lambda x: jax.lax.map(f, x)):
        np.testing.assert_array_equal(jax.jit(every(judge))(pairs), [[1, 0], [0, 1]])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parallel, "is_spread", lambda: True)
        with pytest.raises(ValueError, match="a mesh of several CPU devices"):
            judge(rows)
