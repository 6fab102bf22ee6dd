"""A method on a task with m candidates a round: compiled once, and run from any number of seeds."""

import time
from collections.abc import Callable
from functools import cached_property
from types import SimpleNamespace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from banel_jax import success_rate
from banel_jax.runs import fingerprint, loop, naming
from banel_jax.types import Algorithm, Sequences, State
from experiments.common import methods
from experiments.common.method import Method
from experiments.common.settings import Settings
from experiments.race import measures
from experiments.race.entry import Prepared
from experiments.race.measures import Record

RATE, PAID = "race_success_rate", ("race_tokens", "race_mask", "race_rewards")
BLOCKS = 4  # compiled calls of a run, at least


class TooLong(Exception):
    """A run that would not end in time; the seconds that the whole of it takes."""


class Ran(NamedTuple):
    """A run from one seed.

    Attributes:
      record: what it paid for, and its rates.
      metrics: of its rounds, [1, rounds] by name.
      state: the last one, a batch of one.
      seconds: of its rounds, without compilation.
      error: why it could not go on to its end, or empty.
    """

    record: Record
    metrics: dict[str, np.ndarray]
    state: State
    seconds: float
    error: str


def recorded(algorithm: Algorithm, reward_fn: Callable[[Sequences], jax.Array]) -> Algorithm:
    """The algorithm, whose rounds tell what was paid for and earned, whatever it was told."""

    def tell(key, state, candidates, rewards, *answered):
        told, info = algorithm.tell(key, state, candidates, rewards, *answered)
        paid = (candidates.tokens, candidates.mask, jnp.float32(reward_fn(candidates)))
        return told, info | dict(zip(PAID, paid, strict=True))

    return algorithm._replace(tell=tell)


class Program:
    """Runs a method from seeds, in blocks of rounds that are compiled once for all of them.

    Args:
      prepared: the task.
      method: who runs.
      settings: of m candidates.
      rounds: of each run.
      num_evaluated: samples after each round, where its rate cannot be summed.
    """

    def __init__(
        self,
        prepared: Prepared,
        method: Method,
        settings: Settings,
        rounds: int,
        num_evaluated: int,
    ):
        self.prepared, self.method, self.settings = prepared, method, settings
        self.rounds, self.num_evaluated = rounds, num_evaluated
        most = max(1, rounds // BLOCKS)
        self.block = max(size for size in range(1, most + 1) if rounds % size == 0)
        self.base = prepared.bases(method.base(settings))
        self.algorithm = method.build(settings, prepared.networks)
        task = prepared.task
        self.compiled = loop.compiled_blocks(
            recorded(self.algorithm, task.reward_fn), method.task(task).reward_fn, self._rate(), 1
        )
        self._started = False

    def _rate(self):
        """The success rate of the generator after a round."""
        task, targets = self.prepared.task, self.prepared.targets
        if targets is not None:
            scores = lambda state: self.algorithm.log_prob(state, targets)
            rate = lambda state: jnp.exp(success_rate.log_success_rate(scores(state)))
        else:
            count = success_rate.monte_carlo(
                self.algorithm, lambda s: {"reward": task.reward_fn(s)}, self.num_evaluated,
                jax.random.key(9),
            )  # fmt: skip
            rate = lambda state: count(state).share("reward")
        return lambda asked, state: {RATE: rate(state)}

    @property
    def identity(self) -> str:
        """A name of all that determines a run but for its seed."""
        return naming.identity(
            {
                "algorithm": naming.plain(dict(self.algorithm.settings), "algorithm"),
                "base": fingerprint.of_arrays(self.base),
                "rounds": self.rounds,
                "evaluated": None if self.prepared.targets is not None else self.num_evaluated,
                "rates": [self.prepared.base_rate, self.prepared.prior_rate],
                **self.method.configuration,
            }
        )

    def run(self, seed: int, seconds_left: float = np.inf) -> Ran:
        """All rounds from a seed.

        Raises:
          TooLong: where they would take longer than is left.
        """
        keys = jnp.stack([jax.random.key(seed)])
        progress = self.compiled.start(keys, self.base)
        parts: list[dict[str, np.ndarray]] = []
        times: list[float] = []
        error = ""
        number = self.rounds // self.block
        for i in range(number):
            began = time.perf_counter()
            try:
                done = self.compiled.advance(keys, progress, i * self.block, self.block)
            except (loop.CandidatesNotFound, loop.NotANumber) as stop:
                error = str(stop)
                break
            progress, metrics = done
            parts.append(jax.tree.map(np.asarray, metrics))
            times.append(time.perf_counter() - began)
            if i and np.mean(times[1:]) * (number - 1 - i) > seconds_left - sum(times):
                raise TooLong(times[0] + np.mean(times[1:]) * (number - 1))
        if not self._started and len(times) > 1:  # the first block was compiled
            times[0] = float(np.mean(times[1:]))
        self._started = True
        whole = {k: np.concatenate([p[k] for p in parts], 1) for k in (parts or [{}])[0]}
        return Ran(_record(whole), whole, progress.states, float(sum(times)), error)

    def measured(self, ran: Ran) -> dict[str, Any]:
        """All measures of a run."""
        found: dict[str, Any] = measures.of_record(ran.record, self.prepared.modes)
        reference = self.prepared.reference
        found |= {"coverage": None, "found_share": None}
        if reference is not None and len(ran.record.rates):
            sequences = Sequences(jnp.asarray(reference.tokens), jnp.asarray(reference.mask))
            scores = self._scores(ran.state, sequences)
            found["coverage"] = measures.coverage(reference, np.asarray(scores))
            found["found_share"] = measures.found_share(ran.record, reference)
        return found | {"seconds": ran.seconds, "flops": self._flops(ran)}

    @cached_property
    def _scores(self):
        first = lambda states: jax.tree.map(lambda x: x[0], states)
        return jax.jit(lambda states, x: self.algorithm.log_prob(first(states), x))

    def _flops(self, ran: Ran) -> float:
        rounds = len(ran.record.rates)
        if not rounds:
            return 0.0
        config = SimpleNamespace(
            networks=self.prepared.networks, settings=self.settings, rounds=rounds
        )
        return methods.flops(config, self.method, ran.metrics)


def _record(metrics: dict[str, np.ndarray]) -> Record:
    if not metrics:
        none = np.zeros((0, 0, 0))
        return Record(none.astype(int), none.astype(bool), np.zeros((0, 0)), np.zeros(0))
    tokens, mask, rewards = (metrics[name][0] for name in PAID)
    return Record(tokens, mask, rewards, metrics[RATE][0])
