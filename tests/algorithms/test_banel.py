"""Every setting of the two algorithms does what it says, seen through fits that only record."""

from contextlib import contextmanager
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from enumeration import ALL, EVERY, TABLE, index, sequences, table_params, table_probabilities

from banel_jax import sampling
from banel_jax.algorithms.banel import BanelConfig, banel
from banel_jax.algorithms.sequential_filtering import (
    SequentialFilteringConfig,
    sequential_filtering,
)
from banel_jax.failures import Failures, failure_weights
from banel_jax.training import FitInfo
from banel_jax.types import Sequences

M = 8
BASE = table_params(0)
INFO = FitInfo(jnp.zeros(1), jnp.zeros(1), jnp.float32(1))


class Recorder:
    """In place of a fit: keeps its arguments, returns other parameters each time."""

    def __init__(self, seed: int):
        self.keys, self.calls, self.results = [], [], []
        self.seed = seed

    def __call__(self, key, start, sequences, weights, validation_weights):
        self.keys.append(key)
        self.calls.append((start, sequences, weights, validation_weights))
        self.results.append(table_params(self.seed + len(self.calls)))
        return self.results[-1], INFO

    def column(self, name):
        position = ("start", "sequences", "weights", "validation_weights").index(name)
        return [call[position] for call in self.calls]


@contextmanager
def choosing_by_values():
    """Where a condition is known its branch is simply called, so that a fit sees no tracers."""
    compiled = jax.lax.cond

    def cond(pred, yes, no, *operands):
        if isinstance(pred, jax.core.Tracer):
            return compiled(pred, yes, no, *operands)
        return (yes if pred else no)(*operands)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax.lax, "cond", cond)
        yield


class Run:
    """Some rounds of an algorithm, with what was asked, told and fitted in each."""

    def __init__(self, count, config, failure_model=TABLE, model=TABLE):
        self.generator_fits, self.failure_fits = Recorder(100), Recorder(200)
        fits = {"fit_failure_model": self.failure_fits}
        make = sequential_filtering
        if isinstance(config, BanelConfig):
            make, fits = banel, fits | {"fit_generator": self.generator_fits}
        self.algorithm = make(model, config, failure_model, **fits)
        state = self.algorithm.init(jax.random.key(9), BASE)
        self.before, self.asked, self.candidates, self.rewards, self.info = [], [], [], [], []
        self.keys = []
        ask = jax.jit(self.algorithm.ask)
        for i in range(count):
            self.keys.append(jax.random.key(i))
            candidates, asked = ask(self.keys[-1], state)
            rewards = reward(candidates)
            self.before.append(state)
            with choosing_by_values():
                state, info = self.algorithm.tell(
                    jax.random.key(50 + i), asked, candidates, rewards
                )
            self.asked.append(asked)
            self.candidates.append(candidates)
            self.rewards.append(np.asarray(rewards))
            self.info.append(info)
        self.state = state


def reward(sequences):
    return jnp.asarray(sequences.tokens[:, 0] == 2, jnp.float32)


def log_p(params):
    return np.log(table_probabilities(params))


def two(**settings):
    return BanelConfig(num_candidates=M, **settings)


def one(**settings):
    return SequentialFilteringConfig(
        num_candidates=M, **{"max_filters": 4, "acceptance_floor": 1e-3} | settings
    )


both = pytest.mark.parametrize("config", [one, two])
equal = np.testing.assert_array_equal


@pytest.mark.parametrize(("against", "kappa"), [("base", 0.0), ("base", 0.7), ("generator", 0.7)])
def test_the_best_by_the_ratio_pass_in_the_order_they_were_drawn(against, kappa):
    run = Run(3, two(filter_factor=3, num_distilled=20, kappa=kappa, ratio_against=against))
    state, asked = run.before[2], run.asked[2]
    assert np.abs(state.generator - BASE).max() > 1
    proposals, _ = sampling.sample(TABLE, jax.random.split(run.keys[2])[0], state.generator, 60)
    numerator = log_p(BASE if against == "base" else state.generator)
    ratio = (numerator - kappa * log_p(state.failure_model))[index(proposals)]
    # Equal sequences may tie at the edge, where chance decides.
    chance = jax.random.uniform(jax.random.split(run.keys[2])[1], (60,))
    passed = np.sort(np.lexsort((chance, -ratio))[:20])
    equal(index(asked.batch), index(proposals)[passed])
    equal(run.candidates[2].tokens, asked.batch.tokens[:M])
    other = log_p(state.generator if against == "base" else BASE)
    wrong = (other - kappa * log_p(state.failure_model))[index(proposals)]
    assert set(np.argsort(-wrong, kind="stable")[:20]) != set(passed)


def test_against_nothing_those_least_likely_under_the_failure_model_pass():
    run = Run(3, two(filter_factor=3, num_distilled=20, ratio_against="nothing"))
    state, asked = run.before[2], run.asked[2]
    assert np.abs(state.generator - BASE).max() > 1
    proposals, _ = sampling.sample(TABLE, jax.random.split(run.keys[2])[0], state.generator, 60)
    drawn, p_phi = index(proposals), table_probabilities(state.failure_model)
    passed = np.sort(np.argsort(p_phi[drawn], kind="stable")[:20])
    equal(drawn[passed], index(asked.batch))
    equal(run.candidates[2].tokens, asked.batch.tokens[:M])
    for numerator in (BASE, state.generator):
        by_ratio = np.argsort(p_phi[drawn] / table_probabilities(numerator)[drawn], kind="stable")
        assert set(by_ratio[:20]) != set(passed)
    # Where it may draw is where p_phi is at most what the threshold says.
    allowed = -np.log(p_phi) >= float(asked.threshold)
    equal(np.isfinite(run.algorithm.candidate_log_prob(asked, ALL)), allowed)


def test_the_first_batch_is_what_was_drawn_whatever_a_fresh_failure_model_says():
    algorithm, key = banel(TABLE, two(filter_factor=3, failure_start="fresh")), jax.random.key(0)
    candidates, _ = jax.jit(algorithm.ask)(key, algorithm.init(jax.random.key(9), BASE))
    proposals, _ = sampling.sample(TABLE, jax.random.split(key)[0], BASE, 3 * M)
    equal(candidates.tokens, proposals.tokens[:M])


@both
def test_a_ratio_a_token_divides_by_the_scored_length(config):
    """Sequences of two to four scored tokens, the more the higher the first token."""
    length = lambda tokens: tokens[..., :1] + 2

    def sample(key, params, *, temperature=1.0):
        tokens = TABLE.sample(key, params, temperature=temperature)[0].tokens
        short = Sequences(tokens, jnp.arange(4) < length(tokens))
        return short, TABLE.log_prob(params, short)

    def prefix_log_p(params):
        joint = table_probabilities(params).reshape(3, 3, 3, 3)
        values = [joint[tuple(t[: t[0] + 2])].sum() for t in EVERY]
        return np.log(values)

    settings = {"num_distilled": M} if config is two else {}
    run = Run(2, config(length_normalised=True, **settings), model=TABLE._replace(sample=sample))
    asked, failure = run.asked[1], run.before[1].failure_model
    ratio = prefix_log_p(BASE) - prefix_log_p(failure)
    allowed = ratio / length(EVERY)[:, 0] >= float(asked.threshold)
    assert (allowed != (ratio >= float(asked.threshold))).any()
    every = ALL.replace(mask=jnp.arange(4) < length(ALL.tokens))
    equal(np.isfinite(run.algorithm.candidate_log_prob(asked, every)), allowed)


@pytest.mark.parametrize("reset", [True, False])
def test_distillation_starts_at_the_base_or_at_the_generator(reset):
    run = Run(4, two(reset_generator=reset))
    fits = run.generator_fits
    assert len(fits.calls) == 3  # nothing is filtered in the first round, so nothing distilled
    equal(run.before[1].generator, BASE)
    for start, current in zip(fits.column("start"), [BASE, *fits.results], strict=False):
        equal(start, BASE if reset else current)
    equal(run.state.generator, fits.results[-1])


def test_a_batch_of_successes_alone_leaves_nothing_to_distil_and_the_generator_as_it_is():
    fits = Recorder(100)
    algorithm = banel(
        TABLE, two(drop_successes=True), fit_generator=fits, fit_failure_model=Recorder(200)
    )
    state = algorithm.init(jax.random.key(9), BASE)
    after = []
    for i, answers in enumerate((np.zeros(M), np.zeros(M), np.ones(M))):
        candidates, asked = algorithm.ask(jax.random.key(i), state)
        with choosing_by_values():
            state, _ = algorithm.tell(jax.random.key(50 + i), asked, candidates, answers)
        after.append(state.generator)
    assert len(fits.calls) == 1
    equal(after[1], fits.results[0])
    equal(after[2], after[1])


@both
def test_what_was_not_found_is_neither_a_failure_nor_distilled(config):
    algorithm = Run(1, config()).algorithm
    state = algorithm.init(jax.random.key(9), BASE)
    missing = jnp.arange(M) < 5
    empty = lambda x: x.replace(mask=x.mask & ~missing[:, None])
    for i in range(2):
        candidates, asked = algorithm.ask(jax.random.key(i), state)
        if config is two:
            asked = asked.replace(batch=empty(asked.batch))
        with choosing_by_values():
            state, _ = algorithm.tell(
                jax.random.key(50 + i), asked, empty(candidates), jnp.zeros(M)
            )
        equal(state.failures.weights, 1.0 - missing)


@pytest.mark.parametrize("drop", [True, False])
def test_distillation_is_on_what_passed_with_or_without_the_successes(drop):
    run = Run(3, two(num_distilled=2 * M, drop_successes=drop))
    fits = run.generator_fits
    for i in (1, 2):
        evaluated = 1 - run.rewards[i] if drop else np.ones(M)
        equal(fits.column("weights")[i - 1], np.append(evaluated, np.ones(M)))
        equal(fits.column("sequences")[i - 1].tokens, run.asked[i].batch.tokens)
        assert fits.column("validation_weights")[i - 1] is None
    assert sum(r.sum() for r in run.rewards[1:]) > 0


@both
def test_the_failure_model_sees_the_failures_of_the_latest_rounds_and_no_success(config):
    run = Run(3, config(failure_rounds=2))
    tokens = [np.asarray(c.tokens) for c in run.candidates]
    failed = [1 - r for r in run.rewards]
    assert 0 < np.sum(failed) < 3 * M
    rings = [  # the third round takes the place of the first
        (tokens[0], np.append(failed[0], np.zeros(M))),
        (np.append(tokens[0], tokens[1], axis=0), np.append(failed[0], failed[1])),
        (np.append(tokens[2], tokens[1], axis=0), np.append(failed[2], failed[1])),
    ]
    for (_, seen, weights, held_out), (rows, expected) in zip(
        run.failure_fits.calls, rings, strict=True
    ):
        equal(seen.tokens[: len(rows)], rows)
        equal(weights, expected)
        assert held_out is None
        assert not reward(seen)[weights > 0].any()


@pytest.mark.parametrize("exponent", [0.0, 0.7])
def test_a_failure_counts_by_the_base_over_what_it_was_drawn_from(exponent):
    run = Run(3, two(filter_factor=2, failure_rounds=3, failure_weighting=exponent))
    weights = run.failure_fits.column("weights")[-1]
    expected = []
    for before, asked, candidates, rewards in zip(
        run.before, run.asked, run.candidates, run.rewards, strict=True
    ):
        drawn_from = log_p(before.generator) - float(asked.log_normaliser)
        ratio = np.exp(log_p(BASE) - drawn_from)[index(candidates)]
        expected.append((1 - rewards) * np.minimum(1, ratio**exponent))
    np.testing.assert_allclose(weights, np.concatenate(expected), rtol=1e-4)
    if exponent:
        # Of the second round, drawn from the base and cut by half, all count alike.
        at_half = 2.0**-exponent
        np.testing.assert_allclose(weights[M : 2 * M], (1 - run.rewards[1]) * at_half, rtol=1e-4)
        assert len(np.unique(weights[2 * M :])) > 2


def test_copies_of_a_proposal_pass_after_all_others():
    run = Run(3, two(filter_factor=3, num_distilled=10, distinct=True))
    for i in range(3):
        state = run.before[i]
        draw_key, _ = jax.random.split(run.keys[i])
        proposals, _ = sampling.sample(TABLE, draw_key, state.generator, 30)
        drawn = index(proposals)
        each = len(set(drawn.tolist()))
        assert 10 < each < 30
        passed = index(run.asked[i].batch)
        assert len(set(passed.tolist())) == 10
        if i == 2:
            ratio = log_p(BASE) - log_p(state.failure_model)
            best = sorted(set(drawn.tolist()), key=lambda x: -ratio[x])[:10]
            assert set(passed.tolist()) == set(best)


def test_copies_are_not_paid_for_while_others_passed():
    """Of 60 that pass some are copies, and more are distinct than the eight that are paid for."""
    run = Run(4, two(filter_factor=2, num_distilled=60, distinct=True))
    for asked, candidates in zip(run.asked, run.candidates, strict=True):
        passed, paid = index(asked.batch), index(candidates)
        assert M < len(set(passed.tolist())) < 60  # so that this tests something
        assert len(set(paid.tolist())) == M
        # The rest follows in the order in which it was drawn.
        equal(paid, passed[:M])


@pytest.mark.parametrize("kept", [3, 1])
def test_what_was_paid_for_is_not_paid_for_again_while_there_is_something_new(kept):
    run = Run(3, two(filter_factor=3, failure_rounds=kept, distinct=True, prefer_new=True))
    came_back = 0
    for i in range(1, 3):
        draw_key, _ = jax.random.split(run.keys[i])
        proposals, _ = sampling.sample(TABLE, draw_key, run.before[i].generator, 3 * M)
        paid = {x for c in run.candidates[max(0, i - kept) : i] for x in index(c).tolist()}
        drawn, asked = set(index(proposals).tolist()), set(index(run.candidates[i]).tolist())
        came_back += bool(drawn & paid)
        assert len(asked - paid) == min(M, len(drawn - paid)) > 0
    assert came_back == 2  # so that this tests something


@pytest.mark.parametrize("factor", [2.0, 4.0])
def test_with_distinct_the_filtered_density_is_the_generator_above_the_threshold(factor):
    """Copies are no less likely to pass than what they are copies of."""
    run = Run(4, BanelConfig(num_candidates=20, filter_factor=factor, distinct=True))
    for before, asked in zip(run.before[1:], run.asked[1:], strict=True):
        ratio = log_p(BASE) - log_p(before.failure_model)
        allowed = ratio >= float(asked.threshold)
        density = table_probabilities(before.generator) * allowed
        found = np.exp(np.asarray(run.algorithm.candidate_log_prob(asked, ALL), np.float64))
        equal(found > 0, allowed)
        share = density.sum()
        # The share is estimated from the proposals; so many draws allow four deviations.
        deviation = np.sqrt((1 - share) / share / (20 * factor))
        np.testing.assert_allclose(found, density / share, rtol=4 * deviation + 1e-5)
        assert float(asked.report["acceptance"]) == pytest.approx(share, rel=4 * deviation + 1e-5)


def test_rounds_that_meet_too_few_successes_go_back_to_the_best_generator():
    run = Run(8, two(fall_back=0.75))
    met = [rewards.sum() for rewards in run.rewards]
    after = [state.generator for state in [*run.before[1:], run.state]]
    stayed = []
    for i in range(1, 8):
        stayed.append(met[i] < 0.75 * max(met[:i]))
        latest_best = max(j for j in range(i + 1) if met[j] == max(met[: i + 1]))
        went_back = np.array_equal(after[i], run.before[latest_best].generator)
        assert bool(went_back) == stayed[-1]
    assert 0 < sum(stayed) < 7
    assert run.state.most_successes == max(met)
    published = Run(4, two())
    assert published.state.best_generator is None
    assert len(published.generator_fits.calls) == 3  # all but the first


@both
def test_as_published_only_the_latest_failures_count(config):
    run = Run(3, config())
    for i, (_, seen, weights, _) in enumerate(run.failure_fits.calls):
        equal(seen.tokens, run.candidates[i].tokens)
        equal(weights, 1 - run.rewards[i])


@both
def test_failures_held_out_are_failures_and_not_trained_on(config):
    run = Run(1, config(failure_holdout=0.25))
    [(_, _, weights, held_out)] = run.failure_fits.calls
    failed = 1 - run.rewards[0]
    equal(weights + held_out, failed)
    equal(weights * held_out, np.zeros(M))
    drawn = index(run.candidates[0]).tolist()
    by_row = np.array([0, 0, 0, 1, 0, 0, 0, 1])
    equal(held_out, failed * by_row[[drawn.index(x) for x in drawn]])


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5])
def test_the_share_held_out_is_the_one_that_was_asked_for(share):
    weights, held_out = failure_weights(Failures(sequences(EVERY[:20]), jnp.ones(20)), share)
    assert float(held_out.sum()) == 20 * share
    assert float(weights.sum()) == 20 - 20 * share


def test_copies_of_a_failure_are_all_held_out_or_none():
    rows = EVERY[[0, 1, 2, 3, 3, 0, 1, 7, 2, 3]]  # by row 1, 3, 5, 7 and 9 would be held out
    failures = Failures(sequences(rows), jnp.linspace(0.1, 1.0, 10))
    weights, held_out = failure_weights(failures, 0.5)
    out = np.array([0, 1, 0, 1, 1, 0, 1, 1, 0, 1])
    np.testing.assert_allclose(held_out, failures.weights * out)
    np.testing.assert_allclose(weights, failures.weights * (1 - out))


def test_where_all_failures_would_be_held_out_none_is():
    failures = Failures(sequences(EVERY[[5, 5, 5, 5]]), jnp.array([0.0, 1.0, 1.0, 0.0]))
    failures = failures.replace(sequences=sequences(EVERY[[4, 5, 5, 6]]))
    weights, held_out = failure_weights(failures, 0.5)
    equal(weights, failures.weights)
    equal(held_out, np.zeros(4))


@both
@pytest.mark.parametrize("start", ["base", "carry", "fresh"])
def test_the_failure_model_starts_where_it_should(config, start):
    fresh = TABLE._replace(init=lambda key: jax.random.normal(key, BASE.shape))
    run = Run(3, config(failure_start=start), failure_model=fresh)
    starts, results = run.failure_fits.column("start"), run.failure_fits.results
    if start == "base":
        expected = [BASE] * 3
    elif start == "carry":
        expected = [BASE, *results[:2]]
    else:
        known = [BASE, *results]
        assert not any(np.array_equal(s, k) for s in starts for k in known)
        assert len({np.asarray(s).tobytes() for s in starts}) == 3
        return
    for found, right in zip(starts, expected, strict=True):
        equal(found, right)


def test_what_is_learned_from_a_round_has_a_key_for_each_use():
    started = []
    model = TABLE._replace(init=lambda key: started.append(key) or TABLE.init(key))
    run = Run(2, two(failure_start="fresh"), failure_model=model)
    used = [started[-1], run.failure_fits.keys[-1], run.generator_fits.keys[-1]]
    assert len({tuple(jax.random.key_data(key).tolist()) for key in used}) == 3


def test_a_fresh_failure_model_may_be_another_model():
    small = TABLE._replace(
        init=lambda key: {"scale": jnp.float32(0.5)},
        log_prob=lambda params, sequence, **_: TABLE.log_prob(params["scale"] * BASE, sequence),
    )
    for make, config in (
        (banel, two(failure_start="fresh", past_filters=1, acceptance_floor=0.01)),
        (sequential_filtering, one(failure_start="fresh")),
    ):
        fit = lambda key, start, *_: ({"scale": start["scale"] + 0.25}, INFO)
        settings = {"fit_generator": lambda key, p, *_: (p, INFO)} if make is banel else {}
        algorithm = make(TABLE, config, small, fit_failure_model=fit, **settings)
        state = algorithm.init(jax.random.key(0), BASE)
        for i in range(2):
            candidates, state = jax.jit(algorithm.ask)(jax.random.key(i), state)
            state, _ = jax.jit(algorithm.tell)(
                jax.random.key(i), state, candidates, reward(candidates)
            )
        assert float(state.failure_model["scale"]) == 0.75


def test_without_a_filter_no_failure_model_is_fitted():
    run = Run(3, two(filter_factor=1))
    assert not run.failure_fits.calls and len(run.generator_fits.calls) == 2
    assert "failure_train_loss" not in run.info[0]


def test_past_filters_stay_in_force_and_the_oldest_goes_first():
    run = Run(4, two(past_filters=2, acceptance_floor=1e-3))
    assert [int(s.filters.count) for s in (*run.before, run.state)] == [0, 0, 1, 2, 2]
    # The filter that a round applied is remembered from its `tell` on.
    equal(run.state.filters.failure_params, [s.failure_model for s in run.before[2:]])
    equal(run.state.filters.thresholds, [float(s.threshold) for s in run.asked[2:]])
    p, allowed = log_p(BASE), np.ones(len(EVERY), bool)
    for before, asked in zip(run.before[1:], run.asked[1:], strict=True):
        allowed &= p - log_p(before.failure_model) >= float(asked.threshold)
        assert allowed[index(asked.batch)].all()
        equal(np.isfinite(run.algorithm.candidate_log_prob(asked, ALL)), allowed)


def test_past_filters_against_nothing_compare_with_nothing():
    run = Run(
        4, two(past_filters=2, filter_factor=2, acceptance_floor=1e-3, ratio_against="nothing")
    )
    allowed = np.ones(len(EVERY), bool)
    for before, asked in zip(run.before[1:], run.asked[1:], strict=True):
        allowed &= -log_p(before.failure_model) >= float(asked.threshold)
        assert allowed[index(asked.batch)].all()
        equal(np.isfinite(run.algorithm.candidate_log_prob(asked, ALL)), allowed)
    assert 0 < allowed.sum() < 60


def test_sequential_filtering_forgets_the_oldest_filter():
    run = Run(4, one(max_filters=2))
    assert [int(s.filters.count) for s in (*run.before, run.state)] == [0, 0, 1, 2, 2]
    equal(run.state.filters.failure_params, [s.failure_model for s in run.before[2:]])
    p = log_p(BASE)
    allowed = np.all(
        [
            p - log_p(before.failure_model) >= float(asked.threshold)
            for before, asked in zip(run.before[2:], run.asked[2:], strict=True)
        ],
        axis=0,
    )
    equal(np.isfinite(run.algorithm.log_prob(run.state, ALL)), allowed)


@both
def test_below_the_acceptance_floor_candidates_are_missing(config):
    run = Run(1, config(rejection="threshold", threshold=1e3, acceptance_floor=0.05))
    assert run.candidates[0].mask.all()  # nothing is rejected before the first failures
    candidates, _ = jax.jit(run.algorithm.ask)(jax.random.key(1), run.state)
    assert candidates.tokens.shape == (M, 4) and not candidates.mask.any()


def test_too_few_past_the_filters_leave_candidates_missing():
    """A floor of 1 grants as many draws as proposals; the filter in force rejects some."""
    run = Run(3, two(num_distilled=2 * M, past_filters=1, acceptance_floor=1.0))
    found = float(run.info[2]["proposals_found"])
    assert 0 < found < 1
    equal(run.candidates[2].mask.all(axis=1), np.arange(M) < np.floor(found * M + 1e-6))
    assert run.candidates[1].mask.all()


MAKE_ONE = partial(SequentialFilteringConfig, num_candidates=M)
MAKE_TWO = partial(BanelConfig, num_candidates=M)


@pytest.mark.parametrize("make", [MAKE_ONE, MAKE_TWO])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_candidates", 0),
        ("filter_factor", 0.5),
        ("filter_factor", float("nan")),
        ("filter_factor", float("inf")),
        ("filter_factor", 1.3),  # 10.4 proposals
        ("kappa", -0.1),
        ("kappa", float("nan")),
        ("rejection", "worst"),
        ("threshold", float("nan")),
        ("acceptance_floor", 0.0),
        ("acceptance_floor", 1.1),
        ("failure_start", "prior"),
        ("failure_rounds", 0),
        ("failure_holdout", -0.1),
        ("failure_holdout", 0.6),
    ],
)
def test_a_wrong_setting_is_named(make, name, value):
    with pytest.raises(ValueError, match=name):
        make(**{name: value})


@pytest.mark.parametrize(
    ("make", "settings", "named"),
    [
        (MAKE_TWO, {"num_distilled": M - 1}, "num_distilled"),
        (MAKE_TWO, {"num_distilled": -1}, "num_distilled"),
        (MAKE_TWO, {"num_distilled": 9, "filter_factor": 1.25}, "num_distilled"),
        (MAKE_TWO, {"ratio_against": "prior"}, "ratio_against"),
        (MAKE_TWO, {"past_filters": -1}, "past_filters"),
        (MAKE_TWO, {"fall_back": 1.5}, "fall_back"),
        (MAKE_TWO, {"distinct": True, "rejection": "threshold"}, "distinct"),
        (MAKE_TWO, {"prefer_new": True}, "prefer_new=True needs distinct=True"),
        (MAKE_TWO, {"fall_back": -0.1}, "fall_back"),
        (MAKE_TWO, {"failure_weighting": -1.0}, "failure_weighting"),
        (MAKE_TWO, {"failure_weighting": float("nan")}, "failure_weighting"),
        (MAKE_TWO, {"past_filters": 1, "rejection": "importance"}, "past_filters"),
        (MAKE_TWO, {"past_filters": 1, "ratio_against": "generator"}, "past_filters"),
        (MAKE_ONE, {"rejection": "importance"}, "rejection"),
        (MAKE_ONE, {"max_filters": 0}, "max_filters"),
    ],
)
def test_a_wrong_setting_of_one_algorithm_is_named(make, settings, named):
    with pytest.raises(ValueError, match=named):
        make(**settings)
