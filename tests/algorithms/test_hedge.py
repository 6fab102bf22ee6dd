"""The hedge against enumeration, its arms alone, and a bandit that is simulated."""

from functools import cache

import jax
import jax.numpy as jnp
import nightly
import numpy as np
import pytest
from enumeration import ALL, TABLE, index, table_params
from tiny_run import MODEL, learner
from tiny_run import PRIOR as LOGITS

from banel_jax.algorithms import shares as sharing
from banel_jax.algorithms.banel import BanelConfig, banel
from banel_jax.algorithms.cuts import CutConfig, cut
from banel_jax.algorithms.expert_iteration import ExpertIterationConfig, expert_iteration
from banel_jax.algorithms.hedge import HedgeConfig, hedge, starting_at
from banel_jax.algorithms.policy_gradient import PolicyGradientConfig, policy_gradient
from banel_jax.algorithms.prior_sampling import prior_sampling
from banel_jax.models import tempering
from banel_jax.models.table import table
from banel_jax.oracle import Failed, OracleConfig, threads
from banel_jax.runs import loop
from banel_jax.training import TrainingConfig
from banel_jax.types import Sequences

M = 12
PRIOR = table_params(0)
FIT = TrainingConfig(epochs=2, batch_size=4, learning_rate=0.1)
MAKE = {
    "prior": lambda m=M, model=TABLE: prior_sampling(model, m),
    "ladder": lambda m=M, model=TABLE: prior_sampling(tempering.ladder(model), m),
    "likeliest": lambda m=M, model=TABLE: cut(model, CutConfig(m, 4)),
    "least_likely": lambda m=M, model=TABLE: cut(model, CutConfig(m, 4, "least_likely")),
    "banel": lambda m=M, model=TABLE: banel(
        model,
        BanelConfig(
            m, failure_training=FIT, generator_training=FIT, failure_weighting=0.5, fall_back=0.5
        ),
    ),
    "expert": lambda m=M, model=TABLE: expert_iteration(
        model, ExpertIterationConfig(m, 3, training=FIT)
    ),
    "policy": lambda m=M, model=TABLE: policy_gradient(
        model, PolicyGradientConfig(m, training=FIT, centre=True)
    ),
}
FREE = ("prior", "ladder", "likeliest", "least_likely")


def of(*names, m=M, **settings):
    return hedge({name: MAKE[name](m) for name in names}, HedgeConfig(**settings))


@cache
def played(*names, rounds=4, alone=False, **settings):
    """(asked, candidates, state, info) by round; every sequence of an even index succeeds."""
    algorithm = MAKE[names[0]]() if alone else of(*names, **settings)
    ask, tell = jax.jit(algorithm.ask), jax.jit(algorithm.tell)
    state, done = algorithm.init(jax.random.key(0), PRIOR), []
    for r in range(rounds):
        candidates, asked = ask(jax.random.key(10 + r), state)
        rewards = jnp.float32(index(candidates) % 2 == 0)
        missing = [jnp.arange(M) != 3] if r == 2 else []
        rewards = rewards * missing[0] if missing else rewards
        state, info = tell(jax.random.key(20 + r), asked, candidates, rewards, *missing)
        done.append((asked, candidates, state, info))
    return done


@pytest.mark.parametrize(
    "name", nightly.params(["likeliest", "banel", "policy"], ["likeliest", "policy"])
)
def test_a_hedge_of_one_arm_is_that_arm_bit_for_bit(name):
    """Also where an evaluation failed, in round 2."""
    same = np.testing.assert_array_equal
    for hedged, alone in zip(played(name), played(name, alone=True), strict=True):
        jax.tree.map(same, hedged[1], alone[1])
        jax.tree.map(same, hedged[2].arms[name], alone[2])
        same(hedged[2].shares, [1])
        for title, value in alone[3].items():
            same(hedged[3][f"{name}_{title}"], value)
    algorithm, arm = of(name), MAKE[name]()
    key, state, alone = jax.random.key(5), played(name)[-1][2], played(name, alone=True)[-1][2]
    jax.tree.map(same, algorithm.sample(key, state, 3), arm.sample(key, alone, 3))
    same(algorithm.log_prob(state, ALL), arm.log_prob(alone, ALL))


def test_until_a_success_it_has_a_kth_of_the_best_arms_chance_on_any_task():
    """Exact, by enumeration, for each single sequence and for random sets of them."""
    algorithm = of(*FREE, "banel")
    ask, tell = jax.jit(algorithm.ask), jax.jit(algorithm.tell)
    density, state = jax.jit(algorithm.candidate_log_prob), algorithm.init(jax.random.key(0), PRIOR)
    tasks = [np.arange(81) == i for i in range(81)]
    tasks += list(np.random.default_rng(0).random((200, 81)) < 0.05)
    for r in range(3):
        candidates, asked = ask(jax.random.key(r), state)
        each = [
            np.exp(arm.candidate_log_prob(asked.arms[name], ALL))
            for name, arm in ((name, MAKE[name]()) for name in (*FREE, "banel"))
        ]
        mixture = np.exp(density(asked, ALL))
        np.testing.assert_allclose(mixture, np.mean(each, axis=0), rtol=1e-4, atol=1e-7)
        for task in tasks:
            rates = [p[task].sum() for p in each]
            assert mixture[task].sum() >= max(rates) / 5 * (1 - 1e-4)
        assert sorted(np.asarray(asked.taken)) == [2, 2, 2, 3, 3]
        state, _ = tell(jax.random.key(r), asked, candidates, jnp.zeros(M))
        failing = np.asarray(state.answers.failures)
        assert failing.sum() == pytest.approx(sum(M * 0.9**i for i in range(r + 1)))


@pytest.mark.parametrize("m", [7, 12, 250])
def test_counts_are_the_shares_rounded_and_right_in_expectation(m):
    shares = np.random.default_rng(m).dirichlet(np.ones(5), 3).astype(np.float32)
    shares = np.concatenate([shares, np.full((1, 5), 0.2, np.float32)])
    keys = jax.random.split(jax.random.key(0), 4000)
    draw = jax.jit(jax.vmap(lambda key, s: sharing.allocate(key, s, m), (0, None)))
    for share in shares:
        counts = np.asarray(draw(keys, share))
        assert (counts.sum(axis=1) == m).all()
        assert (np.abs(counts - share * m) < 1 + 1e-3).all()
        np.testing.assert_allclose(counts.mean(axis=0), share * m, atol=0.04)
    assert (np.ptp(counts, axis=1) <= 1).all()  # of even shares


def test_the_shares_follow_the_arm_that_succeeds_and_none_falls_below_its_floor():
    """Stationary arms, one of them better: nearly all that the best arm alone would have met."""
    rates, rounds, m, floor = jnp.array([0.02, 0.3, 0.05, 0.0]), 60, 24, 0.2

    def one_round(carry, key):
        answers, shares = carry
        keys = jax.random.split(key, 3)
        taken = sharing.allocate(keys[0], shares, m)
        met = jax.random.binomial(keys[1], taken, rates)
        answers = answers.add(1.0, met, taken - met)
        return (answers, sharing.shares(keys[2], answers, floor)), (shares, jnp.sum(met))

    def play(key):
        start = sharing.no_answers(4), jnp.full(4, 0.25)
        return jax.lax.scan(one_round, start, jax.random.split(key, rounds))[1]

    shares, met = jax.jit(jax.vmap(play))(jax.random.split(jax.random.key(0), 2))
    np.testing.assert_allclose(shares.sum(axis=2), 1, atol=1e-5)
    assert shares.min() >= floor / 4 - 1e-6
    np.testing.assert_allclose(shares[:, 0], 0.25)
    assert np.median(shares[:, -1, 1]) > 1 - floor
    # What the floor gives to the others is lost, and little beside it.
    kept = (1 - floor) * 0.3 + floor * float(rates.mean())
    assert met[:, 10:].mean() > 0.95 * kept * m
    assert met.sum(axis=1).mean() > 0.9 * kept * m * rounds


def test_what_was_answered_long_ago_is_forgotten():
    answers = sharing.no_answers(2).add(0.5, jnp.array([9.0, 0]), jnp.array([0.0, 9]))
    for _ in range(12):
        answers = answers.add(0.5, jnp.array([0.0, 2]), jnp.array([4.0, 2]))
    np.testing.assert_allclose(answers.successes, [9 / 2**12, 4], rtol=1e-3)
    assert sharing.shares(jax.random.key(0), answers, 0.1)[1] > 0.9


def test_each_arm_is_told_its_own_answers_alone():
    """By hand: an arm beside another learns what it does from its own, marked as answered."""
    names = ("expert", "prior", "policy")
    (asked, candidates, state, info), *_ = played(*names, share_evidence=False)
    start, taken = 0, np.asarray(asked.taken)
    rewards = np.float32(index(candidates) % 2 == 0)
    for k, name in enumerate(names):
        stop = start + taken[k]
        own = jax.tree.map(lambda x, k=k: x[k], asked.proposed)
        np.testing.assert_array_equal(own.tokens[: taken[k]], candidates.tokens[start:stop])
        padded = np.zeros(M, np.float32)
        padded[: taken[k]] = rewards[start:stop]
        key = jax.random.fold_in(jax.random.key(20), 0x4ED60000 + k)
        told, _ = jax.jit(MAKE[name]().tell)(
            key, asked.arms[name], own, jnp.asarray(padded), jnp.arange(M) < taken[k]
        )
        close = lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5)
        jax.tree.map(close, state.arms[name], told)
        assert float(info[f"{name}_successes"]) == padded.sum()
        assert float(info[f"{name}_evaluations"]) == taken[k]
        start = stop
    assert float(info["successes"]) == rewards.sum()


def test_arms_that_can_learn_from_what_others_proposed():
    """The failure model sees all failures, weighted by the base over the mixture; the successes of
    all are fitted to."""
    names = ("prior", "banel", "expert")
    asked, candidates, state, info = played(*names, rounds=3)[-1]
    p = np.exp(MAKE["prior"]().log_prob(asked.arms["prior"], ALL))
    each = [MAKE[name]().candidate_log_prob(asked.arms[name], ALL) for name in names]
    mixture = np.asarray(asked.shares) @ np.exp(np.stack(each))
    rows = index(candidates)
    answered = np.arange(M) != 3  # in this round
    weights = np.minimum(1, np.sqrt(p / mixture))[rows] * (rows % 2 == 1) * answered
    np.testing.assert_array_equal(state.arms["banel"].failures.sequences.tokens, candidates.tokens)
    np.testing.assert_allclose(state.arms["banel"].failures.weights, weights, rtol=1e-4)
    met = np.asarray(state.arms["expert"].successes.weights)[2 * M :]
    np.testing.assert_array_equal(met, (rows % 2 == 0) & answered)
    assert float(info["banel_successes"]) < float(info["successes"])  # still its own


@pytest.mark.parametrize("share_evidence", nightly.params([True, False], [False]))
def test_the_first_success_makes_another_arm_of_one_that_learns_from_it(share_evidence):
    """Until then both fail alike; then what has learned is tried for a round."""
    algorithm = of("prior", "banel", share_evidence=share_evidence)
    ask, tell = jax.jit(algorithm.ask), jax.jit(algorithm.tell)
    state = algorithm.init(jax.random.key(0), PRIOR)
    for r, first in enumerate((0.0, 0.0, 1.0, 0.0)):  # of each round's candidates, the prior's
        candidates, asked = ask(jax.random.key(r), state)
        rewards = jnp.zeros(M).at[0].set(first)
        state, _ = tell(jax.random.key(9 + r), asked, candidates, rewards)
        discounted = 0.9 ** np.arange(r, -1, -1) * M / 2
        failed = np.asarray(state.answers.failures)
        if r < 2:
            np.testing.assert_allclose(failed, discounted.sum(), rtol=1e-5)
            assert list(state.shares) == [0.5, 0.5]
        elif r == 2:
            learner = 0.0 if share_evidence else discounted.sum()
            np.testing.assert_allclose(failed, [discounted.sum() - 1, learner], rtol=1e-5)
            assert (float(state.shares[1]) > 0.6) == share_evidence
        else:  # and once alone
            assert failed[1] > 0


def test_samples_and_likelihoods_are_the_mixture_by_the_shares():
    names, shares = ("expert", "prior", "policy"), np.array([0.1, 0.2, 0.7], np.float32)
    algorithm, state = of(*names), played(*names)[-1][2].replace(shares=jnp.asarray(shares))
    each = [np.exp(MAKE[name]().log_prob(state.arms[name], ALL)) for name in names]
    expected = shares @ np.stack(each)
    np.testing.assert_allclose(np.exp(algorithm.log_prob(state, ALL)), expected, rtol=1e-4)
    drawn = algorithm.sample(jax.random.key(0), state, 6000)
    found = np.bincount(index(drawn), minlength=81) / 6000
    assert np.abs(found - expected).sum() / 2 < 0.06


def test_of_equal_candidates_one_is_paid_for_while_there_are_others():
    sharp = PRIOR * 2.0
    number = {}
    for distinct in (True, False):
        algorithm = of("prior", "ladder", distinct=distinct)
        state = algorithm.init(jax.random.key(0), sharp)
        number[distinct] = 0
        for r in range(4):
            candidates, asked = algorithm.ask(jax.random.key(r), state)
            number[distinct] += len(set(index(candidates)))
            assert np.asarray(asked.taken).tolist() == [6, 6]
    assert number[True] > number[False]


def test_equal_arms_propose_different_candidates():
    algorithm = hedge({"a": MAKE["prior"](), "b": MAKE["prior"]()})
    _, asked = algorithm.ask(jax.random.key(1), algorithm.init(jax.random.key(0), PRIOR))
    one, other = np.asarray(asked.proposed.tokens)
    assert not np.array_equal(one, other)


def test_arms_may_start_from_different_parameters():
    arms = {"a": starting_at(MAKE["prior"](), "wide"), "b": starting_at(MAKE["prior"](), "prior")}
    algorithm = hedge(arms)
    starts = {"prior": PRIOR, "wide": table_params(1)}
    state = algorithm.init(jax.random.key(0), starts)
    np.testing.assert_array_equal(state.arms["a"].params, starts["wide"])
    np.testing.assert_array_equal(state.arms["b"].params, PRIOR)
    with pytest.raises(ValueError, match="no parameters 'wide' to start from; there are prior"):
        algorithm.init(jax.random.key(0), {"prior": PRIOR})
    with pytest.raises(ValueError, match="there are none by name"):
        algorithm.init(jax.random.key(0), PRIOR)


def test_what_was_known_before_is_told_to_the_arms_that_can_know_it():
    algorithm = of("prior", "expert")
    key, rewards = jax.random.key(3), jnp.float32(jnp.arange(81) % 9 == 0)
    state = algorithm.know(key, algorithm.init(jax.random.key(0), PRIOR), ALL, rewards)
    assert float(jnp.sum(state.arms["expert"].successes.weights)) == 9
    assert of("prior", "ladder").know is None


def test_arms_that_cannot_share_are_refused_in_one_line():
    with pytest.raises(ValueError, match="needs arms"):
        hedge({})
    with pytest.raises(ValueError, match="arms 'a' and 'b' are over different models"):
        hedge({"a": MAKE["prior"](), "b": MAKE["prior"](model=table(3, 3))})
    with pytest.raises(ValueError, match="the tell of arm 'deaf' must take"):
        hedge({"deaf": learner()})
    algorithm = hedge({"a": MAKE["prior"](), "b": MAKE["prior"](m=M + 1)})
    with pytest.raises(ValueError, match=f"a for {M} of 4, b for {M + 1} of 4"):
        algorithm.init(jax.random.key(0), PRIOR)
    with pytest.raises(ValueError, match="4 arms cannot share num_candidates=3"):
        of(*FREE, m=3).init(jax.random.key(0), PRIOR)
    for settings in ({"floor": 0}, {"floor": 1.5}, {"discount": 0}, {"distinct": 1}):
        with pytest.raises(ValueError, match=next(iter(settings))):
            HedgeConfig(**settings)


@pytest.mark.slow
def test_a_run_that_was_stopped_goes_on_to_the_same_numbers(tmp_path):
    """Some evaluations fail too, and rounds are proposed ahead."""
    arms = {name: MAKE[name](6, MODEL) for name in ("prior", "likeliest", "expert")}
    algorithm = hedge(arms, HedgeConfig(distinct=True))

    def reward(sequences: Sequences):
        total = np.asarray(sequences.tokens).sum(axis=1)
        return [Failed("no") if t == 6 else float(t >= 5) for t in total]

    def run(folder, rounds):
        drop = OracleConfig(on_failure="drop")
        config = loop.RunConfig(rounds=rounds, rounds_in_flight=2, oracle=drop)
        return loop.run(algorithm, LOGITS, threads(reward), config, tmp_path / folder)

    whole = run("whole", 4)
    run("parts", 2)
    parts = run("parts", 4)
    jax.tree.map(np.testing.assert_array_equal, whole.state, parts.state)
    assert whole.metrics == parts.metrics
