# %% [markdown]
# # A run that is stopped
#
# Evaluations are what is scarce, so a run keeps each of them on disk before the algorithm sees it.
# Stopped by an error, by Ctrl-C or by `kill -9`, the same call on the same folder goes on, ends
# with the same bytes, and pays for nothing twice.

# %%
import json
import sqlite3
from pathlib import Path

import jax

import banel_jax as bj

model = bj.table(vocab_size=4, length=3)
prior = model.init(jax.random.key(0))
fit = bj.TrainingConfig(epochs=2, learning_rate=0.1)
config = bj.BanelConfig(num_candidates=40, generator_training=fit, failure_training=fit)
algorithm = bj.banel(model, config)
settings = bj.RunConfig(rounds=2, seed=0)

asked = []


def oracle(x):
    asked.extend(x.tokens.tolist())
    return [int(sum(tokens) >= 8) for tokens in x.tokens]


bj.run(algorithm, prior, oracle, settings, "runs/whole")
assert len(asked) == 80

# %% [markdown]
# ## An oracle that fails
#
# The 31st evaluation raises. The error says which row it was; the thirty before it are kept.

# %%
asked.clear()
faults = [ConnectionError("the arm is stuck")]


def fragile(x):
    if len(asked) == 30 and faults:
        raise faults.pop()
    return oracle(x)


try:
    bj.run(algorithm, prior, fragile, settings, "runs/stopped")
except ValueError as error:
    print(error)

# %% [markdown]
# The same call goes on, and ends with the bytes of the run that was never stopped:

# %%
result = bj.run(algorithm, prior, fragile, settings, "runs/stopped")
whole, stopped = (Path(f"runs/{name}/metrics.jsonl").read_bytes() for name in ("whole", "stopped"))
assert whole == stopped
assert len(asked) == 80  # none of them twice

# %% [markdown]
# ## What is in the folder

# %%
for path in sorted(Path("runs/stopped").iterdir()):
    print(path.name)
print(json.dumps(json.loads(Path("runs/stopped/summary.json").read_text()), indent=2)[:400])

# %% [markdown]
# The ledger is an SQLite file with a row for each evaluation; anything that reads SQLite reads it:

# %%
with sqlite3.connect("runs/stopped/oracle.sqlite") as ledger:
    tables = ledger.execute("select name from sqlite_master where type = 'table'").fetchall()
print(tables)

# %% [markdown]
# ## More rounds, and what is refused
#
# A complete run goes on when its rounds are raised. With another kappa it would be another run, so
# the folder is refused, naming the field, before anything is paid for.

# %%
longer = bj.run(algorithm, prior, oracle, bj.RunConfig(rounds=3), "runs/stopped")
assert len(longer.metrics) == 3 and len(asked) == 120

other = bj.banel(model, bj.BanelConfig(
    num_candidates=40, kappa=2.0, generator_training=fit, failure_training=fit
))  # fmt: skip
try:
    bj.run(other, prior, oracle, bj.RunConfig(rounds=4), "runs/stopped")
except ValueError as error:
    print(error)
assert len(asked) == 120
