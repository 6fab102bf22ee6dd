# %% [markdown]
# # Choosing an algorithm
#
# A success rate may rise for reasons that have nothing to do with the failures. So methods are
# compared at the same number of evaluations, over seeds, and beside controls. Here all of it runs
# on a table over two dials of 30 positions, where every rate is exact.

# %%
import jax
import jax.numpy as jnp
import numpy as np

import banel_jax as bj
from banel_jax.models import tempering
from banel_jax.models.table import smoothed_histogram

V, m, rounds, seeds = 30, 100, 8, 5
model = bj.table(V, 2)
fit = smoothed_histogram(V, 2, bandwidth=1.0, floor=0.01)
positions = jnp.arange(V, dtype=jnp.float32)
prior = -((positions[:, None] - 14.5) ** 2 + (positions - 14.5) ** 2) / 15
NEEDED = 38


def reward(x):
    return (jnp.sum(x.tokens, axis=1) >= NEEDED).astype(jnp.float32)


grid = np.argwhere(np.ones((V, V), bool)).astype(np.int32)
every = bj.Sequences(jnp.asarray(grid), jnp.ones(grid.shape, bool))
good = grid[np.asarray(reward(every)) == 1]
targets = bj.Sequences(jnp.asarray(good), jnp.ones(good.shape, bool))

# %% [markdown]
# ## First: can the failures tell anything?
#
# N evaluations at a success rate of rho carry N rho nats at most, as long as all of them fail.

# %%
log_rho = bj.log_success_rate(bj.log_likelihood(model, prior, targets))
rho = float(jnp.exp(log_rho))
print(f"rho = {rho:.4f}; N rho is {m * rho:.1f} in the first round")
assert m * rho > 1

# %% [markdown]
# ## Methods and controls
#
# They differ in nothing but what their names say.


# %%
def filtered(**settings):
    config = bj.BanelConfig(num_candidates=m, **settings)
    return bj.banel(model, config, fit_generator=fit, fit_failure_model=fit)


methods = {
    "prior (control)": bj.prior_sampling(model, m),
    "ladder (control)": bj.prior_sampling(tempering.ladder(model), m),
    "f = 1 (control)": filtered(filter_factor=1),
    "as published": filtered(filter_factor=4),
    "all failures": filtered(filter_factor=4, failure_rounds=rounds),
}

# %% [markdown]
# All rounds of all seeds of a method are one compiled call. Algorithm 1, the policy gradient and
# the other baselines take their place in the dictionary in the same way.

# %%
keys = jax.vmap(jax.random.key)(jnp.arange(seeds))
final, met = {}, {}
for name, algorithm in methods.items():
    evaluate = bj.exact_evaluation(algorithm, targets)
    _, metrics = bj.compiled_run(algorithm, reward, rounds, evaluate)(keys, prior)
    final[name] = 10 ** np.asarray(metrics["log10_success_rate"][:, -1])
    met[name] = int(np.sum(metrics["successes"]))

print(f"{'method':18} {'median [lowest, highest]':28} successes of {seeds * rounds * m}")
for name, rates in final.items():
    low, middle, high = np.quantile(rates, [0, 0.5, 1])
    print(f"{name:18} {f'{middle:.3g} [{low:.3g}, {high:.3g}]':28} {met[name]}")

# %% [markdown]
# ## What the failures have added
#
# It is what lies above the best control, and not above the prior.

# %%
controls = {name: np.median(rates) for name, rates in final.items() if "control" in name}
best = max(controls, key=lambda name: controls[name])
gain = np.median(final["all failures"]) / controls[best]
print(f"all failures kept: {gain:.0f} times the best control, which is the {best}")
assert gain > 3
