"""The page of a run, read as a browser reads it."""

import json
import re
import sqlite3

import made_up_run
import numpy as np
import pytest
import tiny_run
from parsed_page import Parsed, drawn
from scipy import stats

from banel_jax.runs.loop import RunConfig, run
from banel_jax.runs.report import Reader, page, status
from banel_jax.runs.report.ledger_table import Table
from banel_jax.runs.report.markup import visible
from banel_jax.runs.report.paid import LedgerReader
from banel_jax.runs.report.readings import ELSEWHERE, READINGS
from banel_jax.runs.report.view import Standing

OPEN = {0: "done", 1: "failed", 2: "failed", 3: "running", 4: "abandoned", 5: "done"}


@pytest.fixture(scope="module")
def thirty(tmp_path_factory):
    return made_up_run.write(tmp_path_factory.mktemp("made") / "run", 30, states=OPEN)


def test_the_page_tells_what_was_paid_with_its_interval_by_round(thirty):
    rows = drawn(thirty).rows("rounds", "success rate")
    with sqlite3.connect(thirty / "oracle.sqlite") as ledger:
        query = "SELECT round, sum(reward), count(reward) FROM evaluations GROUP BY round"
        counts = list(ledger.execute(query))
    ledger.close()
    assert len(rows) == len(counts) == 31
    for row, (round, successes, answered) in zip(rows, counts, strict=True):
        assert (row["rounds"], row["successes"]) == (str(round), f"{successes:.0f}")
        assert row["rows answered"] == str(answered)
        low = stats.beta.ppf(0.025, successes, answered - successes + 1) if successes else 0
        high = stats.beta.ppf(0.975, successes + 1, answered - successes)
        assert float(row["95% from"]) == pytest.approx(low, rel=1e-2)
        assert float(row["to"]) == pytest.approx(high, rel=1e-2)


def test_many_rounds_are_counted_together(tmp_path):
    folder = made_up_run.write(tmp_path / "run", 120, m=3, rates=np.full(120, 0.5))
    rows = drawn(folder).rows("rounds", "success rate")
    assert len(rows) == 40 and rows[0]["rounds"] == "0-2" and rows[-1]["rounds"] == "117-119"
    assert sum(int(row["rows answered"]) for row in rows) == 360


def test_the_page_tells_what_is_in_flight_and_what_failed_and_why(thirty):
    seen = drawn(thirty)
    states = [row["state"] for row in seen.rows("state", "sequence")]
    assert states == ["running", "abandoned"] + ["pending"] * 14
    assert "In flight: 1 running, 14 pending, 1 abandoned" in seen.text
    reasons = {row["reason"]: row["rows"] for row in seen.rows("reason")}
    assert reasons == {
        "timed out after 600 s": "1", "exit status 1: docking did not converge": "1",
    }  # fmt: skip
    answered = seen.rows("reward", "sequence")
    assert [row["row"] for row in answered] == ["600", "605"]


def test_the_page_needs_nothing_but_itself(thirty):
    seen = drawn(thirty, Standing("running"))
    assert not {"script", "link", "img", "iframe", "object"} & set(seen.names)
    assert not [value for name, value in seen.attributes if name in ("src", "href", "onload")]
    text = page(Reader(thirty).read())
    assert "url(" not in text and "@import" not in text and not re.search(r"https?:", text)


def test_a_running_page_is_drawn_again_and_an_ended_one_is_not(thirty):
    refresh = ("http-equiv", "refresh")
    assert refresh in drawn(thirty, Standing("running")).attributes
    assert refresh not in drawn(thirty, Standing("complete")).attributes


def test_each_metric_has_a_sentence_and_a_chart(thirty):
    seen = drawn(thirty)
    there = set(json.loads((thirty / "metrics.jsonl").read_text().splitlines()[0])) - ELSEWHERE
    shown = [reading for reading in READINGS if there & set(reading.names)]
    assert {name for reading in shown for name in reading.names} >= there
    assert all(reading.meaning in seen.text for reading in shown)
    assert seen.names.count("svg") == 2 + len(shown)


def test_metrics_that_are_not_known_are_shown_by_their_name(tmp_path):
    folder = made_up_run.write(tmp_path / "run", 2)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    lines[1]["<b>mine</b>"] = 4.5  # appears later
    (folder / "metrics.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    seen = drawn(folder)
    assert "<b>mine</b>" in seen.texts and "4.5" in seen.texts and "b" in seen.names
    assert page(Reader(folder).read()).count("<b>mine") == 0


HOSTILE = (
    "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "</td></table></style>",
    "a\0b\x1b[31m", "\u202egnp.exe", "\ud800", "=cmd|' /C calc'!A0", "two\nlines\r\n", "x" * 2**20,
    "&lt;&amp;", "<!--", "]]>",
)  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_content_is_data(tmp_path, text):
    reason = text.replace("\ud800", "?")  # which SQLite does not take
    folder = made_up_run.write(tmp_path / "run", 1, m=4, states={0: "failed"}, reasons=(reason,))
    with sqlite3.connect(folder / "oracle.sqlite") as ledger:
        ledger.execute("UPDATE evaluations SET score = ?", (json.dumps(text),))
    ledger.close()
    config = json.loads((folder / "config.json").read_text()) | {"note": text, text[:99]: 1}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "status.json").write_text(
        json.dumps({"state": "failed", "why": text, "command": text, "host": text, "pid": text})
    )
    view = Reader(folder, render=lambda row: text).read()
    written = page(view)
    written.encode()
    seen, plain = Parsed(written), drawn(made_up_run.write(tmp_path / "plain", 1, m=4))
    assert set(seen.names) <= {*plain.names, "p", "code", "section", "details", "summary"}
    assert not re.search("[\0-\x08\x0b-\x1f\x7f\u202e]", written) and len(written) < 200_000
    assert [row["reason"] for row in seen.rows("reason")] == [visible(reason)]
    assert {row["sequence"] for row in seen.rows("reward", "sequence")} == {visible(text)}
    assert "\0" not in status(folder)


def test_what_a_browser_would_hide_is_seen():
    assert visible("a\0b\u202ec\ud800\nd\te") == "a\\u{0}b\\u{202e}c\\u{d800}⏎d⇥e"
    assert visible("x" * 400, 10) == "xxxxxxxxxx… (400 characters)"


def test_a_page_of_nothing(tmp_path):
    (tmp_path / "run").mkdir()
    seen = drawn(tmp_path / "run")
    assert "No row has an answer yet." in seen.texts and "svg" not in seen.names
    with pytest.raises(ValueError, match="holds no run"):
        status(tmp_path / "run")
    seen = drawn(made_up_run.write(tmp_path / "begun", 0), Standing("running"))
    assert "0 / 30" in seen.texts


def test_a_folder_without_its_ledger_tells_what_the_metrics_do(tmp_path):
    folder = made_up_run.write(tmp_path / "run", 4, m=5, rates=np.full(4, 0.5))
    whole = drawn(folder).rows("rounds", "success rate")
    for path in folder.glob("oracle.sqlite*"):
        path.unlink()
    seen = drawn(folder)
    assert seen.rows("rounds", "success rate") == whole
    assert "distinct" not in seen.text
    assert "20 of 20" in status(folder)


@pytest.mark.parametrize("torn", [b'{"round": 9, "num', b"\0\0\0\0", b'{"round": 4, "x": "nan"}'])
def test_a_line_that_is_half_written_is_not_there_yet(tmp_path, torn):
    folder = made_up_run.write(tmp_path / "run", 4)
    reader = Reader(folder)
    with open(folder / "metrics.jsonl", "ab") as file:
        file.write(torn)
    view = reader.read()
    assert len(view.records) == 4 and not view.notes
    with open(folder / "metrics.jsonl", "ab") as file:
        file.write(b"\n")
    view = reader.read()
    assert len(view.records) == 4 + torn.startswith(b'{"round": 4')
    assert bool(view.notes) == (len(view.records) == 4)


def test_damaged_files_cost_their_part_of_the_page_alone(tmp_path):
    folder = made_up_run.write(tmp_path / "run", 3)
    (folder / "config.json").write_text("{")
    (folder / "status.json").write_text("[]")
    (folder / "timings.jsonl").write_text('{"round": 0, "oracle": 1e400, "ask": []}\n')
    for path in folder.glob("oracle.sqlite*"):
        path.unlink()
    (folder / "oracle.sqlite").write_bytes(b"no database" * 1000)
    view = Reader(folder).read()
    assert len(view.records) == 3 and len(view.notes) == 4
    assert f"the ledger {folder / 'oracle.sqlite'} cannot be used" in drawn(folder).text
    (folder / "metrics.jsonl").write_text('{"round": 0, "num_successes": 1e400, "a": 1}\n')
    assert drawn(folder).names


def test_a_reader_reads_on_and_sees_what_was_cut_or_changed(tmp_path, monkeypatch):
    folder = made_up_run.write(tmp_path / "run", 3, m=8, states={0: "done", 1: "running"})
    reader = Reader(folder)
    before = reader.read()
    assert reader.read().paid == before.paid
    asked = []
    sums = Table.sums
    monkeypatch.setattr(Table, "sums", lambda self, *at: asked.append(at) or sums(self, *at))
    with sqlite3.connect(folder / "oracle.sqlite") as ledger:
        ledger.execute("UPDATE evaluations SET state = 'done', reward = 1 WHERE row = 25")
    ledger.close()
    now = reader.read().paid
    assert asked == [(25, 26), (26, None)]  # what was summed before is not looked at again
    assert now == LedgerReader(folder / "oracle.sqlite").read(3)
    assert now.num_successes == before.paid.num_successes + 1
    assert now.successes[-1].row == 25
    metrics = folder / "metrics.jsonl"
    metrics.write_bytes(b"".join(metrics.read_bytes().splitlines(keepends=True)[:1]))
    assert len(reader.read().records) == 1


def test_a_ledger_of_the_format_before(tmp_path):
    with sqlite3.connect(tmp_path / "oracle.sqlite") as ledger:
        ledger.execute("CREATE TABLE about (name TEXT, value TEXT)")
        ledger.execute("INSERT INTO about VALUES ('format', '2')")
        ledger.execute(
            "CREATE TABLE evaluations (row INTEGER PRIMARY KEY, round, index_in_round, tokens, "
            "mask, reward, attempts, checksum)"
        )
        for row, reward in enumerate([0.0, 1.0, None]):
            values = (row, 0, row, b"\5\0\0\0", b"\1", reward, 1, 0)
            ledger.execute("INSERT INTO evaluations VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)
    ledger.close()
    paid = LedgerReader(tmp_path / "oracle.sqlite").read(0)
    assert (paid.rows, paid.num_successes, paid.total("running")) == (3, 1, 1)
    assert paid.open[0].tokens == (5,) and [row.row for row in paid.latest] == [1, 0]


@pytest.mark.parametrize("m", [1, 2])
def test_a_ledger_of_a_row_or_two(tmp_path, m):
    folder = made_up_run.write(tmp_path / "run", 1, m=m, rates=[1])
    reader = LedgerReader(folder / "oracle.sqlite")
    for told in (0, 1, 1):
        assert (reader.read(told).rows, reader.read(told).num_successes) == (m, m)


def test_distinct_successes_and_the_seconds_of_a_row(tmp_path):
    folder = made_up_run.write(tmp_path / "run", 2, m=4, rates=[1, 1])
    with sqlite3.connect(folder / "oracle.sqlite") as ledger:
        same = "(SELECT tokens FROM evaluations WHERE row = 1)"
        ledger.execute(f"UPDATE evaluations SET tokens = {same} WHERE row IN (2, 5)")
        ledger.execute("UPDATE evaluations SET seconds = row")
    ledger.close()
    paid = LedgerReader(folder / "oracle.sqlite").read(2)
    assert (paid.rows, paid.num_successes, paid.num_distinct) == (8, 8, 6)
    assert [of.distinct for of in paid.rounds.values()] == [3, 3]
    assert paid.seconds == 3.5


def test_the_page_of_a_real_run_and_of_its_ledger(tmp_path):
    run(tiny_run.learner(), tiny_run.PRIOR, tiny_run.reward, RunConfig(3, seed=1), tmp_path / "run")
    view = Reader(tmp_path / "run").read()
    assert view.standing == Standing("complete") and not view.notes
    last = view.records[-1]
    assert view.paid.rows == last["num_reward_evaluations"] == 3 * tiny_run.M
    assert view.paid.num_successes == last["num_successes"]
    seen = drawn(tmp_path / "run")
    assert f"{3 * tiny_run.M} / {3 * tiny_run.M}" in seen.texts
    assert {row["round"] for row in seen.rows("round", "loss")} == {"0", "1", "2"}
