"""The sampler: exact frequencies, its own likelihoods, randomness tied to the index."""

import itertools

import another_process
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from banel_jax import sampling, scoring
from banel_jax.models import autoregressive, tempering
from banel_jax.models.transformer import TransformerConfig, transformer
from banel_jax.types import Sequences

DRAWS = 20000
END = 2


def tiny(eos_token=None):
    """Vocabulary 3, length 4, far from uniform: (model, params)."""
    model = transformer(TransformerConfig(3, 4, 1, 2, 8, eos_token=eos_token))
    return model, jax.tree.map(lambda x: 6 * x, model.init(jax.random.key(4)))


def outcomes(eos_token):
    """Every outcome once, in the sampler's own form: padding is token 0, masked out."""
    found = set()
    for tokens in itertools.product(range(3), repeat=4):
        length = tokens.index(eos_token) + 1 if eos_token in tokens else 4
        found.add(
            (tokens[:length] + (0,) * (4 - length), (True,) * length + (False,) * (4 - length))
        )
    tokens, mask = zip(*sorted(found), strict=True)
    return Sequences(jnp.asarray(tokens, jnp.int32), jnp.asarray(mask))


def identify(sequences):
    """A number for each outcome: tokens and length as digits."""
    tokens, mask = np.asarray(sequences.tokens), np.asarray(sequences.mask)
    return tokens @ 3 ** np.arange(4) * 5 + mask.sum(-1)


@pytest.mark.parametrize("eos_token,count", [(None, 81), (END, 31)])
def test_probabilities_of_all_outcomes_sum_to_one(eos_token, count):
    model, params = tiny(eos_token)
    every = outcomes(eos_token)
    assert len(every.tokens) == count
    scores = np.asarray(scoring.log_likelihood(model, params, every), np.float64)
    assert np.exp(scores).sum() == pytest.approx(1, abs=1e-5)


def test_every_segment_of_the_cache_has_noise_of_its_own():
    """Tokens of a network that knows nothing agree with those a segment later as by chance."""
    vocab_size, segment = 64, autoregressive.segment_size(16)
    network = autoregressive.Network(
        init=lambda key: (),
        logits=lambda params, tokens, key: jnp.zeros((16, vocab_size)),
        init_cache=lambda size: jnp.zeros((size, 1)),
        step=lambda params, previous, position, cache: (jnp.zeros(vocab_size), cache),
    )
    model = autoregressive.sequence_model(network, vocab_size, 16)
    tokens = np.asarray(sampling.sample(model, jax.random.key(0), (), 50)[0].tokens)
    assert segment == 8 and np.mean(tokens[:, :8] == tokens[:, 8:]) < 4 / vocab_size


@pytest.mark.parametrize("eos_token", [None, END])
@pytest.mark.parametrize("temperature", [1.0, 1.7])
def test_frequencies_match_the_likelihood(eos_token, temperature):
    base, params = tiny(eos_token)
    model = tempering.tempered(base, temperature)
    every = outcomes(eos_token)
    drawn, _ = sampling.sample(model, jax.random.key(0), params, DRAWS, 4096)
    ids = identify(every)
    observed = np.array([(identify(drawn) == i).sum() for i in ids])
    assert observed.sum() == DRAWS, "an outcome that is not in the list"
    p = np.exp(np.asarray(scoring.log_likelihood(model, params, every), np.float64))
    # Outcomes expected fewer than 5 times share one cell. The bound errs once in 10,000 seeds.
    rare = p * DRAWS < 5
    cells = lambda x: np.append(x[~rare], x[rare].sum())[: None if rare.any() else -1]
    found = stats.chisquare(cells(observed), cells(p / p.sum() * DRAWS))
    assert found.pvalue > 1e-4


@pytest.mark.parametrize("eos_token,temperature", [(None, 1.0), (3, 0.6)])
def test_likelihoods_equal_the_scorers(eos_token, temperature):
    length = 37
    assert length % autoregressive.segment_size(length)
    base = transformer(TransformerConfig(9, length, 1, 2, 16, eos_token=eos_token))
    params = jax.tree.map(lambda x: 4 * x, base.init(jax.random.key(1)))
    model = tempering.tempered(base, temperature)
    drawn, log_probs = sampling.sample(model, jax.random.key(2), params, 12, 5)
    scores = scoring.log_likelihood(model, params, drawn)
    np.testing.assert_allclose(log_probs, scores, rtol=1e-5, atol=1e-4)


def test_neither_n_nor_the_chunk_changes_a_sample():
    model, params = tiny()
    key = jax.random.key(5)
    whole, _ = sampling.sample(model, key, params, 40, 40)
    for n, chunk in ((40, 7), (13, 256)):
        part, log_probs = sampling.sample(model, key, params, n, chunk)
        np.testing.assert_array_equal(part.tokens, whole.tokens[:n])
        assert log_probs.shape == (n,)
    some = jnp.asarray([31, 4, 4, 0])
    picked, _ = sampling.sample_indices(model, key, params, some)
    np.testing.assert_array_equal(picked.tokens, whole.tokens[some])
    alone, _ = model.sample(jax.random.fold_in(key, 17), params)
    np.testing.assert_array_equal(alone.tokens, whole.tokens[17])


def test_keys_differ_and_repeat():
    model, params = tiny()
    draw = lambda seed: np.asarray(
        sampling.sample(model, jax.random.key(seed), params, 64)[0].tokens
    )
    np.testing.assert_array_equal(draw(0), draw(0))
    assert (draw(0) != draw(1)).any()
    assert len(np.unique(draw(0), axis=0)) > 1


def test_samples_inside_other_jax_code():
    model, params = tiny()
    keys = jax.random.split(jax.random.key(7), 3)
    many = jax.jit(jax.vmap(lambda key: sampling.sample(model, key, params, 6, 4)[0].tokens))(keys)
    for key, tokens in zip(keys, many, strict=True):
        np.testing.assert_array_equal(tokens, sampling.sample(model, key, params, 6, 4)[0].tokens)


PROGRAM = """
import contextlib, jax, numpy as np
from banel_jax import parallel, sampling, scoring
from banel_jax.models.transformer import TransformerConfig, transformer
model = transformer(TransformerConfig(5, 6, 1, 2, 8))
params = jax.tree.map(lambda x: 4 * x, model.init(jax.random.key(0)))

def work(mesh):
    with jax.set_mesh(mesh) if mesh else contextlib.nullcontext():
        drawn, log_probs = sampling.sample(model, jax.random.key(1), params, 19, 4)
        return drawn.tokens, log_probs, scoring.log_likelihood(model, params, drawn, 4)

assert jax.device_count() == 8
tokens, *scores = work(None)
for devices in (3, 8):
    others, *found = work(parallel.data_mesh(jax.devices()[:devices]))
    np.testing.assert_array_equal(others, tokens)
    np.testing.assert_allclose(found, scores, rtol=1e-5, atol=1e-5)
"""


@pytest.mark.slow
def test_the_number_of_devices_changes_no_sample():
    another_process.printed(PROGRAM, devices=8)


def test_a_temperature_is_that_of_the_tempered_model_and_compiles_nothing_anew():
    model, params = tiny()
    key = jax.random.key(8)
    for temperature in (0.6, 1.0, 2.5):
        same = tempering.tempered(model, temperature)
        drawn, log_probs = sampling.sample(model, key, params, 30, None, temperature)
        expected, expected_log_probs = sampling.sample(same, key, params, 30)
        np.testing.assert_array_equal(drawn.tokens, expected.tokens)
        np.testing.assert_allclose(log_probs, expected_log_probs, rtol=1e-5)
        scores = scoring.log_likelihood(model, params, drawn, temperature=temperature)
        np.testing.assert_allclose(scores, expected_log_probs, rtol=1e-5, atol=1e-5)
    before = sampling.sample._cache_size(), scoring.log_likelihood._cache_size()
    sampling.sample(model, key, params, 30, None, 1.3)
    scoring.log_likelihood(model, params, drawn, temperature=1.3)
    assert (sampling.sample._cache_size(), scoring.log_likelihood._cache_size()) == before
    # The same wrapper twice is one object, so it is compiled once as well.
    assert tempering.tempered(model, 1.3) is tempering.tempered(model, 1.3)
    assert tempering.ladder(model, [1, 2]) is tempering.ladder(model, (1.0, 2.0))


@pytest.mark.parametrize(
    "weights",
    [[1], [1, 3], [0, 2, 0, 1, 0], [1, 0, 0, 4, 1, 0, 2], [0] * 9 + [1], [5] * 16, [1] * 17],
)
def test_a_token_is_drawn_as_often_as_the_distribution_says(weights):
    """On a fine grid of uniforms, against exact shares; at its ends too, no token of weight 0."""
    grid = (np.arange(1000) + 0.5) / 1000
    uniforms = np.stack(np.meshgrid(grid, grid), -1).reshape(-1, 2).astype(np.float32)
    draw = jax.vmap(autoregressive.draw, (0, None))
    probabilities = np.array(weights, np.float32) / sum(weights)
    tokens = np.asarray(draw(uniforms, probabilities))
    counts = np.bincount(tokens, minlength=len(weights))
    assert len(counts) == len(weights)
    np.testing.assert_allclose(counts / len(uniforms), probabilities, atol=0.002)
    ends = np.array(list(itertools.product((0, np.nextafter(np.float32(1), 0)), repeat=2)))
    assert np.all(probabilities[np.asarray(draw(ends, probabilities))] > 0)


@pytest.mark.parametrize("weights", [[0, 3, 5, 0], [1, 0, 0, 4, 1, 0, 2]])
def test_where_no_cumulative_weight_is_beyond_the_share_the_last_positive_token_is_drawn(weights):
    """A share of exactly the whole stands for one that rounding lifts there."""
    drawn = autoregressive._invert(jnp.float32(1.0), jnp.asarray(weights, jnp.float32))
    assert drawn == np.flatnonzero(weights)[-1]


def test_a_share_next_to_1_of_weights_whose_rounded_sums_rise_at_zeros():
    """float32 cumulative sums of these need not be monotone, nor flat where a weight is 0."""
    rng = np.random.default_rng(0)
    weights = rng.dirichlet(np.full(700, 0.05), 64).astype(np.float32)
    weights[:, -rng.integers(1, 300) :] = 0
    last = [np.flatnonzero(row)[-1] for row in weights]
    share = np.nextafter(np.float32(1), np.float32(0))
    drawn = np.asarray(jax.vmap(autoregressive._invert, (None, 0))(share, weights))
    # All between them and the end weigh less than what float32 resolves.
    left = [row[i + 1 :].sum(dtype=np.float64) for row, i in zip(weights, drawn, strict=True)]
    assert np.all(weights[np.arange(64), drawn] > 0) and np.max(left) < 1e-6, (drawn, last)


def test_a_token_far_below_the_resolution_of_one_uniform_is_drawn_in_proportion():
    """1e-9 in a block of 1e-4: where the block is drawn, one uniform in 1e5 falls on it."""
    probabilities = np.zeros(16, np.float32)
    probabilities[:3] = 0.9999, 1e-4 - 1e-9, 1e-9
    probabilities = probabilities[[0, 3, 4, 5, 1, 2, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]]
    second = (np.arange(1_000_000) + 0.5).astype(np.float32) / 1_000_000
    uniforms = np.stack([np.full_like(second, 0.99995), second], -1)
    tokens = np.asarray(jax.vmap(autoregressive.draw, (0, None))(uniforms, probabilities))
    assert set(tokens) == {4, 5}
    assert 8 <= np.sum(tokens == 5) <= 12
