"""The table model against plain numpy, and the smoothed histogram by hand."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from banel_jax import sampling, scoring, training
from banel_jax.models import table, tempering
from banel_jax.types import Sequences

V, LENGTH = 3, 3
EVERY = np.array(list(itertools.product(range(V), repeat=LENGTH)))


def sequences(tokens):
    tokens = jnp.asarray(tokens)
    return Sequences(tokens, jnp.ones(tokens.shape, bool))


@pytest.fixture(scope="module")
def logits():
    return np.random.default_rng(0).normal(size=(V,) * LENGTH).astype(np.float32) * 2 + 5


def tempered_by_enumeration(logits, temperature):
    """p of every sequence from sums over the joint, one conditional after the other."""
    joint = np.exp(logits.astype(np.float64))
    joint /= joint.sum()
    probabilities = []
    for x in EVERY:
        p = 1.0
        for t in range(LENGTH):
            weights = np.array([joint[(*x[:t], v)].sum() for v in range(V)]) ** (1 / temperature)
            p *= weights[x[t]] / weights.sum()
        probabilities.append(p)
    return np.array(probabilities)


@pytest.mark.parametrize("temperature", [1.0, 0.5, 2.5])
def test_log_prob_is_the_joint_tempered_token_by_token(logits, temperature):
    model = tempering.tempered(table.table(V, LENGTH), temperature)
    expected = tempered_by_enumeration(logits, temperature)
    scores = scoring.log_likelihood(model, logits, sequences(EVERY))
    np.testing.assert_allclose(np.exp(scores), expected, rtol=2e-5)
    joint = table.joint_log_prob(logits, temperature)
    np.testing.assert_allclose(np.exp(joint).ravel(), expected, rtol=2e-5)
    assert expected.sum() == pytest.approx(1)


def test_only_masked_positions_count(logits):
    model = table.table(V, LENGTH)
    mask = jnp.array([True, False, True])
    joint = np.exp(logits - np.logaddexp.reduce(logits, axis=None))
    score = model.log_prob(logits, Sequences(jnp.array([2, 0, 1]), mask))
    first, last = joint[2].sum(), joint[2, 0, 1] / joint[2, 0].sum()
    assert float(score) == pytest.approx(np.log(first * last), rel=1e-5)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_samples_have_the_frequencies_and_scores_of_log_prob(logits, temperature):
    n = 20_000
    model = tempering.tempered(table.table(V, LENGTH), temperature)
    drawn, scores = sampling.sample(model, jax.random.key(1), logits, n)
    expected = tempered_by_enumeration(logits, temperature)
    index = np.asarray(drawn.tokens) @ V ** np.arange(LENGTH)[::-1]
    counts = np.bincount(index, minlength=len(EVERY))
    z = (counts - n * expected) / np.sqrt(n * expected * (1 - expected))
    assert np.abs(z).max() < 4.5
    np.testing.assert_allclose(np.exp(scores), expected[index], rtol=2e-5)
    assert drawn.mask.all()


def test_impossible_sequences_score_minus_infinity_and_are_not_drawn():
    params = jnp.full((2, 2), -jnp.inf).at[0, 1].set(0.0)
    model = table.table(2, 2)
    scores = scoring.log_likelihood(model, params, sequences([[0, 0], [0, 1], [1, 0], [1, 1]]))
    np.testing.assert_array_equal(scores, [-np.inf, 0, -np.inf, -np.inf])
    drawn, _ = sampling.sample(model, jax.random.key(0), params, 50)
    assert (np.asarray(drawn.tokens) == [0, 1]).all()


def test_the_gradient_of_what_holds_impossible_sequences_is_that_by_hand():
    """log softmax of the joint: the sequence's indicator less the probabilities."""
    logits = np.random.default_rng(3).normal(size=(V,) * LENGTH).astype(np.float32)
    logits[2] = logits[0, 1] = logits[1, 1, 0] = -np.inf
    joint = np.exp(logits.astype(np.float64)) / np.exp(logits.astype(np.float64)).sum()
    model = table.table(V, LENGTH)
    gradient = jax.jit(jax.grad(lambda p, tokens: model.log_prob(p, sequences(tokens))))
    for tokens in [(0, 0, 1), (1, 1, 2)]:
        expected = -joint
        expected[tokens] += 1
        np.testing.assert_allclose(gradient(logits, jnp.array(tokens)), expected, atol=1e-6)
    for impossible in [(2, 0, 0), (0, 1, 2), (1, 1, 0)]:
        assert np.isfinite(gradient(logits, jnp.array(impossible))).all()


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_training_keeps_what_is_impossible_so(weight_decay):
    params = jnp.zeros((3, 3)).at[1:].set(-jnp.inf).at[0, 2].set(-jnp.inf)
    config = training.TrainingConfig(20, 3, 0.1, weight_decay)
    rows = sequences([[0, 0], [0, 1], [0, 1]])
    model = table.table(3, 2)
    params, info = training.fit(model, config, jax.random.key(0), params, rows, jnp.ones(3))
    np.testing.assert_array_equal(params == -np.inf, [[0, 0, 1], [1, 1, 1], [1, 1, 1]])
    assert params[0, 1] > params[0, 0] and np.isfinite(info.train_loss).all()


def test_what_is_no_number_is_not_taken_for_impossible():
    params = jnp.zeros((2, 2)).at[0, 0].set(jnp.nan)
    scores = scoring.log_likelihood(table.table(2, 2), params, sequences([[0, 0], [1, 1]]))
    assert np.isnan(scores).all()


def test_gradient_training_finds_the_frequencies():
    model = table.table(2, 1)
    config = training.TrainingConfig(epochs=300, batch_size=4, learning_rate=0.05)
    params, _ = training.fit(
        model, config, jax.random.key(0), model.init(jax.random.key(1)),
        sequences([[0], [1], [1], [1]]), jnp.ones(4),
    )  # fmt: skip
    np.testing.assert_allclose(jax.nn.softmax(params), [0.25, 0.75], atol=0.01)


def smooth(vocab_size, length, bandwidth, floor, tokens, weights, validation=None, params=None):
    fit = jax.jit(table.smoothed_histogram(vocab_size, length, bandwidth, floor))
    params = jnp.zeros((vocab_size,) * length) if params is None else params
    weights = jnp.asarray(weights, jnp.float32)
    return fit(jax.random.key(0), params, sequences(tokens), weights, validation)


def test_plain_histogram_with_floor_by_hand():
    # Weights 1, 2, 1 on bins 0, 1, 1: shares 1/4 and 3/4 of 0.8, over 0.2 / 4 everywhere.
    validation = jnp.array([0.0, 0.0, 0.0, 1.0])
    params, info = smooth(4, 1, 0, 0.2, [[0], [1], [1], [3]], [1, 2, 1, 0], validation)
    expected = np.array([0.25, 0.65, 0.05, 0.05])
    np.testing.assert_allclose(np.exp(params), expected, rtol=1e-5)
    loss = -(np.log(0.25) + 3 * np.log(0.65)) / 4
    np.testing.assert_allclose(info.train_loss, [loss], rtol=1e-5)
    np.testing.assert_allclose(info.validation_loss, [-np.log(0.05)], rtol=1e-5)


def test_kernel_by_hand_conserves_mass_at_the_border():
    # One point at the corner (0, 2) of a 3x3 grid, bandwidth 1: a product of two rows.
    near_zero = np.exp([0.0, -0.5, -2.0])
    near_zero /= near_zero.sum()
    params, info = smooth(3, 2, 1.0, 0.0, [[0, 2]], [1.0])
    np.testing.assert_allclose(np.exp(params), np.outer(near_zero, near_zero[::-1]), rtol=1e-5)
    assert float(jnp.exp(params).sum()) == pytest.approx(1, rel=1e-5)
    assert np.isnan(info.validation_loss[0])


def test_far_tails_stay_finite_without_a_floor():
    params, _ = smooth(48, 1, 1.0, 0.0, [[0]], [1.0])
    # Far from the border the kernel's logarithm is the parabola itself.
    assert float(params[47] - params[0]) == pytest.approx(-(47**2) / 2, rel=1e-5)


def test_without_weight_the_parameters_stay():
    before = jnp.log(jnp.array([0.1, 0.2, 0.7]))
    params, _ = smooth(3, 1, 1.0, 0.1, [[0]], [0.0], params=before)
    np.testing.assert_array_equal(params, before)


def test_sequences_that_are_not_scored_are_left_out():
    fit = table.smoothed_histogram(3, 1, 0.0, 0.0)
    given = Sequences(jnp.array([[0], [2]]), jnp.array([[False], [True]]))
    params, _ = fit(jax.random.key(0), jnp.zeros(3), given, jnp.ones(2), None)
    np.testing.assert_allclose(np.exp(params), [0, 0, 1], atol=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: table.table(64, 5), "too many for a table"),
        (lambda: table.table(0, 1), "vocab_size=0"),
        (lambda: table.smoothed_histogram(3, 1, -1.0), "bandwidth=-1.0"),
        (lambda: table.smoothed_histogram(3, 1, 1.0, 1.0), "floor=1.0"),
    ],
)
def test_bad_settings_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
