"""The measures of the race, by records made by hand and a table whose every sequence is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from banel_jax.models import table
from banel_jax.types import Sequences, Task
from experiments.race import entry, measures
from experiments.race.measures import Record

NONE = measures.apart(1)


def record(rows, rates, masks=None):
    """Of rows (tokens, reward), by round."""
    tokens = np.array([[tokens for tokens, _ in round] for round in rows], np.int32)
    rewards = np.array([[reward for _, reward in round] for round in rows], np.float32)
    mask = np.ones(tokens.shape, bool) if masks is None else np.array(masks)
    return Record(tokens, mask, rewards, np.array(rates))


def test_distinct_successes_are_counted_in_the_order_in_which_they_were_paid_for():
    a, b, c, d = (1, 2), (2, 1), (3, 3), (4, 4)
    met = record(
        [[(d, 0), (a, 1), (a, 1)], [(b, 0), (a, 1), (b, 1)], [(c, 1), (b, 1), (d, 0)]],
        [0.0, 0.0, 0.0],
    )
    # b was paid for in place 4 and failed there; it counts where it succeeded, in place 6.
    assert measures.firsts(met).tolist() == [2, 6, 7]
    found = measures.of_record(met, NONE)
    assert found["to_first"] == 2 and found["distinct"] == found["modes"] == 3
    assert found["to_10_distinct"] is None and found["to_100_distinct"] is None


def test_what_the_mask_hides_tells_no_successes_apart_and_the_mask_does():
    tokens = [[((1, 5), 1), ((1, 6), 1), ((1, 6), 1)]]
    met = record(tokens, [0.0], [[[True, False], [True, False], [True, True]]])
    assert measures.firsts(met).tolist() == [1, 3]


def test_the_tenth_and_the_hundredth_distinct_success():
    rows = [[((i // 10, i % 10), 1) for i in range(r, r + 50)] for r in (0, 0, 50)]
    found = measures.of_record(record(rows, [0.0] * 3), NONE)
    assert (found["to_first"], found["to_10_distinct"], found["to_100_distinct"]) == (1, 10, 150)


def test_a_rate_is_reached_after_the_first_round_that_has_it_and_falling_back_undoes_nothing():
    rows = [[((0, 0), 0)] * 4] * 4
    found = measures.of_record(record(rows, [0.05, 0.5, 0.2, 0.6]), NONE)
    assert (found["to_0.1"], found["to_0.5"], found["to_0.9"]) == (8, 8, None)
    assert found["final"] == 0.6 and found["to_first"] is None and found["distinct"] == 0


def test_a_run_that_ended_before_its_first_round_has_nothing():
    empty = Record(np.zeros((0, 3, 2), int), np.zeros((0, 3, 2), bool), np.zeros((0, 3)), [])
    found = measures.of_record(empty, NONE)
    assert found.pop("distinct") == found.pop("modes") == 0
    assert set(found.values()) == {None}


def test_modes_by_kind_and_by_distance():
    tokens = np.array([(0, 0, 0), (0, 0, 1), (0, 1, 1), (2, 2, 2), (0, 0, 0)])
    mask = np.ones(tokens.shape, bool)
    # In order: the second is one token from the first, the third two from it.
    assert measures.apart(2)(tokens, mask) == 3
    assert measures.apart(3)(tokens, mask) == 2 and measures.apart(1)(tokens, mask) == 4
    assert measures.by_kind(lambda tokens, mask: tokens[:, 0].tolist())(tokens, mask) == 2
    assert measures.by_kind(lambda tokens, mask: 1 / 0)(tokens[:0], mask[:0]) == 0


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([4, 1, 3, 2, 5], [1.4, 3.0, 4.6]),  # as NumPy has them
        ([100, 200, None, None], [130.0, 200.0, None]),  # half got there: by 200
        ([100, None, None], [100.0, None, None]),  # fewer than half: never
        ([None, None], [None, None, None]),
        ([*range(1, 10), None], [1.9, 5.5, 9.0]),  # nine in ten got there, by 9
        ([1, 2, None], [1.2, 2.0, None]),
        ([7], [7.0, 7.0, 7.0]),
        ([], [None, None, None]),
    ],
)
def test_quantiles_over_seeds_of_which_some_never_got_there(values, expected):
    found = measures.quantiles([{"x": value} for value in values], "x")
    assert found == [None if e is None else pytest.approx(e) for e in expected]
    if values and None not in values:
        assert found == pytest.approx(np.quantile(values, measures.QUANTILES))


@pytest.fixture(scope="module")
def task():
    """Nine sequences with probabilities 1/45 to 9/45; those with a first token of 1 or 2 and a
    second of 2 succeed, 15/45 in all."""
    params = jnp.log(jnp.arange(1, 10.0).reshape(3, 3) / 45)
    targets = jnp.array([(1, 2), (2, 2), (2, 2)])
    reward = lambda sequences: jnp.float32(
        (sequences.tokens[:, 0] > 0) & (sequences.tokens[:, 1] == 2)
    )
    targets = Sequences(targets, jnp.ones(targets.shape, bool))
    return Task(table.table(3, 2), params, reward, targets, lambda sequences: None)


def generator(weights):
    """log p of the two successes under a table with these weights."""
    return np.log(np.array(weights) / 45)


def test_coverage_by_enumeration(task):
    reference, rate = entry.of_targets(task)
    assert rate == pytest.approx(15 / 45, rel=1e-6)
    rows = np.argsort(reference.tokens[:, 0])
    assert reference.weights[rows] == pytest.approx([6 / 15, 9 / 15], rel=1e-6)
    at = lambda *weights: measures.coverage(reference, generator(weights)[rows])
    assert at(6, 9) == pytest.approx(15 / 45, rel=1e-6)  # the prior: its success rate
    assert at(6 * 3, 9 * 3) == pytest.approx(1.0, rel=1e-6)  # the prior given success
    assert at(45, 1e-9) == pytest.approx(6 / 15, rel=1e-6)  # one success alone
    # 1 - the total variation of a generator that succeeds always.
    assert at(22.5, 22.5) == pytest.approx(1 - (0.5 - 0.4), rel=1e-6)


def test_of_many_targets_some_are_drawn(task):
    every = jnp.array([(i, j) for i in range(3) for j in range(3)])
    all_win = task._replace(targets=Sequences(every, jnp.ones(every.shape, bool)))
    drawn, rate = entry.of_targets(all_win, most=8)
    assert rate == pytest.approx(1, rel=1e-6) and len(drawn.tokens) < 9
    assert drawn.weights.sum() == pytest.approx(1) and set(drawn.weights * 8 % 1) == {0}
    expected = (3 * drawn.tokens[:, 0] + drawn.tokens[:, 1] + 1) / 45
    assert drawn.log_given == pytest.approx(np.log(expected), rel=1e-5)


def test_the_share_that_was_found_by_enumeration(task):
    reference, _ = entry.of_targets(task)
    met = record([[((2, 2), 1), ((2, 2), 1), ((1, 2), 0)]], [0.0])
    assert measures.found_share(met, reference) == pytest.approx(9 / 15, rel=1e-6)
    everything = record([[((2, 2), 1), ((1, 2), 1)]], [0.0])
    assert measures.found_share(everything, reference) == pytest.approx(1.0, rel=1e-6)


@pytest.mark.parametrize("proposed", [False, True])
def test_a_reference_of_samples_tends_to_the_exact_one(task, proposed):
    exact, rate = entry.of_targets(task)
    even = (task.prior, jnp.zeros((3, 3))) if proposed else None  # draws all nine alike
    sampled, counted = entry.of_samples(task, task.prior_params, 4000, 0, even)
    assert counted == pytest.approx(rate, abs=4 * np.sqrt(rate * (1 - rate) / 4000))
    assert sorted(map(tuple, sampled.tokens)) == [(1, 2), (2, 2)]
    rows, right = np.argsort(sampled.tokens[:, 0]), np.argsort(exact.tokens[:, 0])
    assert sampled.weights[rows] == pytest.approx(exact.weights[right], abs=0.05)
    assert sampled.log_given[rows] == pytest.approx(exact.log_given[right], abs=0.1)
    never = task._replace(reward_fn=lambda sequences: jnp.zeros(len(sequences.tokens)))
    assert entry.of_samples(never, task.prior_params, 100, 0) == (None, 0.0)
    assert jax.tree.leaves(sampled)[0].dtype == np.int32
