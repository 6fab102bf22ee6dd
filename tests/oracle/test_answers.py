import json
import pickle

import jax.numpy as jnp
import numpy as np
import pytest

from banel_jax.oracle.answers import Answer, Failed, Pending, Raised, outcomes, raised
from banel_jax.oracle.config import OracleConfig
from banel_jax.oracle.values import as_json

ONE, ZERO = Answer(1.0), Answer(0.0)


@pytest.mark.parametrize(
    "answer",
    [
        [1, 0],
        (True, False),
        [1.0, np.float32(0)],
        [[1], [0]],
        [np.array(1), jnp.zeros(1)],
        np.array([1, 0], np.int8),
        np.array([[1.0], [0.0]]),
        np.array([True, False]),
        np.array([1, 0], object),
        jnp.array([1, 0], jnp.bfloat16),
        jnp.array([[1], [0]]),
        [Answer(True), Answer(np.int64(0))],
        [{"reward": 1}, {"reward": 0}],
        [Answer(1), {"reward": [0]}],
        np.array([Answer(1), Answer(0)]),
    ],
)
def test_answers_are_taken_as_people_give_them(answer):
    assert outcomes(answer, 2) == [ONE, ZERO]
    assert all(type(one.reward) is float for one in outcomes(answer, 2))


@pytest.mark.parametrize(
    "answer",
    [1, True, 1.0, np.float16(1), np.array(1), jnp.array(True), [1], [[1]], np.ones((1, 1))],
)
def test_one_row_needs_no_list(answer):
    assert outcomes(answer, 1) == [ONE]
    assert outcomes(Answer(1), 1) == outcomes({"reward": 1}, 1) == outcomes([Answer(1)], 1) == [ONE]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (1, r"answered 1: shape \(\) for 3 rows; it must be one reward a row, shape \(3,\)"),
        (Answer(1), r"shape \(\) for 3 rows"),
        ({"reward": 1}, r"shape \(\) for 3 rows"),
        ([1, 0], r"shape \(2,\) for 3 rows"),
        ([1, 0, 0, 1], r"shape \(4,\)"),
        (np.ones((1, 3)), r"shape \(1, 3\)"),
        (np.ones((3, 2)), r"shape \(3, 2\)"),
        ([], r"shape \(0,\)"),
        (None, "answered None"),
        ("101", "answered '101'"),
        (b"101", "answered b'101'"),
        (np.array(["1", "0", "1"]), "no real numbers"),
        (object(), "answered <object"),
        (ConnectionError("the arm\nis stuck"), "^raised ConnectionError: the arm is stuck$"),
        (KeyError(), "^raised KeyError$"),
    ],
)
def test_what_belongs_to_no_row_is_a_failure_of_all(answer, said):
    each = outcomes(answer, 3)
    assert len(each) == 3 and len(set(map(str, each))) == 1
    with pytest.raises(Failed, match=said) as caught:
        raise each[0]
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


class Unprintable:
    def __repr__(self):
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (2, "answered 2; a reward is 0 or 1"),
        (float("nan"), "answered nan; a reward is 0 or 1"),
        (-float("inf"), "answered -inf; a reward is 0 or 1"),
        (10**400, "answered 1000"),
        (0.5, "answered 0.5;"),
        ("1", "answered '1';"),
        (None, "answered None;"),
        (1j, "answered 1j;"),
        ([1, 0], r"answered [1, 0];"),
        ([], r"answered [];"),
        ([[1]], r"answered [[1]];"),
        (Answer(2), "answered 2;"),
        (Answer(None), "answered None;"),
        (Unprintable(), "answered an unprintable Unprintable;"),
        ({}, "answered {}; it must say one of reward, failed and pending"),
        ({"reward": 1, "failed": "x"}, "it must say one of"),
        ({"reward": None}, "answered None;"),
        ({"failed": "the\ngrid"}, "the grid"),
        (Failed("off"), "off"),
        (ValueError("bad"), "raised ValueError: bad"),
    ],
)
def test_a_bad_answer_costs_its_own_row(bad, said):
    first, failed, last = outcomes([1, bad, 0], 3)
    assert (first, last) == (ONE, ZERO)
    assert isinstance(failed, Failed) and said in failed.reason and "\n" not in failed.reason


def test_pending_is_neither_failed_nor_answered():
    each = [Pending("plate 3"), {"pending": "plate 3"}]
    assert outcomes(each, 2) == [Pending("plate 3")] * 2 == outcomes(Pending("plate 3"), 2)
    assert Pending("plate 3") != Failed("plate 3")


def test_scores_become_what_json_can_hold_and_cost_no_reward():
    loop: list = []
    loop.append(loop)
    for score, kept in [
        ({"energy": np.float32(-1.5), "pose": np.arange(2)}, {"energy": -1.5, "pose": [0, 1]}),
        ([float("nan"), float("-inf")], ["NaN", "-Infinity"]),
        (
            {1: "a", None: 2, False: 3, 0.5: [float("nan")]},
            {"1": "a", "false": 3, "null": 2, "0.5": ["NaN"]},
        ),
        ({(1, 2): {np.int64(3): np.bool_(True)}}, {"(1, 2)": {"3": True}}),
        ("=1+1\0\n", "=1+1\0\n"),
        ({3}, "{3}"),
        (None, None),
    ]:
        (answer,) = outcomes(Answer(1, score), 1)
        assert answer == Answer(1.0, kept)
        json.dumps(answer.score, allow_nan=False)
    deep: list = []
    for _ in range(100_000):
        deep = [deep]

    class Hostile:
        def __str__(self):
            raise RuntimeError

        __float__ = tolist = __str__

    for score in (loop, deep, 10**5000, Hostile(), [Hostile()], {Hostile(): 1}):
        (answer,) = outcomes(Answer(1, score, Hostile()), 1)
        assert (answer.reward, answer.cost) == (1, None)
        assert as_json(answer.score) == as_json(score)
    assert (
        outcomes(ValueError(Hostile()), 1)[0].reason
        == "raised ValueError: an unprintable ValueError"
    )


def test_costs_that_make_no_sense_are_none():
    costs = [2, np.float32(0.5), "3", None, -1, float("nan"), "much", [1]]
    kept = [answer.cost for answer in outcomes([Answer(0, cost=c) for c in costs], len(costs))]
    assert kept == [2.0, 0.5, 3.0, None, None, None, None, None]


def test_what_was_raised_is_known_by_its_names():
    class Overloaded(ConnectionError):
        pass

    outcome = pickle.loads(pickle.dumps(raised(Overloaded("try again"))))
    assert outcome == Raised("raised Overloaded: try again", outcome.kinds)
    for names in [("ConnectionError",), ("OSError",), ("builtins.OSError",), ("Overloaded", "x")]:
        assert outcome.is_one_of(names)
    assert not outcome.is_one_of(("TimeoutError", "socket.ConnectionError", "Connection"))
    assert outcome.is_one_of(OracleConfig(transient=ConnectionError).transient)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"batch_size": 0}, "batch_size=0 must be at least 1"),
        ({"max_concurrent": True}, "max_concurrent=True"),
        ({"timeout": 0}, "timeout=0 must be positive"),
        ({"timeout": float("inf")}, "timeout=inf"),
        ({"retries": -1}, "retries=-1"),
        ({"retries": 2}, "retries=2 needs transient"),
        ({"backoff": -1.0}, "backoff=-1.0"),
        ({"transient": (3,)}, "transient=3 must be a type of exceptions"),
        ({"transient": int}, "transient=<class 'int'> must be a type"),
        ({"transient": "a b"}, "transient='a b'"),
        ({"on_failure": "ignore"}, "on_failure='ignore' is not one of stop, drop, zero, later"),
        ({"cost_per_row": -1}, "cost_per_row=-1"),
        ({"memo": "on"}, "memo='on'"),
    ],
)
def test_settings_are_checked(setting, said):
    with pytest.raises(ValueError) as caught:
        OracleConfig(**setting)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_transient_types_are_kept_as_names():
    config = OracleConfig(transient=[ConnectionError, "requests.exceptions.Timeout"])
    assert config.transient == ("builtins.ConnectionError", "requests.exceptions.Timeout")
    assert OracleConfig(transient=config.transient) == config
