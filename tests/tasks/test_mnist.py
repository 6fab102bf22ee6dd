"""The MNIST task on a few synthetic images, and on the data itself where it is at hand."""

import dataclasses
import os
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from banel_jax import prior_cache, scoring
from banel_jax.tasks.affine import AffineRanges
from banel_jax.tasks.mnist import task as mnist
from banel_jax.tasks.mnist.data import IDX_FILES, Mnist, load_mnist
from banel_jax.training import TrainingConfig
from banel_jax.types import Sequences

DATA = Path(
    os.environ.get("BANEL_DATA_DIR") or Path(__file__).parents[3].joinpath("shared", "data")
)
NARROW = AffineRanges(0.0, 0.0, 1.0, 1.0)
TINY = mnist.MnistConfig(
    resolution=14,
    patch_height=1,
    patch_width=7,
    num_targets=300,
    num_layers=1,
    num_heads=1,
    width=8,
    pretraining=TrainingConfig(epochs=2, batch_size=10, patience=1),
)
# By (resolution, tokenisation, patch height, patch width).
FORMS = [
    (28, "pixels", 2, 4), (28, "patches", 2, 4), (28, "patches", 4, 1), (28, "patches", 1, 7),
    (14, "pixels", 2, 2), (14, "patches", 2, 2), (14, "patches", 1, 7), (14, "patches", 2, 1),
]  # fmt: skip


def blobs(rng, n):
    """uint8 [n, 28, 28] of random grey squares, darker towards the border."""
    squares = rng.random((n, 7, 7)) * np.pad(np.ones((5, 5)), 1, constant_values=0.6)
    return (255 * squares.repeat(4, 1).repeat(4, 2)).astype(np.uint8)


def synthetic() -> Mnist:
    """Thirty images of each of the digits 0, 3 and 6 in both splits, the digits mixed."""
    rng = np.random.default_rng(0)
    labels = [rng.permutation(np.repeat([0, 3, 6], 30)).astype(np.uint8) for _ in range(2)]
    images = [blobs(rng, 90) for _ in range(2)]
    return Mnist(images[0], labels[0], images[1], labels[1])


SMALL = synthetic()


def form(resolution, tokenisation, height, width):
    return dataclasses.replace(
        TINY,
        resolution=resolution,
        tokenisation=tokenisation,
        patch_height=height,
        patch_width=width,
    )


def rows(sequences):
    return [tuple(row) for row in np.asarray(sequences.tokens).tolist()]


def binary(images, side=14):
    """uint8 images as bool [n, side, side], without the package."""
    block = 28 // side
    sums = sum(
        images[:, i::block, j::block].astype(int) for i in range(block) for j in range(block)
    )
    return sums >= 127.5 * block**2


def rows_of_bits(bits):
    """The tokens of TINY: seven pixels side by side, the first the highest bit."""
    strings = ["".join("01"[int(pixel)] for pixel in image.ravel()) for image in bits]
    return [tuple(int(s[i : i + 7], 2) for i in range(0, len(s), 7)) for s in strings]


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def task(cache_dir):
    return mnist.mnist(TINY, SMALL, mnist.pretrained_prior(TINY, SMALL, cache_dir))


@pytest.mark.parametrize("settings", FORMS)
def test_tokenise_and_pixels_are_inverses(settings):
    config, rng = form(*settings), np.random.default_rng(1)
    images = rng.integers(2, size=(20, config.resolution, config.resolution)).astype(np.float32)
    block = 28 // config.resolution
    sequences = mnist.tokenise(config, images.repeat(block, 1).repeat(block, 2))
    assert sequences.tokens.shape == (20, config.length) and bool(sequences.mask.all())
    assert sequences.tokens.dtype == jnp.int32
    drawn = mnist.pixels(config, sequences)
    assert drawn.dtype == jnp.float32
    np.testing.assert_array_equal(drawn, images)
    tokens = rng.integers(config.vocab_size, size=(20, config.length))
    drawn = np.asarray(mnist.pixels(config, Sequences(jnp.asarray(tokens), tokens >= 0)))
    np.testing.assert_array_equal(
        mnist.tokenise(config, drawn.repeat(block, 1).repeat(block, 2)).tokens, tokens
    )


@pytest.mark.parametrize("settings", FORMS)
def test_every_pixel_has_its_place_and_its_bit(settings):
    """One pixel alone: its patch in reading order, and in the patch the first is the highest."""
    config = form(*settings)
    resolution, tokenisation, height, width = settings
    if tokenisation == "pixels":
        height = width = 1
    assert config.vocab_size == 2 ** (height * width)
    assert config.length == resolution**2 // (height * width)
    block = 28 // resolution
    for row, column in [(0, 0), (0, width), (1, 0), (5, 9), (resolution - 1, resolution - 1)]:
        image = np.zeros((1, resolution, resolution))
        image[0, row, column] = 1
        expected = np.zeros(config.length, int)
        place = (row // height) * (resolution // width) + column // width
        expected[place] = 2 ** (height * width - 1 - (row % height * width + column % width))
        found = mnist.tokenise(config, image.repeat(block, 1).repeat(block, 2)).tokens[0]
        np.testing.assert_array_equal(found, expected)


def test_tokens_by_hand():
    image = np.zeros((1, 28, 28))
    image[0, 0, 0] = image[0, 0, 3] = image[0, 1, 3] = 1  # 1001 over 0001
    image[0, 2, 4] = 1  # the first pixel of the second patch in the second row of seven
    tokens = np.asarray(mnist.tokenise(mnist.MnistConfig(), image).tokens[0])
    assert len(tokens) == 98 and tokens[0] == 0b10010001 and tokens[8] == 128
    assert tokens.sum() == 0b10010001 + 128


def test_grey_becomes_black_or_white_at_one_half_and_at_14_after_averaging():
    image = np.zeros((1, 28, 28))
    image[0, 0, :4] = [0.0, 127 / 255, 0.5, 128 / 255]
    pixels = rows(mnist.tokenise(form(28, "pixels", 1, 1), image))[0]
    assert pixels[:4] == (0, 0, 1, 1) and sum(pixels) == 2
    image[0, :2, :8] = [[1, 1, 0.9, 0.9, 0.25, 0.5, 1, 0], [0, 0, 0.1, 0, 0.75, 0.5, 0, 0.75]]
    # The means of the blocks are 0.5, 0.475, 0.5 and 0.4375.
    assert rows(mnist.tokenise(form(14, "pixels", 1, 1), image))[0] == (1, 0, 1) + (0,) * 193


def test_the_pretraining_data_are_the_training_zeros_with_some_held_out():
    sequences, held_out = mnist.pretraining_sequences(TINY, SMALL)
    zeros = SMALL.train_images[SMALL.train_labels == 0]
    assert rows(sequences) == rows_of_bits(binary(zeros))
    assert held_out.dtype == jnp.float32 and sorted(set(held_out.tolist())) == [0, 1]
    assert held_out.sum() == 3  # a tenth
    again = mnist.pretraining_sequences(TINY, SMALL)[1]
    np.testing.assert_array_equal(again, held_out)
    split = lambda **changes: mnist.pretraining_sequences(
        dataclasses.replace(TINY, **changes), SMALL
    )[1]
    assert split(seed=1).tolist() != held_out.tolist()
    assert split(held_out_fraction=0.3).sum() == 9
    assert split(held_out_fraction=0.001).sum() == 1


def test_targets_are_distinct_and_come_from_the_seed():
    targets = rows(mnist.target_sequences(TINY, SMALL))
    assert 100 < len(targets) == len(set(targets)) <= 300
    assert rows(mnist.target_sequences(TINY, SMALL)) == targets
    other = rows(mnist.target_sequences(dataclasses.replace(TINY, seed=1), SMALL))
    assert not set(other) <= set(targets) and set(other) != set(targets)
    wide = dataclasses.replace(TINY, targets=AffineRanges(0.0, 9.0, 1.0, 1.0))
    assert set(rows(mnist.target_sequences(wide, SMALL))) != set(targets)


def test_targets_without_affine_ranges_are_the_test_sixes():
    config = dataclasses.replace(TINY, targets=NARROW, num_targets=1000)
    sixes = rows_of_bits(binary(SMALL.test_images[SMALL.test_labels == 6]))
    assert set(rows(mnist.target_sequences(config, SMALL))) == set(sixes)


def test_no_target_is_a_training_zero():
    config = dataclasses.replace(TINY, targets=NARROW, num_targets=1000)
    images = SMALL.test_images.copy()
    places = np.flatnonzero(SMALL.test_labels == 6)
    zeros = SMALL.train_images[SMALL.train_labels == 0]
    images[places[:10]] = zeros[5:15]
    found = rows(mnist.target_sequences(config, SMALL._replace(test_images=images)))
    assert set(found) == set(rows_of_bits(binary(images[places[10:]])))
    images[places] = zeros
    with pytest.raises(ValueError, match=r"all targets equal 0s .* raise the resolution"):
        mnist.target_sequences(config, SMALL._replace(test_images=images))


def test_the_reward_is_membership_among_the_targets(task):
    assert rows(task.targets) == rows(mnist.target_sequences(TINY, SMALL))
    rng = np.random.default_rng(2)
    targets = np.asarray(task.targets.tokens)
    near = targets.copy()
    near[np.arange(len(near)), rng.integers(TINY.length, size=len(near))] ^= 1  # one pixel
    queries = np.concatenate([targets, near, rng.integers(128, size=(50, TINY.length))])
    members = set(map(tuple, targets.tolist()))
    expected = [float(tuple(row) in members) for row in queries.tolist()]
    assert sum(expected) >= len(targets)
    found = task.reward_fn(Sequences(jnp.asarray(queries), queries >= 0))
    assert found.dtype == jnp.float32
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(task.reward_fn(mnist.pretraining_sequences(TINY, SMALL)[0]), 0.0)
    bits = binary(SMALL.test_images)[:4]
    drawn = task.render(mnist.tokenise(TINY, bits.repeat(2, 1).repeat(2, 2)))
    np.testing.assert_array_equal(drawn, bits)
    assert isinstance(drawn, np.ndarray)


def test_the_prior_is_pretrained_once_whatever_the_targets(task, cache_dir, monkeypatch):
    assert len(list(cache_dir.iterdir())) == 1
    monkeypatch.setattr(prior_cache, "fit_by_epochs", lambda *_: pytest.fail("trained again"))
    other_targets = dataclasses.replace(TINY, targets=NARROW, num_targets=9)
    prior = mnist.pretrained_prior(other_targets, SMALL, cache_dir)
    jax.tree.map(np.testing.assert_array_equal, prior.params, task.prior_params)
    sequences, held_out = mnist.pretraining_sequences(TINY, SMALL)
    scores = np.asarray(scoring.log_likelihood(prior.model, prior.params, sequences))
    nats = -scores[np.asarray(held_out) == 1].mean()  # of the parameters that were kept
    np.testing.assert_allclose(prior.metrics["held_out_nats"], nats, rtol=1e-5)
    assert nats < 196 * np.log(2) and 1 <= prior.metrics["epochs"] <= 2
    for changes in ({"seed": 1}, {"held_out_fraction": 0.2}, {"dropout": 0.0}):
        with pytest.raises(pytest.fail.Exception, match="trained again"):
            mnist.pretrained_prior(dataclasses.replace(TINY, **changes), SMALL, cache_dir)


def test_a_prior_file_is_taken_or_refused_with_what_differs(task, cache_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(prior_cache, "fit_by_epochs", lambda *_: pytest.fail("trained again"))
    file = tmp_path / "another name.npz"
    file.write_bytes(next(cache_dir.glob("*.npz")).read_bytes())
    take = partial(mnist.pretrained_prior, data=SMALL, cache_dir=tmp_path / "empty", file=file)
    jax.tree.map(np.testing.assert_array_equal, take(TINY).params, task.prior_params)
    assert not (tmp_path / "empty").exists()

    def refused(config, **more):
        with pytest.raises(ValueError) as caught:
            take(config, **more)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    message = refused(dataclasses.replace(TINY, tokenisation="pixels"))
    assert f"{file} is of another configuration" in message
    assert ": tokenisation is patches there and pixels here; name another file" in message
    message = refused(
        dataclasses.replace(
            TINY, patch_width=2, patch_height=2, pretraining=TrainingConfig(epochs=3)
        )
    )
    for part in (
        "patch_height is 1 there and 2 here", "patch_width is 7 there and 2 here",
        "pretraining.epochs is 2 there and 3 here",
    ):  # fmt: skip
        assert part in message
    assert "width is 8" not in message.replace("patch_width", "") and "seed" not in message
    missing = tmp_path / "none.npz"
    assert refused(TINY, file=missing).startswith(f"there is no prior {missing}; ")
    file.write_bytes(file.read_bytes()[:-200])
    assert "cannot be read" in refused(TINY)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"resolution": 7}, "resolution=7 is not one of 28, 14"),
        ({"tokenisation": "rows"}, "tokenisation='rows' is not one of pixels, patches"),
        ({"patch_width": 3}, "patch_width=3 must divide the image's side of 28"),
        ({"resolution": 14, "patch_width": 4}, "patch_width=4 must divide the image's side of 14"),
        ({"patch_height": 0}, "patch_height=0"),
        ({"patch_height": 4, "patch_width": 4}, "patch_height=4 times patch_width=4 is above 12"),
        ({"num_targets": 0}, "num_targets=0"),
        ({"held_out_fraction": 0.0}, "held_out_fraction=0.0"),
        ({"held_out_fraction": 1.0}, "held_out_fraction=1.0"),
        ({"width": 30}, "width=30 is not divisible"),
        ({"num_layers": 0}, "num_layers=0"),
        ({"dropout": 1.0}, "dropout=1.0"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        mnist.MnistConfig(**settings)


def test_the_data_itself():
    names = [name for name, *_ in IDX_FILES.values()]
    there = lambda n: any([*DATA.glob(f"{n}*"), *DATA.glob(f"mnist/{n}*")])
    if not all(map(there, names)):
        pytest.skip(f"MNIST's IDX files are not in {DATA}; BANEL_DATA_DIR may name another folder")
    data = load_mnist(DATA, "idx")
    sequences, held_out = mnist.pretraining_sequences(mnist.MnistConfig(), data)
    assert sequences.tokens.shape == (5923, 98) and int(held_out.sum()) == 592
    config = dataclasses.replace(TINY, targets=NARROW, num_targets=12_000)
    sixes = rows_of_bits(binary(data.test_images[data.test_labels == 6]))
    assert len(sixes) == 958
    assert set(rows(mnist.target_sequences(config, data))) == set(sixes)
