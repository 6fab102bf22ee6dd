"""Success rates against hand counts, binomial tails and published intervals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from enumeration import ALL, TABLE, sequences, table_params, table_probabilities
from scipy import stats

from banel_jax import success_rate
from banel_jax.algorithms.prior_sampling import prior_sampling
from banel_jax.algorithms.sequential_filtering import (
    SequentialFilteringConfig,
    sequential_filtering,
)
from banel_jax.training import TrainingConfig
from banel_jax.types import Algorithm, Sequences


@pytest.mark.parametrize(
    ("successes", "n", "published"),
    [(5, 10_000, ("0.00016", "0.0011")), (25, 60_000, ("0.00026", "0.00061"))],
)
def test_clopper_pearson_as_published(successes, n, published):
    for bound, text in zip(success_rate.clopper_pearson(successes, n), published, strict=True):
        digits = len(text.partition(".")[2])
        assert np.floor(bound * 10**digits) == int(text.replace(".", ""))  # the paper truncates


@pytest.mark.parametrize(("successes", "n"), [(1, 10), (5, 10), (3, 1000), (999, 1000)])
def test_clopper_pearson_bounds_leave_the_tails_that_define_them(successes, n):
    low, high = success_rate.clopper_pearson(successes, n, alpha=0.1)
    np.testing.assert_allclose(stats.binom.sf(successes - 1, n, low), 0.05, rtol=1e-6)
    np.testing.assert_allclose(stats.binom.cdf(successes, n, high), 0.05, rtol=1e-6)


def test_clopper_pearson_at_the_ends():
    low, high = success_rate.clopper_pearson(0, 100)
    assert low == 0 and high == pytest.approx(1 - 0.025 ** (1 / 100))
    low, high = success_rate.clopper_pearson(100, 100)
    assert high == 1 and low == pytest.approx(0.025 ** (1 / 100))
    for successes, n in ((-1, 5), (6, 5), (0, 0)):
        with pytest.raises(ValueError, match="successes="):
            success_rate.clopper_pearson(successes, n)


def test_the_posterior_success_rate_by_hand():
    # Ten equally likely sequences, three of them successes; R holds four, one a success.
    assert success_rate.posterior_success_rate(0.3, 0.4, 1 / 4) == pytest.approx(2 / 6)
    assert success_rate.posterior_success_rate(0.3, 0.0, 0.0) == pytest.approx(0.3)


def test_rates_far_below_the_smallest_float_do_not_underflow():
    log_probs = jnp.array([-59.0, -59.0, -300.0])
    np.testing.assert_allclose(success_rate.log_success_rate(log_probs), -59 + np.log(2), rtol=1e-6)


@pytest.mark.parametrize(
    ("shares", "carrying"), [([0.95, 0.05], 1), ([0.5, 0.3, 0.15, 0.05], 3), ([0.25] * 4, 4)]
)
def test_how_many_targets_carry_the_rate(shares, carrying):
    log_probs = jnp.log(jnp.array(shares)) - 100
    assert int(success_rate.num_carrying(log_probs)) == carrying


def test_targets_that_cannot_occur_carry_nothing():
    assert int(success_rate.num_carrying(jnp.full(3, -jnp.inf))) == 0
    assert int(success_rate.num_carrying(jnp.log(jnp.array([0.7, 0.3])), share=1.0)) == 2


def test_alpha_is_a_probability():
    with pytest.raises(ValueError, match=r"alpha=1\.5"):
        success_rate.clopper_pearson(1, 10, alpha=1.5)


def test_a_target_that_stands_twice_counts_once():
    prior = table_params(0)
    rows = [[0, 1, 2, 0], [2, 2, 1, 0], [0, 1, 2, 0], [0, 1, 2, 0]]
    algorithm = prior_sampling(TABLE, 5)
    state = algorithm.init(jax.random.key(0), prior)
    found = success_rate.exact_evaluation(algorithm, sequences(rows))(state, state)
    p = table_probabilities(prior)
    expected = sum(p[np.array(row) @ 3 ** np.arange(4)[::-1]] for row in rows[:2])
    np.testing.assert_allclose(10 ** float(found["log10_success_rate"]), expected, rtol=1e-4)
    masked = Sequences(jnp.array([[1, 0], [1, 2]]), jnp.array([[True, False]] * 2))
    assert success_rate.distinct(masked).tokens.tolist() == [[1, 0]]


def test_monte_carlo_counts_the_successes_of_the_model_after_the_round():
    prior, n = table_params(1), 5000
    algorithm = prior_sampling(TABLE, 5)
    state = algorithm.init(jax.random.key(0), prior)
    reward = lambda s: (s.tokens[:, 0] == 2).astype(jnp.float32)
    evaluate = success_rate.monte_carlo_evaluation(algorithm, reward, n, jax.random.key(3))
    found = evaluate(None, state)
    rate = table_probabilities(prior).reshape(3, -1).sum(1)[2]
    low, high = success_rate.clopper_pearson(int(found["evaluation_successes"]), n, alpha=1e-4)
    assert low < rate < high and 0.01 < rate < 0.99
    drawn = algorithm.sample(jax.random.key(3), state, n)
    assert int(found["evaluation_successes"]) == int((np.asarray(drawn.tokens)[:, 0] == 2).sum())
    np.testing.assert_allclose(found["success_rate"], found["evaluation_successes"] / n)


@pytest.fixture(scope="module")
def filtered():
    """Algorithm 1 with a filter in force whose floor is hit by whoever asks for many samples."""
    fit = TrainingConfig(epochs=3, batch_size=50, learning_rate=0.3)
    config = SequentialFilteringConfig(100, 4.0, acceptance_floor=0.5, failure_training=fit)
    algorithm = sequential_filtering(TABLE, config)
    state = algorithm.init(jax.random.key(0), table_params(4))
    fails = jnp.zeros(100)
    state, _ = algorithm.tell(*told(algorithm, 1, state), fails)
    state, _ = algorithm.tell(*told(algorithm, 2, state), fails)
    return algorithm, state


def told(algorithm, seed, state):
    candidates, state = algorithm.ask(jax.random.key(seed), state)
    return jax.random.key(seed), state, candidates


@pytest.mark.parametrize("target", [None, 2])
def test_samples_that_were_not_found_are_no_failures(filtered, target):
    algorithm, state = filtered
    n = 4000
    reward = lambda s: jnp.where(target is None, 1.0, (s.tokens[:, 0] == target) * 1.0)
    evaluate = success_rate.monte_carlo_evaluation(algorithm, reward, n, jax.random.key(5))
    found = evaluate(None, state)
    number = int(found["evaluation_found"])
    drawn = np.asarray(algorithm.sample(jax.random.key(5), state, n).mask).any(1)
    assert number == drawn.sum() and 500 < number < n
    # The prior's law over what the filter lets through, by enumeration.
    p = table_probabilities(table_params(4))
    p *= np.isfinite(np.asarray(algorithm.log_prob(state, ALL)))
    first = (p / p.sum()).reshape(3, -1).sum(1)
    rate = 1.0 if target is None else first[target]
    low, high = success_rate.clopper_pearson(int(found["evaluation_successes"]), number, 1e-4)
    assert low <= rate <= high and 0 < p.sum() < 1 and (target is None or 0.02 < rate < 0.98)
    np.testing.assert_allclose(found["success_rate"], found["evaluation_successes"] / number)


def test_no_sample_found_is_no_rate():
    algorithm = prior_sampling(TABLE, 5)
    nothing = lambda key, state, n: Sequences(jnp.zeros((n, 4), int), jnp.zeros((n, 4), bool))
    reward = lambda s: jnp.ones(len(s.tokens))
    lost = algorithm._replace(sample=nothing)
    found = success_rate.monte_carlo_evaluation(lost, reward, 7, jax.random.key(0))(None, None)
    assert int(found["evaluation_found"]) == int(found["evaluation_successes"]) == 0
    assert np.isnan(found["success_rate"])


def test_each_measure_is_a_mean_over_what_was_found():
    tokens = jnp.array([[2, 0], [1, 1], [2, 2], [0, 1]])
    some = Sequences(
        tokens, jnp.array([[1, 1], [0, 0], [1, 0], [0, 1]], bool)
    )  # the second is lost
    algorithm = prior_sampling(TABLE, 5)._replace(sample=lambda key, state, n: some)
    measure = lambda s: {"first": s.tokens[:, 0] * 1.0, "two": s.tokens[:, 0] == 2}
    counted = success_rate.monte_carlo(algorithm, measure, 4, jax.random.key(0))(None)
    assert int(counted.found) == 3
    assert {name: float(total) for name, total in counted.totals.items()} == {"first": 4, "two": 2}
    assert float(counted.share("two")) == pytest.approx(2 / 3)


@pytest.mark.parametrize("without", [1, 3])
def test_the_rate_without_the_first_targets(without):
    prior = table_params(2)
    rows = [[0, 1, 2, 0], [2, 2, 1, 0], [0, 1, 2, 0], [1, 1, 1, 1], [0, 0, 0, 2], [2, 0, 2, 0]]
    algorithm = prior_sampling(TABLE, 5)
    state = algorithm.init(jax.random.key(0), prior)
    after = algorithm.init(jax.random.key(0), table_params(3))
    found = success_rate.exact_evaluation(algorithm, sequences(rows), without)(state, after)
    kept = np.array([row for i, row in enumerate(rows) if i != 2])  # the third is the first again
    p = table_probabilities(table_params(3))[kept @ 3 ** np.arange(4)[::-1]]
    rate = 10 ** float(found["log10_success_rate_without_first"])
    np.testing.assert_allclose(rate, p[without:].sum(), rtol=1e-4)
    np.testing.assert_allclose(10 ** float(found["log10_success_rate"]), p.sum(), rtol=1e-4)
    plain = success_rate.exact_evaluation(algorithm, sequences(rows))(state, after)
    assert set(found) - set(plain) == {"log10_success_rate_without_first"}
    beyond = success_rate.exact_evaluation(algorithm, sequences(rows), 5)(state, after)
    assert float(beyond["log10_success_rate_without_first"]) == -np.inf


def test_each_step_of_a_round_gains_what_comes_after_it_over_what_was_before():
    """Rates of one half, a quarter, an eighth and one over 32, one for each of four functions."""
    rows = sequences(np.asarray([[0, 0], [0, 1]]))
    both = lambda rate: jnp.full(2, jnp.log(rate / 2), jnp.float32)
    algorithm = Algorithm(
        *[None] * 4,
        log_prob=lambda state, x: both(state),
        candidate_log_prob=lambda state, x: both(0.25),
        proposal_log_prob=lambda state, x: both(0.125),
    )
    found = success_rate.exact_evaluation(algorithm, rows)(1 / 32, 0.5)
    decades = {name: 10 ** float(value) for name, value in found.items() if "log10" in name}
    assert decades == pytest.approx(
        {
            "log10_success_rate": 0.5,
            "log10_filtered_success_rate": 0.25,
            "log10_filter_gain": 2,
            "log10_past_filters_gain": 4,
            "log10_distillation_gain": 2,
        },
        rel=1e-5,
    )
