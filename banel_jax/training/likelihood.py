"""Maximum likelihood: epochs of minibatches as one compiled scan."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from banel_jax import scoring
from banel_jax.keys import portable
from banel_jax.parallel import sum_over_shards, whole
from banel_jax.training.optimisation import TrainingConfig, optimizer
from banel_jax.types import Key, Params, SequenceModel, Sequences


class FitInfo(NamedTuple):
    """Losses by epoch, mean negative log-likelihood in nats a sequence, float32 [epochs].

    Epochs that were skipped repeat the last value. `validation_loss` is NaN where no sequence
    has validation weight; `epochs_run` counts the epochs that ran.
    """

    train_loss: Float[Array, " epochs"]
    validation_loss: Float[Array, " epochs"]
    epochs_run: Float[Array, ""]


# fit(key, params, sequences [n], weights [n], validation_weights [n]) -> (params, FitInfo)
Fit = Callable[
    [Key, Params, Sequences, Float[Array, " n"], Float[Array, " n"] | None], tuple[Params, FitInfo]
]


def batch_loss(
    model: SequenceModel,
    params: Params,
    sequences: Sequences,
    weights: Float[Array, " n"],
    dropout_keys: Key | None = None,
) -> Float[Array, ""]:
    """Sum of weighted negative log-likelihoods, in nats; a dropout key [n] for each sequence."""
    score = lambda sequence, key: model.log_prob(params, sequence, dropout_key=key)
    scores = jax.vmap(score)(sequences, dropout_keys)
    return -jnp.sum(jnp.where(weights > 0, weights * scores, 0.0))  # 0 of -inf is 0


def weighted_gradient(model, params, sequences, weights, key, micro_batch_size):
    """(loss sum, gradient) of `batch_loss`, over devices and, on each, over micro-batches."""
    gradient = jax.value_and_grad(lambda params, batch: batch_loss(model, params, *batch))

    def on_device(params, batch):
        n = batch[1].shape[0]
        limit = micro_batch_size or scoring.chunk_size_of(model, params, batch[0])
        size = max(d for d in range(1, min(n, limit) + 1) if n % d == 0)
        if size == n:
            return gradient(params, batch)
        pieces = jax.tree.map(lambda x: x.reshape(n // size, size, *x.shape[1:]), batch)
        add = lambda total, piece: (jax.tree.map(jnp.add, total, gradient(params, piece)), None)
        zero = (jnp.float32(0.0), jax.tree.map(jnp.zeros_like, params))
        return jax.lax.scan(add, zero, pieces)[0]

    # A key a sequence: neither micro-batches nor devices change what is dropped.
    keys = jax.random.split(key, weights.shape[0])
    return sum_over_shards(on_device, params, (sequences, weights, keys))


class Fitting(NamedTuple):
    """A fit after so many epochs.

    Attributes:
      params, opt_state: as the next epoch takes them up.
      best, best_loss: the parameters of the epoch that scored best on the validation rows.
      since: int32, epochs since then.
      epochs_run: float32.
      losses: (train, validation) of the last epoch.
    """

    params: Params
    opt_state: Any
    best: Params
    best_loss: Float[Array, ""]
    since: Int[Array, ""]
    epochs_run: Float[Array, ""]
    losses: tuple[Float[Array, ""], Float[Array, ""]]


# What is validated on: sequences [v] and their weights [v], or nothing.
Validation = tuple[Sequences, Float[Array, " v"]] | None


def _validate(model, params, validation: Validation):
    if validation is None:
        return jnp.asarray(scoring.missing())
    sequences, weights = validation
    return scoring.mean_loss(scoring.log_likelihood(model, params, sequences), weights)


def begin(model, config, params, validation: Validation) -> Fitting:
    loss = _validate(model, params, validation)
    return Fitting(
        params, optimizer(config).init(params), params, loss, jnp.int32(0), jnp.float32(0),
        (jnp.asarray(scoring.missing()), loss),
    )  # fmt: skip


def epoch_rows(
    key: Key, weights: Float[Array, " n"], batch_size: int
) -> tuple[Int[Array, " n"], Float[Array, " n"]]:
    """The rows of one epoch in the order of its steps, and what each counts for in its batch.

    With k rows of weight above 0 the first k places are in use. Rows of one weight, and rows
    that all fit into one batch, stand there once each and count for their weight. Otherwise a
    row fills as many places as its weight over the mean weight, rounded up or down by chance
    (systematic resampling), and each counts for 1: if a batch were divided by the weight in it,
    a light row would count for as much as a heavy one wherever the batch holds no other.

    Args:
      key: consumed once.
      weights: float32 [n], not negative.
      batch_size: rows in a step; static.

    Returns:
      (rows, shares): indices of rows, and float32 that are 0 in the places that are not in use.
    """
    n, used = weights.shape[0], weights > 0
    count = jnp.sum(used, dtype=jnp.int32)
    chance = jax.random.uniform(key, (n,), jnp.float32)
    place = jnp.arange(n, dtype=jnp.int32)
    order = jnp.argsort(chance + jnp.where(used, 0, 2))
    weights = weights / jnp.maximum(jnp.max(weights), jnp.finfo(jnp.float32).tiny)
    # In a new order each epoch, or rounding would favour the same rows in all of them.
    ends = jnp.cumsum(weights[order])
    draw_key, shuffle_key = jax.random.split(jax.random.fold_in(key, 1))
    marks = (place + jax.random.uniform(draw_key, (), jnp.float32)) * (
        ends[-1] / jnp.maximum(count, 1)
    )
    drawn = order[jnp.minimum(jnp.searchsorted(ends, marks, side="right"), count - 1)]
    drawn = drawn[
        jnp.argsort(
            jax.random.uniform(shuffle_key, (n,), jnp.float32) + jnp.where(place < count, 0, 2)
        )
    ]
    once = (count <= batch_size) | (jnp.min(jnp.where(used, weights, 1.0)) == 1.0)
    shares = jnp.where(once, weights[order], 1.0)
    return jnp.where(once, order, drawn), jnp.where(place < count, shares, 0.0)


def one_epoch(model, config, key, fitting: Fitting, sequences, weights, validation: Validation):
    """One pass over the rows of weight above 0, in a new order."""
    n = weights.shape[0]
    batch = min(config.batch_size, n)
    micro = config.micro_batch_size if batch == config.batch_size else 0
    optimise = optimizer(config)
    steps = -(-jnp.sum(weights > 0, dtype=jnp.int32) // batch)
    order, shares = epoch_rows(jax.random.fold_in(key, 0), weights, batch)
    order, shares = jnp.pad(order, (0, -n % batch)), jnp.pad(shares, (0, -n % batch))

    def step(i, carry):
        params, opt_state, total = carry
        rows = jax.lax.dynamic_slice_in_dim(order, i * batch, batch)
        w = jax.lax.dynamic_slice_in_dim(shares, i * batch, batch)
        rows = jax.tree.map(lambda x: x[rows], sequences)
        loss, grads = weighted_gradient(
            model, params, rows, w, jax.random.fold_in(key, i + 1), micro
        )
        grads = jax.tree.map(lambda g: g / jnp.maximum(jnp.sum(w), 1e-9), grads)
        updates, opt_state = optimise.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, total + loss

    params, opt_state, total = jax.lax.fori_loop(
        0, steps, step, (fitting.params, fitting.opt_state, jnp.float32(0.0))
    )
    train_loss = total / jnp.maximum(jnp.sum(shares), 1e-9)
    loss = _validate(model, params, validation)
    # Where no row has validation weight the latest is kept, as without validation.
    validating = validation is not None and jnp.sum(validation[1]) > 0
    better = (loss < fitting.best_loss) | jnp.logical_not(validating)
    best = jax.tree.map(lambda old, new: jnp.where(better, new, old), fitting.best, params)
    since = jnp.where(better, 0, fitting.since + 1)
    best_loss = jnp.where(better, loss, fitting.best_loss)
    run = fitting.epochs_run + 1
    return Fitting(params, opt_state, best, best_loss, since, run, (train_loss, loss))


def fit(
    model: SequenceModel,
    config: TrainingConfig,
    key: Key,
    params: Params,
    sequences: Sequences,
    weights: Float[Array, " n"],
    validation_weights: Float[Array, " n"] | None = None,
) -> tuple[Params, FitInfo]:
    """Fits a model by maximum likelihood on weighted sequences; to be jitted by the caller.

    The rows of weight 0 are in no batch: an epoch takes as many steps as the rows of weight
    above 0 need, though all shapes are fixed. Batches are drawn so that the expected gradient
    is that of the weighted mean over all rows, whatever the size of a batch (`epoch_rows`).

    Args:
      model: the generative model (static under jit, as is `config`).
      config: settings.
      key: consumed once; shuffles and drops out.
      params: where to start.
      sequences: [n, length].
      weights: float32 [n], not negative; 0 leaves a row out.
      validation_weights: float32 [n] over the same rows, 0 for the rows that are not
        validation; a row may have weight in one of both only. None for no validation.

    Returns:
      The parameters, and losses by epoch.
    """
    if config.epochs == 0:
        nothing = jnp.zeros((0,), jnp.float32)
        return params, FitInfo(nothing, nothing, jnp.float32(0))
    key, weights = portable(key), jnp.asarray(weights, jnp.float32)
    sequences, weights = whole((sequences, weights))
    if validation_weights is not None:
        validation_weights = jnp.asarray(validation_weights, jnp.float32)
    validation = None if validation_weights is None else (sequences, validation_weights)

    def epoch(fitting, key):
        return one_epoch(model, config, key, fitting, sequences, weights, validation)

    def scan_epoch(fitting, key):
        if validation is None or not config.patience:
            fitting = epoch(fitting, key)
        else:
            stop = fitting.since >= config.patience
            fitting = jax.lax.cond(stop, lambda f, _: f, epoch, fitting, key)
        return fitting, fitting.losses

    start = begin(model, config, params, validation)
    fitting, losses = jax.lax.scan(scan_epoch, start, jax.random.split(key, config.epochs))
    final = fitting.best if validation is not None and config.keep_best else fitting.params
    return final, FitInfo(losses[0], losses[1], fitting.epochs_run)
