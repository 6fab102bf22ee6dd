"""What the race needs of a task: where its methods start, how rare success is, its modes."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from banel_jax import sampling, scoring, success_rate
from banel_jax.types import Params, SequenceModel, Sequences, Task
from experiments.common.batches import in_batches, over
from experiments.common.methods import Networks, Settings
from experiments.race.measures import Modes, Reference

DRAWN = 10_000  # samples in a compiled call
SCORED = 1000  # sequences likewise
MOST = 4000  # successes of the prior that a generator is held to


class Prepared(NamedTuple):
    """A task as all of its cells have it.

    Attributes:
      task: the task.
      networks: what its methods work with.
      bases: parameters to start from, by name, `prior` or `broadened`; fitted when asked for.
      base_rate: success rate of the base that what learns starts from.
      prior_rate: of the prior.
      modes: how many modes successes are of.
      reference: the prior given success; None where it was never seen to succeed.
      targets: over which rates are summed; None to count them in samples.
    """

    task: Task
    networks: Networks
    bases: Callable[[str], Params]
    base_rate: float
    prior_rate: float
    modes: Modes
    reference: Reference | None
    targets: Sequences | None


@dataclass(frozen=True)
class Entry:
    """A line of the table of tasks: known before anything is trained.

    Attributes:
      budget: N, evaluations of a run.
      prepare: `prepare(entry, folder of trained models, samples of the prior)`, once a process.
      settings: of all methods, before a search changed them; `ours_base` is where all start.
      searched_on: the task whose search chose the settings, where it is another.
    """

    budget: int
    prepare: Callable[["Entry", Path, int], Prepared]
    settings: Settings = field(default_factory=Settings)
    searched_on: str = ""


def prepared(
    entry: Entry,
    task: Task,
    networks: Networks,
    bases: Callable[[str], Params],
    modes: Modes,
    samples: int,
    exact: bool = True,
    proposal: tuple[SequenceModel, Params] | None = None,
) -> Prepared:
    """What is measured of a task before it is raced over.

    Args:
      entry: whose task it is.
      task, networks, bases, modes: as in `Prepared`.
      samples: of the prior and of the base, where rates cannot be summed over targets.
      exact: whether they may be, where targets are known; sums over many take long every round.
      proposal: as for `of_samples`.
    """
    base = bases(entry.settings.ours_base)
    reference: Reference | None
    if task.targets is not None:
        targets = success_rate.distinct(task.targets)
        reference, prior_rate = of_targets(task)
        scores = scoring.log_likelihood(task.prior, base, targets)
        base_rate = float(jnp.exp(success_rate.log_success_rate(scores)))
        rounds = targets if exact else None
    else:
        rounds = None
        reference, prior_rate = of_samples(task, task.prior_params, samples, 21, proposal)
        same = base is task.prior_params
        base_rate = prior_rate if same else of_samples(task, base, samples, 22, proposal)[1]
    return Prepared(task, networks, bases, base_rate, prior_rate, modes, reference, rounds)


def of_targets(task: Task, most: int = MOST) -> tuple[Reference, float]:
    """(the prior given success, its rate), exact, from the sequences of reward 1.

    Of more of these than `most`, which take long to score after every run, the first is by so many
    draws among them.
    """
    assert task.targets is not None
    targets = success_rate.distinct(task.targets)
    scores = np.asarray(scoring.log_likelihood(task.prior, task.prior_params, targets), float)
    log_rate = float(np.logaddexp.reduce(scores))
    given = scores - log_rate
    shares = np.exp(given)
    if len(shares) > most:
        drawn = np.random.default_rng(0).choice(len(shares), most, p=shares / shares.sum())
        shares = np.bincount(drawn, minlength=len(shares)) / most
    rows = np.flatnonzero(shares)
    tokens, mask = np.asarray(targets.tokens)[rows], np.asarray(targets.mask)[rows]
    return Reference(tokens, mask, shares[rows], given[rows]), float(np.exp(log_rate))


def of_samples(
    task: Task,
    params: Params,
    samples: int,
    seed: int,
    proposal: tuple[SequenceModel, Params] | None = None,
) -> tuple[Reference | None, float]:
    """The same of a model by so many of its samples; None where none succeeds.

    Args:
      task: the task.
      params: of the model, the prior's functions.
      samples: how many are drawn.
      seed: of them.
      proposal: a model that is drawn from instead, where it covers all successes and is faster;
        what it draws counts by p / p_proposal.
    """
    drawn_from, given_params = proposal or (task.prior, params)
    size = min(DRAWN, samples)

    @jax.jit
    def draw(key):
        sequences, scores = sampling.sample(drawn_from, key, given_params, size)
        return sequences, scores, task.reward_fn(sequences)

    key = jax.random.key(seed)
    one = lambda i: draw(jax.random.fold_in(key, i))
    sequences, proposed, rewards = in_batches(one, samples, size, "samples of the prior")
    won = np.flatnonzero(rewards > 0)
    if not len(won):
        return None, 0.0
    met: Sequences = jax.tree.map(lambda x: x[won], sequences)
    scores = proposed = proposed[won].astype(float)
    if proposal:
        score = jax.jit(partial(scoring.log_likelihood, task.prior, params))
        scores = over(score, met, min(SCORED, len(won)), "scores of the prior").astype(float)
    weights = np.exp(scores - proposed)
    rate = float(weights.sum() / samples)
    rows = np.where(met.mask, met.tokens, -1)
    _, first, of = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    shares = np.bincount(of.reshape(-1), weights) / weights.sum()
    tokens, mask = np.asarray(met.tokens)[first], np.asarray(met.mask)[first]
    return Reference(tokens, mask, shares, scores[first] - np.log(rate)), rate
