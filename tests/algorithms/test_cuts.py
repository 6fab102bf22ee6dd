"""Cuts of a model by its own likelihood, against all sequences enumerated."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from enumeration import ALL, TABLE, counts, index, table_params, table_probabilities

from banel_jax.algorithms.cuts import CutConfig, cut

PRIOR = table_params(0)
P = table_probabilities(PRIOR)


@pytest.mark.parametrize(("keep", "order"), [("likeliest", -1), ("least_likely", 1)])
def test_a_cut_is_the_prior_beyond_the_quantile_of_its_own_likelihood(keep, order):
    algorithm = cut(TABLE, CutConfig(2000, 4, keep, distinct=False))
    state = algorithm.init(jax.random.key(0), PRIOR)
    candidates, state = jax.jit(algorithm.ask)(jax.random.key(1), state)
    cumulative = np.cumsum(P[np.argsort(order * P)])
    kept = np.argsort(order * P)[: np.searchsorted(cumulative, 0.25) + 1]
    expected = np.zeros_like(P)
    expected[kept] = P[kept] / P[kept].sum()
    found = np.exp(algorithm.log_prob(state, ALL))
    outside = np.delete(found, kept)
    assert not outside.any()
    np.testing.assert_allclose(found[kept[:-1]], expected[kept[:-1]], rtol=0.1)
    np.testing.assert_allclose(found.sum(), 1, atol=0.05)
    sampled = jax.jit(algorithm.sample, static_argnums=2)(jax.random.key(2), state, 4000)
    for drawn in (candidates, sampled):
        share = counts(drawn) / len(drawn.tokens)
        assert np.abs(share - found / found.sum()).sum() / 2 < 0.12


def test_copies_are_asked_for_last():
    draws = {}
    for distinct in (True, False):
        algorithm = cut(TABLE, CutConfig(6, 4, distinct=distinct))
        state = algorithm.init(jax.random.key(0), PRIOR * 3)
        draws[distinct] = index(algorithm.ask(jax.random.key(1), state)[0])
    assert len(set(draws[False])) < 6
    assert len(set(draws[True])) > len(set(draws[False]))


def test_it_learns_nothing():
    algorithm = cut(TABLE, CutConfig(6, 2))
    candidates, asked = algorithm.ask(jax.random.key(1), algorithm.init(jax.random.key(0), PRIOR))
    told, info = algorithm.tell(jax.random.key(2), asked, candidates, jnp.ones(6))
    jax.tree.map(np.testing.assert_array_equal, told, asked)
    assert float(info["successes"]) == 6


@pytest.mark.parametrize(
    "settings", [{"num_candidates": 0}, {"filter_factor": 0.5}, {"keep": "both"}]
)
def test_settings_that_cannot_be_are_refused(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        CutConfig(**settings)
    with pytest.raises(ValueError, match="whole number"):
        CutConfig(num_candidates=5, filter_factor=1.5)
