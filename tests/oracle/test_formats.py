"""Ledgers that earlier versions wrote are taken up, with what they say unchanged."""

import contextlib
import json
import sqlite3

import pytest
from format_2 import ROWS, candidates, write_format_2

from banel_jax.oracle import Ledger, LedgerError, Oracle


def columns(path, what="*", table="evaluations"):
    with sqlite3.connect(path) as reader:
        rows = reader.execute(f"SELECT {what} FROM {table} ORDER BY 1").fetchall()
    reader.close()
    return rows


def test_format_2_goes_on_and_pays_for_nothing_again(tmp_path):
    path = tmp_path / "oracle.sqlite"
    write_format_2(path)
    old = columns(path, "row, round, index_in_round, tokens, mask, reward, attempts, checksum")
    digest = sum(row[-1] for row in old if row[5] is not None)
    mark = {"rows": 8, "answers": 7, "successes": 3, "digest": digest}
    (tmp_path / "oracle.sqlite.mark").write_text(json.dumps(mark))
    ledger = Ledger(path, "a")
    assert ledger.counts() == (8, 7, 3, digest, 0, 8)
    assert ledger.counts(1)[:3] == (3, 3, 1) and ledger.repeated_attempts() == 1
    assert ledger.states() == dict(pending=0, running=0, done=7, failed=0, abandoned=1)
    assert ledger.first_success() == 2 and ledger.unanswered() == 1
    assert ledger.counts(2).agrees_with(dict(rows=6, answers=6, successes=2))
    asked = []

    def reward(sequences):
        asked.extend(sequences.tokens.tolist())
        return [1.0] * len(sequences.tokens)

    oracle = Oracle(reward, ledger=ledger)
    rewards = [oracle.evaluate(round, candidates(round)).tolist() for round in range(4)]
    assert rewards == [[0, 1, 0], [0, 0, 1], [1, 1, 1], [1, 1, 1]]
    rest = candidates(2).tokens[1:].tolist() + candidates(3).tokens.tolist()
    assert asked == rest and ledger.repeated_attempts() == 2
    ledger.close()
    names = "row, round, index_in_round, tokens, mask, reward, attempts, checksum"
    assert columns(path, names)[:7] == old[:7]
    assert columns(path, "name, value", "about") == [("format", "3"), ("run", "a")]
    ledger = Ledger(path, "a")
    assert ledger.totals() == (12, 8) and [r for (r,) in columns(path, "round", "rounds")] == [
        0, 1, 2, 3,
    ]  # fmt: skip
    ledger.close()


def ids(path, round):
    """Of the rows that the oracle is asked for."""
    seen = []

    def reward(sequences, rows):
        seen.extend(row.id for row in rows)
        return [1.0] * len(rows)

    with contextlib.closing(Ledger(path, "a")) as ledger:
        Oracle(reward, ledger=ledger).evaluate(round, candidates(round))
    return seen


@pytest.mark.parametrize("form", ["2", "3"])
def test_a_ledger_that_was_begun_without_a_salt_keeps_its_names(tmp_path, form):
    """What was asked under a name before, and billed, is asked under the same again."""
    path = tmp_path / "oracle.sqlite"
    write_format_2(path) if form == "2" else Ledger(path, "a").close()
    if form == "3":
        with sqlite3.connect(path) as file:
            file.execute("DELETE FROM about WHERE name = 'salt'")
        file.close()
        assert ids(path, 0) == ["a-0", "a-1", "a-2"]
        assert ids(path, 1) == ["a-3", "a-4", "a-5"]
    assert ids(path, 2)[-2:] == ["a-7", "a-8"] and ids(path, 3) == ["a-9", "a-10", "a-11"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("UPDATE evaluations SET reward = 1 - reward WHERE row = 4", "row 4 has another checksum"),
        ("DELETE FROM evaluations WHERE row = 2", "row 2 is missing"),
        ("UPDATE about SET value = 'b' WHERE name = 'run'", "belongs to a run of another"),
        ("UPDATE about SET value = '1' WHERE name = 'format'", "has format 1, not 3"),
    ],
)
def test_what_is_refused_stays_as_it_was(tmp_path, change, message):
    path = tmp_path / "oracle.sqlite"
    write_format_2(path)
    with sqlite3.connect(path) as file:
        file.execute(change)
    file.close()
    before = columns(path), columns(path, table="sqlite_master"), columns(path, table="about")
    with pytest.raises(LedgerError, match=message) as caught:
        Ledger(path, "a")
    assert "\n" not in str(caught.value)
    after = columns(path), columns(path, table="sqlite_master"), columns(path, table="about")
    assert before == after


def test_a_new_file_has_the_columns_of_a_migrated_one(tmp_path):
    write_format_2(tmp_path / "old", ROWS[:6])
    for name in ("old", "new"):
        Ledger(tmp_path / name, "a").close()
    info = [
        columns(tmp_path / name, table="pragma_table_info('evaluations')")
        for name in ("old", "new")
    ]
    assert info[0] == info[1]
