"""Tasks over texts: checks by name, an oracle of them, and what a bad check costs."""

from decimal import Decimal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import banel_jax as bj
from banel_jax.commands import oracles, priors
from banel_jax.commands.settings import What
from banel_jax.oracle import Oracle
from banel_jax.runs.config import RunConfig
from banel_jax.tasks import text
from banel_jax.tasks.text import TextOracle, check, last_number, on_host

TEXTS = ["84", " 84\n", "It is 84.", "It is 84.0, or 1,084", "-84", "eighty-four", ""]
RIGHT = {
    "exact: 84": [1, 1, 0, 0, 0, 0, 0],
    "numeric: 84": [1, 1, 1, 0, 0, 0, 0],
    "numeric: 1,084": [0, 0, 0, 1, 0, 0, 0],
    "numeric: -84.00": [0, 0, 0, 0, 1, 0, 0],
    "regex: ^[0-9]+$": [1, 0, 0, 0, 0, 0, 0],
    "regex: is (84|85)": [0, 0, 1, 1, 0, 0, 0],
    "exact: a: b": [0, 0, 0, 0, 0, 0, 0],
}


def rows(texts):
    length = max(1, *map(len, texts))
    tokens = np.array([[ord(c) for c in one.ljust(length)] for one in texts], np.int32)
    mask = np.arange(length) < np.array([[len(one)] for one in texts])
    return bj.Sequences(jnp.asarray(tokens), jnp.asarray(mask))


def written(sequences):
    both = zip(np.asarray(sequences.tokens), np.asarray(sequences.mask), strict=True)
    return ["".join(map(chr, row[kept])) for row, kept in both]


@pytest.mark.parametrize("what", RIGHT)
def test_a_check_by_name(what):
    assert [int(check(what)(one)) for one in TEXTS] == RIGHT[what]
    assert TextOracle(written, check(what)).rewards(rows(TEXTS)).tolist() == RIGHT[what]


def test_a_colon_belongs_to_what_is_wanted():
    assert check("exact: a: b")("a: b") and not check("exact: a: b")("b")


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("numeric: many", "numeric: many: 'many' is no number"),
        ("numeric: inf", "is no number"),
        ("numeric: nan", "is no number"),
        ("regex: (", "is no regular expression"),
        ("regex:", "is no check"),
        ("exact: ", "is no check"),
        ("equal: 84", 'give one of "exact: ...", "numeric: ...", "regex: ..."'),
        ("", "is no check"),
    ],
)
def test_what_is_no_check_is_refused(what, said):
    with pytest.raises(ValueError) as caught:
        check(what)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_the_last_number_of_a_text():
    assert last_number("7 and then -3.50 dollars") == Decimal("-3.5")
    assert last_number("none") is None


def test_a_check_that_raises_costs_its_own_row():
    def half(one):
        if not one:
            raise RuntimeError("empty")
        return len(one) > 2

    oracle = TextOracle(written, half)
    assert [str(x) for x in oracle(rows(["ab", "", "abc"]))] == ["False", "empty", "True"]
    counted = Oracle(oracle, config=bj.OracleConfig(on_failure="drop"))
    assert counted.evaluate(0, rows(["ab", "", "abc"])).tolist()[::2] == [0, 1]
    with pytest.raises(ValueError, match="RuntimeError"):
        oracle.rewards(rows(["ab", ""]))
    with pytest.raises(ValueError, match="judged 2"):
        TextOracle(written, len).rewards(rows(["ab"]))


def test_a_score_beside_the_reward_is_kept():
    oracle = TextOracle(written, lambda one: bj.Answer(float(len(one) > 2), score=len(one)))
    assert [answer.score for answer in oracle(rows(["ab", "abc"]))] == [2, 3]
    assert oracle.rewards(rows(["ab", "abc"])).tolist() == [0, 1]


def test_compiled_programs_call_it():
    judge = on_host(TextOracle(written, check("numeric: 84")).rewards)
    np.testing.assert_array_equal(jax.jit(judge)(rows(["84", "85"])), [1, 0])


def test_a_command_names_a_check(tmp_path):
    found = priors.Found(bj.table(4, 3), None, written)
    oracle = oracles.oracle(What(oracle="regex: ^8"), RunConfig(), found, tmp_path)
    assert oracle.fn(rows(["84", "48"])) == [True, False]
    with pytest.raises(ValueError, match="--oracle=numeric: x: 'x' is no number"):
        oracles.oracle(What(oracle="numeric: x"), RunConfig(), found, tmp_path)
    with pytest.raises(ValueError, match="give it --text"):
        oracles.oracle(What(oracle="exact: x"), RunConfig(), found._replace(text=None), tmp_path)


def test_a_prompted_model_and_a_check_are_a_task(monkeypatch):
    model = bj.table(128, 1)
    params = model.init(jax.random.key(0))
    asked = []

    class Prompted:
        def __init__(self, *given):
            asked.append(given)
            self.model, self.params, self.text = model, params, written

    monkeypatch.setattr(text.models, "load", Prompted)
    for right in ("exact: A", lambda one: one == "A"):
        task = text.prompted("folder", "Say A.", right, 1)
        sequences = bj.Sequences(jnp.array([[65], [66]]), jnp.ones((2, 1), bool))
        assert task.reward_fn(sequences) == [True, False] and task.render(sequences) == ["A", "B"]
        assert task.prior is model and task.targets is None
    assert asked == [("folder", "Say A.", 1)] * 2
    with pytest.raises(ValueError, match="no check"):
        text.prompted("folder", "Say A.", "A", 1)
    assert len(asked) == 2  # nothing is loaded for a check that is none
