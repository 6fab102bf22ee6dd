# %% [markdown]
# # Molecules
#
# Strings that somebody has, a prior of them, and an oracle that is rarely pleased. The strings are
# SMILES of molecules that are put together from pieces of twenty drugs; the oracle asks whether a
# proposal is a molecule at all, is none of these, and is drug-like. RDKit makes the strings and is
# the oracle (`pip install rdkit`); in earnest the oracle would dock, or synthesise.

# %%
import random
import sys
from pathlib import Path

import jax
import numpy as np
from rdkit import Chem, RDLogger
from rdkit.Chem import BRICS, QED, AllChem, Draw

import banel_jax as bj
from banel_jax import oracle
from banel_jax.success_rate import clopper_pearson

RDLogger.DisableLog("rdApp.*")  # most of what is proposed is no molecule, and RDKit would say so
DRUGS = [
    "CC(=O)Oc1ccccc1C(=O)O",
    "CC(=O)Nc1ccc(O)cc1",
    "CC(C)Cc1ccc(C(C)C(=O)O)cc1",
    "CCN(CC)CC(=O)Nc1c(C)cccc1C",
    "CCN(CC)CCOC(=O)c1ccc(N)cc1",
    "COCCc1ccc(OCC(O)CNC(C)C)cc1",
    "CC(C)NCC(O)COc1cccc2ccccc12",
    "CC(C)NCC(O)COc1ccc(CC(N)=O)cc1",
    "CNCCC(c1ccccc1)Oc1ccc(C(F)(F)F)cc1",
    "CN(C)CCOC(c1ccccc1)c1ccccc1",
    "Cc1cc(NS(=O)(=O)c2ccc(N)cc2)no1",
    "COc1cc(Cc2cnc(N)nc2N)cc(OC)c1OC",
    "COc1ccc2cc(C(C)C(=O)O)ccc2c1",
    "CC(C(=O)O)c1cccc(C(=O)c2ccccc2)c1",
    "CCN(CC)CCNC(=O)c1cc(Cl)c(N)cc1OC",
    "CC(NC(C)(C)C)C(=O)c1cccc(Cl)c1",
    "Cc1ccc(-c2cc(C(F)(F)F)nn2-c2ccc(S(N)(=O)=O)cc2)cc1",
    "CC(=O)CC(c1ccccc1)C1=C(O)c2ccccc2OC1=O",
    "CN(C)CCCN1c2ccccc2Sc2ccc(Cl)cc21",
    "NNC(=O)c1ccncc1",
]  # from aspirin and paracetamol to chlorpromazine and isoniazid

# %% [markdown]
# ## A file of strings
#
# BRICS cuts molecules where chemists would. Pieces with one open end are put onto each other, or
# onto both ends of a piece with two, wherever one of the two atoms that are joined is carbon.

# %%
pieces = set().union(*(BRICS.BRICSDecompose(Chem.MolFromSmiles(drug)) for drug in DRUGS))
caps, linkers = (
    [Chem.MolFromSmiles(piece) for piece in sorted(pieces) if piece.count("*") == ends]
    for ends in (1, 2)
)
join = AllChem.ReactionFromSmarts("[#0]-[#6:1].[#0]-[*:2]>>[*:1]-[*:2]")
draw = random.Random(0)


def joined(a, b):
    """One of the ways to join two pieces, or None."""
    ways = join.RunReactants((a, b)) if a and b else ()
    made = draw.choice(ways)[0] if ways else None
    if made:
        Chem.SanitizeMol(made)
    return made


molecules = set()
while len(molecules) < 1800:
    first, last = draw.choice(caps), draw.choice(caps)
    made = joined(last, joined(first, draw.choice(linkers)) if draw.random() < 0.5 else first)
    smiles = Chem.MolToSmiles(made) if made else ""
    if 0 < len(smiles) <= 27:
        molecules.add(smiles)
Path("molecules.smi").write_text("\n".join(sorted(molecules)) + "\n")
print(len(molecules), "molecules, such as", draw.sample(sorted(molecules), 4))

# %% [markdown]
# ## A prior of them
#
# `tokens="smiles"` cuts strings into atoms, bonds and brackets. This transformer is as small as
# will do, so that the notebook is quick.

# %%
strings = bj.read_strings("molecules.smi")
settings = bj.StringPriorConfig(
    tokens="smiles", num_layers=1, width=48, dropout=0.0,
    training=bj.TrainingConfig(epochs=14, batch_size=32, learning_rate=1e-2, warmup_steps=20),
)  # fmt: skip
prior = bj.pretrain(strings, "priors/molecules", settings)
drawn = prior.vocabulary.strings_of(bj.sample(prior.model, jax.random.key(0), prior.params, 6)[0])
print([(smiles, Chem.MolFromSmiles(smiles) is not None) for smiles in drawn])

# %% [markdown]
# ## The oracle
#
# `chemist.py` is what the worker processes load. The score, QED, is for us; the algorithm is told 0
# or 1 alone. What is in the file already is no find, however it is written.

# %%
sys.path.insert(0, str(Path.cwd()))  # where the workers find chemist.py
Path("chemist.py").write_text("""
from pathlib import Path

from rdkit import Chem, RDLogger
from rdkit.Chem import QED

RDLogger.DisableLog("rdApp.*")
KNOWN = set(Path("molecules.smi").read_text().split())


def judge(x, text):
    return [one(smiles) for smiles in text]


def one(smiles):
    molecule = Chem.MolFromSmiles(smiles) if smiles else None
    if molecule is None:
        return {"reward": 0}
    quality = round(QED.qed(molecule), 3)
    return {"reward": quality > 0.8 and Chem.MolToSmiles(molecule) not in KNOWN, "score": quality}
""")
import chemist  # noqa: E402

# %% [markdown]
# How often does the prior please it? Nobody would pay for knowing; here it is free.


# %%
def rate(params, number=2000):
    """The success rate of a generator, and its interval, from samples that no run has paid for."""
    x, _ = bj.sample(prior.model, jax.random.key(1), params, number)
    answers = chemist.judge(x, prior.vocabulary.strings_of(x))
    found = sum(answer["reward"] for answer in answers)
    low, high = clopper_pearson(found, number)
    valid = np.mean(["score" in answer for answer in answers])
    print(f"{found / number:.4f} [{low:.4f}, {high:.4f}]; valid {valid:.2f}")
    return found / number


rho = rate(prior.params)

# %% [markdown]
# ## A run, and plain sampling beside it
#
# Both pay for the same number of proposals, through two worker processes. The filter keeps what is
# likelier under the prior than under the model of the failures of all rounds.

# %%
m, rounds = 60, 5
print(f"N rho is {m * rho:.1f} in a round")
fit = bj.TrainingConfig(epochs=8, batch_size=20, learning_rate=2e-3)
config = bj.BanelConfig(
    num_candidates=m, filter_factor=4, failure_rounds=rounds, distinct=True,
    generator_training=fit, failure_training=fit,
)  # fmt: skip
methods = {"plain": bj.prior_sampling(prior.model, m), "banel": bj.banel(prior.model, config)}
text = prior.vocabulary.strings_of
for name, method in methods.items():
    workers = oracle.processes("chemist:judge", workers=2)
    asking = bj.RunConfig(rounds=rounds, oracle=bj.OracleConfig(batch_size=10))
    result = bj.run(method, prior.params, workers, asking, f"runs/{name}", text=text)
    print(name, [int(record["successes"]) for record in result.metrics], f"of {m} in each round")

# %% [markdown]
# ## What came of it
#
# The rate of what the run has learned, by fresh samples as above. The intervals overlap. Of 23 runs
# like it, of 300 to 1,000 evaluations under twelve settings, one ended at five times the prior's
# rate and one at twice, and with another seed their settings ended below it: from so few failures
# of this oracle nothing is learned that can be told from chance. What pleases it is marked by no
# token that the failures lack, but by how all of a molecule goes together. Where failures lack
# something, it is another matter ([prompts](red_team.py)).

# %%
rate(result.state.generator)  # of the last one
rows = oracle.read("runs/banel", render=text)
scores = [score for score in rows.score if score is not None]
print(f"{len(scores)} of {len(rows)} were molecules, of a QED of {np.median(scores):.2f}")

# %% [markdown]
# What either of them found:

# %%
found = {one for name in methods for one in oracle.successes(f"runs/{name}", render=text).text}
found = sorted(found, key=lambda smiles: -QED.qed(Chem.MolFromSmiles(smiles)))
print(found)
if found:
    best = [Chem.MolFromSmiles(smiles) for smiles in found[:8]]
    Draw.MolsToGridImage(best, molsPerRow=4).save("found.png")
