# %% [markdown]
# # Scoring in your own JAX code
#
# The sampler and the scorer stand alone: they need no oracle, no loop and no algorithm, and work
# inside your own `jit`, `vmap`, `grad` and `shard_map`.

# %%
import jax
import jax.numpy as jnp
import numpy as np

import banel_jax as bj

config = bj.TransformerConfig(vocab_size=8, length=6, num_layers=1, num_heads=2, width=16)
model = bj.transformer(config)
params = model.init(jax.random.key(0))

# %% [markdown]
# ## Draw, and score what was drawn
#
# Sequence i depends on the key and on i alone, not on how many are drawn or in which chunks. The
# log-likelihoods that come with the samples are those of the scorer.

# %%
x, log_probs = bj.sample(model, jax.random.key(1), params, n=64)
scores = bj.log_likelihood(model, params, x)
assert np.allclose(scores, log_probs, atol=1e-4)
print(f"{scores.mean():.2f} nats a sequence, {np.log(8) * 6:.2f} would be uniform")

# %% [markdown]
# ## jit and grad
#
# A gradient of the mean likelihood, per token:


# %%
@jax.jit
def loss(params, x):
    return -bj.log_likelihood(model, params, x, length_normalised=True).mean()


gradient = jax.grad(loss)(params, x)
step = jax.tree.map(lambda p, g: p - 0.1 * g, params, gradient)
assert loss(step, x) < loss(params, x)

# %% [markdown]
# ## vmap over models
#
# Parameters are a pytree, so an ensemble is one more axis. What three models make of the same
# sequences, and where they differ:

# %%
members = jax.vmap(model.init)(jax.random.split(jax.random.key(2), 3))
by_member = jax.vmap(lambda params: bj.log_likelihood(model, params, x))(members)
print("members by sequences:", by_member.shape)
print(f"standard deviation between members: {by_member.std(0).mean():.2f} nats")

# %% [markdown]
# ## Temperatures, traced
#
# A temperature is an argument like any other: another one compiles nothing anew, and `vmap` over it
# runs the network once.

# %%
temperatures = jnp.array([0.5, 1.0, 2.0])
at = jax.vmap(lambda T: bj.log_likelihood(model, params, x, temperature=T))(temperatures)
assert np.allclose(at[1], scores, atol=1e-4)

# %% [markdown]
# ## The ranking of the paper
#
# `bj.log_ratio` is the quantity that BaNEL ranks by: what the prior says, less kappa times what the
# failure model says (Eq. 5). Any two models will do:

# %%
failure_params = jax.tree.map(lambda leaf: leaf[0], members)
ratio = bj.log_ratio(scores, bj.log_likelihood(model, failure_params, x), kappa=1.0)
best = jnp.argsort(-ratio)[:16]  # the best one in four
kept = jax.tree.map(lambda leaf: leaf[best], x)
print(kept.tokens[:3])
assert ratio[best].min() >= np.delete(np.asarray(ratio), np.asarray(best)).max()
