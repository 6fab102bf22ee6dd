"""A classifier of sequences: how likely each is to succeed, from all that was paid for."""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jaxtyping import Array, Float

from banel_jax import checks, training
from banel_jax.algorithms.observing import Observe, vocab_size_of
from banel_jax.algorithms.rnd import Mlp
from banel_jax.failures import Failures
from banel_jax.keys import portable
from banel_jax.training import TrainingConfig
from banel_jax.types import Key, Params, SequenceModel, Sequences

GROUPS = 8  # at most, in which a layer's channels are normed


@dataclass(frozen=True)
class ClassifierConfig:
    """Settings of the classifier.

    Attributes:
      embedding: width of a token's embedding, to which one of its position is added.
      width: channels of the convolutions, and of the hidden layers where tokens are not seen.
      kernel: positions that a convolution sees.
      hidden: width of the last hidden layer.
      vocab_size: of the tokens; 0 to read it from the model's settings.
      training: the fit of a round, which goes on from the last; an epoch is one step on
        `batch_size` rows, half of which succeeded.

    Raises:
      ValueError: in one line, for a field of another type or outside its range.
    """

    embedding: int = 16
    width: int = 64
    kernel: int = 5
    hidden: int = 128
    vocab_size: int = 0
    training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(epochs=200, batch_size=32, weight_decay=1e-5)
    )

    def __post_init__(self):
        checks.fields(self)
        checks.integers(self, "embedding", "width", "kernel", "hidden", at_least=1)
        checks.integers(self, "vocab_size", at_least=0)


class Cnn(nn.Module):
    """Two convolutions over the tokens and what is highest and usual in them, as VSD's."""

    config: ClassifierConfig
    vocab_size: int

    @nn.compact
    def __call__(self, sequences):  # [n, length] -> log-odds [n]
        c, length = self.config, sequences.tokens.shape[-1]
        tokens = jnp.where(sequences.mask, sequences.tokens, self.vocab_size)
        place = self.param("place", nn.initializers.normal(), (length, c.embedding))
        x = nn.Embed(self.vocab_size + 1, c.embedding)(tokens) + place
        groups = math.gcd(GROUPS, max(1, c.width // GROUPS))
        # Without a bias, which the norm would all but take away again.
        conv = lambda x: nn.Conv(c.width, c.kernel, use_bias=False)(x)
        layer = lambda x: nn.leaky_relu(nn.GroupNorm(groups)(conv(x)))
        x = layer(x)
        window = dict(window_shape=(3,), strides=(2,), padding="SAME")
        x = nn.avg_pool(x, **window) + nn.max_pool(x, **window)
        x = x + layer(x)
        x = nn.Dense(c.hidden)(jnp.mean(x, axis=1) + jnp.max(x, axis=1))
        return nn.Dense(1)(nn.leaky_relu(nn.LayerNorm()(x)))[:, 0]


class Classifier(NamedTuple):
    """P(success | x), as pure functions.

    Attributes:
      init: `init(key, sequences [n]) -> params`, for sequences of that length.
      log_odds: `log_odds(params, sequences [n]) -> float32 [n]`, among as many successes as
        failures.
      config: settings.
    """

    init: Callable[[Key, Sequences], Params]
    log_odds: Callable[[Params, Sequences], Float[Array, " n"]]
    config: ClassifierConfig

    def fit(
        self, key: Key, params: Params, successes: Failures, failures: Failures
    ) -> tuple[Params, Float[Array, ""]]:
        """Goes on with the fit; rows count by their weights, and both classes for one half.

        Returns:
          The parameters, and the mean loss of the steps in nats, log 2 for what tells nothing.
        """
        c = self.config.training
        draw_key, fit_key = jax.random.split(portable(key))
        every = successes.sequences.followed_by(failures.sequences)
        share = lambda rows: rows.weights / jnp.maximum(jnp.sum(rows.weights), 1e-9)
        chances = jnp.log(jnp.concatenate([share(successes), share(failures)]))
        drawn = jax.random.categorical(draw_key, chances, shape=(c.epochs * c.batch_size,))
        labels = (drawn < successes.weights.shape[0]).astype(jnp.float32)
        rows = jax.tree.map(lambda x: x[drawn], every), labels

        def loss(params, rows, weights):
            odds = self.log_odds(params, rows[0])
            losses = optax.sigmoid_binary_cross_entropy(odds, rows[1])
            return jnp.sum(weights * losses) / jnp.maximum(jnp.sum(weights), 1e-9)

        once = dataclasses.replace(c, epochs=1)
        opt_state = training.optimizer(once).init(params)
        params, _, losses = training.minimise(loss, once, fit_key, params, opt_state, rows)
        return params, losses[0]

    def log_success(
        self, params: Params, sequences: Sequences, successes: Failures, failures: Failures
    ) -> Float[Array, " n"]:
        """log P(success | x) in nats, with as many successes and failures as there are."""
        number = lambda rows: jnp.sum(rows.weights) + 0.5
        shift = jnp.log(number(successes)) - jnp.log(number(failures))
        return jax.nn.log_sigmoid(self.log_odds(params, sequences) + shift)


def classifier(
    model: SequenceModel, config: ClassifierConfig, observe: Observe | None = None
) -> Classifier:
    """A convolutional one of tokens, or a multilayer perceptron of what `observe` makes of them.

    Args:
      model: whose sequences are to be judged.
      config: settings.
      observe: `observe(sequences [n]) -> float32 [n, d]`; None for tokens.
    """
    network: Any
    if observe is not None:
        network = Mlp((config.width, config.hidden, 1))
        seen = lambda sequences: jnp.asarray(observe(sequences), jnp.float32)
        start = lambda key, sequences: network.init(key, seen(sequences))
        return Classifier(start, lambda p, x: network.apply(p, seen(x))[:, 0], config)
    network = Cnn(config, vocab_size_of(model, config))
    return Classifier(network.init, network.apply, config)
