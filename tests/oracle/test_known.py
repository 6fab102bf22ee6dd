"""What is known before a run: read from files as people have them, kept, and never paid."""

import json
import sqlite3

import numpy as np
import pytest

from banel_jax.oracle import Ledger, LedgerError, Oracle, OracleConfig, known
from banel_jax.types import Sequences


def written(tmp_path, text, name="known.csv"):
    (tmp_path / name).write_bytes(text.encode())
    return tmp_path / name


def test_csv_and_json_lines(tmp_path):
    rows = [("[3, 1]", "1", None), ("2 0 2", "failed", "[1, 0, 1]"), ("7", "0.0", None)]
    text = "\ufefftokens, reward,mask,note\r\n" + "".join(
        f'"{t}",{r},"{m or ""}","a\nb"\r\n' for t, r, m in rows
    )
    lines = [
        {"tokens": [3, 1], "reward": True},
        {"tokens": [2, 0, 2], "mask": [1, 0, True], "state": "failed", "reward": None},
        {"tokens": [7.0], "reward": 0},
    ]
    jsonl = "\n\n".join(map(json.dumps, lines)) + "\n"
    for path, numbers in (
        (written(tmp_path, text), [2, 4, 6]),
        (written(tmp_path, jsonl, "known.jsonl"), [1, 3, 5]),
    ):
        read = known.read(path, length=4)
        assert read.tokens.tolist() == [[3, 1, 0, 0], [2, 0, 2, 0], [7, 0, 0, 0]]
        assert read.mask.astype(int).tolist() == [[1, 1, 0, 0], [1, 0, 1, 0], [1, 0, 0, 0]]
        np.testing.assert_array_equal(read.reward, [1, np.nan, 0])
        assert read.line.tolist() == numbers and set(read.source) == {str(path)}
    assert known.read(path).tokens.shape == (3, 3)


def test_texts_are_encoded(tmp_path):
    path = written(tmp_path, 'text,reward\n\'=ab,0\n"é,\n.",1\n')
    texts = []

    def encode(given):
        texts.extend(given)
        tokens = np.array([[len(text)] for text in given], np.int32)
        return Sequences(tokens, tokens > 0)

    assert known.read(path, encode=encode).tokens.tolist() == [[3], [4]]
    assert texts == ["=ab", "é,\n."]
    with pytest.raises(
        ValueError, match=r"line 2 of .*known.csv has text, and nothing to encode it"
    ):
        known.read(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tokens,reward\n1 2,0.5\n", "line 2 of .* has the reward '0.5'; give 0, 1 or failed"),
        ("tokens,reward\n1 2,\n", "line 2 of .* has the reward 'None'"),
        ("tokens,reward\n1 2,0\n1 x,0\n", r"line 3 of .* tokens that are no integers \('1 x'\)"),
        ("tokens,reward\n[1.5],0\n", "line 2 of .* tokens that are no integers"),
        ("tokens,reward\n99999999999,0\n", "line 2 of .* tokens that are no integers"),
        ("tokens,reward\n1,0,3\n", "line 2 of .* has 3 cells, and 2 columns have names"),
        ("reward\n1\n", "line 2 of .* has neither tokens nor text"),
        ("tokens,mask,reward\n1 2,1,0\n", "line 2 of .* has no mask of 2"),
        ("tokens,reward\n1 2,0\n\n1 2,1\n", "line 4 of .* reward 1 for the sequence of line 2"),
        ("tokens,reward\n1 2 3,0\n", "line 2 of .* has 3 tokens, more than 2"),
        ('tokens,reward\n"1 2,0\n', "is no CSV"),
    ],
)
def test_what_cannot_be_understood_names_the_line(tmp_path, text, message):
    with pytest.raises(ValueError, match=message) as caught:
        known.read(written(tmp_path, text), length=2)
    assert "\n" not in str(caught.value) and "known.csv" in str(caught.value)


def test_what_is_given_is_kept_and_not_paid(tmp_path):
    path = written(tmp_path, "tokens,reward\n1 2,0\n1 2,0\n3 4,failed\n3 4,1\n5 6,failed\n")
    given = known.read(path)
    ledger = Ledger(tmp_path / "oracle.sqlite", "a")
    assert ledger.give(given) == 3 and ledger.give(given) == 0
    assert ledger.totals() == (0, 0) and ledger.last_round() == -1
    ledger.close()
    ledger = Ledger(tmp_path / "oracle.sqlite", "a")
    np.testing.assert_array_equal(ledger.known().reward, [0, 1, np.nan])
    assert ledger.known().line.tolist() == [2, 4, 6]
    name = lambda *tokens: np.array(tokens, "<i4").tobytes()
    ask = lambda *tokens: ledger.known_answer(name(*tokens), bytes([1] * len(tokens)))
    assert ask(1, 2) == (0, None, "known") and ask(5, 6) == (None, None, "known")
    assert ask(2, 1) is None
    ledger.propose(0, np.array([[1, 2]]), np.ones((1, 2)))
    ledger.record([(0, 1)])
    assert ask(1, 2) == (1, None, "memo")  # what was seen goes before what was told
    other = known.read(written(tmp_path, "tokens,reward\n3 4,0\n", "other.csv"))
    with pytest.raises(
        ValueError, match=r"line 2 of .*other.csv has .* line 4 of .*known.csv gave 1"
    ):
        ledger.give(other)
    ledger.close()


def test_a_shorter_sequence_is_another_than_one_that_ends_in_0(tmp_path):
    given = known.read(written(tmp_path, "tokens,reward\n1 0,0\n1,1\n1 0,0\n"))
    assert given.tokens.tolist() == [[1, 0]] * 2 and given.reward.tolist() == [0, 1]
    assert given.mask.tolist() == [[True, True], [True, False]]


def test_what_is_known_to_fail_is_asked_for_and_what_has_an_answer_is_not(tmp_path):
    ledger, asked = Ledger(tmp_path / "oracle.sqlite", "a"), []
    ledger.give(known.read(written(tmp_path, "tokens,reward\n1 2,failed\n3 4,1\n")))
    answer = lambda x: asked.extend(x.tokens.tolist()) or [0] * len(x.tokens)
    oracle = Oracle(answer, None, ledger, OracleConfig(memo="free", on_failure="drop"))
    proposed = Sequences(np.array([[3, 4], [1, 2]], np.int32), np.ones((2, 2), bool))
    assert oracle.evaluate(0, proposed).tolist() == [1, 0] and asked == [[1, 2]]


@pytest.mark.parametrize(
    "change", ["DELETE FROM known WHERE number = 1", "UPDATE known SET reward = 1 WHERE number = 0"]
)
def test_what_was_given_is_not_changed_unseen(tmp_path, change):
    path = tmp_path / "oracle.sqlite"
    ledger = Ledger(path, "a")
    ledger.give(known.read(written(tmp_path, "tokens,reward\n1 2,0\n3 4,0\n")))
    ledger.close()
    with sqlite3.connect(path) as file:
        file.execute(change)
    file.close()
    ledger = Ledger(path, "a")
    with pytest.raises(LedgerError, match="what was given as known was changed or damaged"):
        ledger.known()
    ledger.close()
