"""Real programs, which start in a twentieth of a second."""

import logging
import sys
from pathlib import Path

import numpy as np
import pytest
from evaluations import call, evaluated

from banel_jax.oracle.answers import Answer, Failed, Pending
from banel_jax.oracle.calls import Call
from banel_jax.oracle.config import OracleConfig
from banel_jax.oracle.evaluators import command
from banel_jax.oracle.schedule import Schedule
from banel_jax.types import Sequences

ONE = Answer(1.0)
PROGRAM = [sys.executable, "-I", "-S", str(Path(__file__).parents[1] / "helpers" / "program.py")]


@pytest.mark.parametrize("per_call", [False, True])
def test_a_program_is_told_all_of_a_row(per_call):
    outcomes = evaluated(command([*PROGRAM, "echo"], per_call=per_call), 4, batch_size=2)
    assert [outcome.reward for outcome in outcomes] == [0, 1, 0, 1]
    assert outcomes[3].score["asked"] == {
        "id": "run-3", "row": 3, "round": 0, "index": 3, "tokens": [3], "mask": [True],
        "text": "text 3",
    }  # fmt: skip
    assert len({outcome.score["pid"] for outcome in outcomes}) == (2 if per_call else 1)


def test_answers_that_name_their_rows_come_in_any_order():
    outcomes = evaluated(command([*PROGRAM, "reversed"], per_call=True), 3, batch_size=3)
    assert outcomes == [Answer(0), ONE, Answer(0)]


NO_JSON = "which is no JSON"


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("text", f"answered Loading model..., {NO_JSON}"),
        ("utf8", NO_JSON),
        ("nan", "answered nan; a reward is 0 or 1"),
        ("two", "answered 2; a reward is 0 or 1"),
        ("deep", NO_JSON),
        ("list", ONE),
        ("number", Answer(0)),
        ("other", "answered for row 77, which it was not asked"),
        ("twice", ONE),
        ("blank", ONE),
        ("failed", Failed("no pose found")),
        ("pending", Pending("plate 3")),
        ("score", Answer(0, "=1+1\0\ud800", 2.5)),
        ("long", Answer(0, "x" * 2**20)),
        ("endless", "answered with more than 64 MiB"),
        ("unended", Answer(0)),
        ("cut", NO_JSON),
        ("bare", "without an end of line"),
        ("nothing", "the worker ended with exit status 0: licence expired"),
        ("status", "the worker ended with exit status 7: licence expired"),
        ("noise", ONE),
    ],
)
def test_what_a_program_does_badly_costs_its_own_row(how, expected):
    outcomes = evaluated(command([*PROGRAM, how]), 3)
    assert outcomes[0] == outcomes[2] == ONE
    said = outcomes[1]
    if isinstance(expected, str):
        assert isinstance(said, Failed) and expected in said.reason and "\n" not in said.reason
    else:
        assert said == expected


def test_what_was_answered_before_the_program_died_counts():
    for per_call in (False, True):
        outcomes = evaluated(command([*PROGRAM, "status"], per_call=per_call), 3, batch_size=3)
        assert outcomes[0] == ONE
        assert [str(o) for o in outcomes[1:]] == [
            "the worker ended with exit status 7: licence expired"
        ] * 2


def test_a_second_answer_is_told_and_not_taken_for_the_next_rows(caplog):
    assert evaluated(command([*PROGRAM, "twice"]), 3) == [ONE] * 3
    assert "answered twice for row run-1" in caplog.text or "begun anew" in caplog.text


def test_an_answer_that_comes_late_is_not_taken_for_the_next_rows(caplog):
    outcomes = evaluated(command([*PROGRAM, "late"]), 4)
    assert outcomes == [Answer(n % 2) for n in range(4)]
    assert "answered twice for row 2; the first counts" in caplog.text


def test_a_program_out_of_time_is_ended():
    outcomes = evaluated(command([*PROGRAM, "hang"]), 3, timeout=1.0)
    assert str(outcomes[1]) == "did not answer within timeout=1 s"
    assert outcomes[0] == outcomes[2] == ONE


def test_what_was_answered_before_the_time_was_out_counts():
    outcomes = evaluated(command([*PROGRAM, "hang"]), 3, batch_size=3, timeout=1.0)
    assert outcomes[0] == ONE
    assert [str(outcome) for outcome in outcomes[1:]] == ["did not answer within timeout=1 s"] * 2


def test_what_is_said_on_the_standard_error_is_logged(caplog):
    with caplog.at_level(logging.INFO):
        evaluated(command([*PROGRAM, "status"]), 3)
    assert any(record.message.endswith("licence expired") for record in caplog.records)


def test_rows_of_a_megabyte_and_hostile_texts_reach_it_whole():
    text = "\0\n\r\"'=cmd|' /C calc'!A0 \ud800 \U0001f600" + "x" * 2**20
    tokens = np.arange(2**18, dtype=np.int32)[None]
    large = Call(call(1).rows, Sequences(tokens, np.ones(tokens.shape, bool)), [text])
    outcomes = []
    schedule = Schedule(
        command([*PROGRAM, "echo"]), OracleConfig(), lambda ended, rows: outcomes.extend(ended)
    )
    schedule.add(large)
    schedule.wait_for(0)
    schedule.close()
    asked = outcomes[0][1].score["asked"]
    assert asked["text"] == text and asked["tokens"] == tokens[0].tolist()


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ("python oracle.py", "must be a list of texts"),
        ([], "must be a list of texts"),
        (["no-such-program"], r"argv\[0\]='no-such-program' is no program"),
        ([str(Path(__file__))], "is no program that can be found and run"),
    ],
)
def test_what_is_no_program_is_refused(argv, said):
    with pytest.raises(ValueError, match=said):
        command(argv)
