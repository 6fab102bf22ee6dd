"""Priors on disk: found again by all that determines them, and by nothing else."""

import dataclasses
import json
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_run
from tiny_run import LENGTH, MODEL, V

from banel_jax import numerics, pretraining, prior_cache, training
from banel_jax.training import TrainingConfig
from banel_jax.types import Sequences, Task
from experiments.common import broadening

FIT = TrainingConfig(epochs=2, batch_size=4, learning_rate=0.1)
TOKENS = np.random.default_rng(0).integers(V, size=(20, LENGTH)).astype(np.int32)
HELD_OUT = jnp.asarray(np.arange(20) < 4, jnp.float32)
NAMED = MODEL._replace(settings=("independent", 1))


def sequences(tokens=TOKENS, mask=True):
    return Sequences(jnp.asarray(tokens), jnp.full(tokens.shape, mask))


def prior(folder, config=None, model=NAMED, fit=FIT, seed=0, data=None, file=None):
    data = data or (sequences(), HELD_OUT)
    config = {"side": 4} if config is None else config
    return prior_cache.pretrained(folder, "tiny", config, model, fit, seed, lambda: data, file)


@pytest.fixture(scope="module")
def cached(tmp_path_factory):
    """(folder, what was pretrained into it)."""
    folder = tmp_path_factory.mktemp("priors")
    return folder, prior(folder)


@pytest.fixture
def no_training(monkeypatch):
    monkeypatch.setattr(prior_cache, "fit_by_epochs", lambda *_: pytest.fail("trained again"))


def test_what_was_pretrained_is_found(cached, no_training):
    folder, first = cached
    assert [path.suffix for path in folder.iterdir()] == [".npz"]  # no checkpoint is left
    again = prior(folder, data=(sequences(TOKENS.copy()), HELD_OUT))
    np.testing.assert_array_equal(again.params, first.params)
    assert again.metrics == first.metrics and first.metrics["epochs"] == 2


OTHERS = {
    "tokens": dict(data=(sequences(1 - TOKENS.clip(0, 1)), HELD_OUT)),
    "mask": dict(data=(sequences(mask=False), HELD_OUT)),
    "held out": dict(data=(sequences(), 1 - HELD_OUT)),
    "fewer rows": dict(data=(sequences(TOKENS[:-1]), HELD_OUT[:-1])),
    "seed": dict(seed=1),
    "epochs": dict(fit=dataclasses.replace(FIT, epochs=3)),
    "rate": dict(fit=dataclasses.replace(FIT, learning_rate=0.2)),
    "model": dict(model=MODEL._replace(settings=("independent", 2))),
    "configuration": dict(config={"side": 5}),
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_prior_of_other_data_or_settings_is_another(cached, no_training, name):
    with pytest.raises(pytest.fail.Exception, match="trained again"):
        prior(cached[0], **OTHERS[name])


def test_a_prior_of_earlier_numerics_is_another_but_as_a_named_file(
    cached, no_training, monkeypatch, tmp_path
):
    folder, first = cached
    (file,) = folder.glob("*.npz")
    monkeypatch.setattr(numerics, "VERSION", numerics.VERSION + 1)
    with pytest.raises(pytest.fail.Exception, match="trained again"):
        prior(folder)
    np.testing.assert_array_equal(prior(tmp_path, file=file).params, first.params)
    # One from before data, model and fit were written down.
    with np.load(file) as archive:
        arrays = dict(archive)
    np.savez(tmp_path / "old.npz", **(arrays | {"config": np.array(json.dumps({"side": 4}))}))
    old = prior(tmp_path, file=tmp_path / "old.npz")
    np.testing.assert_array_equal(old.params, first.params)


@pytest.mark.parametrize(
    ("name", "difference"),
    [
        ("configuration", "side is 4 there and 5 here"),
        ("seed", "training.seed is 0 there and 1 here"),
        ("epochs", "training.fit.epochs is 2 there and 3 here"),
        ("tokens", "training.data is "),
    ],
)
def test_a_named_file_of_another_is_refused_with_what_differs(cached, tmp_path, name, difference):
    (file,) = cached[0].glob("*.npz")
    with pytest.raises(ValueError) as caught:
        prior(tmp_path, file=file, **OTHERS[name])
    message = str(caught.value)
    assert difference in message and "\n" not in message
    assert message.startswith(f"the prior {file} is of another configuration: ")
    assert message.endswith("; name another file, or none to pretrain one")


@pytest.mark.parametrize("umask", [0o002, 0o077])
def test_modes_follow_the_umask(tmp_path, umask):
    before = os.umask(umask)
    try:
        prior(tmp_path)
    finally:
        os.umask(before)
    (file,) = tmp_path.iterdir()
    assert file.stat().st_mode & 0o777 == 0o666 & ~umask


def test_a_full_disk_is_one_line_and_keeps_what_was_trained(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    # A checkpoint after each epoch, however quick.
    fit = pretraining.fit_by_epochs
    monkeypatch.setattr(prior_cache, "fit_by_epochs", lambda *a: fit(*a, save_seconds=0.0))
    monkeypatch.setattr(prior_cache.np, "savez", full)
    with pytest.raises(ValueError, match=r"cannot be written \(No space left on device\)") as e:
        prior(tmp_path)
    assert "\n" not in str(e.value)
    (left,) = tmp_path.iterdir()
    assert left.suffix == ".training"
    monkeypatch.undo()
    monkeypatch.setattr(training, "one_epoch", lambda *_: pytest.fail("trained again"))
    params = prior(tmp_path).params
    assert [path.suffix for path in tmp_path.iterdir()] == [".npz"]
    monkeypatch.undo()
    np.testing.assert_array_equal(params, prior(tmp_path / "other").params)


def test_a_broadened_base_is_known_by_its_prior_model_settings_and_numerics(tmp_path, monkeypatch):
    task = Task(NAMED, jnp.asarray(tiny_run.PRIOR), tiny_run.reward, None, lambda s: s.tokens)
    config = broadening.BroadenConfig(num_samples=10, training=FIT)
    known = []

    def seen(cache_dir, name, settings, like, train):
        known_by = settings | {"numerics": numerics.VERSION}
        known.append(prior_cache._file(cache_dir, name, known_by))
        return like, {}

    monkeypatch.setattr(prior_cache, "load_or_train", seen)
    find = lambda task=task, config=config, seed=0: broadening.broadened(
        task, config, seed, tmp_path, "tiny"
    )
    find()
    find()
    assert known[0] == known[1]
    find(task._replace(prior_params=task.prior_params + 1))
    find(task._replace(prior=MODEL))
    find(config=dataclasses.replace(config, num_samples=11))
    find(seed=1)
    monkeypatch.setattr(numerics, "VERSION", numerics.VERSION + 1)
    find()
    assert len(set(known)) == len(known) - 1
    assert jax.tree.leaves(task.prior_params)[0].shape == (LENGTH, V)


def test_a_prior_is_found_by_what_is_not_at_its_default_and_by_the_name_that_it_had(tmp_path):
    fields = [("width", int, dataclasses.field(default=8))]
    made = lambda *more: dataclasses.make_dataclass("Config", [*fields, *more], frozen=True)
    old, new = made(), made(("depth", int, dataclasses.field(default=1)))
    like, trained = jnp.zeros(2), []

    def kept(config):
        train = lambda: trained.append(1) or (like + len(trained), {})
        return prior_cache.load_or_train(tmp_path, "tiny", {"model": config}, like, train)[0][0]

    assert [kept(old()), kept(new()), kept(new(9)), kept(old(9)), kept(new(8, 2))] == [
        1,
        1,
        2,
        2,
        3,
    ]
    with pytest.MonkeyPatch.context() as patch:  # as it was named once
        patch.setattr(prior_cache.naming, "identity", prior_cache.naming.identity_by_all_fields)
        assert kept(old(7)) == 4
    assert [kept(old(7)), len(trained)] == [4, 4]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(numerics, "VERSION", numerics.VERSION + 1)
        assert kept(old(7)) == 5
