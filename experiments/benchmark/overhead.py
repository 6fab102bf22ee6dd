"""What the loop and the ledger cost beside a demo's own rounds.

    python -m experiments.benchmark.overhead --demo=addition

plays the same rounds twice, in turns: by the compiled pieces alone (ask, reward, tell), and by
`loop.run` with its ledger, checkpoints and records on disk. Both are told in seconds of processor
time a round, the least of the turns, as other programs make them longer and never shorter.
"""

import dataclasses
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from banel_jax import checks
from banel_jax.models.transformer import transformer
from banel_jax.oracle import OracleConfig
from banel_jax.prior_cache import Prior
from banel_jax.runs import loop, steps
from banel_jax.tasks.addition import models as addition_models
from banel_jax.tasks.two_circles import two_circles
from banel_jax.types import Algorithm, Task
from experiments.addition import config as addition
from experiments.addition.methods import METHODS
from experiments.common import report
from experiments.two_circles import experiment as circles
from experiments.two_circles.table import ALL_FAILURES

COLUMNS = ("rounds of", "alone", "loop", "overhead", "least", "most")


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of the measurement.

    Attributes:
      demo: addition (the demo's sizes, with models that were not trained, which costs a round the
        same) or two_circles.
      rounds: that are timed; one before them is not.
      turns: of both.
      batch_size: rows a call of the oracle; 0 for a whole round, as an oracle in JAX is asked.
      page: draw the run's page while it runs.
      folder: of the runs; a temporary one if empty.
      output: JSON file for the figures; empty for none.
    """

    demo: str = "addition"
    rounds: int = 6
    turns: int = 5
    batch_size: int = 0
    page: bool = True
    folder: str = ""
    output: str = ""

    def __post_init__(self):
        checks.fields(self)
        checks.one_of(self, "demo", tuple(DEMOS))
        checks.integers(self, "rounds", "turns", at_least=1)
        checks.integers(self, "batch_size", at_least=0)


class Demo(NamedTuple):
    """A task, what learns on it, and the reward as a compiled function."""

    task: Task
    algorithm: Algorithm
    reward: Callable[..., jax.Array]


def addition_demo() -> Demo:
    config = addition.PRESETS["demo"]
    models = [
        transformer(size)
        for size in (config.task.target_transformer, config.task.attacker_transformer)
    ]
    priors = [Prior(model, model.init(jax.random.key(i)), {}) for i, model in enumerate(models)]
    task, oracle = addition_models.attack(config.task, *priors)
    algorithm = METHODS["ours"].build(config.settings, config.networks)
    return Demo(task, algorithm, jax.jit(oracle.reward))


def two_circles_demo() -> Demo:
    config = circles.Config()
    task = two_circles(config.task)
    return Demo(task, circles.learners(config, task)[ALL_FAILURES], jax.jit(task.reward_fn))


DEMOS = {"addition": addition_demo, "two_circles": two_circles_demo}


def alone(demo: Demo, rounds: int) -> tuple[list[float], Any]:
    """Seconds of each round, and the state after them."""
    step, key = steps.compiled_steps(demo.algorithm), jax.random.key(0)
    state, times = step.init(key, demo.task.prior_params), []
    for round in range(rounds):
        index = jnp.int32(round)
        candidates, asked = step.ask(key, index, state)
        rewards = demo.reward(candidates)
        state, _ = jax.block_until_ready(step.tell(key, index, asked, candidates, rewards))
        times.append(time.process_time())
    return np.diff(times).tolist(), state


class Clock:
    """A callback that notes when rounds are done."""

    def __init__(self):
        self.times: list[float] = []

    def on_round(self, record, state, candidates, rewards) -> None:
        self.times.append(time.process_time())

    def on_end(self) -> None:
        pass


def looped(demo: Demo, rounds: int, config: Config, folder: Path) -> tuple[list[float], Any]:
    """The same of `loop.run`."""
    clock = Clock()
    oracle = OracleConfig(batch_size=config.batch_size or None)
    settings = loop.RunConfig(rounds=rounds, seed=0, oracle=oracle)
    result = loop.run(
        demo.algorithm, demo.task.prior_params, demo.reward, settings, folder, callbacks=[clock],
        report=config.page,
    )  # fmt: skip
    return np.diff(clock.times).tolist(), result.state


def same(one: Any, other: Any) -> bool:
    return all(
        np.array_equal(np.asarray(a), np.asarray(b), equal_nan=True)
        for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    )


def measure(config: Config, root: Path) -> dict[str, Any]:
    """Seconds a round and their ratio, from the least of each round over the turns.

    Raises:
      RuntimeError: if the two did not come to the same state.
    """
    demo, rounds = DEMOS[config.demo](), config.rounds + 1
    times: dict[str, list[list[float]]] = {"alone": [], "loop": []}
    for turn in range(config.turns + 1):  # the first compiles
        by_itself, state = alone(demo, rounds)
        in_loop, other = looped(demo, rounds, config, root / f"turn_{turn}")
        if not same(state, other):
            raise RuntimeError("the loop and its pieces did not come to the same state")
        if turn:
            times["alone"].append(by_itself)
            times["loop"].append(in_loop)
    least = {name: float(np.mean(np.min(each, axis=0))) for name, each in times.items()}
    by_turn = [sum(b) / sum(a) - 1 for a, b in zip(times["alone"], times["loop"], strict=True)]
    return {
        "rounds of": config.demo,
        **least,
        "overhead": least["loop"] / least["alone"] - 1,
        "least": min(by_turn),
        "most": max(by_turn),
        "median": statistics.median(by_turn),
    }


def main(config: Config) -> None:
    started = time.perf_counter()
    output = config.output and str(report.output_file(config.output))
    with tempfile.TemporaryDirectory() as temporary:
        row = measure(config, Path(config.folder or temporary))
    report.print_table([row], COLUMNS)
    print(
        f"\nprocessor seconds a round of {config.rounds}, least of {config.turns} turns; least and "
        "most: the overhead of a turn"
    )
    if output:
        report.write_json(output, report.provenance(started) | row)
        print(f"written: {output}")


if __name__ == "__main__":
    from experiments.common import flags

    flags.run(main, Config(), resumes=False)
