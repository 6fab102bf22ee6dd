"""What a run computes grows with candidates, factor and rounds; with a length, as attention does.

Not by time: by the operations that a compiled run executes, which are the same on every machine.
"""

import dataclasses
from functools import cache

import jax
import jax.numpy as jnp
import pytest
from every_algorithm import MODEL, PRIOR
from executed import counted

from banel_jax.algorithms.banel import BanelConfig, banel
from banel_jax.models.transformer import TransformerConfig, transformer
from banel_jax.runs import loop
from banel_jax.training import TrainingConfig

FIT = TrainingConfig(epochs=2, batch_size=4, learning_rate=0.1)
KEYS = jnp.stack([jax.random.key(0)])
SMALL = TransformerConfig(vocab_size=4, length=8, num_layers=1, num_heads=2, width=16)


def test_loops_count_as_often_as_they_go_round():
    """By hand: two for each multiply-add, and one for the loop's count and its end."""
    square = lambda n, x: jax.lax.fori_loop(0, n, lambda i, x: x @ x, x)
    result, work = counted(square)(3, 2 * jnp.eye(4))
    assert (result == 2**8 * jnp.eye(4)).all()
    once = 2 * 4**3 + 2
    assert work == 3 * once
    sums = lambda x: jax.lax.scan(lambda c, row: (c + row.sum(), c * 2), jnp.float32(0), x)
    assert counted(sums)(jnp.ones((7, 5)))[1] == 7 * (5 + 2 + 2)
    either = lambda x: jax.lax.cond(x[0] > 0, lambda x: x @ x, lambda x: jnp.float32(0), x)
    assert counted(either)(jnp.ones(9))[1] - counted(either)(-jnp.ones(9))[1] == 2 * 9


@cache
def work(m=16, factor=2.0, rounds=2, length=0):
    """Operations of a compiled run of BaNEL on failures alone; over a table where `length` is 0."""
    model = transformer(dataclasses.replace(SMALL, length=length)) if length else MODEL
    prior = model.init(jax.random.key(0)) if length else jnp.asarray(PRIOR)
    config = BanelConfig(m, factor, generator_training=FIT, failure_training=FIT)
    failures = lambda sequences: jnp.zeros(len(sequences.tokens))
    run = loop.compiled_blocks(banel(model, config), failures, seeds_at_once=1)
    advance = counted(lambda at: run.advance(KEYS, at, 0, rounds))
    return float(advance(run.start(KEYS, prior))[1])


def growth(one, four, sixteen):
    """4 of what grows in proportion, whatever is there besides; 16 of what grows as the square."""
    return (sixteen - four) / (four - one)


def test_a_round_is_linear_in_its_candidates():
    """But for a search among the rows of a fit, whose steps go with the logarithm."""
    assert 4 <= growth(work(), work(m=64), work(m=256)) < 4.35


@pytest.mark.slow
def test_a_round_is_linear_in_the_factor_and_a_run_in_its_rounds():
    assert 4 <= growth(work(), work(factor=8.0), work(factor=32.0)) < 4.05
    assert growth(work(), work(rounds=8), work(rounds=32)) == 4


@pytest.mark.slow
def test_a_token_costs_more_in_a_longer_sequence_by_its_attention_alone():
    """Per token and layer 24 width^2 and, to attend, 2 width for each position; of all positions
    where what lies ahead is computed and masked, of half of them where it is not."""
    token = lambda length, attended: 24 * SMALL.width**2 + 4 * attended * length * SMALL.width
    half, full = (token(128, share) / token(8, share) for share in (0.5, 1.0))
    grown = work(m=4, length=128) / work(m=4, length=8) / 16
    assert 0.95 * half < grown < full
