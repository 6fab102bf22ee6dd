import dataclasses
import itertools
from functools import partial

import jax
import jax.numpy as jnp
import nightly
import numpy as np
import pytest
from sklearn.datasets import load_digits

from banel_jax import prior_cache, sampling
from banel_jax.tasks import digits
from banel_jax.tasks.affine import AffineRanges, affine_variants
from banel_jax.tasks.targets import target_set
from banel_jax.training import TrainingConfig
from banel_jax.types import Sequences

TINY = digits.DigitsConfig(
    side=8,
    grey_levels=2,
    num_target_variants=300,
    augmented_copies=2,
    num_layers=1,
    num_heads=1,
    width=8,
    pretraining=TrainingConfig(epochs=2, batch_size=50, patience=1),
)
NARROW = AffineRanges(0.0, 0.0, 1.0, 1.0)


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def task(cache_dir):
    return digits.digits(TINY, cache_dir)


def rows(sequences):
    return [tuple(row) for row in np.asarray(sequences.tokens).tolist()]


@pytest.mark.parametrize(("grey_levels", "patch"), [(2, 1), (2, 2), (4, 1), (4, 2), (3, 2)])
def test_tokenise_and_render_are_inverses(grey_levels, patch):
    config = dataclasses.replace(TINY, grey_levels=grey_levels, patch=patch)
    rng = np.random.default_rng(0)
    images = (rng.integers(grey_levels, size=(50, 8, 8)) / (grey_levels - 1)).astype(np.float32)
    sequences = digits.tokenise(config, images)
    assert sequences.tokens.shape == (50, config.length) and bool(sequences.mask.all())
    np.testing.assert_array_equal(digits.render(config, sequences), images)
    tokens = rng.integers(config.vocab_size, size=(50, config.length))
    back = digits.tokenise(config, digits.render(config, Sequences(tokens, tokens >= 0)))
    np.testing.assert_array_equal(back.tokens, tokens)


def test_tokens_are_patches_in_reading_order():
    image = np.zeros((1, 8, 8))
    image[0, 0, 0] = image[0, 1, 1] = 1  # in the first patch
    image[0, 2, 7] = 1  # top right of the last patch of the second row
    expected = np.zeros((1, 16), int)
    expected[0, 0], expected[0, 7] = 0b1001, 0b0100
    np.testing.assert_array_equal(digits.tokenise(TINY, image).tokens, expected)


def test_rounding_to_grey_levels():
    image = np.zeros((1, 8, 8))
    image[0, 0] = [0.0, 0.49, 0.5, 1.0, 0.16, 0.17, 0.83, 0.84]
    pixels = dataclasses.replace(TINY, patch=1)
    assert rows(digits.tokenise(pixels, image))[0][:8] == (0, 0, 1, 1, 0, 0, 1, 1)
    grey = dataclasses.replace(pixels, grey_levels=4)
    assert rows(digits.tokenise(grey, image))[0][:8] == (0, 1, 2, 3, 0, 1, 2, 3)


def test_blocks_of_pixels_are_averaged_before_rounding():
    image = np.zeros((1, 8, 8))
    image[0, :2, :2] = [[1, 1], [1, 0]]  # a block of mean 3/4
    image[0, 0, 2] = 0.7  # one of mean 0.175, just above half a level
    config = dataclasses.replace(TINY, side=4, grey_levels=4, patch=1)
    sequence = digits.tokenise(config, image)
    assert rows(sequence)[0] == (2, 1) + (0,) * 14
    drawn = digits.render(config, sequence)
    assert drawn.shape == (1, 4, 4)
    np.testing.assert_allclose(drawn[0, 0], [2 / 3, 1 / 3, 0, 0], rtol=1e-6)


def test_affine_variants_are_what_they_say():
    image = np.zeros((1, 8, 8))
    image[0, 1:7, 3:5] = 1.0  # a vertical bar, symmetric about the centre
    rng = np.random.default_rng(0)
    np.testing.assert_allclose(affine_variants(rng, image, NARROW), image, atol=1e-12)

    class Fixed:
        """Draws an end of each range instead of a random number."""

        def uniform(self, low, high, size):
            return np.full(size, high)

    turned = affine_variants(Fixed(), image, AffineRanges(90.0, 0.0, 1.0, 1.0))
    np.testing.assert_allclose(turned[0], image[0].T, atol=1e-9)
    any_image = rng.random((1, 8, 8))
    turned = affine_variants(Fixed(), any_image, AffineRanges(90.0, 0.0, 1.0, 1.0))
    np.testing.assert_allclose(turned[0], np.rot90(any_image[0]), atol=1e-9)
    moved = affine_variants(Fixed(), image, AffineRanges(0.0, 1.0, 1.0, 1.0))
    np.testing.assert_allclose(moved[0, 1:, 1:], image[0, :-1, :-1], atol=1e-9)
    large = affine_variants(Fixed(), image, AffineRanges(0.0, 0.0, 2.0, 2.0))
    assert 1.7 * image.sum() < large.sum()  # twice as wide, cut off above and below


def test_targets_are_deduplicated_and_reproducible():
    targets = digits.target_sequences(TINY)
    assert len(set(rows(targets))) == len(rows(targets)) > 100
    assert rows(digits.target_sequences(TINY)) == rows(targets)
    other = digits.target_sequences(dataclasses.replace(TINY, seed=1))
    assert set(rows(other)) != set(rows(targets))


def test_targets_without_affine_ranges_are_the_sixes():
    data = load_digits()
    sixes = (data.images[data.target == 6] >= 8).reshape(-1, 4, 2, 4, 2).swapaxes(2, 3)
    sixes = {tuple(row) for row in (sixes.reshape(-1, 16, 4) @ [8, 4, 2, 1]).tolist()}
    config = dataclasses.replace(TINY, targets=NARROW, num_target_variants=4000)
    assert set(rows(digits.target_sequences(config))) == sixes


def test_no_target_is_a_zero_of_the_pretraining_data(monkeypatch):
    zeros = digits.pretraining_sequences(TINY)[0]
    sixes = digits._images(6)
    mixed = np.concatenate([sixes[:5], digits._images(0)[:5]])
    monkeypatch.setattr(digits, "_images", lambda digit: mixed)
    config = dataclasses.replace(TINY, targets=NARROW)
    monkeypatch.setattr(digits, "pretraining_sequences", lambda config: (zeros, None))
    assert set(rows(digits.target_sequences(config))) == set(rows(digits.tokenise(TINY, sixes[:5])))
    mixed = mixed[5:]
    with pytest.raises(ValueError, match="equal 0s of the pretraining data"):
        digits.target_sequences(config)


def test_an_image_and_its_variants_are_held_out_together():
    config = dataclasses.replace(TINY, augmentation=NARROW, augmented_copies=3)
    sequences, held_out = digits.pretraining_sequences(config)
    copies = np.asarray(sequences.tokens).reshape(3, 178, -1)
    held_out = np.asarray(held_out).reshape(3, 178)
    for i in (1, 2):
        np.testing.assert_array_equal(copies[i], copies[0])
        np.testing.assert_array_equal(held_out[i], held_out[0])
    assert held_out[0].sum() == 36


SIZES = list(itertools.product([2, 3, 16, 256], [1, 2, 7, 500]))  # of a vocabulary and a set
BY_DAY = [(2, 1), (3, 7), (16, 500), (256, 2)]


@pytest.mark.parametrize("sizes", nightly.params(SIZES, set(SIZES) - set(BY_DAY)), ids=str)
def test_reward_equals_a_python_set(sizes):
    vocab_size, count = sizes
    rng = np.random.default_rng(count)
    length = 9

    def draw(n):
        tokens = rng.integers(vocab_size, size=(n, length)).astype(np.int32)
        tokens[::2, :6] = 1  # many agree in their first packed words
        return tokens

    full = lambda tokens: Sequences(jnp.asarray(tokens), jnp.ones(tokens.shape, bool))
    targets = draw(count)
    near = targets.copy()  # one token changed: wrong in one packed word only
    near[:, rng.integers(length)] = (near[:, 0] + 1) % vocab_size
    queries = np.concatenate([targets, near, draw(300), 0 * targets, 0 * targets + vocab_size - 1])
    members = set(rows(full(targets)))
    expected = [float(tuple(row) in members) for row in queries.tolist()]
    reward = target_set(full(np.concatenate([targets, targets])), vocab_size).reward
    np.testing.assert_array_equal(reward(full(queries)), expected)
    np.testing.assert_array_equal(jax.jit(reward)(full(queries)), expected)
    one = jax.vmap(lambda s: reward(jax.tree.map(lambda x: x[None], s))[0])
    np.testing.assert_array_equal(one(full(queries)), expected)
    scanned = jax.lax.scan(lambda c, s: (c, one(s)), None, full(queries[None]))[1][0]
    np.testing.assert_array_equal(scanned, expected)


def test_reward_over_all_sequences():
    every = np.array(list(itertools.product(range(3), repeat=4)), np.int32)
    chosen = np.random.default_rng(0).random(81) < 0.3
    full = lambda tokens: Sequences(jnp.asarray(tokens), jnp.ones(tokens.shape, bool))
    reward = target_set(full(every[chosen]), 3).reward
    np.testing.assert_array_equal(reward(full(every)), chosen.astype(np.float32))


def test_reward_compares_scored_tokens_and_masks():
    mask = jnp.array([[True, True, False]])
    reward = target_set(Sequences(jnp.array([[1, 0, 0]]), mask), 2).reward
    assert reward(Sequences(jnp.array([[1, 0, 1]]), mask)) == 1  # differs where not scored
    assert reward(Sequences(jnp.array([[1, 0, 0]]), jnp.ones((1, 3), bool))) == 0
    assert reward(Sequences(jnp.array([[1, 0, 0]]), mask & False)) == 0
    assert reward(Sequences(jnp.array([[1, 2, 0]]), mask)) == 0  # outside the vocabulary
    assert reward(Sequences(jnp.array([[2, -1, 0]]), mask)) == 0
    # Codes of two bits: 6 + (1 << 2) would read as 2 + (2 << 2), the target [1, 1].
    both = target_set(Sequences(jnp.array([[1, 1, 0]]), mask), 2).reward
    assert both(Sequences(jnp.array([[1, 1, 0]]), mask)) == 1
    assert both(Sequences(jnp.array([[5, 0, 0]]), mask)) == 0


def test_bad_targets_are_named():
    none = Sequences(jnp.zeros((0, 4), jnp.int32), jnp.ones((0, 4), bool))
    with pytest.raises(ValueError, match="no target sequences"):
        target_set(none, 2)
    outside = Sequences(jnp.full((1, 4), 2), jnp.ones((1, 4), bool))
    with pytest.raises(ValueError, match=r"lie in \[0, 2\)"):
        target_set(outside, 2)
    short = Sequences(jnp.zeros((1, 40), jnp.int32), jnp.ones((1, 40), bool))
    with pytest.raises(ValueError, match="length 40"):
        target_set(outside.replace(tokens=outside.tokens - 1), 2).reward(short)


def test_task(task):
    assert rows(task.targets) == rows(digits.target_sequences(TINY))
    np.testing.assert_array_equal(task.reward_fn(task.targets), 1.0)
    zeros = digits.pretraining_sequences(TINY)[0]
    np.testing.assert_array_equal(task.reward_fn(zeros), 0.0)
    samples, _ = sampling.sample(task.prior, jax.random.key(0), task.prior_params, 20)
    images = task.render(samples)
    assert images.shape == (20, 8, 8) and set(np.unique(images)) <= {0.0, 1.0}


def test_prior_is_found_the_second_time(task, cache_dir, monkeypatch):
    first = digits.pretrained_prior(TINY, cache_dir)
    assert len(list(cache_dir.iterdir())) == 1  # and no temporary file is left
    uniform = 64 * np.log(2)
    assert 0 < first.metrics["held_out_nats"] < uniform and first.metrics["epochs"] == 2

    monkeypatch.setattr(prior_cache, "fit_by_epochs", lambda *_: pytest.fail("trained again"))
    # Other targets, the same prior.
    for config in (TINY, dataclasses.replace(TINY, targets=NARROW, num_target_variants=9)):
        again = digits.pretrained_prior(config, cache_dir)
        assert again.metrics == first.metrics
        jax.tree.map(np.testing.assert_array_equal, again.params, task.prior_params)
    other = dataclasses.replace(TINY, pretraining=TrainingConfig(epochs=1))
    with pytest.raises(pytest.fail.Exception, match="trained again"):
        digits.pretrained_prior(other, cache_dir)
    assert len(list(cache_dir.glob("*.npz"))) == 1


def test_bad_caches_are_named(task, cache_dir, tmp_path):
    good = next(cache_dir.glob("*.npz"))
    file = tmp_path / good.name
    use = partial(digits.pretrained_prior, TINY, tmp_path)
    for content in (b"", b"not a prior", good.read_bytes()[:-200], good.read_bytes()[:300]):
        file.write_bytes(content)
        with pytest.raises(ValueError, match=r"cannot be read; delete .*npz to pretrain again"):
            use()
        assert file.read_bytes() == content
    np.savez(file, something=np.zeros(3))
    with pytest.raises(ValueError, match="cannot be read"):
        use()

    with np.load(good) as archive:
        arrays = dict(archive)
    np.savez(file, **(arrays | {"config": np.array("{}")}))
    with pytest.raises(ValueError, match="another configuration"):
        use()
    del arrays["params['head']['kernel']"]
    np.savez(file, **arrays)
    with pytest.raises(ValueError, match="another model"):
        use()
    file.unlink()
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"cache folder .* cannot be written"):
        digits.pretrained_prior(TINY, tmp_path / "file")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"grey_levels": 1}, "grey_levels=1"),
        ({"patch": 3}, "patch=3 must divide"),
        ({"grey_levels": 4, "patch": 4}, "grey_levels=4 and patch=4"),
        ({"num_target_variants": 0}, "num_target_variants=0"),
        ({"augmented_copies": 0}, "augmented_copies=0"),
        ({"held_out_fraction": 1.0}, "held_out_fraction=1.0"),
        ({"width": 30}, "width=30 is not divisible"),
        ({"dropout": 1.0}, "dropout=1.0"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        digits.DigitsConfig(**settings)


def test_bad_ranges_are_named():
    with pytest.raises(ValueError, match="rotation=-1"):
        AffineRanges(rotation=-1)
    with pytest.raises(ValueError, match=r"min_scale=2.*max_scale=1.1"):
        AffineRanges(min_scale=2)
