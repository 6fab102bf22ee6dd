"""The genetic algorithm against the enumeration of all that it may propose."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from banel_jax import scoring
from banel_jax.algorithms.breeding import (
    among,
    child,
    child_log_prob,
    donors_of,
    inner,
    words,
)
from banel_jax.algorithms.genetic import GeneticConfig, State, genetic
from banel_jax.algorithms.prior_sampling import prior_sampling
from banel_jax.models.transformer import TransformerConfig, transformer
from banel_jax.replay import Replay
from banel_jax.types import Sequences

V, LENGTH, END, M = 3, 4, 0, 6
# Sequences of 1 to 4 tokens, of which those that are shorter end with END.
MODEL = transformer(TransformerConfig(V, LENGTH, num_layers=1, num_heads=2, width=8, eos_token=END))
PRIOR = jax.tree.map(lambda x: 25 * x, MODEL.init(jax.random.key(0)))


def padded(rows) -> Sequences:
    """Of lists of tokens."""
    tokens = np.zeros((len(rows), LENGTH), np.int32)
    mask = np.arange(LENGTH) < np.array([len(row) for row in rows])[:, None]
    for row, tokens_of_row in zip(rows, tokens, strict=True):
        tokens_of_row[: len(row)] = row
    return Sequences(jnp.asarray(tokens), jnp.asarray(mask))


def lists(sequences):
    rows = zip(np.asarray(sequences.tokens), np.asarray(sequences.mask), strict=True)
    return [tuple(tokens[mask].tolist()) for tokens, mask in rows]


FULL = list(itertools.product(range(1, V), repeat=LENGTH - 1))
EVERY = [
    (*start, END) for n in range(LENGTH) for start in itertools.product(range(1, V), repeat=n)
] + [(*start, last) for start in FULL for last in range(1, V)]
ALL = padded(EVERY)
PARENTS = padded([(1, 2, 1, 1), (2, END), (2, 2, 1, END), (1, END)])
POPULATION = Replay(
    jax.tree.map(lambda x: jnp.pad(x, ((0, 3), (0, 0))), PARENTS)  # of which three are empty
)
DONORS = donors_of(padded([(1, 1, 2, END), (2, 1, 2, 1), (1, 2, 1, 2), (2, END), (1, 1, END)]))
CONFIG = GeneticConfig(M, 7, fresh=0.2, crossover=0.6, mutation_rate=0.3, memory=9, num_donors=5)
CHILDREN = jax.jit(
    lambda key, n: jax.vmap(lambda k: child(k, CONFIG, POPULATION, DONORS))(
        jax.random.split(key, n)
    ),
    static_argnums=1,
)


def by_hand(parents, donors, crossover, rate):
    """The children's probabilities, from all pairs, cuts and tokens; a dict by list of tokens."""
    usable = [  # tokens that may come to each position: not what ends a shorter sequence
        [row[t] for row in donors if t < len(row) - (len(row) < LENGTH)] for t in range(LENGTH)
    ]
    found: dict = {}
    for one, other in itertools.product(parents, repeat=2):
        for cut, p in [(None, 1 - crossover)] + [(t, crossover / 3) for t in (1, 2, 3)]:
            row = one
            if cut and cut < len(one) and cut < len(other):
                row = one[:cut] + other[cut:]
            options = []
            for t, token in enumerate(row):
                chances = {token: 1.0}
                if not (t == len(row) - 1 and len(row) < LENGTH) and usable[t]:
                    chances = {token: 1 - rate}
                    for new in usable[t]:
                        chances[new] = chances.get(new, 0) + rate / len(usable[t])
                options.append(chances.items())
            for choice in itertools.product(*options):
                tokens, chances = zip(*choice, strict=True)
                found[tokens] = found.get(tokens, 0) + p * np.prod(chances) / len(parents) ** 2
    return found


EXPECTED = by_hand(lists(PARENTS), lists(padded([
    (1, 1, 2, END), (2, 1, 2, 1), (1, 2, 1, 2), (2, END), (1, 1, END)
])), 0.6, 0.3)  # fmt: skip


def test_the_likelihood_of_a_child_is_that_of_all_its_parents_cuts_and_mutations():
    score = jax.jit(jax.vmap(lambda x: child_log_prob(CONFIG, POPULATION, DONORS, x)))
    found = np.exp(np.asarray(score(ALL), np.float64))
    np.testing.assert_allclose(found.sum(), 1, rtol=1e-5)
    expected = np.array([EXPECTED.get(row, 0.0) for row in EVERY])
    assert (expected == 0).any() and abs(expected.sum() - 1) < 1e-9
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-8)
    # What no parent's length allows, and a hole, have none.
    odd = Sequences(jnp.ones((2, LENGTH), jnp.int32), jnp.array([[0, 1, 1, 1], [1, 1, 0, 1]], bool))
    assert (np.asarray(score(odd)) == -np.inf).all()


def test_children_are_drawn_as_often_as_that_says_and_are_all_valid():
    n = 20_000
    drawn = lists(CHILDREN(jax.random.key(1), n))
    assert set(drawn) <= set(EXPECTED)
    assert all(END not in row[:-1] and (len(row) == LENGTH or row[-1] == END) for row in drawn)
    for row, p in EXPECTED.items():
        if n * p > 5:
            assert abs(drawn.count(row) - n * p) < 4.5 * np.sqrt(n * p * (1 - p) + 1), row


def test_each_token_is_mutated_at_the_rate():
    """Of fixed length, from donors that have nothing of the one parent."""
    parent, donors = padded([(1, 1, 1, 1)]), donors_of(padded([(2, 2, 2, 2)] * 3))
    one = lambda key: child(key, CONFIG, Replay(parent), donors)
    drawn = jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(2), 4000))
    rates = (np.asarray(drawn.tokens) == 2).mean(axis=0)
    assert np.abs(rates - 0.3).max() < 4.5 * np.sqrt(0.21 / 4000)


def test_what_ends_a_sequence_early_stays_where_it_is():
    mask = jnp.asarray(np.arange(4) < np.array([[1], [3], [4]]))
    np.testing.assert_array_equal(
        inner(mask), [[False] * 4, [True, True, False, False], [True] * 4]
    )
    np.testing.assert_array_equal(DONORS.counts, [5, 4, 3, 3])
    np.testing.assert_allclose(DONORS.share(jnp.array([1, 1, 2, END])), [0.6, 0.75, 2 / 3, 1 / 3])


def test_without_a_success_it_is_plain_sampling_and_then_its_likelihood_is_exact():
    algorithm, plain = genetic(MODEL, CONFIG), prior_sampling(MODEL, M)
    state = jax.jit(algorithm.init)(jax.random.key(0), PRIOR)
    score = jax.jit(algorithm.log_prob)
    prior = scoring.log_likelihood(MODEL, PRIOR, ALL)
    np.testing.assert_allclose(score(state, ALL), prior, rtol=1e-5)
    np.testing.assert_allclose(np.exp(np.float64(prior)).sum(), 1, rtol=1e-4)
    candidates, state = jax.jit(algorithm.ask)(jax.random.key(1), state)
    tell = jax.jit(algorithm.tell)
    state, info = tell(jax.random.key(2), state, candidates, jnp.zeros(M))
    assert float(info["population"]) == 0
    np.testing.assert_allclose(score(state, ALL), prior, rtol=1e-5)
    assert plain.ask(jax.random.key(1), plain.init(None, PRIOR))[0].tokens.shape == (M, LENGTH)

    rewards = jnp.float32(jnp.arange(M) % 2)
    state, info = tell(jax.random.key(2), state, candidates, rewards)
    met = dict.fromkeys(lists(candidates)[1::2])
    assert float(info["population"]) == len(met) and float(info["successes"]) == 3
    assert lists(state.population.sequences)[: len(met)] == list(met)
    mixture = np.exp(np.asarray(score(state, ALL), np.float64))
    np.testing.assert_allclose(mixture.sum(), 1, rtol=1e-4)
    drawn = lists(jax.jit(algorithm.sample, static_argnums=2)(jax.random.key(3), state, 5000))
    for row, p in zip(EVERY, mixture, strict=True):
        if 5000 * p > 5:
            assert abs(drawn.count(row) - 5000 * p) < 4.5 * np.sqrt(5000 * p * (1 - p) + 1), row


def test_no_child_is_what_was_paid_for_already():
    """Neither a success nor a failure; after eight in a row it is a sample of the prior."""
    algorithm = genetic(MODEL, CONFIG)
    failed = [(1, 2, 1, 2), (1, 1, END), (END,), (2, 2, 2, 2)]
    members = lists(PARENTS) + failed
    seen = jax.tree.map(lambda x: jnp.pad(x, ((0, 2), (0, 0))), padded(members))
    state = State(PRIOR, POPULATION, Replay(seen), DONORS)
    again = sum(EXPECTED.get(row, 0.0) for row in members)
    assert again > 0.2
    tried = 0.8 * sum(again**j for j in range(8))
    prior = np.exp(np.asarray(scoring.log_likelihood(MODEL, PRIOR, ALL), np.float64))
    expected = prior * (0.2 + 0.8 * again**8)
    expected += [tried * EXPECTED.get(row, 0) * (row not in members) for row in EVERY]
    found = np.exp(np.asarray(jax.jit(algorithm.log_prob)(state, ALL), np.float64))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-8)
    # Where nothing changes a child, all are samples of the prior.
    still = genetic(MODEL, dataclasses.replace(CONFIG, fresh=0.0, crossover=0.0, mutation_rate=0.0))
    np.testing.assert_allclose(
        np.exp(np.float64(jax.jit(still.log_prob)(state, ALL))), prior, rtol=1e-4, atol=1e-8
    )
    drawn = lists(jax.jit(still.sample, static_argnums=2)(jax.random.key(4), state, 2000))
    for row, p in zip(EVERY, prior, strict=True):
        if 2000 * p > 5:
            assert abs(drawn.count(row) - 2000 * p) < 4.5 * np.sqrt(2000 * p * (1 - p) + 1), row


def test_failures_are_remembered_but_not_what_has_no_answer():
    algorithm = genetic(MODEL, CONFIG)
    state = algorithm.init(jax.random.key(0), PRIOR)
    rows = [(1, 2, 1, 2), (1, 1, END), (END,), (2, 2, 2, 2), (2, END), (1, END)]
    rewards, answered = jnp.float32([0, 1, 0, 0, 0, 1]), jnp.arange(M) != 2
    state, _ = algorithm.tell(jax.random.key(1), state, padded(rows), rewards, answered)
    assert lists(state.seen.sequences)[:6] == [*rows[:2], *rows[3:], ()]
    assert lists(state.population.sequences)[:3] == [rows[1], rows[5], ()]


def test_words_tell_sequences_apart_by_their_scored_tokens():
    every = np.asarray(words(ALL))
    assert len(np.unique(every, axis=0)) == len(EVERY) and every.any(axis=1).all()
    noise = Sequences(jnp.where(ALL.mask, ALL.tokens, 7), ALL.mask)
    np.testing.assert_array_equal(words(noise), every)
    assert not np.any(words(padded([()])))
    is_one = jax.vmap(lambda x: among(words(PARENTS), x))(ALL)
    assert [row for row, one in zip(EVERY, is_one, strict=True) if one] == sorted(
        lists(PARENTS), key=EVERY.index
    )


def test_known_successes_are_parents_from_the_first_round_on():
    algorithm = genetic(MODEL, CONFIG)
    state = algorithm.init(jax.random.key(0), PRIOR)
    rewards = jnp.float32([1, 0, 1, 0])
    state = algorithm.know(jax.random.key(1), state, PARENTS, rewards)
    assert lists(state.seen.sequences)[:5] == [*lists(PARENTS), ()]
    assert lists(state.population.sequences)[:3] == [(1, 2, 1, 1), (2, 2, 1, END), ()]


@pytest.mark.parametrize("name", ["fresh", "crossover", "mutation_rate"])
def test_settings_that_make_no_sense_are_named(name):
    with pytest.raises(ValueError, match=rf"{name}=1\.5 must be"):
        GeneticConfig(**{name: 1.5})
    with pytest.raises(ValueError, match="population=0 must be at least 1"):
        GeneticConfig(population=0)
