"""A model that is none is refused in one line, and sound ones pass."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from enumeration import TABLE, TRANSFORMER, table_params, transformer_params

from banel_jax.models import ensemble, table, tempering
from banel_jax.models.transformer import TransformerConfig, transformer
from banel_jax.runs.model_check import check_model, vocab_size
from banel_jax.types import Sequences

PARAMS = table_params(0)
TWO = table.table(2, 1)


@pytest.mark.parametrize(
    ("model", "params"),
    [
        (TABLE, PARAMS),
        (TABLE, PARAMS.at[0].set(-jnp.inf)),  # an impossible token is no fault
        (TABLE, jnp.full(PARAMS.shape, -jnp.inf).at[0, 1, 2, 0].set(0.0)),  # nor a single sequence
        (TWO, jnp.array([0.0, -8.0])),
        (TRANSFORMER, transformer_params(1)),
        pytest.param(tempering.ladder(TABLE), PARAMS, marks=pytest.mark.slow),
        (ensemble.ensemble(TABLE, 2), jnp.stack([PARAMS, table_params(5)])),
    ],
)
def test_sound_models_pass(model, params):
    check_model(model, params)
    check_model(model, params, jax.random.key(7), 32)


def test_weights_of_half_precision_pass():
    small = TransformerConfig(vocab_size=7, length=24, num_layers=1, num_heads=2, width=8)
    model = transformer(small)
    params = jax.tree.map(lambda x: (25 * x).astype(jnp.bfloat16), model.init(jax.random.key(0)))
    check_model(model, params)


def with_end(in_mask, in_sample=True):
    """Tokens 0 and 1 until the end token 2; the end may be left out of the mask or of the score."""

    def scored(params, tokens):
        rows = jax.nn.log_softmax(params)
        ended = jnp.cumsum(tokens == 2) - (tokens == 2)
        return jnp.where(ended == 0, rows[tokens], 0.0), ended == 0

    def masked(params, tokens):
        scores, counts = scored(params, tokens)
        mask = counts if in_mask else counts & (tokens != 2)
        return Sequences(tokens, mask.at[0].set(True)), scores

    def sample(key, params, *, temperature=1.0):
        sequence, scores = masked(params, jax.random.categorical(key, params, shape=(6,)))
        total = jnp.sum(scores if in_sample else jnp.where(sequence.mask, scores, 0.0))
        return sequence, total

    def log_prob(params, sequence, *, temperature=1.0, dropout_key=None):
        scores = jax.nn.log_softmax(params)[sequence.tokens]
        return jnp.sum(jnp.where(sequence.mask, scores, 0.0))

    return TABLE._replace(sample=sample, log_prob=log_prob)


END = jnp.array([0.0, 0.0, -0.5])


def test_a_model_that_ends_its_sequences_passes():
    check_model(with_end(in_mask=True), END)


def other(**functions):
    """A table of which some functions are wrapped."""
    wrapped = {
        name: (lambda f, g: lambda *a, **k: g(f(*a, **k)))(getattr(TABLE, name), change)
        for name, change in functions.items()
    }
    return TABLE._replace(**wrapped)


REFUSED = {
    "an end token outside the mask": (with_end(False), END, "both are the log-likelihood"),
    "and outside both": (with_end(False, False), END, "sequences .* in all"),
    "the wrong sign": (other(log_prob=lambda x: -x), PARAMS, "log_prob gives .* nats"),
    "both of the wrong sign": (
        other(log_prob=lambda x: -x, sample=lambda x: (x[0], -x[1])), PARAMS, "sample gives .* nats"
    ),
    "NaN scores": (other(log_prob=lambda x: x * jnp.nan), PARAMS, "log_prob gives nan nats"),
    "probability 0 of what was drawn": (
        other(log_prob=lambda x: x - jnp.inf), PARAMS, "log_prob gives -inf nats"
    ),
    "another law": (other(log_prob=lambda x: 1.5 * x), PARAMS, "both are the log-likelihood"),
    "ids beyond the vocabulary": (
        other(sample=lambda x: (x[0].replace(tokens=x[0].tokens + 3), x[1]))._replace(
            settings=("of", TRANSFORMER.settings)), PARAMS, "below vocab_size=3"
    ),
    "negative ids": (
        other(sample=lambda x: (x[0].replace(tokens=x[0].tokens - 3), x[1])), PARAMS,
        "draws token -",
    ),
    "nothing that counts": (
        other(sample=lambda x: (x[0].replace(mask=x[0].mask & False), x[1] * 0),
              log_prob=lambda x: x * 0), PARAMS, "marks no position"
    ),
    "a mask of numbers": (
        other(sample=lambda x: (x[0].replace(mask=x[0].mask * 1.0), x[1])), PARAMS, "a mask float32"
    ),
    "tokens that are no integers": (
        other(sample=lambda x: (x[0].replace(tokens=x[0].tokens * 1.0), x[1])), PARAMS,
        "tokens float32",
    ),
    "a score for each token": (
        other(log_prob=lambda x: jnp.stack([x, x])), PARAMS, r"float32 \(2,\)"
    ),
    "a key that is not used": (
        TABLE._replace(sample=lambda key, p, **k: TABLE.sample(jax.random.key(0), p, **k)),
        PARAMS, "under different keys",
    ),
    "a NaN weight": (
        TRANSFORMER, {**transformer_params(1), "token_embedding": jnp.full((3, 8), jnp.nan)},
        "NaN in token_embedding",
    ),
    "a NaN table": (TABLE, PARAMS.at[1].set(jnp.nan), "NaN in the array"),
    "infinite weights": (
        TRANSFORMER, jax.tree.map(lambda x: x * jnp.inf, transformer_params(1)), "NaN in"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_model_is_refused_in_one_line(case):
    model, params, message = REFUSED[case]
    with pytest.raises(ValueError, match=message) as caught:
        check_model(model, params)
    assert "\n" not in str(caught.value)


def test_the_vocabulary_is_that_of_the_model_inside():
    assert vocab_size(tempering.ladder(TRANSFORMER).settings) == 3
    assert vocab_size(ensemble.ensemble(TRANSFORMER, 2).settings) == 3
    assert vocab_size(None) is None and vocab_size(("a", 1)) is None
    assert np.ndim(PARAMS) == 4
