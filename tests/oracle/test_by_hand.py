import csv
import io
import json
import sys
from dataclasses import replace

import pytest
from evaluations import call, evaluated

from banel_jax.oracle import tables
from banel_jax.oracle.answers import Answer, Failed, OracleError, Pending
from banel_jax.oracle.calls import Call
from banel_jax.oracle.evaluators import by_hand
from banel_jax.runs import mistakes

ZERO, ONE = Answer(0.0), Answer(1.0)


def asked(folder, rows=3):
    """What is known of each row, None where it is awaited."""
    outcomes = evaluated(by_hand(folder), rows)
    return [None if isinstance(outcome, Pending) else outcome for outcome in outcomes]


def fill(path, answers, columns=("row", "reward"), divider=","):
    lines = [divider.join(columns), *(divider.join(map(str, answer)) for answer in answers)]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def test_a_round_is_written_once_and_awaited(tmp_path):
    (pending, *_) = evaluated(by_hand(tmp_path / "new"), 3)
    assert "3 of 3 rows of round 0; fill in their rewards in " in pending.what
    table = tmp_path / "new" / "round_0000.csv"
    assert list(csv.reader(io.StringIO(table.read_text()))) == [
        ["row", "id", "tokens", "text", "reward", "score", "cost"],
        *([str(n), f"run-{n}", str(n), f"text {n}", "", "", ""] for n in range(3)),
    ]
    lines = list(map(json.loads, table.with_suffix(".jsonl").read_text().splitlines()))
    assert lines[2] == {
        "row": 2, "id": "run-2", "tokens": "2", "text": "text 2", "reward": None, "score": None,
        "cost": None,
    }  # fmt: skip
    table.write_text(table.read_text().replace("text 1,", "text 1,1"))
    assert asked(tmp_path / "new") == [None, ONE, None]
    assert "text 1,1" in table.read_text()


def test_answers_come_in_any_order_in_several_parts_and_with_rows_missing(tmp_path):
    assert asked(tmp_path, 6) == [None] * 6
    fill(tmp_path / "b.csv", [(4, 1), (0, "0.0")])
    assert asked(tmp_path, 6) == [ZERO, None, None, None, ONE, None]
    answers = [("run-2", "failed: spilt", 1), ("run-1", "TRUE", "")]
    fill(tmp_path / "a.csv", answers, ("ID", " Reward ", "cost"), ";")
    (tmp_path / "c.jsonl").write_text(
        '{"row": 3, "reward": 0, "score": {"nm": 3.5}, "cost": 2}\n\n{"row": 5, "failed": "lost"}\n'
    )
    assert asked(tmp_path, 6) == [
        ZERO, ONE, Failed("spilt"), Answer(0.0, {"nm": 3.5}, 2.0), ONE, Failed("lost"),
    ]  # fmt: skip


def test_scores_are_what_a_table_says_whatever_its_kind(tmp_path):
    scores = [0, 0.0, False, -7.5, [1, None], {"nm": 3.5}, "soft, 3", "NaN", "1e999", "[1", None]
    n = len(scores)
    columns = {"row": list(range(n)), "reward": [1] * n, "score": scores}
    for ending in ("csv", "jsonl"):
        (tmp_path / ending).mkdir()
        tables.write(tmp_path / ending / f"answers.{ending}", columns)
        found = [one.score for one in asked(tmp_path / ending, n)]
        assert list(map(repr, found)) == list(map(repr, scores))


def test_answers_as_parquet(tmp_path):
    """As pandas writes them: what is missing is NaN, and so numbers are floats."""
    pandas, _ = pytest.importorskip("pandas"), pytest.importorskip("pyarrow")
    frame = pandas.DataFrame(
        {"id": ["run-0", None, "run-2", None], "row": [None, 1, None, 3],
         "Reward": [1, 0, None, None], "score": [0.0, None, None, None],
         "failed": [None, None, None, "spilt"], "note": ["=1", "", "x", None]}
    )  # fmt: skip
    frame.to_parquet(tmp_path / "a.parquet")
    assert asked(tmp_path, 4) == [Answer(1.0, 0.0), ZERO, None, Failed("spilt")]
    tables.write(tmp_path / "b.parquet", {"row": [2], "reward": [True], "score": [{"nm": 3.5}]})
    assert asked(tmp_path, 4)[2] == Answer(1.0, {"nm": 3.5})
    (tmp_path / "c.parquet").write_bytes((tmp_path / "a.parquet").read_bytes()[:-9])
    with pytest.raises(ValueError, match=r"c.parquet is no Parquet \(.*; mend it") as error:
        asked_of_call(tmp_path)
    assert "\n" not in str(error.value)


def test_without_pyarrow_a_table_of_parquet_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    with pytest.raises(ImportError, match=r"pip install pyarrow, or take CSV$") as error:
        asked_of_call(tmp_path)
    assert mistakes.in_one_line(error.value) == str(error.value)
    with pytest.raises(OracleError, match="pip install pyarrow"):
        asked(tmp_path)


def asked_of_call(folder):
    return by_hand(folder).evaluate(call(4))


def test_the_same_said_twice_is_said_once_and_earlier_rows_do_no_harm(tmp_path):
    fill(tmp_path / "a.csv", [(1, 1), (2, "")])
    fill(tmp_path / "b.csv", [(1, 1), (2, 0), (0, 1)])
    call_of_two = call(3).only([1, 2])
    assert by_hand(tmp_path).evaluate(call_of_two) == [ONE, ZERO]


def test_rows_that_need_no_answer_any_more_may_be_the_last(tmp_path):
    """Of a round in parts, the last rows may be answered first; and a file may hold two rounds."""
    assert asked(tmp_path, 4) == [None] * 4
    fill(tmp_path / "a.csv", [(3, 1)])
    assert asked(tmp_path, 4) == [None, None, None, ONE]
    later = [replace(row, row=row.row + 4, round=1) for row in call(4).rows]
    by_hand(tmp_path).evaluate(Call(later, call(4).sequences))
    fill(tmp_path / "b.csv", [(0, 0), (6, 1)])
    rest = call(4).only([0, 1, 2])
    assert by_hand(tmp_path).evaluate(rest)[0] == ZERO
    assert by_hand(tmp_path).evaluate(Call(later, call(4).sequences))[2] == ONE
    fill(tmp_path / "c.csv", [(8, 1)])
    with pytest.raises(ValueError, match=r"row=8, which was not asked for; the last .* is 7"):
        by_hand(tmp_path).evaluate(rest)


def test_a_table_has_all_of_a_round_whatever_the_size_of_a_call(tmp_path):
    evaluated(by_hand(tmp_path), 3, batch_size=1)
    assert len((tmp_path / "round_0000.csv").read_text().splitlines()) == 4


def test_tables_of_other_rounds_are_left_alone(tmp_path):
    (tmp_path / "round_0007.csv").write_text("nothing that could be read\n")
    (tmp_path / "notes.txt").write_text("nor this")
    (tmp_path / ".~lock.csv").write_text("nor that")
    assert asked(tmp_path) == [None] * 3


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            "row,reward\n0,1\n1,0\n0,0\n",
            "line 4 of .*x.csv and line 2 of .*x.csv say different things of row 0",
        ),
        ("row,reward\n1,maybe\n", "line 2 of .*x.csv has reward=maybe; write 0, 1 or failed: why"),
        ("row,reward\n1,0.5\n", "line 2 of .*x.csv has reward=0.5"),
        ("row,reward\n1,nan\n", "line 2 of .*x.csv has reward=nan"),
        ("row,reward\none,1\n", "line 2 of .*x.csv has row=one; write the number"),
        ("row,reward\n-1,1\n", "line 2 of .*x.csv has row=-1"),
        (
            "row,reward\n3,1\n",
            "line 2 of .*x.csv has row=3, which was not asked for; the last .* is 2",
        ),
        ("row,reward\n,1\n", "line 2 of .*x.csv has a reward and neither row nor id"),
        ("row,outcome\n1,1\n", "line 2 of .*x.csv has row, outcome; it must have row or id, and"),
        ("sample,reward\n1,1\n", "line 2 of .*x.csv has sample, reward; it must have row or id"),
        ("row,reward\n1,1,1\n", "line 2 of .*x.csv has 3 cells"),
        ("id,reward\nother-1,1\n", "line 2 of .*x.csv has id=other-1, which is not of this run"),
        (
            "row,id,reward\n1,run-2,1\n",
            "line 2 of .*x.csv has row=1 with id=run-2, which is another row's",
        ),
        ("row,reward,cost\n1,1,much\n", "line 2 of .*x.csv has cost=much; write a number"),
    ],
)
def test_what_cannot_be_right_is_refused_naming_file_and_line(tmp_path, content, said):
    (tmp_path / "x.csv").write_text(content)
    with pytest.raises(OracleError, match=said) as caught:
        asked(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"row": 1, "reward": 1}\n{"row": 2, "rew\n', "line 2 of .*x.jsonl is no JSON"),
        (b"[1, 1]\n", "line 1 of .*x.jsonl is no JSON object"),
        (b'{"row": 1, "reward": [1]}\n', r"line 1 of .*x.jsonl has reward=\[1\]"),
        (b'{"row": 1, "reward": "\xff"}\n', "line 1 of .*x.jsonl has reward=."),
        (b"[" * 100_000 + b"\n", "line 1 of .*x.jsonl is no JSON"),
    ],
)
def test_json_that_cannot_be_right_is_refused(tmp_path, content, said):
    (tmp_path / "x.jsonl").write_bytes(content)
    with pytest.raises(OracleError, match=said) as caught:
        asked(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["x.csv", "x.jsonl"])
def test_a_line_that_may_be_half_written_is_left_out(tmp_path, name, caplog):
    """`run-1` may become `run-12`."""
    whole = {"x.csv": "reward,id\n1,run-0\n1,run-1", "x.jsonl": '{"row": 0, "reward": 1}\n{"row'}
    (tmp_path / name).write_text(whole[name])
    assert asked(tmp_path) == [ONE, None, None]
    assert "has no end of line and may be half-written" in caplog.text


def test_a_table_as_spreadsheets_write_it(tmp_path):
    (tmp_path / "x.csv").write_bytes(b"\xef\xbb\xbfrow;reward\r\n0;1\r\n2.0;0\r\n")
    assert asked(tmp_path) == [ONE, None, ZERO]


def test_hostile_texts_are_data(tmp_path):
    texts = ["=cmd|' /C calc'!A0", 'a "quoted", cell\n\r\0', "\ud800" + "x" * 2**20]
    three = call(3)
    assert all(
        isinstance(outcome, Pending)
        for outcome in by_hand(tmp_path).evaluate(Call(three.rows, three.sequences, texts))
    )
    table = tmp_path / "round_0000.csv"
    lines = list(map(json.loads, table.with_suffix(".jsonl").read_text().splitlines()))
    assert [line["text"] for line in lines] == texts
    assert b",'=cmd" in table.read_bytes()
    fill(tmp_path / "x.csv", [(0, 1)])
    assert asked(tmp_path) == [ONE, None, None]


def test_a_folder_that_cannot_be_written_ends_the_run(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OracleError, match="file"):
        asked(tmp_path / "file" / "folder")
