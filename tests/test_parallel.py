"""Work over a mesh of several devices gives the numbers of one device."""

import another_process
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from banel_jax.parallel import data_mesh, map_sequences, sum_over_shards

PROGRAM = """
import jax, jax.numpy as jnp, numpy as np
from banel_jax import parallel, training
from banel_jax.models.transformer import TransformerConfig, transformer
from banel_jax.types import Sequences

model = transformer(TransformerConfig(4, 9, 1, 2, 8, dropout=0.2))
params = jax.tree.map(lambda x: 4 * x, model.init(jax.random.key(0)))
tokens = jax.random.randint(jax.random.key(1), (24, 9), 0, 4)
batch = Sequences(tokens, jnp.ones(tokens.shape, bool))
weights = jnp.arange(24.0)

def work(n):
    rows = jax.tree.map(lambda x: x[:n], (batch, weights))
    gradient = jax.jit(lambda p: training.weighted_gradient(model, p, *rows, jax.random.key(2), 4))
    return jax.tree.leaves(gradient(params))

def doubled(n):
    scale = lambda replicated, x: {"twice": replicated * x, "sum": jnp.sum(x)}
    rows = jnp.arange(3.0 * n).reshape(n, 3)
    return jax.tree.leaves(parallel.map_sequences(scale, jnp.float32(2), rows, 2))

for n in (24, 23):
    one = work(n) + doubled(n)
    with jax.set_mesh(parallel.data_mesh()):
        assert parallel.num_devices() == jax.device_count() == 3
        several = work(n) + doubled(n)
    assert parallel.num_devices() == 1
    for a, b in zip(one, several, strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
"""


def test_several_devices_give_the_numbers_of_one():
    another_process.printed(PROGRAM, devices=3)


@pytest.mark.parametrize("chunk_size", [1, 3, 7, 100])
def test_maps_every_element_once(chunk_size):
    xs = {"a": jnp.arange(7), "b": jnp.arange(14.0).reshape(7, 2)}
    found = map_sequences(lambda r, x: r + x["a"] * x["b"], jnp.float32(1), xs, chunk_size)
    np.testing.assert_array_equal(found, 1 + np.arange(7)[:, None] * np.arange(14).reshape(7, 2))


def test_a_mesh_of_one_device_is_no_mesh():
    with jax.set_mesh(data_mesh(jax.devices()[:1])):
        assert sum_over_shards(lambda r, x: r * jnp.sum(x), 2, jnp.arange(5)) == 20


OWN = """
import jax, jax.numpy as jnp, numpy as np
from functools import partial
from jax.sharding import PartitionSpec as P
from banel_jax import parallel, scoring
from banel_jax.models.table import table
from banel_jax.types import Sequences

model = table(3, 2)
params = jnp.arange(9.0).reshape(3, 3)
tokens = jax.random.randint(jax.random.key(1), (8, 2), 0, 3)
batch = Sequences(tokens, jnp.ones(tokens.shape, bool))
score = partial(scoring.log_likelihood, model)
alone = score(params, batch)
mesh = parallel.data_mesh()
mapped = jax.shard_map(score, mesh=mesh, in_specs=(P(), P("data")), out_specs=P("data"))
np.testing.assert_allclose(jax.jit(mapped)(params, batch), alone, rtol=1e-6)
halves = jax.tree.map(lambda x: x.reshape(2, 4, *x.shape[1:]), batch)
found = jax.pmap(score, axis_name="data", in_axes=(None, 0))(params, halves)
np.testing.assert_allclose(found.ravel(), alone, rtol=1e-6)
with jax.set_mesh(jax.make_mesh((2,), ("data",), axis_types=(jax.sharding.AxisType.Explicit,))):
    np.testing.assert_allclose(score(params, batch), alone, rtol=1e-6)
"""


def test_the_scorer_works_inside_the_callers_own_parallel_code():
    another_process.printed(OWN, devices=2)


def test_a_gradient_keeps_the_memory_of_one_chunk():
    weights = jnp.eye(64)

    def total(weights, n):
        deep = lambda w, x: jnp.sum(jnp.tanh(w @ jnp.tanh(w @ jnp.tanh(w @ x))))
        return jnp.sum(map_sequences(deep, weights, jnp.ones((n, 64)), 8))

    def temporary(n):
        compiled = jax.jit(jax.grad(total), static_argnums=1).lower(weights, n).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    row = 64 * 4  # what a sequence takes itself, in bytes
    assert temporary(4096) - temporary(1024) < 2.5 * row * (4096 - 1024)
