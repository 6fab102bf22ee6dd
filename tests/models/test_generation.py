"""A sequence token by token: it stops where all have ended, and stopping changes nothing."""

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import pytest
from equations import equations

from banel_jax import sampling
from banel_jax.models import autoregressive

LENGTH, VOCAB = 24, 9
ENDS = (3, 7)


def network(asked=None):
    """Each token's logits follow from the one before; `asked` is told the position of each step."""
    table = jnp.asarray(np.random.default_rng(0).normal(size=(VOCAB + 1, VOCAB)), jnp.float32)

    def step(prepared, previous, position, cache):
        if asked is not None:
            jax.debug.callback(lambda at: asked.append(int(at)), position)
        cache = jax.lax.dynamic_update_slice_in_dim(cache, jnp.full((1, 1), 1.0), position, 0)
        return table[previous] + 0 * jnp.sum(cache), cache

    return autoregressive.Network(
        init=lambda key: (),
        logits=lambda *args: None,
        init_cache=lambda size: jnp.zeros((size, 1)),
        step=step,
    )


def model(ends, asked=None):
    return autoregressive.sequence_model(network(asked), VOCAB, LENGTH, ends)


@pytest.mark.parametrize("chunk", [3, 10])
def test_it_stops_with_the_longest_and_the_tokens_are_those_of_running_to_the_end(chunk):
    asked = []
    key, n = jax.random.key(1), 10
    whole, _ = sampling.sample(model(()), key, (), n)
    assert whole.mask.all() and len(set(np.ravel(whole.tokens))) == VOCAB
    found, _ = sampling.sample(model(ENDS, asked), key, (), n, chunk)
    jax.effects_barrier()
    tokens, sizes = np.asarray(whole.tokens), []
    for row, (kept, mask) in enumerate(zip(found.tokens, found.mask, strict=True)):
        ends = np.flatnonzero(np.isin(tokens[row], ENDS))
        sizes.append(ends[0] + 1)
        np.testing.assert_array_equal(mask, np.arange(LENGTH) < sizes[-1])
        np.testing.assert_array_equal(kept, np.where(mask, tokens[row], 0))
    assert 1 < max(sizes) < LENGTH and max(asked) == max(sizes) - 1
    assert sorted(set(asked)) == list(range(max(sizes)))


def test_prompts_keys_and_temperatures_stop_together():
    """Under several `vmap`s, and alone, the same; the loops' conditions are single booleans."""
    keys = jax.random.split(jax.random.key(0), 4)
    temperatures = jnp.asarray([0.5, 1.0, 2.0])
    one = lambda key, t: model(ENDS).sample(key, (), temperature=t)
    every = jax.vmap(jax.vmap(one, (0, None)), (None, 0))
    drawn, scores = jax.jit(every)(keys, temperatures)
    alone = jax.jit(one)
    for i, t in enumerate(temperatures):
        for j, key in enumerate(keys):
            (expected, score), found = alone(key, t), jax.tree.map(lambda x: x[i, j], drawn)  # noqa: B023
            np.testing.assert_array_equal(found.tokens, expected.tokens)
            np.testing.assert_array_equal(found.mask, expected.mask)
            np.testing.assert_allclose(scores[i, j], score, rtol=1e-6)
    program = jax.make_jaxpr(every)(keys, temperatures).jaxpr
    loops = [e.params for e in equations(program) if e.primitive.name == "while"]
    assert loops and {loop["cond_jaxpr"].out_avals[0].shape for loop in loops} == {()}


def test_the_likeliest_tokens_stop_at_an_end_too():
    asked = []
    complete = lambda ends, asked=None: autoregressive.complete_greedily(
        network(asked), VOCAB, (), jnp.asarray([0, 3] + [8] * (LENGTH - 2)), 1, ends
    )
    whole = complete(()).tokens.tolist()
    end = whole[4]
    size = whole.index(end) + 1
    found = jax.jit(lambda: complete((end,), asked))()
    jax.effects_barrier()
    assert found.tokens.tolist() == whole[:size] + [0] * (LENGTH - size)
    assert found.mask.sum() == size and max(asked) == size - 1
