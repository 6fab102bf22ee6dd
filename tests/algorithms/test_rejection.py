"""Rejection regions and the compiled rejection sampler, by hand and in plain numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from banel_jax import rejection
from banel_jax.types import Sequences


@pytest.mark.parametrize(
    ("ratios", "m", "accepted", "threshold", "share"),
    [
        ([0.0, 3.0, 1.0, 2.0], 2, [1, 3], 1.5, 0.5),  # in their order, tau halfway
        ([5.0, 1.0, 4.0], 1, [0], 4.5, 1 / 3),
        ([1.0, 1.0, 2.0, 1.0], 2, [0, 2], 1.0 - rejection.TIE, 1.0),  # the first of the tied
        ([2.0, 0.0, 0.0, -1.0], 2, [0, 1], -rejection.TIE, 0.75),
        ([7.0, -3.0], 2, [0, 1], -np.inf, 1.0),  # f = 1 rejects nothing
    ],
)
def test_best_by_hand(ratios, m, accepted, threshold, share):
    found, tau, at_or_above = rejection.best(jnp.array(ratios), m)
    np.testing.assert_array_equal(found, accepted)
    assert float(tau) == pytest.approx(threshold, abs=1e-6)
    assert float(at_or_above) == pytest.approx(share)


def test_best_accepts_what_is_at_or_above_its_threshold():
    ratios = jax.random.normal(jax.random.key(0), (60,))
    accepted, threshold, share = rejection.best(ratios, 20)
    np.testing.assert_array_equal(accepted, np.flatnonzero(np.asarray(ratios) >= threshold))
    assert float(share) == pytest.approx(1 / 3)


def test_resample_draws_in_proportion_to_the_weights():
    n = 20_000
    weights = np.array([1.0, 2.0, 0.0, 5.0])
    drawn = rejection.resample(jax.random.key(0), jnp.log(weights) - 50.0, n)
    counts, p = np.bincount(drawn, minlength=4), weights / 8
    assert counts[2] == 0
    z = (counts - n * p)[[0, 1, 3]] / np.sqrt(n * p * (1 - p))[[0, 1, 3]]
    assert np.abs(z).max() < 4.5


@pytest.mark.parametrize(
    ("weights", "size"),
    [
        ([1, 1, 2], 16 / 6),
        ([3, 3, 3, 3], 4),
        ([0, 7, 0], 1),
        ([0, 0, 0], 0),
        ([1, np.inf, 5, np.inf], 2),  # impossible under the failure model
    ],
)
def test_effective_sample_size_by_hand(weights, size):
    log_weights = jnp.log(jnp.array(weights, jnp.float32)) - 1000.0
    assert float(rejection.effective_sample_size(log_weights)) == pytest.approx(size, rel=1e-3)


def filled(*entries, capacity=2):
    filters = rejection.no_filters({"w": jnp.zeros(2)}, capacity)
    for entry in entries:
        value, threshold, *rest = entry
        params = {"w": jnp.full(2, float(value))}
        filters = rejection.add_filter(filters, params, jnp.float32(threshold), *rest)
    return filters


def test_filters_are_kept_oldest_first_and_the_oldest_is_dropped():
    filters = filled()
    assert (int(filters.count), filters.capacity) == (0, 2)
    assert float(filters.log_acceptance()) == 0.0

    filters = filled((1, -1.0, 0.5, 8.0))
    assert int(filters.count) == 1
    np.testing.assert_array_equal(filters.failure_params["w"], [[1, 1], [0, 0]])
    np.testing.assert_array_equal(filters.tested, [8, 0])
    np.testing.assert_array_equal(filters.passed, [4, 0])

    filters = filled((1, -1.0, 0.5, 8.0), (2, -2.0, 0.25, 4.0), (3, -3.0))
    assert int(filters.count) == 2
    np.testing.assert_array_equal(filters.failure_params["w"], [[2, 2], [3, 3]])
    np.testing.assert_array_equal(filters.thresholds, [-2, -3])
    np.testing.assert_array_equal(filters.tested, [4, 0])  # nothing is known of the newest
    np.testing.assert_array_equal(filters.passed, [1, 0])
    np.testing.assert_array_equal(filters.failure_model(1)["w"], [3, 3])


def test_of_three_places_the_latest_three_stay_in_order():
    filters = filled((1, 0.1), (2, 0.2), (3, 0.3), (4, 0.4), capacity=3)
    np.testing.assert_allclose(filters.thresholds, [0.2, 0.3, 0.4])
    np.testing.assert_array_equal(filters.failure_params["w"], [[2, 2], [3, 3], [4, 4]])


def test_one_place_holds_the_newest():
    filters = filled((1, 0.1), (2, 0.2), (3, 0.3), capacity=1)
    assert int(filters.count) == 1
    np.testing.assert_allclose(filters.thresholds, [0.3])


def test_log_acceptance_is_that_of_the_product():
    filters = filled((1, 0.0, 0.5, 8.0), (2, 0.0, 0.25, 4.0), capacity=3)
    assert float(filters.log_acceptance()) == pytest.approx(np.log(0.125))


# Proposal i is the number OFFSET + i; the filters are congruences.
TESTS = [lambda i: i % 3 != 0, lambda i: i % 2 == 0, lambda i: i % 7 < 4]


def propose(indices, offset=0):
    number = offset + indices
    sequences = Sequences(number[:, None], jnp.ones((len(number), 1), bool))
    return rejection.Proposals(sequences, number * 1.0, number * 2.0)


def passes(k, proposals):
    number = proposals.sequences.tokens[:, 0]
    return jnp.stack([test(number) for test in TESTS])[k]


def start(num_filters, capacity=4):
    return filled(*[(k, 0.0) for k in range(num_filters)], capacity=capacity)


def sample(n, num_filters, chunk, floor=1e-3, offset=0, filters=None, capacity=4):
    filters = start(num_filters, capacity) if filters is None else filters
    return rejection.rejection_sample(
        lambda i: propose(i, offset), passes, filters, n, floor, chunk
    )


def survivors(num_filters, numbers):
    for test in TESTS[:num_filters]:
        numbers = numbers[test(numbers)]
    return numbers


@pytest.mark.parametrize("num_filters", [0, 1, 3])
@pytest.mark.parametrize("chunk", [1, 5, 16, 100])
def test_the_first_survivors_whatever_the_chunk_size(num_filters, chunk):
    n = 20
    proposals, found, filters = sample(n, num_filters, chunk)
    expected = survivors(num_filters, np.arange(10_000))[:n]
    assert int(found) == n
    np.testing.assert_array_equal(proposals.sequences.tokens[:, 0], expected)
    np.testing.assert_array_equal(proposals.generator_scores, expected * 1.0)
    np.testing.assert_array_equal(proposals.base_scores, expected * 2.0)
    assert proposals.sequences.mask.all()

    # Filter k works off, in order and in full chunks, what the earlier ones let through.
    size = min(chunk, n)
    for k in range(num_filters):
        tested = int(filters.tested[k])
        met = survivors(k, np.arange(10_000))[:tested]
        assert tested % size == 0
        assert int(filters.passed[k]) == TESTS[k](met).sum()
    # Nothing is tested that is not needed: without the last chunk too few would have passed.
    if num_filters:
        last = num_filters - 1
        met = survivors(last, np.arange(10_000))[: int(filters.tested[last]) - size]
        assert TESTS[last](met).sum() < n
    np.testing.assert_array_equal(filters.tested[num_filters:], 0)


def test_all_places_taken():
    proposals, found, _ = sample(8, 3, 4, capacity=3)
    np.testing.assert_array_equal(
        proposals.sequences.tokens[:, 0], survivors(3, np.arange(500))[:8]
    )
    assert int(found) == 8


def test_counts_are_carried_on():
    filters = start(2).replace(
        tested=jnp.array([100.0, 50, 0, 0]), passed=jnp.array([60.0, 7, 0, 0])
    )
    fresh = sample(6, 2, 3)[2]
    carried = sample(6, 2, 3, filters=filters)[2]
    np.testing.assert_array_equal(carried.tested, fresh.tested + filters.tested)
    np.testing.assert_array_equal(carried.passed, fresh.passed + filters.passed)


def test_below_the_floor_what_was_found_is_kept_and_the_rest_is_empty():
    n, floor, chunk = 10, 0.1, 5
    few = lambda k, proposals: proposals.sequences.tokens[:, 0] % 25 == 0
    proposals, found, filters = rejection.rejection_sample(propose, few, start(1), n, floor, chunk)
    # n / floor = 100 proposals hold 0, 25, 50 and 75.
    assert int(found) == 4
    assert float(filters.tested[0]) <= 100
    np.testing.assert_array_equal(proposals.sequences.tokens[:4, 0], [0, 25, 50, 75])
    np.testing.assert_array_equal(proposals.sequences.mask[:, 0], [True] * 4 + [False] * 6)


def test_nothing_passes():
    none = lambda k, proposals: proposals.sequences.tokens[:, 0] < 0
    proposals, found, _ = rejection.rejection_sample(propose, none, start(1), 4, 0.5, 4)
    assert int(found) == 0
    assert not proposals.sequences.mask.any()


def test_mapped_over_seeds_equals_one_by_one():
    offsets = jnp.array([0, 1000, 12345])
    run = lambda offset: sample(9, 3, 4, offset=offset)
    together = jax.jit(jax.vmap(run))(offsets)
    for i, offset in enumerate(offsets):
        alone = run(offset)
        for a, b in zip(jax.tree.leaves(together), jax.tree.leaves(alone), strict=True):
            np.testing.assert_array_equal(a[i], b)


def test_passes_all_is_the_product_of_those_in_force():
    numbers = np.arange(60)
    for num_filters in range(4):
        kept = rejection.passes_all(passes, start(num_filters), propose(jnp.asarray(numbers)))
        np.testing.assert_array_equal(numbers[kept], survivors(num_filters, numbers))


@pytest.mark.parametrize(
    ("found", "left"), [(12, 6), (11, 5), (7, 3), (1, 0), (0, 0)]
)  # of 12 proposals for 6 candidates
def test_a_round_below_the_floor_is_given_up(found, left):
    candidates = Sequences(jnp.zeros((6, 2), int), jnp.ones((6, 2), bool))
    mask = rejection.give_up(candidates, jnp.int32(found), 12).mask
    np.testing.assert_array_equal(mask.sum(axis=1), [2] * left + [0] * (6 - left))


def test_forgotten_counts_leave_the_filters_in_force():
    filters = filled((1, -1.0, 0.5, 8.0), (2, -2.0, 0.25, 4.0))
    forgotten = rejection.forget_counts(filters)
    np.testing.assert_array_equal(forgotten.tested, [0, 0])
    np.testing.assert_array_equal(forgotten.passed, [0, 0])
    np.testing.assert_array_equal(forgotten.thresholds, [-1, -2])
    assert int(forgotten.count) == 2


def test_above_takes_the_first_at_or_above_the_threshold():
    accepted, share = rejection.above(jnp.array([0.0, 2.0, 1.0, -1.0, 3.0]), 1.0, 2)
    np.testing.assert_array_equal(accepted, [1, 2])
    assert float(share) == pytest.approx(3 / 5)


def test_among_equals_the_smaller_goes_first():
    ratios = jnp.array([1.0, 0.0, 0.0, 0.0, 2.0])
    chance = jnp.array([0.5, 0.9, 0.1, 0.4, 0.2])
    accepted, threshold, share = rejection.best(ratios, 3, chance)
    np.testing.assert_array_equal(accepted, [0, 2, 4])
    assert threshold < 0 and share == 1  # equals of the last one pass as well
    np.testing.assert_array_equal(rejection.best(ratios, 3)[0], [0, 1, 4])


@pytest.mark.parametrize("m", [1, 2, 5])
def test_the_first_of_what_is_resampled_are_a_fair_sample(m):
    """One of 40 weighs as much as all others together, wherever it stands: half are that one."""
    for position in (0, 39):
        weights = jnp.zeros(40).at[position].set(jnp.log(39.0))
        keys = jax.random.split(jax.random.key(m), 4000)
        drawn = jax.vmap(lambda key, w=weights: rejection.resample(key, w, 20)[:m])(keys)
        deviation = np.sqrt(0.25 / (4000 * m))
        assert abs(np.mean(np.asarray(drawn) == position) - 0.5) < 4 * deviation


@pytest.mark.parametrize(
    "region",
    [
        rejection.Best(),
        rejection.Best(distinct=True),
        rejection.Threshold(0.3),
        rejection.Importance(),
    ],
)
def test_a_region_normalises_the_density_of_what_it_accepts(region):
    """Over 40 proposals, of which the last ten are copies of the first."""
    tokens = jnp.arange(40)[:, None] % 30
    sequences = Sequences(tokens, jnp.ones((40, 1), bool))
    ratios = jax.random.normal(jax.random.key(0), (30,))[tokens[:, 0]]
    accept = lambda values, ranked: region.accept(
        jax.random.key(1), values, sequences, 8, jnp.bool_(ranked)
    )
    indices, threshold, log_share = accept(ratios, True)
    density = np.exp(region.log_density(jnp.zeros(40), ratios, threshold), dtype=np.float64)
    assert density.mean() == pytest.approx(np.exp(float(log_share)), rel=1e-5)
    by_hand = np.exp(np.asarray(ratios)) if not region.rejects else ratios >= threshold
    np.testing.assert_allclose(density, by_hand, rtol=1e-5)
    assert indices.shape == (8,) and (density[indices] > 0).all()
    # Before the first failures all pass, in the order in which they were drawn.
    indices, threshold, log_share = accept(jnp.zeros(40), False)
    np.testing.assert_array_equal(indices, np.arange(8))
    assert float(log_share) == pytest.approx(0.0, abs=1e-6)


def test_what_may_stand_alone_accepts_a_proposal_whatever_the_others_are():
    for region in (rejection.Best(), rejection.Threshold(0.3), rejection.Importance()):
        accepted = []
        for others in (-5.0, 5.0):
            ratios = jnp.full(6, others).at[0].set(1.0)
            sequences = Sequences(jnp.arange(6)[:, None], jnp.ones((6, 1), bool))
            _, threshold, log_share = region.accept(
                jax.random.key(0), ratios, sequences, 2, jnp.bool_(True)
            )
            density = region.log_density(jnp.zeros(6), ratios, threshold)[0]
            accepted.append(float(density - (0.0 if region.rejects else log_share)))
        assert (accepted[0] == accepted[1]) == region.alone
