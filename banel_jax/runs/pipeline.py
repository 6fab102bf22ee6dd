"""The rounds of a run: proposed, answered and told, one after another or some ahead."""

import time
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from banel_jax.runs import ahead, rounds
from banel_jax.runs.ahead import Asked
from banel_jax.runs.plan import Plan
from banel_jax.runs.steps import compiled_nan_parts
from banel_jax.sampling import found
from banel_jax.types import Sequences, State


class Told(NamedTuple):
    """A round that is done.

    Attributes:
      record: its line of `metrics.jsonl`.
      seconds: by phase.
      candidates: [m].
      rewards: float32 [m], NaN where a row has no answer.
    """

    record: dict[str, float]
    seconds: dict[str, float]
    candidates: Sequences
    rewards: np.ndarray


class Asking(Protocol):
    """The oracle, in whichever process."""

    rounds_in_flight: int

    def propose(self, round: int, candidates: Sequences) -> None:
        """As `Oracle.propose`."""

    def collect(self, round: int) -> np.ndarray:
        """As `Oracle.collect`."""

    def totals(self, round: int) -> tuple[int, int]:
        """Evaluations and successes of the rounds before this one."""


class Pipeline:
    """A run's state, and the rounds that are proposed and not yet told.

    Args:
      plan: the run's functions.
      oracle: which is asked.
    """

    def __init__(self, plan: Plan, oracle: Asking):
        self._plan, self._oracle = plan, oracle
        self._asked: deque[Asked] = deque()
        self.state: State = None

    def begin(self, done: int, kept: Any, first: Callable[[], State]) -> None:
        """Goes on after `done` rounds with what `kept` gave then; None for the first state."""
        if kept is None or not self._plan.ahead:
            self.state = first() if kept is None else kept
            return
        self.state = kept["state"]
        for round, one in enumerate(kept["asked"], done):
            self._pay(round, one.candidates)
            self._asked.append(one)

    def kept(self) -> Any:
        """All that the next rounds follow from, arrays alone."""
        if not self._plan.ahead:
            return self.state
        return {"state": self.state, "asked": list(self._asked)}

    def next(self, round: int) -> Told:
        """Does one round."""
        times = [time.perf_counter()]

        def lap(x):
            jax.block_until_ready(x)
            times.append(time.perf_counter())
            return x

        while len(self._asked) < self._oracle.rounds_in_flight:
            self._propose(round + len(self._asked))
        lap(None)
        candidates, asked = self._asked.popleft()
        if self._plan.ahead:
            asked = ahead.merge(asked, self.state, self._plan.by_ask)
        rewards = lap(self._oracle.collect(round))
        missing = np.isnan(rewards)
        told = (jnp.asarray(np.where(missing, 0, rewards)), *([~missing] * bool(missing.any())))
        step = self._plan.steps.tell
        state, info = lap(step(self._plan.key, jnp.int32(round), asked, candidates, *told))
        rounds.check_told(round, jax.device_get(compiled_nan_parts(state)))
        evaluation = lap(self._plan.evaluate(asked, state) if self._plan.evaluate else {})
        self.state = state
        counts = self._oracle.totals(round + 1)
        record = {
            "round": round,
            **dict(zip(rounds.COUNTS, counts, strict=True)),
            **self._unusual(round, missing),
            **{k: float(np.float32(v)) for k, v in rounds.merge(info, evaluation).items()},
        }
        phases = ("ask", "oracle", "tell", "evaluate")
        seconds = dict(zip(phases, np.diff(times).tolist(), strict=True))
        return Told(record, {"round": round, **seconds}, candidates, rewards)

    def _unusual(self, round: int, missing: np.ndarray) -> dict[str, int]:
        """What a record says only of runs that have it."""
        late = self._oracle.rounds_in_flight - 1
        unusual = {"staleness": min(round, late)} if late else {}
        return unusual | ({"failed_evaluations": int(missing.sum())} if missing.any() else {})

    def _propose(self, round: int) -> None:
        steps, index = self._plan.steps, jnp.int32(round)
        candidates, asked = steps.ask(self._plan.key, index, self.state)
        rounds.check_found(round, np.asarray(found(candidates)))
        unscored = np.isnan(steps.log_prob(asked, candidates))
        rounds.check_asked(round, jax.device_get(compiled_nan_parts(asked)), unscored)
        self._pay(round, candidates)
        self._asked.append(Asked(candidates, asked))

    def _pay(self, round: int, candidates: Sequences) -> None:
        if round < self._plan.rounds:
            self._oracle.propose(round, candidates)
