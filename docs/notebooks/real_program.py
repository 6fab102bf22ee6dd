# %% [markdown]
# # A real program as the oracle
#
# The oracle here is another program: it takes a formula, runs it against a suite of tests, and may
# crash or hang. It is asked through a pool of worker processes, which are ended with all that they
# started when a call takes too long. Then the same run is made by hand, through CSV files.

# %%
import csv
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import banel_jax as bj
from banel_jax import oracle

SYMBOLS = np.array(["x", "1", "2", "9", "+", "*", "**"])


def render(x):  # sequences [k] -> k texts
    return ["".join(SYMBOLS[tokens]) for tokens in x.tokens]


# %% [markdown]
# The prior knows what formulas look like, a term and an operator in turn, and nothing of what is
# wanted: one that gives 2, 5, 10 and 17 for x from 1 to 4. Four do, `x*x+1` among them, and one
# sample in 150 is one of these.

# %%
term = jnp.log(jnp.array([0.25, 0.25, 0.25, 0.22, 0.01, 0.01, 0.01]))
operator = jnp.log(jnp.array([0.01, 0.01, 0.01, 0.01, 0.32, 0.32, 0.32]))
model = bj.table(len(SYMBOLS), 5)
prior = sum(
    part.reshape([-1 if axis == i else 1 for axis in range(5)])
    for i, part in enumerate([term, operator, term, operator, term])
)
print(render(bj.sample(model, jax.random.key(0), prior, 8)[0]))

# %% [markdown]
# ## The program, and the function that runs it
#
# `suite.py` reads a formula and exits with 0 where all tests pass. What is no formula fails them.
# `9**9**9` is one, and computes for longer than anybody waits; that must be seen from outside.

# %%
Path("suite.py").write_text("""
import sys

formula = sys.stdin.read()
try:
    program = compile(formula, "formula", "eval")
    passed = sum(eval(program, {"x": x}) == x * x + 1 for x in (1, 2, 3, 4))
except SyntaxError:
    passed = 0
print(passed)
sys.exit(passed < 4)
""")

# %% [markdown]
# `judge.py` is what the worker processes load. It gives a score beside the reward, the number of
# tests that passed, and tells a crash from a test that failed: a crash of the suite says nothing
# about the formula, so it is `failed` and no reward of 0.

# %%
sys.path.insert(0, str(Path.cwd()))  # where the workers find judge.py
Path("judge.py").write_text("""
import subprocess
import sys


def passes(x, text):
    suite = [sys.executable, "-I", "-S", "-W", "ignore", "suite.py"]
    ran = subprocess.run(suite, input=text[0], capture_output=True, text=True)
    if ran.returncode not in (0, 1) or not ran.stdout:
        return [{"failed": f"the suite ended with {ran.returncode}: {ran.stderr[-200:]}"}]
    return [{"reward": ran.returncode == 0, "score": int(ran.stdout)}]
""")

# %% [markdown]
# ## The run
#
# Two workers; a call may take three seconds. A formula that hangs does not pass its tests, so here,
# and not in general, a failure counts as a reward of 0.

# %%
fit = bj.TrainingConfig(epochs=10, learning_rate=0.1)
algorithm = bj.banel(model, bj.BanelConfig(
    num_candidates=40, filter_factor=2, failure_rounds=5, generator_training=fit,
    failure_training=fit,
))  # fmt: skip
asking = bj.OracleConfig(timeout=3, on_failure="zero")
workers = oracle.processes("judge:passes", workers=2)
config = bj.RunConfig(rounds=5, oracle=asking)
result = bj.run(algorithm, prior, workers, config, "runs/suite", text=render)
print([int(record["successes"]) for record in result.metrics])

# %% [markdown]
# What was paid for, read back from the ledger: the scores, what hung, and what was found.

# %%
rows = oracle.read("runs/suite", render=render)
assert len(rows) == 200 and set(rows.state) == {"done"}
hung = {text: why for text, why in zip(rows.text, rows.reason, strict=True) if why}
print("hung:", hung)
passed = [score for score in rows.score if score is not None]
print("passed so many tests:", np.bincount(passed, minlength=5))
assert [score == 4 for score in rows.score] == [reward == 1 for reward in rows.reward]
print("found:", sorted(set(oracle.successes("runs/suite", render=render).text)))
print(f"{np.median(rows.seconds) * 1e3:.0f} ms a row in the median")

# %% [markdown]
# `runs/suite/report.html` shows the same to whoever opens it.
#
# ## The same by hand
#
# Where the suite is run elsewhere, by a person or by a machine that is reached through files, the
# run writes each round to a folder and ends. The same call goes on when results are there.

# %%
bench = oracle.by_hand("bench")


def go_on(rounds=2):
    by_hand = bj.RunConfig(rounds=rounds, oracle=bj.OracleConfig(on_failure="zero"))
    try:
        bj.run(algorithm, prior, bench, by_hand, "runs/bench", text=render)
        return True
    except oracle.AnswersPending as pending:
        print(pending)
        return False


go_on()
print(Path("bench/round_0000.csv").read_text()[:300])

# %% [markdown]
# Somebody fills in the rewards; here, what the first run has paid for already. Half of the results
# come in one file and in another order; the round is still open.


# %%
def fill_in(round, part, name):
    with open(f"bench/round_{round:04d}.csv", newline="") as file:
        table = list(csv.DictReader(file))[part]
    known = dict(zip(rows.text, rows.reward, strict=True))
    with open(f"bench/{name}.csv", "w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["id", "reward"])
        out.writerows((row["id"], int(known[row["text"]])) for row in table)


fill_in(0, slice(20, 40), "monday")
assert not go_on()

# %% [markdown]
# The rest comes, the run goes on by itself to the next round, and is told of that one as well.

# %%
fill_in(0, slice(19, None, -1), "tuesday")
assert not go_on()  # round 1 is written now
fill_in(1, slice(None), "friday")
assert go_on()

# %% [markdown]
# The samples and rewards are those of the first run, to the bit: a run does not depend on who
# evaluates it.

# %%
again = oracle.read("runs/bench")
assert (again.tokens == rows.tokens[:80]).all() and (again.reward == rows.reward[:80]).all()
first, second = (Path(f"runs/{name}/metrics.jsonl").read_text() for name in ("suite", "bench"))
assert first.startswith(second)
