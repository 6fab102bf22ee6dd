"""Fitting: weights, accumulation, early stopping and one optimiser step by hand."""

import dataclasses
from contextlib import closing
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from banel_jax import pretraining, sampling, scoring, training
from banel_jax.models.table import table
from banel_jax.models.transformer import TransformerConfig, transformer
from banel_jax.runs.checkpoint import Checkpoints
from banel_jax.training import TrainingConfig, broadening
from banel_jax.types import SequenceModel, Sequences

MODEL = transformer(TransformerConfig(vocab_size=5, length=4, num_layers=1, num_heads=2, width=8))
N = 24


@pytest.fixture(scope="module")
def params():
    return jax.tree.map(lambda x: 3 * x, MODEL.init(jax.random.key(0)))


@pytest.fixture(scope="module")
def data():
    other = jax.tree.map(lambda x: 5 * x, MODEL.init(jax.random.key(9)))
    return sampling.sample(MODEL, jax.random.key(1), other, N)[0]


def fit(config, *arguments):
    return jax.jit(partial(training.fit, MODEL, config))(jax.random.key(2), *arguments)


def close(one, other, data, atol=1e-3):
    """Models are compared by their scores: Adam turns gradients that are zero but for rounding,
    such as those of the keys' biases, into whole steps that change nothing else."""
    scores = [scoring.log_likelihood(MODEL, p, data) for p in (one, other)]
    np.testing.assert_allclose(*scores, atol=atol)


def test_one_step_is_adam_on_the_weighted_mean(params, data):
    weights = jnp.linspace(0.5, 2.0, N)

    def loss(p):
        return -jnp.sum(weights * scoring.log_likelihood(MODEL, p, data)) / jnp.sum(weights)

    gradient = jax.grad(loss)(params)
    scale = min(1.0, 1.0 / float(optax.global_norm(gradient)))
    # Adam's first step: the learning rate times g / (|g| + eps), and decoupled weight decay.
    expected = jax.tree.map(
        lambda p, g: p - 0.01 * (scale * g / (jnp.abs(scale * g) + 1e-8) + 0.1 * p),
        params,
        gradient,
    )
    config = TrainingConfig(epochs=1, batch_size=N, learning_rate=0.01, weight_decay=0.1)
    fitted, info = fit(config, params, data, weights)
    # Where the gradient is of the size of its rounding, its sign is not known.
    jax.tree.map(
        lambda a, b, g: np.testing.assert_allclose(
            np.where(jnp.abs(g) > 1e-5, a, 0), np.where(jnp.abs(g) > 1e-5, b, 0), atol=1e-4
        ),
        fitted,
        expected,
        gradient,
    )
    np.testing.assert_allclose(info.train_loss[0], loss(params), rtol=1e-5)


def test_a_step_is_that_of_the_mean_however_few_rows_are_left_for_its_batch():
    """Of a first gradient Adam forgets the size; of the second it does not."""
    model, start = table(3, 2), jnp.linspace(-1.0, 1.0, 9).reshape(3, 3)
    one = Sequences(jnp.array([2, 0]), jnp.ones(2, bool))
    six = jax.tree.map(lambda x: jnp.stack([x] * 6), one)
    config = TrainingConfig(epochs=1, batch_size=4, learning_rate=0.1, clip_norm=0.0)
    fitted, _ = jax.jit(partial(training.fit, model, config))(
        jax.random.key(0), start, six, jnp.ones(6)
    )
    optimise, expected = optax.adam(0.1), start
    state = optimise.init(expected)
    for _ in range(2):  # of four rows, and of the two that are left
        gradient = jax.grad(lambda params: -model.log_prob(params, one))(expected)
        updates, state = optimise.update(gradient, state)
        expected = optax.apply_updates(expected, updates)
    np.testing.assert_allclose(fitted, expected, atol=1e-5)


def test_each_sequence_drops_out_by_a_key_of_its_own():
    noise = lambda params, sequence, dropout_key: params * jax.random.uniform(dropout_key)
    model = SequenceModel(lambda key: jnp.ones(()), noise, None)
    four = Sequences(jnp.zeros((4, 2), jnp.int32), jnp.ones((4, 2), bool))
    gradient = lambda weights: training.weighted_gradient(
        model, jnp.ones(()), four, weights, jax.random.key(0), 0
    )[1]
    assert len(np.unique(jax.vmap(gradient)(jnp.eye(4)))) == 4


def test_what_fills_up_the_last_minibatch_counts_nothing():
    rows, start = jnp.array([1.0, 2.0, 3.0, 4.0, 10.0]), jnp.zeros(())
    config = TrainingConfig(epochs=2, batch_size=4)
    mean = lambda params, rows, weights: 0 * params + jnp.sum(weights * rows) / jnp.sum(weights)
    opt_state = training.optimizer(config).init(start)
    losses = training.minimise(mean, config, jax.random.key(0), start, opt_state, rows)[2]
    np.testing.assert_allclose(losses, 4.0, rtol=1e-6)


def test_a_broadened_model_is_fitted_to_nine_samples_in_ten(params, monkeypatch):
    given = []
    info = training.FitInfo(jnp.zeros(1), jnp.zeros(1), jnp.zeros(()))

    def fit(model, config, key, params, sequences, *weights):
        given.extend(np.asarray(w) for w in weights)
        return params, info

    monkeypatch.setattr(broadening, "fit", fit)
    training.broaden(MODEL, MODEL, TrainingConfig(), jax.random.key(0), params, N)
    fitted, held_out = given
    assert list(np.flatnonzero(held_out)) == [0, 10, 20] and set(held_out) == {0, 1}
    np.testing.assert_array_equal(fitted, 1 - held_out)


def test_rows_of_weight_0_are_left_out(params, data):
    config = TrainingConfig(epochs=3, batch_size=N, learning_rate=1e-2)
    half = jnp.arange(N) < N // 2
    garbage = data.replace(tokens=jnp.where(half[:, None], data.tokens, 4 - data.tokens))
    one, _ = fit(config, params, data, half.astype(jnp.float32))
    other, _ = fit(config, params, garbage, half.astype(jnp.float32))
    close(one, other, data)
    alone = jax.tree.map(lambda x: x[: N // 2], data)
    close(one, fit(config, params, alone, jnp.ones(N // 2))[0], data)


def test_an_epoch_takes_the_steps_that_the_rows_in_use_need(params, data):
    """With a learning rate that shows, twice the rows in use move the model about twice."""
    config = TrainingConfig(epochs=1, batch_size=4, learning_rate=1e-4)
    moved = []
    for rows in (8, 24):
        fitted, _ = fit(config, params, data, (jnp.arange(N) < rows).astype(jnp.float32))
        # Adam's first steps are all of about the learning rate in every coordinate.
        deltas = jax.tree.map(lambda a, b: jnp.max(jnp.abs(a - b)), fitted, params)
        moved.append(max(float(d) for d in jax.tree.leaves(deltas)))
    assert 1.9e-4 <= moved[0] <= 2.1e-4 and 4e-4 < moved[1] <= 6.1e-4


def test_micro_batches_add_up_to_the_batch(params, data):
    weights = jnp.linspace(0.0, 1.0, N)
    whole = TrainingConfig(epochs=2, batch_size=12, learning_rate=1e-3)
    pieces = TrainingConfig(epochs=2, batch_size=12, learning_rate=1e-3, micro_batch_size=3)
    close(*(fit(c, params, data, weights)[0] for c in (whole, pieces)), data)


def test_the_best_epoch_on_validation_rows_is_kept(params, data):
    held_out = (jnp.arange(N) % 4 == 0).astype(jnp.float32)
    config = TrainingConfig(epochs=40, batch_size=6, learning_rate=3e-2)
    kept, info = fit(config, params, data, 1 - held_out, held_out)
    nats = lambda p: -np.sum(held_out * scoring.log_likelihood(MODEL, p, data)) / held_out.sum()
    best = min(float(jnp.min(info.validation_loss)), nats(params))
    np.testing.assert_allclose(nats(kept), best, rtol=1e-5)
    assert best < float(info.validation_loss[-1]) - 0.1  # it overfits, so that this tests something


def test_patience_ends_the_epochs_early(params, data):
    held_out = (jnp.arange(N) % 4 == 0).astype(jnp.float32)
    config = TrainingConfig(epochs=40, batch_size=6, learning_rate=3e-2, patience=3)
    _, info = fit(config, params, data, 1 - held_out, held_out)
    run = int(info.epochs_run)
    losses = np.asarray(info.validation_loss)
    assert run < 40 and run - 1 - losses[:run].argmin() == 3
    np.testing.assert_array_equal(losses[run:], losses[run - 1])


def test_without_epochs_or_weights_nothing_moves(params, data):
    for config, weights in (
        (TrainingConfig(epochs=0), jnp.ones(N)),
        (TrainingConfig(epochs=2, batch_size=6), jnp.zeros(N)),
    ):
        fitted, info = fit(config, params, data, weights)
        jax.tree.map(np.testing.assert_array_equal, fitted, params)
        assert not np.isnan(info.train_loss).any()


def test_the_key_decides_and_vmap_over_keys_is_one_by_one(params, data):
    config = TrainingConfig(epochs=2, batch_size=6, learning_rate=1e-3)
    run = jax.jit(lambda key: training.fit(MODEL, config, key, params, data, jnp.ones(N))[0])
    keys = jax.random.split(jax.random.key(7), 2)
    jax.tree.map(np.testing.assert_array_equal, run(keys[0]), run(keys[0]))
    together = jax.vmap(run)(keys)
    for row in range(2):
        close(jax.tree.map(lambda x, row=row: x[row], together), run(keys[row]), data)
    assert not np.array_equal(together["token_embedding"][0], together["token_embedding"][1])


def test_without_a_failure_held_out_training_goes_on(params, data):
    """Validation rows that all have weight 0 are as none: the latest parameters are kept."""
    config = TrainingConfig(epochs=3, batch_size=6, learning_rate=1e-2, patience=1)
    plain, _ = fit(config, params, data, jnp.ones(N))
    fitted, info = fit(config, params, data, jnp.ones(N), jnp.zeros(N))
    close(fitted, plain, data)
    assert float(info.epochs_run) == 3
    assert np.isnan(info.validation_loss).all()


def test_an_impossible_row_of_weight_0_does_no_harm():
    model = table(2, 1)
    impossible = Sequences(jnp.array([[0], [1]]), jnp.ones((2, 1), bool))
    start = jnp.array([0.0, -jnp.inf])
    loss = training.batch_loss(model, start, impossible, jnp.array([1.0, 0.0]))
    assert float(loss) == 0.0


# Four rows of weight 1 and 196 of weight 0.001, of two sequences.
LIGHT, HEAVY = 196, 4
SPREAD = jnp.append(jnp.ones(HEAVY), jnp.full(LIGHT, 0.001))


@pytest.mark.parametrize(
    ("batch", "epochs", "clip"), [(1, 40, 0.0), (10, 100, 1.0), (50, 300, 1.0), (200, 1200, 1.0)]
)
def test_weights_have_their_effect_whatever_the_batch(batch, epochs, clip):
    """The law of most weighted likelihood gives the light rows their share of the weight."""
    model = table(2, 1)
    tokens = jnp.append(jnp.zeros(HEAVY, int), jnp.ones(LIGHT, int))[:, None]
    rows = Sequences(tokens, jnp.ones(tokens.shape, bool))
    config = TrainingConfig(
        epochs=epochs, batch_size=batch, learning_rate=0.02, clip_norm=clip,
        decay_steps=epochs * -(-(LIGHT + HEAVY) // batch),
    )  # fmt: skip
    fitted, info = jax.jit(partial(training.fit, model, config))(
        jax.random.key(0), jnp.zeros(2), rows, SPREAD
    )
    share = LIGHT * 0.001 / (HEAVY + LIGHT * 0.001)
    assert float(jax.nn.softmax(fitted)[1]) == pytest.approx(share, abs=0.006)
    entropy = -share * np.log(share) - (1 - share) * np.log(1 - share)
    assert float(jnp.mean(info.train_loss[-5:])) == pytest.approx(entropy, abs=0.02)


def test_rows_are_drawn_by_weight():
    weights = jnp.array([0.0, 4.0, 0.25, 1.0, 0.0, 0.5, 1.25, 0.001])  # six rows, mean 7.001 / 6
    keys = jax.random.split(jax.random.key(0), 3000)
    rows, shares = jax.vmap(lambda key: training.epoch_rows(key, weights, 2))(keys)
    np.testing.assert_array_equal(shares, np.tile([1.0] * 6 + [0.0] * 2, (3000, 1)))
    times = np.stack([np.bincount(r, minlength=8) for r in np.asarray(rows[:, :6])])
    expected = np.asarray(weights) * 6 / 7.001
    assert (times >= np.floor(expected)).all() and (times <= np.ceil(expected)).all()
    np.testing.assert_allclose(times.mean(0), expected, atol=4 * 0.5 / np.sqrt(3000))
    # Wherever a batch is in the epoch, its rows are a fair sample.
    first = np.mean(np.asarray(rows[:, 0]) == 1)
    assert abs(first - expected[1] / 6) < 4 * 0.5 / np.sqrt(3000)


@pytest.mark.parametrize("batch", [2, 8])
def test_rows_of_one_weight_stand_once_each_and_so_do_those_of_a_single_batch(batch):
    weights = jnp.array([0.0, 0.3, 0.3, 0.3, 0.0, 0.3] if batch == 2 else [0, 1, 2, 3, 0, 6.0])
    rows, shares = training.epoch_rows(jax.random.key(3), weights, batch)
    assert sorted(rows[:4].tolist()) == [1, 2, 3, 5]
    np.testing.assert_allclose(shares[:4], np.asarray(weights)[rows[:4]] / weights.max())
    np.testing.assert_array_equal(shares[4:], 0)
    tiny, _ = training.epoch_rows(jax.random.key(3), weights * 1e-30, batch)
    np.testing.assert_array_equal(tiny, rows)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (dict(batch_size=0), "batch_size=0"),
        (dict(learning_rate=0.0), "learning_rate=0.0"),
        (dict(learning_rate=float("nan")), "learning_rate=nan"),
        (dict(epochs=-1), "epochs=-1"),
        (dict(patience=-1), "patience=-1"),
        (dict(warmup_steps=5, decay_steps=5), "decay_steps=5 must be above warmup_steps=5"),
        (dict(batch_size=50, micro_batch_size=7), "multiple of micro_batch_size=7"),
    ],
)
def test_wrong_settings_are_named(setting, message):
    with pytest.raises(ValueError, match=message):
        TrainingConfig(**setting)


def test_the_learning_rate_falls_along_half_a_cosine(params, data):
    """By hand: Adam's first steps on a constant gradient are the learning rate itself."""
    optimise = training.optimizer(
        TrainingConfig(learning_rate=0.5, warmup_steps=2, decay_steps=6, clip_norm=0.0)
    )
    state = optimise.init(jnp.float32(0.0))
    taken = []
    for _ in range(8):
        update, state = optimise.update(jnp.float32(1.0), state, jnp.float32(0.0))
        taken.append(-float(update))
    cosine = [0.25 * (1 + np.cos(np.pi * t / 4)) for t in range(5)]
    np.testing.assert_allclose(taken, [0.0, 0.25, *cosine, 0.0], atol=1e-4)


HELD_OUT = (jnp.arange(N) % 6 == 0).astype(jnp.float32)
LONGER = TrainingConfig(epochs=6, batch_size=5, learning_rate=1e-2)


def by_epochs(config, params, data, folder, **settings):
    with closing(Checkpoints(folder)) as checkpoints:
        found = pretraining.fit_by_epochs(
            MODEL, config, jax.random.key(2), params, data, HELD_OUT, checkpoints, **settings
        )
        checkpoints.wait()
    return found


@pytest.mark.parametrize("changes", [{}, {"patience": 1, "learning_rate": 0.3}, {"epochs": 0}])
def test_a_fit_by_epochs_is_the_fit(params, data, changes, tmp_path):
    config = dataclasses.replace(LONGER, **changes)
    found, metrics = by_epochs(config, params, data, tmp_path)
    expected, info = fit(config, params, data, 1 - HELD_OUT, HELD_OUT)
    close(found, expected, data)
    assert metrics["epochs"] == info.epochs_run < (6 if "patience" in changes else 7)
    start = -float(jnp.mean(scoring.log_likelihood(MODEL, params, data)[HELD_OUT > 0]))
    best = min([start, *np.asarray(info.validation_loss).tolist()])
    assert metrics["held_out_nats"] == pytest.approx(best, rel=1e-5)


def test_a_stopped_fit_by_epochs_ends_as_if_it_never_was(params, data, tmp_path, monkeypatch):
    whole, metrics = by_epochs(LONGER, params, data, tmp_path / "whole")
    epochs, run = training.one_epoch, []

    def interrupted(model, config, key, fitting, *rest):
        jax.debug.callback(lambda at: run.append(int(at)), fitting.epochs_run)
        return epochs(model, config, key, fitting, *rest)

    monkeypatch.setattr(training, "one_epoch", interrupted)

    class Stop(Exception):
        pass

    def stopping(self, rounds, state):
        save(self, rounds, state)
        if rounds == 3:
            self.wait()
            raise Stop

    save = Checkpoints.save
    monkeypatch.setattr(Checkpoints, "save", stopping)
    with pytest.raises(Stop):
        by_epochs(LONGER, params, data, tmp_path / "stopped", save_seconds=0.0)
    monkeypatch.setattr(Checkpoints, "save", save)
    found, same = by_epochs(LONGER, params, data, tmp_path / "stopped", save_seconds=0.0)
    jax.effects_barrier()
    assert run == [0, 1, 2, 3, 4, 5]  # none twice
    assert same == metrics
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(whole), strict=True):
        np.testing.assert_array_equal(one, other)
