"""Even mixtures of models over all 81 sequences, and their fits one by one."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from enumeration import (
    ALL,
    EVERY,
    TABLE,
    TRANSFORMER,
    N,
    assert_frequencies,
    index,
    probabilities,
    table_params,
    table_probabilities,
    transformer_params,
)

from banel_jax import sampling, scoring, training
from banel_jax.models import ensemble as module
from banel_jax.models.ensemble import ensemble, fit_ensemble, members
from banel_jax.training import FitInfo, TrainingConfig

SIZE = 3
TABLES = [table_params(seed, scale=2.0) for seed in range(SIZE)]
EACH = np.stack([table_probabilities(p) for p in TABLES])
STACKED = jnp.stack(TABLES)
CONFIG = TrainingConfig(epochs=3, batch_size=4, learning_rate=0.1, keep_best=False)


def test_probabilities_are_the_mean_of_the_members_and_sum_to_1():
    found = probabilities(ensemble(TABLE, SIZE), STACKED)
    np.testing.assert_allclose(found, EACH.mean(axis=0), rtol=1e-4)
    np.testing.assert_allclose(found.sum(), 1, rtol=1e-5)
    assert np.abs(EACH - EACH.mean(axis=0)).max() > 0.05


def test_of_a_network_too():
    each = [transformer_params(seed, scale=6.0) for seed in range(SIZE)]
    expected = np.mean([probabilities(TRANSFORMER, p) for p in each], axis=0)
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)
    found = probabilities(ensemble(TRANSFORMER, SIZE), stacked)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    np.testing.assert_allclose(found.sum(), 1, rtol=1e-5)


def test_a_member_that_excludes_a_sequence_leaves_it_to_the_others():
    first = STACKED.at[0, 2].set(-jnp.inf)  # no sequence begins with 2
    found = np.exp(scoring.log_likelihood(ensemble(TABLE, SIZE), first, ALL))
    expected = np.stack([table_probabilities(p) for p in first]).mean(axis=0)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    none = STACKED.at[:, 2].set(-jnp.inf)
    found = np.asarray(scoring.log_likelihood(ensemble(TABLE, SIZE), none, ALL))
    np.testing.assert_array_equal(found == -np.inf, EVERY[:, 0] == 2)
    last = jax.tree.map(lambda x: x[-1], ALL)  # begins with 2
    gradient = jax.grad(lambda params: ensemble(TABLE, SIZE).log_prob(params, last))
    assert np.isfinite(gradient(first)).all() and np.isfinite(gradient(none)).all()


def test_samples_have_the_mixtures_frequencies_and_scores():
    drawn, log_probs = sampling.sample(ensemble(TABLE, SIZE), jax.random.key(5), STACKED, 20_000)
    assert_frequencies(drawn, EACH.mean(axis=0))
    np.testing.assert_allclose(np.exp(log_probs), EACH.mean(axis=0)[index(drawn)], rtol=1e-4)


@pytest.mark.parametrize(
    ("model", "params"), [(TABLE, TABLES[0]), (TRANSFORMER, transformer_params(0))]
)
def test_an_ensemble_of_one_is_the_model(model, params):
    alone, single = ensemble(model, 1), members(params, 1)
    np.testing.assert_array_equal(
        scoring.log_likelihood(alone, single, ALL), scoring.log_likelihood(model, params, ALL)
    )
    draw = lambda m, p: sampling.sample(m, jax.random.key(1), p, 200)
    found, expected = draw(alone, single), draw(model, params)
    np.testing.assert_array_equal(found[0].tokens, expected[0].tokens)
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-5)


def test_initial_members_differ_and_copies_do_not():
    params = jax.jit(ensemble(TRANSFORMER, 2).init)(jax.random.key(0))
    one = jax.tree.leaves(jax.eval_shape(TRANSFORMER.init, jax.random.key(0)))
    assert [x.shape[1:] for x in jax.tree.leaves(params)] == [x.shape for x in one]
    assert any(np.any(x[0] != x[1]) for x in jax.tree.leaves(params))
    for copy in members(TABLES[0], 4):
        np.testing.assert_array_equal(copy, TABLES[0])
    with pytest.raises(ValueError, match="size=0 must be at least 1"):
        ensemble(TABLE, 0)


def test_each_member_is_a_fit_of_its_own_to_a_bootstrap_of_its_own():
    rows = jax.tree.map(lambda x: x[::5], ALL)
    n = len(rows.tokens)
    weights = jnp.arange(n) % 3 / 2.0
    held_out = jnp.float32(jnp.arange(n) % 3 == 0)
    key = jax.random.key(4)
    fit = jax.jit(fit_ensemble(TABLE, CONFIG))
    fitted, info = fit(key, STACKED, rows, weights, held_out)
    fit_one = jax.jit(partial(training.fit, TABLE, CONFIG))
    alone, infos = [], []
    for member_key, start in zip(jax.random.split(key, SIZE), TABLES, strict=True):
        draw_key, fit_key = jax.random.split(member_key)
        bootstrap = weights * jax.random.poisson(draw_key, 1.0, (n,))
        params, one = fit_one(fit_key, start, rows, bootstrap, held_out)
        alone.append(params)
        infos.append(one)
    np.testing.assert_allclose(fitted, np.stack(alone), atol=1e-5)
    for name in FitInfo._fields:
        mean = np.mean([getattr(one, name) for one in infos], axis=0)
        np.testing.assert_allclose(getattr(info, name), mean, rtol=1e-4, err_msg=name)
    # From one start as well, what was learnt differs.
    same_start, _ = fit(key, members(TABLES[0], SIZE), rows, weights, held_out)
    assert all(np.abs(same_start[0] - other).max() > 0.05 for other in same_start[1:])


def test_the_bootstrap_weighs_each_sequence_by_how_often_it_is_drawn(monkeypatch):
    size, n = 40, N
    weights = jnp.where(jnp.arange(n) % 4 == 0, 0.0, 0.5)
    held_out = 1 - 2 * weights

    def fit(model, config, key, params, sequences, weights, validation_weights):
        # What was given, in the parameters' place.
        assert model is TABLE and config is CONFIG and sequences.tokens.shape == (n, 4)
        return {"weights": weights, "held out": validation_weights, "start": params}, FitInfo(
            jnp.zeros(1), jnp.zeros(1), jnp.float32(1)
        )

    monkeypatch.setattr(module.training, "fit", fit)
    starts = jnp.arange(float(size))
    given, _ = fit_ensemble(TABLE, CONFIG)(jax.random.key(0), starts, ALL, weights, held_out)
    np.testing.assert_array_equal(given["start"], starts)
    np.testing.assert_array_equal(given["held out"], np.tile(held_out, (size, 1)))
    counts = np.asarray(given["weights"]) / 0.5
    assert not counts[:, ::4].any()
    drawn = np.delete(counts, np.s_[::4], axis=1)
    np.testing.assert_array_equal(drawn, drawn.round())
    # A Poisson number of mean 1: so are its variance and, to the power -1, the share of 0s.
    assert abs(drawn.mean() - 1) < 0.1 and abs(drawn.var() - 1) < 0.15
    assert abs((drawn == 0).mean() - np.exp(-1)) < 0.05
    assert len({row.tobytes() for row in drawn}) == size


def test_the_fit_names_its_settings():
    assert fit_ensemble(TABLE, CONFIG).settings == ("fit_ensemble", CONFIG)
    assert ensemble(TABLE, 2).settings != ensemble(TABLE, 3).settings
