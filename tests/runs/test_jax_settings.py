"""Settings of JAX that change what a number is: they are worked with, and change no sample."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import nightly
import numpy as np
import pytest

from banel_jax import keys, sampling, training
from banel_jax.models.ensemble import ensemble, fit_ensemble
from banel_jax.models.table import table
from banel_jax.models.transformer import TransformerConfig, transformer

ALLOWED = {"bool", "float32", "int32"}


def under(setting, *names):
    environment = os.environ | {setting: "1", "JAX_PLATFORMS": "cpu"}
    script = Path(__file__).parents[1] / "helpers" / "under_settings.py"
    run = subprocess.run(
        [sys.executable, script, *names], env=environment, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr[-2000:]
    return json.loads(run.stdout)


@pytest.fixture(scope="module")
def debug_nans():
    return under("JAX_DEBUG_NANS", "banel", "filtering", "pseudo-count")


@pytest.fixture(scope="module")
def enable_x64():
    return under("JAX_ENABLE_X64", "banel", "filtering")


@pytest.mark.slow
def test_a_healthy_run_has_no_nan_that_a_search_for_nans_would_stop_at(debug_nans):
    assert len(debug_nans["paid"]) == 3


@pytest.mark.slow
def test_everything_is_of_the_same_types_where_numbers_of_64_bits_are_allowed(enable_x64):
    assert len(enable_x64["types"]) == 11
    for name, types in enable_x64["types"].items():
        assert set(types) <= ALLOWED, name
    assert set(enable_x64["functions"]["types"]) <= ALLOWED


@pytest.mark.slow
def test_the_samples_are_the_same(debug_nans, enable_x64):
    assert debug_nans["functions"]["tokens"] == enable_x64["functions"]["tokens"]
    for name, paid in enable_x64["paid"].items():
        assert paid == debug_nans["paid"][name]


MODEL = transformer(TransformerConfig(4, 3, 1, 2, 8, dropout=0.5))
PARAMS = MODEL.init(jax.random.key(0))
OTHERS = ("rbg", "unsafe_rbg")


@pytest.mark.parametrize("impl", nightly.params(OTHERS, OTHERS[1:]))
def test_neither_the_chunk_nor_n_changes_a_sample_of_any_kind_of_key(impl):
    draw = lambda seed, n, chunk: np.asarray(
        sampling.sample(MODEL, jax.random.key(seed, impl=impl), PARAMS, n, chunk)[0].tokens
    )
    first = draw(1, 16, 16)
    np.testing.assert_array_equal(draw(1, 16, 3), first)
    np.testing.assert_array_equal(draw(1, 7, 7), first[:7])
    assert len(np.unique(first, axis=0)) > 8
    assert (draw(2, 16, 16) != first).any()


def test_every_word_of_a_key_counts_and_threefry_stays_what_it_is():
    words = np.array([5, 6, 7, 8], np.uint32)
    changed = [words + np.eye(4, dtype=np.uint32)[i] for i in range(4)]
    wrap = lambda data: keys.portable(jax.random.wrap_key_data(data, impl="rbg"))
    found = [tuple(jax.random.key_data(wrap(data)).tolist()) for data in [words, *changed]]
    assert len(set(found)) == 5
    key = jax.random.key(3)
    assert keys.portable(key) is key
    assert jax.random.key_data(keys.portable(jax.random.PRNGKey(3))).tolist() == [0, 3]


@pytest.mark.parametrize("impl", nightly.params(OTHERS, OTHERS[1:]))
def test_what_is_dropped_out_does_not_hang_on_the_size_of_a_piece(impl):
    rows = sampling.sample(MODEL, jax.random.key(1), PARAMS, 8)[0]
    fit = lambda piece: training.fit(
        MODEL, training.TrainingConfig(1, 4, micro_batch_size=piece),
        jax.random.key(2, impl=impl), PARAMS, rows, jnp.ones(8),
    )[1].train_loss  # fmt: skip
    np.testing.assert_allclose(fit(4), fit(1), rtol=1e-6)


def test_a_bootstrap_is_drawn_with_any_kind_of_key():
    model, config = table(2, 1), training.TrainingConfig(1, 2, 0.1)
    params = ensemble(model, 2).init(jax.random.key(0))
    rows = sampling.sample(model, jax.random.key(1), model.init(None), 4)[0]
    key = jax.random.key(2, impl="rbg")
    fitted, _ = fit_ensemble(model, config)(key, params, rows, jnp.ones(4))
    assert np.isfinite(fitted).all()
