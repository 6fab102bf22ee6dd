# %% [markdown]
# # The two circles, from failures alone
#
# Points lie on two circles on a grid, and success on an arc of the inner one. The prior is a
# table over the grid, so every success rate is an exact sum. We watch Algorithm 2 find the arc, and
# then take away what is not evidence: the same algorithm with nothing rejected.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import banel_jax as bj
from banel_jax.models.table import smoothed_histogram
from banel_jax.tasks.two_circles import TwoCirclesConfig, two_circles

task = two_circles(TwoCirclesConfig(grid=48))
prior = np.exp(np.asarray(task.prior_params))
rewarded = np.zeros((48, 48), bool)
rewarded[tuple(np.asarray(task.targets.tokens).T)] = True
print(f"the prior succeeds at {prior[rewarded].sum():.4f}")

# %% [markdown]
# A round pays for 250 points, so in the first one about two succeed: N rho is 2, and the failures
# say something. Both models are smoothed histograms, which are fitted in closed form. The failure
# model is smoother than the generator, as it is to tell of regions and not of points.

# %%
rounds = 10
fits = {
    "fit_generator": smoothed_histogram(48, 2, bandwidth=0.5, floor=1e-3),
    "fit_failure_model": smoothed_histogram(48, 2, bandwidth=1.0, floor=0.1),
}


def algorithm(filter_factor):
    config = bj.BanelConfig(filter_factor=filter_factor, failure_rounds=rounds)
    return bj.banel(task.prior, config, **fits)


# %% [markdown]
# The reward is a JAX function here, so all rounds of all seeds are one compiled call. `evaluate` is
# for us alone: what it computes never reaches the algorithm.

# %%
keys = jax.vmap(jax.random.key)(jnp.arange(3))
rates, states = {}, {}
for name, f in {"BaNEL, f = 4": 4.0, "control, f = 1": 1.0}.items():
    method = algorithm(f)
    evaluate = bj.exact_evaluation(method, task.targets)
    experiment = bj.compiled_run(method, task.reward_fn, rounds, evaluate)
    states[name], metrics = experiment(keys, task.prior_params)
    rates[name] = 10 ** np.asarray(metrics["log10_success_rate"])
    print(name, np.round(np.median(rates[name], 0), 4))

assert np.median(rates["BaNEL, f = 4"][:, -1]) > 0.9
assert np.median(rates["control, f = 1"][:, -1]) < 0.05

# %% [markdown]
# Where the generator of the first seed has gone:

# %%
generator = np.exp(np.asarray(states["BaNEL, f = 4"].generator[0]))
figure, axes = plt.subplots(1, 3, figsize=(9, 3))
pictures = {"prior": prior, "success": prior * rewarded, "after ten rounds": generator}
for axis, (title, density) in zip(axes, pictures.items(), strict=True):
    axis.imshow(density.T, origin="lower")
    axis.set(title=title, xticks=[], yticks=[])
figure.tight_layout()

# %% [markdown]
# And the success rates by round, with the control beside them:

# %%
figure, axis = plt.subplots(figsize=(5, 3))
for name, by_seed in rates.items():
    axis.plot(np.arange(1, rounds + 1), np.median(by_seed, 0), label=name)
axis.axhline(prior[rewarded].sum(), color="gray", linestyle=":", label="prior")
axis.set(xlabel="round", ylabel="success rate", yscale="log")
axis.legend()
figure.tight_layout()

# %% [markdown]
# The same with all controls, five seeds and twenty rounds is `python -m experiments.two_circles`.
