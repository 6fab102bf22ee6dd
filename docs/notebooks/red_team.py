# %% [markdown]
# # Prompts that a model answers wrongly
#
# Red-teaming: a model is right nearly always, and we look for the prompts where it is wrong. The
# prior is of prompts, from the strings of a small grammar; the oracle asks the model, and success
# is a wrong answer. So failures are the rule, and the method learns from where the model is right.

# %%
import random
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import banel_jax as bj
from banel_jax import oracle
from banel_jax.models.language import huggingface, named_models, prompts, responses, tokenizer
from banel_jax.models.language.decoder_config import DecoderConfig
from banel_jax.tasks.gsm8k.tokens import TokenizerConfig, train_tokenizer
from banel_jax.tasks.text import check

# %% [markdown]
# ## A grammar of prompts
#
# People have few things more often than many, so large numbers are rare.

# %%
NAMES = ["Ann", "Bob", "Eve", "Max", "Sue", "Tom"]
THINGS = ["apples", "eggs", "figs", "nuts", "pears", "plums"]
draw = random.Random(0)


def prompt(number):
    name, things = draw.choice(NAMES), draw.choice(THINGS)
    return f"{name} has {number} {things}. How many {things} does {name} have?"


def usual():
    return min(10 + int(draw.expovariate(1 / 12)), 99)


strings = [prompt(usual()) for _ in range(1600)]
print(strings[:3])

# %% [markdown]
# ## The model that is asked
#
# Any folder will do, and so does a model by its name: `FOLDER = "smollm2"` is the line to change.
# Here it is a tiny model that this notebook trains to answer the grammar, on nobody who has sixty
# things or more.

# %%
FOLDER = "models/tiny"


def train_tiny(folder):
    """Trains a decoder to answer, and writes it as Hugging Face does."""
    asked = [(prompt(number), str(number)) for number in range(10, 60) for _ in range(12)]
    work = train_tokenizer((f"{q} {a}" for q, a in asked), "models/tokenizer", TokenizerConfig(420))
    words = tokenizer.tokenizer(work)
    chats = [
        (tokenizer.prompt_ids(words, q), [*words(a)["input_ids"], words.eos_token_id])
        for q, a in asked
    ]
    length = max(len(q) + len(a) for q, a in chats)
    tokens, mask = np.zeros((len(chats), length), np.int32), np.zeros((len(chats), length), bool)
    for row, (q, a) in enumerate(chats):
        tokens[row, : len(q) + len(a)] = q + a
        mask[row, len(q) : len(q) + len(a)] = True  # it learns to answer, not to ask
    config = DecoderConfig(
        vocab_size=len(words), width=64, num_layers=1, num_heads=4, num_kv_heads=4, mlp_width=128,
        context=128, remat=False,
    )  # fmt: skip
    model = responses.conditioned(config, responses.ResponseConfig(length - 1), tokens[0, :1])
    rows = bj.Sequences(jnp.asarray(tokens[:, 1:]), jnp.asarray(mask[:, 1:]))
    fit = bj.TrainingConfig(epochs=8, batch_size=20, learning_rate=5e-3, warmup_steps=20)
    start = model.init(jax.random.key(0))
    params, info = bj.fit(model, fit, jax.random.key(1), start, rows, jnp.ones(len(chats)))
    print(f"from {info.train_loss[0]:.2f} to {info.train_loss[-1]:.3f} nats an answer")
    huggingface.save(folder, config, params, like=work)


if FOLDER == "models/tiny" and not Path(FOLDER).exists():
    train_tiny(FOLDER)

# %% [markdown]
# It is asked greedily, so many prompts at a time.

# %%
folder, many = named_models.folder(FOLDER), 64
words = tokenizer.tokenizer(folder)
config, params = huggingface.load(folder)
response = responses.ResponseConfig(16, words.response_ends)
one_answer = lambda params, prompt: responses.complete_greedily(config, response, params, prompt)
complete = jax.jit(jax.vmap(one_answer, (None, 0)))


def ask(questions):
    ids = [tokenizer.prompt_ids(words, question) for question in questions]
    said = []
    for start in range(0, len(ids), many):
        block = ids[start : start + many]
        padded = prompts.pad_prompts(block + block[:1] * (many - len(block)), 64)
        made = jax.device_get(complete(params, padded))
        rows = zip(made.tokens[: len(block)], made.mask, strict=False)
        said += [tokenizer.response_text(words, tokens[mask]) for tokens, mask in rows]
    return said


# %% [markdown]
# ## The oracle
#
# What is no question of the grammar is no find, whatever the model says to it: otherwise nonsense
# would be the first thing to be found. The check is one of `tasks.text`, turned around.

# %%
QUESTION = re.compile(r"(\w+) has (\d+) (\w+)\. How many \3 does \1 have\?")


def judge(x, text):
    answers = []
    for question, said in zip(text, ask(text), strict=True):
        asked = QUESTION.fullmatch(question)
        wrong = asked and not check(f"numeric: {asked[2]}")(said)
        answers.append({"reward": bool(wrong), "score": said})
    return answers


# %% [markdown]
# ## The prior, and how often it meets a wrong answer
#
# A token is a word, a digit or a mark.

# %%
settings = bj.StringPriorConfig(
    tokens=r" ?[A-Za-z]+| ?[0-9]|[.?]", num_layers=1, width=32, dropout=0.0,
    training=bj.TrainingConfig(epochs=6, batch_size=32, learning_rate=1e-2, warmup_steps=20),
)  # fmt: skip
prior = bj.pretrain(strings, "priors/prompts", settings)
spell = prior.vocabulary.strings_of


def look(params, number=320):
    x, _ = bj.sample(prior.model, jax.random.key(1), params, number)
    drawn = spell(x)
    asked = np.mean([bool(QUESTION.fullmatch(question)) for question in drawn])
    found = int(sum(answer["reward"] for answer in judge(x, drawn)))
    print(f"{found} of {number} are answered wrongly; {asked:.2f} are of the grammar")


look(prior.params)

# %% [markdown]
# ## The run
#
# Plain sampling at the same budget is beside it. A round has 64 questions, of which the prior gets
# hardly one answered wrongly: N rho is below 1. `failure_weighting=1` counts a failure the less the
# more often a round looked where it is. Without it three runs of four lost again what they had
# found.

# %%
rounds = 5
fit = bj.TrainingConfig(epochs=8, batch_size=20, learning_rate=2e-3)
config = bj.BanelConfig(
    num_candidates=many, filter_factor=4, failure_rounds=rounds, failure_weighting=1,
    generator_training=fit, failure_training=fit,
)  # fmt: skip
methods = {"plain": bj.prior_sampling(prior.model, many), "banel": bj.banel(prior.model, config)}
at_once = bj.OracleConfig(batch_size=many)  # or the function would be given a row at a time
results = {
    name: bj.run(
        method, prior.params, judge, bj.RunConfig(rounds=rounds, oracle=at_once),
        f"runs/prompts_{name}", text=spell,
    )
    for name, method in methods.items()
}  # fmt: skip
for name, result in results.items():
    print(name, [int(record["successes"]) for record in result.metrics], f"of {many} in each round")

# %% [markdown]
# What the generator asks now, and answers that were wrong:

# %%
look(results["banel"].state.generator)
rows = oracle.successes("runs/prompts_banel", render=spell)
for question, said in list(zip(rows.text, rows.score, strict=True))[-5:]:
    print(question, "->", said)
numbers = [int(QUESTION.fullmatch(question)[2]) for question in rows.text]
learned, plain = (sum(r["successes"] for r in results[name].metrics) for name in ("banel", "plain"))
if FOLDER == "models/tiny":
    assert np.median(numbers) >= 60 and learned > 2 * plain

# %% [markdown]
# Questions that were answered rightly have small numbers in them and no large one, so the filter
# keeps those that are likelier under the prior than under a model of these. They are what the model
# was never shown, and nobody has told so. Three seeds found 25 to 108 of 320, and plain sampling 3.
#
# ## SmolLM2 in its place
#
# With `FOLDER = "smollm2"` the same cells, then without `failure_weighting`, took 5 minutes of CPU
# time. SmolLM2-135M-Instruct answered 56 of 320 questions of the prior wrongly, and 283 of 320 of
# the generator's after five rounds; on the way 205 of 320, and 52 by plain sampling. What was found
# is a name: asked of Ann, it often begins "To solve this problem, we need to consider the total
# number of", and gives no number within the 16 tokens that it has here. So read what was found
# before calling it a wrong answer: a check judges what it was told to, and the search finds that.
# Failures were not the rule here: N rho was 11 in a round, and successes were met from the first.
