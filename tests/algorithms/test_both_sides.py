"""A ratio of a success model and a failure model: what it is at its ends, and what is replayed."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_run import LENGTH, MODEL, V

from banel_jax import replay, sampling, scoring, successes, training
from banel_jax.algorithms.banel import BanelConfig, banel
from banel_jax.rejection import Proposals
from banel_jax.successes import SuccessModel
from banel_jax.training import TrainingConfig
from banel_jax.types import Sequences

M = 6
FIT = TrainingConfig(epochs=3, batch_size=50, learning_rate=0.2)
PRIOR = jnp.asarray(np.random.default_rng(0).normal(size=(LENGTH, V)), jnp.float32)
BANEL = BanelConfig(M, filter_factor=4.0, generator_training=FIT, failure_training=FIT)
BOTH = dataclasses.replace(
    BANEL, ratio_against="successes", successes_needed=2, success_training=FIT, replay=0.5
)


def rows(*tokens):
    tokens = jnp.asarray(tokens, jnp.int32)
    return Sequences(tokens, jnp.ones(tokens.shape, bool))


A, B, C = [0] * LENGTH, [1] * LENGTH, [0] + [1] * (LENGTH - 1)


def met(weights, *tokens):
    memory = replay.empty(MODEL, PRIOR, 5)
    return memory.add(rows(*tokens), jnp.asarray(weights, jnp.float32))


def proposed(row, base_score):
    return Proposals(rows(row), jnp.zeros(1), jnp.float32([base_score]))


def fitted(start, sequences):
    weights = jnp.ones(sequences.tokens.shape[0])
    fit = jax.jit(lambda key: training.fit(MODEL, FIT, key, start, sequences, weights)[0])
    return fit(jax.random.key(0))  # all in one batch: no order matters


def run(config, rewards, known=None):
    """(candidates, state that ask returned, state that tell returned) of each round."""
    algorithm = banel(MODEL, config)
    state = algorithm.init(jax.random.key(0), PRIOR)
    if known:
        state = algorithm.know(jax.random.key(1), state, *known)
    ask, tell = jax.jit(algorithm.ask), jax.jit(algorithm.tell)
    for r, reward in enumerate(rewards):
        candidates, asked = ask(jax.random.key(10 + r), state)
        state, _ = tell(jax.random.key(20 + r), asked, candidates, jnp.asarray(reward, jnp.float32))
        yield candidates, asked, state


def test_without_a_success_it_is_banel_bit_for_bit():
    nothing = [[0] * M] * 3
    for mine, plain in zip(run(BOTH, nothing), run(BANEL, nothing), strict=True):
        np.testing.assert_array_equal(mine[0].tokens, plain[0].tokens)
        for name in ("generator", "failure_model", "threshold", "log_normaliser"):
            found, expected = getattr(mine[2], name), getattr(plain[2], name)
            np.testing.assert_array_equal(found, expected, name)
        np.testing.assert_array_equal(mine[2].success_model, PRIOR)


def test_without_a_filter_and_on_successes_alone_it_is_expert_iteration():
    alone = dataclasses.replace(BOTH, filter_factor=1.0, replay=1.0)
    first, last = run(alone, [[1] * M, [0] * M])
    different = np.unique(np.asarray(first[0].tokens), axis=0)
    assert M % len(different) == 0  # then each comes equally often among the rows
    for _, _, state in (first, last):  # the first round is distilled where there is a success
        np.testing.assert_allclose(state.generator, fitted(PRIOR, rows(*different)), atol=1e-5)


def test_a_failure_model_that_is_the_base_leaves_a_ranking_by_successes():
    base = dataclasses.replace(
        BOTH, failure_training=TrainingConfig(epochs=0), failure_start="base", distinct=True
    )
    known = rows(A, B), jnp.ones(2)
    _, asked, _ = next(run(base, [[0] * M], known))
    model = fitted(PRIOR, known[0])
    np.testing.assert_allclose(asked.success_model, model, atol=1e-5)
    draw_key = jax.random.split(jax.random.key(10))[0]
    drawn = np.asarray(sampling.sample(MODEL, draw_key, PRIOR, 4 * M)[0].tokens)
    score = lambda params, x: np.take_along_axis(jax.nn.log_softmax(params), x.T, 1).sum(0)
    different = np.unique(drawn, axis=0)
    best = different[np.argsort(score(PRIOR, different) - score(model, different))][:M]
    assert len(different) > M
    assert sorted(np.asarray(asked.batch.tokens).tolist()) == sorted(best.tolist())


def test_successes_that_the_failures_no_longer_hold_are_not_paid_for_again_either():
    """All of two tokens' sequences but one were met before the run, as successes."""
    config = dataclasses.replace(BOTH, distinct=True, prefer_new=True, replay_size=V**LENGTH)
    every = np.stack(np.meshgrid(*[np.arange(V)] * LENGTH), -1).reshape(-1, LENGTH)
    known = rows(*every[1:].tolist()), jnp.ones(len(every) - 1)
    likely = jnp.zeros((LENGTH, V)).at[jnp.arange(LENGTH), every[0]].set(1.0)
    algorithm = banel(MODEL, config)
    state = algorithm.init(jax.random.key(0), likely)
    state = state.replace(successes=state.successes.add(*known))
    candidates, _ = algorithm.ask(jax.random.key(1), state)
    np.testing.assert_array_equal(candidates.tokens[0], every[0])


@pytest.mark.parametrize("kept, enough", [(3, True), (1, False)])
def test_a_model_of_successes_needs_different_ones(kept, enough):
    seen = met([1, 1, int(kept == 3), 0], A, A, B, C)
    model = SuccessModel(MODEL, lambda *args: training.fit(MODEL, FIT, *args), needed=2)
    learnt = jax.jit(model.learn)(jax.random.key(0), PRIOR, seen)
    expected = fitted(PRIOR, rows(A, B)) if enough else PRIOR
    np.testing.assert_allclose(learnt, expected, atol=1e-5)
    scores = jax.jit(model.scores)(learnt, seen, proposed(C, -7.0))
    alone = scoring.log_likelihood(MODEL, learnt, rows(C))
    np.testing.assert_allclose(scores, alone if enough else [-7.0], rtol=1e-6)


def test_a_share_of_the_base_bounds_a_score_from_below():
    model = SuccessModel(MODEL, training.fit, needed=1, mix=0.25)
    scores = model.scores(PRIOR, met([1], A), proposed(A, -3.0))
    success = np.exp(float(scoring.log_likelihood(MODEL, PRIOR, rows(A))[0]))
    np.testing.assert_allclose(np.exp(scores), [0.75 * success + 0.25 * np.exp(-3)], rtol=1e-5)


def test_each_different_success_is_replayed_equally_often():
    seen = met([1, 0, 1, 1], A, C, B, A)
    given, use = rows(*[C] * 8), jnp.float32([1, 1, 1, 0, 0, 0, 0, 0])
    found, uses = jax.jit(lambda k: successes.replayed(k, given, use, seen, 0.5))(jax.random.key(0))
    tokens = np.asarray(found.tokens).tolist()
    assert tokens[:4] == [C] * 4 and sorted(tokens[4:]) == sorted([A, A, B, B])
    np.testing.assert_array_equal(uses, [1, 1, 1, 0, 1, 1, 1, 1])
    same, uses = successes.replayed(jax.random.key(0), given, use, met([0, 0], A, B), 0.5)
    np.testing.assert_array_equal(same.tokens, given.tokens)
    np.testing.assert_array_equal(uses, use)


@pytest.mark.parametrize(
    "settings, words",
    [
        (dict(past_filters=1), "past_filters=1 needs ratio_against=base"),
        (dict(rejection="threshold"), "ratio_against=successes needs rejection"),
        (dict(drop_successes=True), "replay=0.5 is of what drop_successes=True leaves out"),
        (dict(replay=1.5), "replay"),
        (dict(successes_needed=0), "successes_needed"),
    ],
)
def test_what_does_not_go_together_is_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        dataclasses.replace(BOTH, **settings)
