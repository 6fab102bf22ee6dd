# %% [markdown]
# # Your own oracle, by hand
#
# An algorithm is asked for candidates and told what became of them. Between the two stands whatever
# you have: a robot, a laboratory, people. Here we make the calls ourselves, without the loop.

# %%
import jax
import jax.numpy as jnp
import numpy as np

import banel_jax as bj
from banel_jax.models.table import smoothed_histogram

model = bj.table(20, 2)
fit = smoothed_histogram(20, 2, bandwidth=1.0, floor=0.01)
settings = np.random.default_rng(0).binomial(19, 0.5, (500, 2))
data = bj.Sequences(jnp.asarray(settings, jnp.int32), jnp.ones(settings.shape, bool))
prior, _ = fit(None, model.init(None), data, jnp.ones(500))

config = bj.BanelConfig(num_candidates=40, filter_factor=4, failure_rounds=8)
algorithm = bj.banel(model, config, fit_generator=fit, fit_failure_model=fit)

# %% [markdown]
# ## Ask, evaluate, tell
#
# `ask` gives 40 candidates: tokens `[40, 2]` and a mask of the positions that count. `tell` takes a
# reward for each of them, 0 or 1, float32. Both are pure functions of fixed shapes, compiled once.


# %%
def works(candidates):
    """The experiment, in your place."""
    return (np.asarray(candidates.tokens).sum(1) >= 25).astype(np.float32)


ask, tell = jax.jit(algorithm.ask), jax.jit(algorithm.tell)
state = algorithm.init(jax.random.key(0), prior)
successes = []
for round in range(8):
    ask_key, tell_key = jax.random.split(jax.random.fold_in(jax.random.key(1), round))
    candidates, state = ask(ask_key, state)
    rewards = works(candidates)
    state, info = tell(tell_key, state, candidates, jnp.asarray(rewards))
    successes.append(int(rewards.sum()))
print(successes)
assert successes[-1] > successes[0] + 10

# %% [markdown]
# `info` is what the round has to say of itself, a dict of scalars:

# %%
for name, value in sorted(info.items()):
    print(f"{name:28} {float(value):.3g}")

# %% [markdown]
# ## Counting, and a budget
#
# `bj.Oracle` counts rows, keeps within a budget, and refuses answers that are none. It is what the
# loop uses; in memory here, on disk with a `Ledger` of a file.

# %%
oracle = bj.Oracle(works, budget=80)
state = algorithm.init(jax.random.key(0), prior)
for round in range(3):
    candidates, state = ask(jax.random.fold_in(jax.random.key(2), round), state)
    try:
        rewards = oracle.evaluate(round, candidates)
    except ValueError as error:
        print(error)  # before anything of the third round is paid for
assert oracle.num_reward_evaluations == 80

# %% [markdown]
# ## When somebody answers by mail
#
# The state is a pytree of arrays, so it can wait on disk between `ask` and `tell` as long as it
# must. The answers to what was asked, and only those, are told later:

# %%
candidates, asked = ask(jax.random.key(3), state)
leaves, tree = jax.tree.flatten(asked)
np.savez("asked.npz", *map(np.asarray, leaves))

# %%
with np.load("asked.npz") as kept:
    asked_again = jax.tree.unflatten(tree, [jnp.asarray(kept[name]) for name in kept.files])
state, info = tell(jax.random.key(4), asked_again, candidates, jnp.asarray(works(candidates)))
