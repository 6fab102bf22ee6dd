"""What the race needs of a task: where its methods start, how rare success is, its modes."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from banel_jax import sampling, scoring, success_rate
from banel_jax.types import Params, Sequences, Task
from experiments.common.batches import in_batches
from experiments.common.methods import Networks, Settings
from experiments.race.measures import Modes, Reference

DRAWN = 10_000  # samples in a compiled call


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
) -> Prepared:
    """What is measured of a task before it is raced over.

    Args:
      entry: whose task it is.
      task, networks, bases, modes: as in `Prepared`.
      samples: of the prior and of the base, where rates cannot be summed over targets.
      exact: whether they may be, where targets are known; sums over many take long every round.
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
        reference, prior_rate = of_samples(task, task.prior_params, samples, 21)
        same = base is task.prior_params
        base_rate = prior_rate if same else of_samples(task, base, samples, 22)[1]
    return Prepared(task, networks, bases, base_rate, prior_rate, modes, reference, rounds)


def of_targets(task: Task) -> tuple[Reference, float]:
    """(the prior given success, its rate), exact, from the sequences of reward 1."""
    assert task.targets is not None
    targets = success_rate.distinct(task.targets)
    scores = np.asarray(scoring.log_likelihood(task.prior, task.prior_params, targets), float)
    log_rate = float(np.logaddexp.reduce(scores))
    given = scores - log_rate
    tokens, mask = np.asarray(targets.tokens), np.asarray(targets.mask)
    return Reference(tokens, mask, np.exp(given), given), float(np.exp(log_rate))


def of_samples(
    task: Task, params: Params, samples: int, seed: int
) -> tuple[Reference | None, float]:
    """The same of a model by so many of its samples; None where none succeeds."""
    size = min(DRAWN, samples)

    @jax.jit
    def draw(key):
        sequences, scores = sampling.sample(task.prior, key, params, size)
        return sequences, scores, task.reward_fn(sequences)

    key = jax.random.key(seed)
    one = lambda i: draw(jax.random.fold_in(key, i))
    sequences, scores, rewards = in_batches(one, samples, size, "samples of the prior")
    won = rewards > 0
    if not won.any():
        return None, 0.0
    rows = np.where(sequences.mask, sequences.tokens, -1)[won]
    _, first, counts = np.unique(rows, axis=0, return_index=True, return_counts=True)
    kept = np.flatnonzero(won)[first]
    rate = float(won.mean())
    given = scores[kept].astype(float) - np.log(rate)
    tokens, mask = np.asarray(sequences.tokens)[kept], np.asarray(sequences.mask)[kept]
    return Reference(tokens, mask, counts / counts.sum(), given), rate
