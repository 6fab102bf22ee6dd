# %% [markdown]
# # Your own prior
#
# A prior is three functions of ONE sequence: `init`, `log_prob`, `sample`. Batches are made with
# `jax.vmap`. Here it is a Markov chain over five symbols, with its transition matrix as parameters.

# %%
import jax
import jax.numpy as jnp
import numpy as np

import banel_jax as bj

LENGTH, SYMBOLS = 8, 5


def init(key):
    """Logits float32 [V + 1, V]: a row for each symbol before, the last one for none."""
    return jax.random.normal(key, (SYMBOLS + 1, SYMBOLS), jnp.float32)


def log_prob(params, x, *, temperature=1.0, dropout_key=None):
    """In nats, of the positions where the mask is True."""
    before = jnp.concatenate([jnp.array([SYMBOLS]), x.tokens[:-1]])
    log_probs = jax.nn.log_softmax(params / temperature)[before, x.tokens]
    return jnp.sum(jnp.where(x.mask, log_probs, 0.0))


def sample(key, params, *, temperature=1.0):
    def step(before, key):
        token = jax.random.categorical(key, params[before] / temperature).astype(jnp.int32)
        return token, token

    _, tokens = jax.lax.scan(step, jnp.int32(SYMBOLS), jax.random.split(key, LENGTH))
    x = bj.Sequences(tokens, jnp.ones(LENGTH, bool))
    return x, log_prob(params, x, temperature=temperature)


chain = bj.SequenceModel(init, log_prob, sample, settings=("chain", SYMBOLS, LENGTH))

# %% [markdown]
# ## Is it a model?
#
# `check_model` draws, scores what was drawn, and refuses what cannot be right. A run does the same
# before it pays for anything.

# %%
params = chain.init(jax.random.key(0))
bj.check_model(chain, params)


# %% [markdown]
# A forgotten minus, say, is told in one line:


# %%
def wrong(params, x, **settings):
    return -log_prob(params, x, **settings)


try:
    bj.check_model(bj.SequenceModel(init, wrong, sample), params)
except ValueError as error:
    print(error)
else:
    raise AssertionError("a likelihood of the wrong sign was taken for one")

# %% [markdown]
# ## Training it
#
# `bj.fit` needs nothing but `log_prob`. The data are drawn from another chain here.

# %%
other = 2 * chain.init(jax.random.key(1))
data, _ = bj.sample(chain, jax.random.key(2), other, 500)
settings = bj.TrainingConfig(epochs=20, learning_rate=3e-2)
prior, losses = bj.fit(chain, settings, jax.random.key(3), params, data, jnp.ones(500))
print(f"from {losses.train_loss[0]:.2f} to {losses.train_loss[-1]:.2f} nats a sequence")
assert losses.train_loss[-1] < losses.train_loss[0]

# %% [markdown]
# ## A run on it
#
# Any algorithm takes the model as it is; the failure model is by default another one of its kind.


# %%
def oracle(x):
    """Success needs three of the last symbol."""
    return [int((tokens == SYMBOLS - 1).sum() >= 3) for tokens in x.tokens]


training = bj.TrainingConfig(epochs=10, learning_rate=3e-2)
config = bj.BanelConfig(
    num_candidates=50, filter_factor=4, failure_rounds=4,
    generator_training=training, failure_training=training,
)  # fmt: skip
result = bj.run(bj.banel(chain, config), prior, oracle, bj.RunConfig(rounds=4), "runs/chain")
print([int(m["successes"]) for m in result.metrics], "of 50 in each round")
assert result.metrics[-1]["num_reward_evaluations"] == 200

# %% [markdown]
# A free alternative to look at first: the prior at another temperature.

# %%
for T in (0.5, 1.0, 2.0):
    x, _ = bj.sample(chain, jax.random.key(5), prior, 2000, temperature=T)
    print(f"T = {T}: success rate {np.mean(oracle(x)):.3f}")
