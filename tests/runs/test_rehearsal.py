"""What does not fit together is told of in one line before anything is paid for."""

import jax
import jax.numpy as jnp
import pytest
from tiny_run import LENGTH, PRIOR, M, learner, reward

from banel_jax.runs.loop import RunConfig, run
from banel_jax.types import Sequences

ALGORITHM = learner()


def refuse(sequences):
    raise AssertionError("the oracle was asked")


def asking(change):
    def ask(key, state):
        candidates, state = ALGORITHM.ask(key, state)
        return change(candidates, state)

    return {"ask": ask}


def telling(change):
    def tell(*arguments):
        return change(*ALGORITHM.tell(*arguments))

    return {"tell": tell}


def fail(*_):
    raise TypeError("no such\nthing")


def untyped(key, prior_params):
    return ALGORITHM.init(key, prior_params) | {"when": "now"}


class Unhashable:
    __hash__ = None  # type: ignore[assignment]

    def __call__(self, asked, state):
        return {}


@pytest.mark.parametrize(
    ("functions", "message"),
    [
        ({"init": fail}, "init fails before anything is paid for: TypeError: no such thing"),
        ({"init": untyped}, "init fails before anything is paid for"),
        (asking(fail), "ask fails before anything is paid for: TypeError: no such thing"),
        (telling(fail), "tell fails before anything is paid for"),
        (asking(lambda c, s: c), "ask returns Sequences; it must return"),
        (asking(lambda c, s: (c.tokens, s)), r"ask returns int32\[6, 4\] as candidates"),
        (
            asking(lambda c, s: (Sequences(c.tokens * 1.0, c.mask), s)),
            r"tokens and mask float32\[6, 4\] and bool\[6, 4\]; they must be int32 and bool",
        ),
        (asking(lambda c, s: (Sequences(c.tokens, c.mask * 1), s)), "int32 and bool"),
        (asking(lambda c, s: (Sequences(c.tokens[0], c.mask[0]), s)), r"int32\[4\] and bool\[4\]"),
        (asking(lambda c, s: (Sequences(c.tokens[:0], c.mask[:0]), s)), "at least 1"),
        (asking(lambda c, s: (Sequences(c.tokens, c.mask[:, :2]), s)), r"bool\[6, 2\]"),
        (telling(lambda s, i: s), "tell returns dict; it must return"),
        (
            telling(lambda s, i: (s | {"round": s["round"] * 1.0}, i)),
            r"\['round'\] is int32\[\] before and float32\[\] after",
        ),
        (telling(lambda s, i: (s | {"params": s["params"][1:]}, i)), r"float32\[3,3\] after"),
        (telling(lambda s, i: (s | {"more": s["round"]}, i)), r"\['more'\] is absent before"),
        (telling(lambda s, i: (s | {"none": None}, i)), "containers are others"),
        (telling(lambda s, i: (s, [1.0])), "tell returns list as metrics"),
        (telling(lambda s, i: (s, i | {"w": jnp.ones(3)})), r"metric 'w' of tell has shape \(3,\)"),
        (telling(lambda s, i: (s, i | {"w": jax.random.key(0)})), "'w' of tell is .*no real"),
        (telling(lambda s, i: (s, i | {"w": 1j})), r"metric 'w' of tell is complex64\[\], no real"),
        (telling(lambda s, i: (s, {3: 1.0})), "metric 3 of tell"),
        ({"evaluate": fail}, "evaluate fails before anything is paid for"),
        ({"evaluate": lambda a, s: s["lost"]}, "evaluate fails before .*KeyError: 'lost'"),
        ({"evaluate": lambda a, s: s["params"]}, r"evaluate returns float32\[4, 3\] as metrics"),
        ({"evaluate": lambda a, s: None}, "evaluate returns NoneType as metrics"),
        ({"evaluate": lambda a, s: {"params": s["params"]}}, r"'params' of evaluate has shape"),
        ({"evaluate": lambda a, s: {"loss": 1.0, "round": 2}}, r"\['loss', 'round'\] are given"),
        ({"evaluate": lambda a, s: {"num_successes": 1}}, r"\['num_successes'\] are given twice"),
        ({"evaluate": 3}, "evaluate is a int; give a function"),
        ({"evaluate": Unhashable()}, "evaluate is a Unhashable; give a function"),
        ({"ask": None}, "ask is a NoneType; give a function"),
        ({"reward_fn": None}, "the oracle is a NoneType; give a function"),
        ({"config": {"rounds": 2}}, "config is a dict; give a RunConfig"),
        ({"configuration": {"run": 1}}, "configuration has run, which"),
        ({"configuration": [1]}, "configuration is a list; give a dict"),
        ({"folder": "b\udcff"}, "cannot be named .* UTF-8"),
        ({"folder": 3}, "cannot be named 3"),
    ],
)  # fmt: skip
def test_refused_before_the_first_payment(functions, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = dict(reward_fn=refuse, config=RunConfig(rounds=2), folder="b") | functions
    own = {name: given.pop(name) for name in ("init", "ask", "tell") if name in given}
    with pytest.raises(ValueError, match=message) as caught:
        run(ALGORITHM._replace(**own), PRIOR, **given)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_round_that_fits_is_run(tmp_path):
    also = lambda asked, state: {"flag": jnp.bool_(True), "count": state["round"], "half": 0.5}
    result = run(ALGORITHM, PRIOR, reward, RunConfig(rounds=1), tmp_path / "a", evaluate=also)
    assert result.metrics[0] | {"flag": 1.0, "count": 1.0, "half": 0.5} == result.metrics[0]
    assert result.state["params"].shape == (LENGTH, 3)
    assert result.metrics[0]["num_reward_evaluations"] == M
