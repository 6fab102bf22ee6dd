"""VSD's objective against its enumeration over all 81 sequences, and what its classifier learns."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from enumeration import ALL, EVERY, TABLE, N, V, sequences, table_params, table_probabilities

from banel_jax import scoring
from banel_jax.algorithms.classifier import ClassifierConfig, classifier
from banel_jax.algorithms.observing import one_hot
from banel_jax.algorithms.vsd import VsdConfig, search_loss, vsd
from banel_jax.failures import Failures
from banel_jax.training import TrainingConfig

M = 20
PRIOR, Q = table_params(3), table_params(4)
JUDGE = ClassifierConfig(
    embedding=8, width=16, kernel=3, hidden=16, vocab_size=V,
    training=TrainingConfig(epochs=150, batch_size=32, learning_rate=1e-2),
)  # fmt: skip
CONFIG = VsdConfig(
    M,
    memory_rounds=2,
    search_training=TrainingConfig(epochs=60, batch_size=64, learning_rate=0.05),
    classifier=JUDGE,
)
SUCCEEDS = (EVERY[:, 0] == 2) & (EVERY[:, 2] != 0)  # 18 of 81
REWARDS = jnp.asarray(SUCCEEDS, jnp.float32)


def rows(weights):
    return Failures(ALL, jnp.asarray(weights, jnp.float32))


def test_the_gradient_is_that_of_the_objective_summed_over_all_sequences():
    log_success = jax.nn.log_sigmoid(3.0 * jnp.asarray(EVERY[:, 0] - 1.5 * EVERY[:, 3]))
    log_prior = jnp.log(jnp.asarray(table_probabilities(PRIOR), jnp.float32))
    score = lambda params: scoring.log_likelihood(TABLE, params, ALL)

    def objective(params):  # E_q[log P(success | x)] - KL(q || prior)
        log_q = score(params)
        return jnp.sum(jnp.exp(log_q) * (log_success + log_prior - log_q))

    def sampled(params, baseline):
        """The expectation of the loss of single samples of q."""
        log_q = score(params)
        gains = log_success + log_prior - log_q
        one = lambda log_q, gain: search_loss(log_q[None], gain[None], baseline)
        weights = jax.lax.stop_gradient(jnp.exp(log_q))
        return -jnp.sum(weights * jax.vmap(one)(log_q, gains))

    expected = jax.grad(objective)(Q)
    assert np.abs(expected).max() > 0.01
    for baseline in (0.0, -3.0):
        found = jax.grad(sampled)(Q, jnp.float32(baseline))
        np.testing.assert_allclose(found, expected, atol=1e-5)
    # At the optimum, the prior given success, every sample has the same gain.
    best = log_prior + log_success
    best = (best - jax.nn.logsumexp(best)).reshape(Q.shape)
    np.testing.assert_allclose(jax.grad(objective)(best), 0, atol=1e-5)
    gains = jnp.full(5, jnp.float32(-3.3))
    np.testing.assert_array_equal(
        jax.grad(lambda x: search_loss(x, gains, gains[0] * (1 + 1e-6)))(jnp.arange(5.0)), 0
    )


@pytest.mark.parametrize("observe", [None, one_hot(V)], ids=["tokens", "observed"])
def test_the_classifier_learns_both_classes_and_says_how_many_there_are(observe):
    judge = classifier(TABLE, JUDGE, observe)
    start = judge.init(jax.random.key(0), sequences(EVERY[:1]))
    successes, failures = rows(SUCCEEDS), rows(~SUCCEEDS)
    params, loss = jax.jit(judge.fit)(jax.random.key(1), start, successes, failures)
    odds = np.asarray(judge.log_odds(params, ALL))
    assert loss < np.log(2) and ((odds > 0) == SUCCEEDS).mean() > 0.95
    shift = np.log(18.5 / 63.5)
    expected = -np.log1p(np.exp(-(np.float64(odds) + shift)))
    found = judge.log_success(params, ALL, successes, failures)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)
    # It says of a row that stands in both how often it succeeded.
    half = rows(np.where(np.arange(N) == 5, 2.0, 0.0)), rows(np.where(np.arange(N) == 5, 6.0, 0.0))
    params, _ = jax.jit(judge.fit)(jax.random.key(1), start, *half)
    rate = np.exp(judge.log_success(params, sequences(EVERY[5:6]), *half)[0])
    assert abs(rate - 2.5 / 9) < 0.1


def test_rows_without_weight_are_not_learned():
    judge = classifier(TABLE, dataclasses.replace(JUDGE, training=CONFIG.search_training))
    start = judge.init(jax.random.key(0), sequences(EVERY[:1]))
    fit = jax.jit(judge.fit)
    some = np.arange(N) % 2 == 0
    other = Failures(sequences(np.where(some[:, None], EVERY, 0)), jnp.float32(some & SUCCEEDS))
    failed = rows(some & ~SUCCEEDS)
    one, _ = fit(jax.random.key(1), start, rows(some & SUCCEEDS), failed)
    two, _ = fit(jax.random.key(1), start, other, failed)
    jax.tree.map(np.testing.assert_array_equal, one, two)


ALGORITHM = vsd(TABLE, CONFIG)
ASK, TELL, KNOW = (jax.jit(getattr(ALGORITHM, name)) for name in ("ask", "tell", "know"))


def test_without_a_success_nothing_moves():
    start = ALGORITHM.init(jax.random.key(0), PRIOR)
    candidates, state = ASK(jax.random.key(1), start)
    state, info = TELL(jax.random.key(2), state, candidates, jnp.zeros(M))
    for name in ("search", "classifier"):
        jax.tree.map(np.testing.assert_array_equal, getattr(state, name), getattr(start, name))
    assert float(info["search_gain"]) == float(info["classifier_loss"]) == 0
    assert float(state.failures.weights.sum()) == M


def test_from_known_answers_it_finds_the_prior_given_success():
    """Two visits: q goes on from where it was. Failures are not drawn, and the rest keeps shape."""
    state = ALGORITHM.init(jax.random.key(0), PRIOR)
    for seed in range(2):
        known = ALL, REWARDS
        told = KNOW(jax.random.key(1 + seed), state, *known)
        state = state.replace(search=told.search, classifier=told.classifier)
    q, prior = table_probabilities(state.search), table_probabilities(PRIOR)
    wanted = np.where(SUCCEEDS, prior, 0) / prior[SUCCEEDS].sum()
    assert prior[SUCCEEDS].sum() < 0.4 and q[SUCCEEDS].sum() > 0.85
    apart = lambda p: np.abs(p - wanted).sum() / 2
    assert apart(q) < 0.3 * apart(prior)


def test_settings_that_make_no_sense_are_named():
    with pytest.raises(ValueError, match=r"kl_coefficient=-1\.0 must not be negative"):
        VsdConfig(kl_coefficient=-1.0)
    with pytest.raises(ValueError, match="memory_rounds=0 must be at least 1"):
        VsdConfig(memory_rounds=0)
    with pytest.raises(ValueError, match="kernel=0 must be at least 1"):
        ClassifierConfig(kernel=0)
    with pytest.raises(ValueError, match=r"vocab_size=0.*give ClassifierConfig\.vocab_size, or"):
        vsd(TABLE._replace(settings=None), VsdConfig())
