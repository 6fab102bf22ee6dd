"""What the loop relies on, asked of every algorithm."""

import itertools
import re
from functools import cache, partial

import jax
import jax.numpy as jnp
import nightly
import numpy as np
import pytest
from equations import equations
from every_algorithm import (
    ALGORITHMS,
    FIXED,
    PRIOR,
    REWARDS,
    ROUNDS,
    M,
    algorithm_1,
    algorithm_2,
)  # fmt: skip
from tiny_run import LENGTH, V

from banel_jax.failures import failure_weights
from banel_jax.runs import loop
from banel_jax.types import Algorithm, Sequences

TOKENS = np.array(list(itertools.product(range(V), repeat=LENGTH)), np.int32)
EVERY = Sequences(jnp.asarray(TOKENS), jnp.ones(TOKENS.shape, bool))
# Those that share all their parts with others wait for the night.
NIGHTLY = {
    "prior", "banel", "banel, all failures", "banel, threshold", "banel, 1 / p_phi",
    "filtering, in some rounds", "filtering, threshold", "gflownet, trajectory balance",
    "gflownet, relative", "negative RL", "CbAS", "likeliest cut", "least likely cut",
    "hedge", "hedge, distinct", "banel, both sides",  # `auto` is one and has the other
    "VSD, observing",
}  # fmt: skip
every_algorithm = pytest.mark.parametrize("name", nightly.params(ALGORITHMS, NIGHTLY))
# What is compiled once more for one test is tried of few, which have the parts of the others.
FEW = {"auto", "filtering", "policy gradient, replay", "rnd"}
SIDE_BY_SIDE = {"auto", "filtering"}
some = lambda names: pytest.mark.parametrize(
    "name", nightly.params(ALGORITHMS, ALGORITHMS.keys() - names)
)


class Compiled:
    """An algorithm's functions, jitted anew, with how often each was traced."""

    def __init__(self, algorithm: Algorithm):
        self.algorithm = algorithm
        self.traces = {"ask": 0, "tell": 0}
        self.init = jax.jit(algorithm.init)
        self.ask = self._counted("ask", algorithm.ask)
        self.tell = self._counted("tell", algorithm.tell)
        self.sample = jax.jit(algorithm.sample, static_argnums=2)
        self.log_prob = jax.jit(algorithm.log_prob)
        self.candidate_log_prob = jax.jit(algorithm.candidate_log_prob)

    def _counted(self, name, function):
        def traced(*arguments):
            self.traces[name] += 1
            return function(*arguments)

        return jax.jit(traced)


@cache
def compiled(name) -> Compiled:
    return Compiled(ALGORITHMS[name]())


def keys(seed):
    """For init, then for the ask and the tell of each round."""
    return jax.random.split(jax.random.key(seed), 1 + 2 * ROUNDS)


def play(functions, reward=REWARDS["some"], seed=0):
    """Per round (state after ask, candidates, state after tell, info); first (None, ..., state)."""
    each = keys(seed)
    state = functions.init(each[0], jnp.asarray(PRIOR))
    yield None, None, state, None
    for r in range(ROUNDS):
        candidates, asked = functions.ask(each[1 + 2 * r], state)
        state, info = functions.tell(each[2 + 2 * r], asked, candidates, reward(candidates.tokens))
        yield asked, candidates, state, info


@cache
def played(name):
    return list(play(compiled(name)))


def assert_equal(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


def kinds(tree):
    return jax.tree.structure(tree), [(x.shape, x.dtype) for x in jax.tree.leaves(tree)]


@every_algorithm
def test_the_same_keys_give_the_same_run(name):
    again = list(play(compiled(name)))
    assert_equal(again, played(name))
    other = list(play(compiled(name), seed=1))
    assert any(
        not np.array_equal(one[1].tokens, two[1].tokens)
        for one, two in zip(other[1:], again[1:], strict=True)
    )


@some(FEW)
def test_compiled_afresh_it_is_the_same_run(name):
    """Nothing is kept between calls outside the state, as in a process that resumes."""
    assert_equal(list(play(Compiled(ALGORITHMS[name]()))), played(name))


@every_algorithm
def test_the_state_never_changes_its_form_and_nothing_compiles_twice(name):
    run = played(name)
    start = kinds(run[0][2])
    for asked, _, state, _ in run[1:]:
        assert kinds(asked) == start
        assert kinds(state) == start
    assert compiled(name).traces == {"ask": 1, "tell": 1}


@every_algorithm
def test_candidates_and_info_have_the_form_that_the_loop_expects(name):
    run = played(name)
    names = sorted(run[1][3])
    for _, candidates, _, info in run[1:]:
        assert candidates.tokens.shape == candidates.mask.shape == (M, LENGTH)
        assert candidates.tokens.dtype == jnp.int32 and candidates.mask.dtype == bool
        assert candidates.mask.all()
        assert (candidates.tokens >= 0).all() and (candidates.tokens < V).all()
        assert sorted(info) == names
        assert all(x.shape == () and x.dtype == jnp.float32 for x in info.values())
        successes = REWARDS["some"](candidates.tokens).sum()
        assert float(info["successes"]) == float(successes)


@every_algorithm
def test_asking_twice_gives_the_same_candidates(name):
    functions, (_, _, state, _) = compiled(name), played(name)[2]
    key = jax.random.key(11)
    assert_equal(functions.ask(key, state), functions.ask(key, state))


@every_algorithm
@pytest.mark.parametrize("reward", REWARDS)
def test_no_rewards_leave_a_nan(name, reward):
    run = list(play(compiled(name), REWARDS[reward]))
    settings = dict(ALGORITHMS[name]().settings).get("settings")
    holdout = getattr(settings, "failure_holdout", 0.5 if "hedge" in name else 0.0)
    for asked, _, state, info in run[1:]:
        for leaf in jax.tree.leaves((asked, state)):
            assert not np.isnan(leaf).any()
        for title, value in info.items():
            # Without failures held out, or to train on, there is no such loss.
            missing = {"failure_validation_loss", "failure_gap"}
            for one in (state, *getattr(state, "arms", {}).values()):
                if hasattr(one, "failures"):
                    trained_on, _ = failure_weights(one.failures, holdout)
                    if not np.any(trained_on):
                        missing |= {"failure_train_loss"}
            assert title.endswith(tuple(missing)) or np.isfinite(value), title


@every_algorithm
def test_samples_and_candidates_are_likely_under_what_drew_them(name):
    functions = compiled(name)
    for asked, candidates, state, _ in played(name)[1:]:
        drawn = functions.sample(jax.random.key(3), state, 7)
        assert drawn.tokens.shape == drawn.mask.shape == (7, LENGTH) and drawn.mask.all()
        scores = functions.log_prob(state, drawn)
        assert scores.shape == (7,) and scores.dtype == jnp.float32
        assert np.isfinite(scores).all()
        assert np.isfinite(functions.candidate_log_prob(asked, candidates)).all()
        every = functions.log_prob(state, EVERY)
        assert not np.isnan(every).any() and (every < np.inf).all()
    assert functions.sample(jax.random.key(3), state, 1).tokens.shape == (1, LENGTH)


@some(SIDE_BY_SIDE)
def test_seeds_side_by_side_equal_seeds_one_by_one(name):
    algorithm, each = ALGORITHMS[name](), jnp.stack([keys(0), keys(1)])

    @jax.jit
    @jax.vmap
    def together(each):
        state = algorithm.init(each[0], jnp.asarray(PRIOR))

        def one_round(state, pair):
            candidates, asked = algorithm.ask(pair[0], state)
            rewards = REWARDS["some"](candidates.tokens)
            state, info = algorithm.tell(pair[1], asked, candidates, rewards)
            return state, (asked, candidates, state, info)

        return jax.lax.scan(one_round, state, each[1:].reshape(ROUNDS, 2))[1]

    runs = together(each)
    for seed in range(2):
        for r, expected in enumerate(list(play(compiled(name), seed=seed))[1:]):
            found = jax.tree.map(lambda x, at=(seed, r): x[at], runs)
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), found, expected)


@some(FEW)
def test_rounds_of_a_compiled_run_call_nothing_of_the_host(name):
    """`jax.transfer_guard` would not see it: that looks at what a program is called with."""
    run = loop.compiled_blocks(ALGORITHMS[name](), lambda x: REWARDS["some"](x.tokens))
    seeds = jnp.stack([jax.random.key(0), jax.random.key(1)])
    at = jax.eval_shape(run.start, seeds, jnp.asarray(PRIOR))
    program = jax.make_jaxpr(lambda seeds, at: run.advance(seeds, at, 0, 2))(seeds, at)
    found = {equation.primitive.name for equation in equations(program.jaxpr)}
    assert "scan" in found
    assert not {n for n in found if re.search("callback|debug|feed|device_put|send|recv", n)}


@every_algorithm
def test_what_has_no_answer_teaches_nothing(name):
    """Two of six evaluations failed: whatever they were of, the same is learned."""
    functions, (_, _, state, _) = compiled(name), played(name)[2]
    tell = jax.jit(functions.algorithm.tell)
    candidates, asked = functions.ask(jax.random.key(5), state)
    answered, rewards = jnp.arange(M) % 3 != 1, jnp.float32(jnp.arange(M) % 3 == 0)
    other = jnp.where(answered[:, None], candidates.tokens, 0)
    learned = []
    for tokens in (candidates.tokens, other):
        replaced = Sequences(tokens, candidates.mask)
        told, counted = tell(jax.random.key(6), asked, replaced, rewards, answered)
        failure_model = getattr(told, "failure_model", jnp.zeros(()))
        learned.append((functions.log_prob(told, EVERY), failure_model))
        assert float(counted["successes"]) == 2
        assert all(np.isfinite(value) for title, value in counted.items() if "fail" not in title)
    if name not in ("rnd", "pseudo count"):  # what was proposed is no longer new, answered or not
        close = partial(np.testing.assert_allclose, atol=1e-5)
        jax.tree.map(close, learned[0], learned[1])


@pytest.mark.parametrize("make", [algorithm_1, algorithm_2])
def test_a_filter_that_lets_nothing_through_ends_in_empty_candidates(make):
    """In bounded time and without a NaN: the loop then sees empty masks."""
    functions = Compiled(make(**FIXED | dict(threshold=50.0)))
    run = list(play(functions))
    assert run[1][1].mask.all()  # the first batch meets no filter
    for asked, candidates, state, _ in run[2:]:
        assert candidates.tokens.shape == (M, LENGTH) and not candidates.mask.any()
        for leaf in jax.tree.leaves((asked, state)):
            assert not np.isnan(leaf).any()
