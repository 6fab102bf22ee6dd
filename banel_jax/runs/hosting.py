"""A run of several processes: the first pays and keeps the folder, the others follow.

All of them compute the same rounds. What the first alone knows is said before it is needed: how
many rounds are done and the state after them, whether there is another round, and its rewards.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from banel_jax import checks, hosts
from banel_jax.oracle import Oracle, Stopped
from banel_jax.parallel import data_mesh
from banel_jax.runs.config import RunConfig, RunResult
from banel_jax.runs.leaves import rebuilt, shapes_of, stored
from banel_jax.runs.pipeline import Pipeline
from banel_jax.runs.plan import Plan
from banel_jax.types import Sequences


class Paying:
    """The oracle of the first process, whose rewards the others hear."""

    def __init__(self, oracle: Oracle, line: hosts.Line):
        self._oracle, self._line = oracle, line
        self.rounds_in_flight = oracle.rounds_in_flight

    def propose(self, round: int, candidates: Sequences) -> None:
        with by_itself():
            self._oracle.propose(round, candidates)

    def collect(self, round: int) -> np.ndarray:
        with by_itself():
            rewards = self._oracle.collect(round)
        self._line.say({"rewards": rewards.tolist(), "totals": self.totals(round + 1)})
        return rewards

    def totals(self, round: int) -> tuple[int, int]:
        """Evaluations and successes of the rounds up to this one."""
        return self._oracle.ledger.totals(round)


class Heard:
    """The oracle as the other processes know it."""

    def __init__(self, rounds_in_flight: int, line: hosts.Line):
        self.rounds_in_flight, self._line = rounds_in_flight, line
        self._totals = 0, 0

    def propose(self, round: int, candidates: Sequences) -> None:
        pass

    def collect(self, round: int) -> np.ndarray:
        word = self._line.hear()
        if "ended" in word:
            raise Stopped(word["ended"])
        self._totals = tuple(word["totals"])
        return np.asarray(word["rewards"], np.float32)

    def totals(self, round: int) -> tuple[int, int]:
        return self._totals


@contextlib.contextmanager
def leading(line: hosts.Line) -> Iterator[None]:
    """What ends the first process ends the others as well, and they say why."""
    try:
        with hosts.noticing():
            yield
    except BaseException as error:
        stopped = isinstance(error, KeyboardInterrupt | SystemExit)
        reason = "it was told to stop" if stopped else checks.first_line(error)
        line.say({"failed": reason})
        raise


def by_itself() -> contextlib.AbstractContextManager:
    """For what the first process does alone: under a mesh of its own device."""
    if hosts.alone():
        return contextlib.nullcontext()
    return jax.set_mesh(data_mesh(jax.local_devices()[:1]))


def taken_up(line: hosts.Line, the: Plan, name: str, done: int, state: Any, **more: Any) -> Any:
    """By the first process: tells the others where the run stands; the state as all have it."""
    line.say({"name": name, "done": done, "begun": state is not None, **more})
    line.agreed()
    return state if hosts.alone() or state is None else _everywhere(the, stored(state))


def _everywhere(the: Plan, leaves: dict[str, np.ndarray] | None) -> Any:
    return rebuilt(the.kept, hosts.broadcast(leaves, shapes_of(the.kept)))


@hosts.noticing()
def follow(
    line: hosts.Line,
    the: Plan,
    config: RunConfig,
    name: str,
    first: Callable[[], Any],
    check: Callable[[], None],
    watched: bool,
) -> RunResult:
    """The run of every process but the first.

    Args:
      line: what the first says.
      the: the run's functions.
      config: settings of the run.
      name: of its configuration.
      first: the state before the first round.
      check: the prior, which all do where the first does.
      watched: whether callbacks of the first want every state.

    Raises:
      HostLost: where the first process is gone or has given up.
      ValueError: where the first runs something else.
    """
    begun = line.hear()
    other = "it was started with another configuration or environment than the first process"
    line.answer("" if begun["name"] == name else other)
    if begun["name"] != name:
        raise ValueError(f"this process ends: {other}; give all the same flags and versions")
    done, metrics = begun["done"], begun["metrics"]
    state = _everywhere(the, None) if begun["begun"] else None
    if done == the.rounds:
        return RunResult(the.state_in(state), metrics)
    if begun["check"]:
        check()
    pipeline, stopped = Pipeline(the, Heard(config.rounds_in_flight, line)), None
    pipeline.begin(done, state, first)
    try:
        while "ended" not in (word := line.hear()):
            metrics.append(pipeline.next(len(metrics)).record)
            if len(metrics) % config.checkpoint_every == 0:
                hosts.local(pipeline.kept())
            if watched:
                hosts.local(pipeline.state)
        stopped = word["ended"]
    except Stopped as rule:
        stopped = str(rule)
    if len(metrics) > done and len(metrics) % config.checkpoint_every:
        hosts.local(pipeline.kept())
    return RunResult(pipeline.state, metrics, stopped)
