"""A learning algorithm small enough to enumerate and quick enough to kill and start again."""

import os

import jax
import jax.numpy as jnp
import numpy as np

from banel_jax.types import Algorithm, SequenceModel, Sequences

V, LENGTH, M = 3, 4, 6


def independent_tokens() -> SequenceModel:
    """Parameters are logits float32 [LENGTH, V]; positions are independent."""

    def log_prob(params, sequence, *, temperature=1.0, dropout_key=None):
        log_probs = jax.nn.log_softmax(params / temperature)
        taken = jnp.take_along_axis(log_probs, sequence.tokens[:, None], axis=1)[:, 0]
        return jnp.sum(jnp.where(sequence.mask, taken, 0.0))

    def sample(key, params, *, temperature=1.0):
        tokens = jax.random.categorical(key, params / temperature).astype(jnp.int32)
        sequence = Sequences(tokens, jnp.ones(LENGTH, bool))
        return sequence, log_prob(params, sequence, temperature=temperature)

    return SequenceModel(lambda key: jnp.zeros((LENGTH, V)), log_prob, sample)


MODEL = independent_tokens()
# NumPy, so that importing this wakes no device.
PRIOR = np.linspace(-1.0, 1.0, LENGTH * V, dtype=np.float32).reshape(LENGTH, V)


def learner(traces: dict | None = None) -> Algorithm:
    """Climbs the likelihood of successes and descends that of failures, with noise.

    The state holds what real ones do: parameters, a count, a typed key, an empty buffer.

    Args:
      traces: counts by name how often each function is traced.
    """
    traces = {} if traces is None else traces

    def traced(name):
        traces[name] = traces.get(name, 0) + 1

    def scores(params, sequences):
        return jax.vmap(lambda s: MODEL.log_prob(params, s))(sequences)

    def init(key, prior_params):
        traced("init")
        return {
            "params": prior_params,
            "round": jnp.int32(0),
            "key": jax.random.fold_in(key, 7),
            "empty": jnp.zeros((0, 2)),
            "weak": 1.0,  # a Python number, whose type JAX leaves weak
        }

    def sample(key, state, n):
        draw = lambda k: MODEL.sample(k, state["params"])[0]
        return jax.vmap(draw)(jax.random.split(key, n))

    def ask(key, state):
        traced("ask")
        return sample(key, state, M), state

    def tell(key, state, candidates, rewards):
        traced("tell")
        loss = lambda params: -jnp.mean((2 * rewards - 1) * scores(params, candidates))
        value, gradient = jax.value_and_grad(loss)(state["params"])
        key_in_state = jax.random.fold_in(state["key"], state["round"])
        noise = jax.random.normal(key, (LENGTH, V)) + jax.random.normal(key_in_state, (LENGTH, V))
        state = state | {
            "params": state["params"] - 0.3 * gradient + 0.01 * noise,
            "round": state["round"] + 1,
            "key": key_in_state,
            "weak": state["weak"] * 0.5,
        }
        return state, {"loss": value, "unknown": jnp.nan}

    log_prob = lambda state, sequences: scores(state["params"], sequences)
    return Algorithm(init, ask, tell, sample, log_prob, log_prob)


def reward(sequences: Sequences):
    """1 where the tokens sum to 5 or more; written for NumPy and JAX alike."""
    return (sequences.tokens.sum(axis=1) >= 5).astype("float32")


def evaluate(asked, state):
    return {"moved": jnp.max(jnp.abs(state["params"] - asked["params"]))}


def compiled_alike(a, b) -> bool:
    """Whether two programs' states are equal: bit for bit under the compiler that users have. The
    tests' quick one rounds by how it cuts a program into pieces."""
    if os.environ.get("BANEL_FULL_COMPILER"):
        return same(a, b)
    close = lambda x, y: x.dtype == y.dtype and np.allclose(x, y, rtol=1e-6, atol=0, equal_nan=True)
    numbers = lambda x: jnp.issubdtype(x.dtype, jnp.floating)
    pairs = list(zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))
    return all(close(x, y) if numbers(x) else same(x, y) for x, y in pairs)


def same(a, b) -> bool:
    """Whether two states are equal bit for bit."""
    plain = lambda x: jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x
    leaves_a, leaves_b = jax.tree.leaves(a), jax.tree.leaves(b)
    return len(leaves_a) == len(leaves_b) and all(
        x.dtype == y.dtype and np.asarray(plain(x)).tobytes() == np.asarray(plain(y)).tobytes()
        for x, y in zip(leaves_a, leaves_b, strict=True)
    )
