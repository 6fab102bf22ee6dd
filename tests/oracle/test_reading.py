"""A ledger read while a run writes it and after; what is written of it can be read back."""

import csv
import json
import shutil
import sqlite3
import sys

import numpy as np
import pytest
from format_2 import candidates, write_format_2

from banel_jax.oracle import Ledger, LedgerError, export, reading, tables

TOKENS = np.arange(8, dtype=np.int32).reshape(4, 2)
MASK = TOKENS != 3


def filled(path):
    """Two rounds: a success and a failure in the first, the second half-way."""
    ledger = Ledger(path, "a")
    ledger.propose(0, TOKENS, MASK)
    ledger.start(range(4), worker="one")
    ledger.record([(0, 1, {"dock": -7.5}, 2.0, None, 0.5), (1, None, None, 1.0, "=no\n")])
    ledger.record([(2, 0), (3, 1)])
    ledger.propose(1, TOKENS + 8, MASK)
    ledger.start([4, 5])
    ledger.record([(4, 0)])
    return ledger


def test_what_is_read_while_a_run_writes(tmp_path):
    ledger = filled(tmp_path / "oracle.sqlite")
    rows = reading.read(tmp_path)
    np.testing.assert_array_equal(rows.tokens, np.concatenate([TOKENS, TOKENS + 8]))
    np.testing.assert_array_equal(rows.mask, np.concatenate([MASK, MASK]))
    np.testing.assert_array_equal(rows.reward, [1, np.nan, 0, 1, 0, np.nan, np.nan, np.nan])
    assert rows.row.tolist() == list(range(8)) and rows.round.tolist() == [0] * 4 + [1] * 4
    states = ["done", "failed", "done", "done", "done", "running", "pending", "pending"]
    assert rows.state.tolist() == states
    assert rows.score == [{"dock": -7.5}] + [None] * 7 and rows.reason[1] == "=no\n"
    np.testing.assert_array_equal(rows.cost[:3], [2, 1, np.nan])
    assert rows.tokens.dtype == np.int32 and rows.reward.dtype == np.float64
    status = reading.status(tmp_path)
    assert status == reading.Status(
        dict(pending=2, running=1, done=4, failed=1, abandoned=0), 6, 2, 3.0, 1, 1
    )
    assert status.states == ledger.states() and status.cost == ledger.cost()
    # What is being read is the ledger of a moment, and the run is not held up.
    with reading.opened(tmp_path) as (database, _):
        before = database.execute("SELECT count(reward) FROM evaluations").fetchall()
        ledger.record([(5, 1)])
        assert database.execute("SELECT count(reward) FROM evaluations").fetchall() == before
    assert reading.read(tmp_path, last=3).reward[0] == 1
    ledger.close()


def test_a_frame_of_pandas(tmp_path):
    pytest.importorskip("pandas")
    filled(tmp_path / "oracle.sqlite").close()
    rows = reading.read(tmp_path)
    frame = rows.frame()
    assert frame.tokens.tolist() == rows.tokens.tolist() and frame["mask"][1] == MASK[1].tolist()
    np.testing.assert_array_equal(frame.reward, rows.reward)
    assert frame.groupby("round").reward.mean().tolist() == [2 / 3, 0]
    assert frame[frame.state == "failed"].reason.tolist() == ["=no\n"]
    assert frame.score[0] == {"dock": -7.5} and "text" not in frame
    for some in (rows, reading.read(tmp_path, rounds=1), reading.read(tmp_path, rounds=9)):
        frame = some.frame()  # of whatever is missing a number stays a number
        assert len(frame) == len(some) and frame.cost.sum() == np.nansum(some.cost)
        kinds = [str(frame[name].dtype) for name in ("reward", "cost", "seconds", "row")]
        assert kinds == ["float64"] * 3 + ["int64"]
    texts = reading.read(tmp_path, render=lambda s: ["a"] * len(s.tokens)).frame().text
    assert texts.tolist() == ["a"] * 8


def test_without_pandas_a_frame_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    filled(tmp_path / "oracle.sqlite").close()
    with pytest.raises(ImportError, match=r"pip install pandas$"):
        reading.read(tmp_path).frame()


def test_filters(tmp_path):
    filled(tmp_path / "oracle.sqlite").close()
    rows = lambda **filters: reading.read(tmp_path, **filters).row.tolist()
    assert rows(rounds=0) == [0, 1, 2, 3] and rows(rounds=[1, 5]) == [4, 5, 6, 7]
    assert rows(states="failed") == [1] and rows(states=["pending", "failed"]) == [1, 6, 7]
    assert rows(reward=0) == [2, 4] and rows(last=2) == [6, 7] and rows(rounds=[]) == []
    assert reading.successes(tmp_path).row.tolist() == [0, 3]
    assert reading.successes(tmp_path, last=1, rounds=0).row.tolist() == [3]
    assert reading.read(tmp_path, rounds=9).tokens.shape == (0, 0)
    text = reading.read(tmp_path, last=1, render=lambda s: [str(t) for t in s.tokens]).text
    assert text == ["[14 15]"]
    with pytest.raises(ValueError, match="states='lost' is not one of pending"):
        rows(states="lost")


def test_a_ledger_of_format_2_is_read_as_it_is(tmp_path):
    write_format_2(tmp_path / "oracle.sqlite")
    before = (tmp_path / "oracle.sqlite").read_bytes()
    rows = reading.read(tmp_path)
    assert rows.state.tolist() == ["done"] * 7 + ["abandoned"]
    np.testing.assert_array_equal(rows.tokens[3:6], candidates(1).tokens)
    assert reading.status(tmp_path)[1:] == (8, 3, 0, 2, 0)
    assert (tmp_path / "oracle.sqlite").read_bytes() == before


def test_a_killed_run_in_a_folder_that_nobody_may_write(tmp_path, monkeypatch):
    """What stands in the -wal alone is read, by way of a copy."""
    ledger = filled(tmp_path / "oracle.sqlite")
    killed = tmp_path / "killed"
    killed.mkdir()
    for name in ("oracle.sqlite", "oracle.sqlite-wal"):
        shutil.copy(tmp_path / name, killed / name)
    ledger.close()
    connect = reading._connect

    def refuse(path):
        if path.parent == killed:
            raise sqlite3.OperationalError("unable to open database file")
        return connect(path)

    monkeypatch.setattr(reading, "_connect", refuse)
    assert reading.status(killed).paid == 6
    monkeypatch.undo()
    assert reading.status(killed).paid == 6


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no ledger .*oracle.sqlite; name the folder of a run"),
        (b"not a database at all " * 100, "cannot be used: file is not a database"),
        (b"", "cannot be used: no such table"),
    ],
)
def test_what_cannot_be_read_is_one_line(tmp_path, content, message):
    if content is not None:
        (tmp_path / "oracle.sqlite").write_bytes(content)
    for look in (reading.read, reading.status, export.verify):
        with pytest.raises(LedgerError, match=message) as caught:
            look(tmp_path)
        assert "\n" not in str(caught.value)


HOSTILE = [
    "=cmd|' /C calc'!A0", "+1", "-1", "@x", "'", "''", "'=", "", " ", '"', '""', "a,b;c\td", "\t",
    "\r", "\n", "a\r\nb\n", "\0", "nul\0l", "\u2028\x85\x0b\x0c\x1c", "é日本", "\U0001f9ea",
    "\ufeff",
    "\udcff\udc80", "NULL", "nan", "1e999", "x" * 1_000_000, "#", "\\", "\\n", "{}", "[1",
]  # fmt: skip


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_hostile_texts_are_written_and_read_back(tmp_path, ending):
    if ending == "parquet":
        pytest.importorskip("pyarrow")
    path, limit = tmp_path / f"table.{ending}", csv.field_size_limit()
    columns = {"row": list(range(len(HOSTILE))), "text": HOSTILE, "none": [None] * len(HOSTILE)}
    tables.write(path, columns)
    rows = [row for _, row in tables.read(path)]
    expected = HOSTILE
    if ending == "parquet":  # which has no other text than UTF-8
        expected = [x.encode("utf-8", "backslashreplace").decode() for x in HOSTILE]
    assert [row["text"] for row in rows] == expected
    assert [int(row["row"]) for row in rows] == columns["row"]
    assert {row["none"] for row in rows} == {None} and csv.field_size_limit() == limit
    if ending == "csv":  # no cell begins as a formula does
        csv.field_size_limit(sys.maxsize)
        with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
            assert not any(c[:1] in tuple("=+-@\t\r") for row in csv.reader(file) for c in row if c)
        csv.field_size_limit(limit)


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_evaluations_are_exported(tmp_path, ending):
    if ending == "parquet":
        pytest.importorskip("pyarrow")
    filled(tmp_path / "oracle.sqlite").close()
    rows = reading.read(tmp_path, rounds=0)
    export.write(rows, tmp_path / f"rows.{ending}")
    read = [row for _, row in tables.read(tmp_path / f"rows.{ending}")]
    whole = lambda x: json.loads(x) if isinstance(x, str) else x
    assert [whole(row["tokens"]) for row in read] == TOKENS.tolist()
    assert [whole(row["mask"]) for row in read] == MASK.tolist()
    assert [whole(row["reward"]) for row in read] == [1, None, 0, 1]
    assert [whole(row["score"]) for row in read] == [{"dock": -7.5}, None, None, None]
    assert read[1]["reason"] == "=no\n" and read[1]["state"] == "failed"
    with pytest.raises(ValueError, match=r"none of .csv, .jsonl, .parquet"):
        export.write(rows, tmp_path / "rows.xls")


WILD = "\x1b[31m\r\nred\0 " + "x" * 500


def test_a_table_for_the_terminal_has_a_line_a_row(tmp_path):
    filled(tmp_path / "oracle.sqlite").close()
    rows = reading.read(
        tmp_path, render=lambda s: ["\x1b[31m\r\nred\0 " + "x" * 500] * len(s.tokens)
    )
    lines = list(export.table(rows, width=80))
    assert len(lines) == 1 + len(rows) and max(map(len, lines)) <= 80
    assert all(line.isprintable() for line in lines)
    assert lines[2].split()[:4] == ["1", "0", "failed", "-"]


def test_verify_tells_what_is_wrong(tmp_path):
    path = tmp_path / "oracle.sqlite"
    filled(path).close()
    assert export.verify(tmp_path) == []
    with sqlite3.connect(path) as file:
        file.execute("UPDATE evaluations SET reward = 0 WHERE row IN (0, 3)")
    file.close()
    before = path.read_bytes()
    told = export.verify(tmp_path)
    assert path.read_bytes() == before
    assert "row 0 has another checksum than when it was written" in told[0]
    assert any("row 3 " in one for one in told) and any("round 0 " in one for one in told)
    (tmp_path / "oracle.sqlite.answers.jsonl").write_text("{}\n")
    assert any("answers.jsonl" in one for one in export.verify(tmp_path))
