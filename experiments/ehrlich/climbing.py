"""A graded function climbed by a binary method: the threshold rises with what was found.

    python -m experiments.ehrlich.climbing

A sequence succeeds from a threshold on. After each round that is the value that the best few of the
different sequences that were paid for reach, and it never falls. What was paid for before is judged
anew by it. The function is that of `evolution.json`, in which `holo_evolution.py` keeps what
holo-bench's own genetic algorithm reaches on it.
"""

import dataclasses
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from banel_jax import checks, files, replay, sampling
from banel_jax.algorithms.auto import BOTH_SIDES
from banel_jax.algorithms.banel import BanelConfig, banel
from banel_jax.runs import naming
from banel_jax.tasks.ehrlich import Ehrlich, EhrlichPriorConfig, fitted
from banel_jax.tasks.ehrlich.function import ROUNDING
from banel_jax.types import Algorithm, State
from experiments.common import flags, report
from experiments.common.publication import publish
from experiments.ehrlich import figures


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of the climb.

    Attributes:
      evolution: file with the function, and with what evolution reaches on it.
      num_candidates: m, evaluations a round.
      budget: evaluations of a run.
      at_the_top: how many different sequences reach the threshold: the best few.
      seeds: of the runs.
      first_seed: the seeds are this one and those that follow.
      banel: what learns from both sides.
      prior: the transformer fitted to what the function's chain draws, which costs no evaluation.
      output: folder of climb.jsonl, summary.json and the figure.
      runs: folder of the fitted prior.
    """

    evolution: str = "experiments/results/ehrlich/climb/evolution.json"
    num_candidates: int = 128
    budget: int = 5120
    at_the_top: int = 4
    seeds: int = 5
    first_seed: int = 0
    banel: BanelConfig = BOTH_SIDES
    prior: EhrlichPriorConfig = field(default_factory=EhrlichPriorConfig)
    output: str = "experiments/results/ehrlich/climb"
    runs: str = "runs/ehrlich"

    def __post_init__(self):
        checks.fields(self)
        checks.integers(self, "num_candidates", "budget", "at_the_top", "seeds", at_least=1)
        checks.seeds(self, "first_seed")
        if self.budget % self.num_candidates:
            raise ValueError(
                f"num_candidates={self.num_candidates} does not divide budget={self.budget}; give "
                "another of them"
            )

    @property
    def every_seed(self) -> range:
        return range(self.first_seed, self.first_seed + self.seeds)

    @property
    def rounds(self) -> int:
        return self.budget // self.num_candidates

    @property
    def sized(self) -> BanelConfig:
        """With the failures of all rounds."""
        return dataclasses.replace(
            self.banel, num_candidates=self.num_candidates, failure_rounds=self.rounds
        )

    @property
    def identity(self) -> str:
        """Of all that determines a run but for its seed."""
        names = ("num_candidates", "budget", "at_the_top", "banel", "prior")
        return naming.identity({name: naming.plain(getattr(self, name)) for name in names})


def read_function(file: str) -> Ehrlich:
    """That of `holo_evolution.py`'s file.

    Raises:
      ValueError: for a file without one.
    """
    of = files.read_object(files.expand(file)).get("function", {})
    array = lambda name: np.array(of[name])
    try:
        return Ehrlich(
            array("initial"), array("transitions"), array("motifs"), array("spacings"),
            of["length"], of["quantisation"], of["epistasis"],
        )  # fmt: skip
    except KeyError as error:
        raise ValueError(f"{file} has no function ({error}); see holo_evolution.py") from error


def judged_anew(state: State, succeeds) -> State:
    """BaNEL's state after another reward for all that it was told of.

    Args:
      state: its failures and successes.
      succeeds: `succeeds(sequences [n]) -> bool [n]`; what failed before fails still.
    """
    old, met = state.failures, state.successes
    fails = sampling.found(old.sequences) & ~succeeds(old.sequences)
    # What was a success had no weight; what it was drawn from is not known any more.
    weights = jnp.where(fails, jnp.where(old.weights > 0, old.weights, 1.0), 0.0)
    kept = met.there() & succeeds(met.sequences)
    blank = jax.tree.map(jnp.zeros_like, met.sequences)
    met = replay.Replay(blank).add(met.sequences, kept.astype(jnp.float32))
    return state.replace(failures=old.replace(weights=weights), successes=met)


class Climb:
    """The compiled parts of a run, for any seed."""

    def __init__(self, config: Config, function: Ehrlich):
        self.config, self.function = config, function
        self.prior = fitted(function, config.prior, report.output_folder(config.runs))
        self.algorithm: Algorithm = banel(self.prior.model, config.sized)
        self.ask, self.value = jax.jit(self.algorithm.ask), jax.jit(function.value)
        self.tell = jax.jit(self._tell)

    def _tell(self, key, state, candidates, threshold):
        reached = lambda x: self.function.value(x) >= threshold * (1 - ROUNDING)
        rewards = reached(candidates).astype(jnp.float32)
        return self.algorithm.tell(key, judged_anew(state, reached), candidates, rewards)[0]

    def run(self, seed: int) -> Iterator[dict[str, float]]:
        """After each round: evaluations, the best value so far, the threshold, the round's mean."""
        key = jax.random.key(seed)
        state = self.algorithm.init(key, self.prior.params)
        values: dict[bytes, float] = {}
        threshold = self.function.levels[1]  # anything at all
        for number in range(self.config.rounds):
            candidates, state = self.ask(jax.random.fold_in(key, 2 * number), state)
            of = np.asarray(self.value(candidates))
            names = [row.tobytes() for row in np.asarray(candidates.tokens)]
            values |= dict(zip(names, of.tolist(), strict=True))
            best = sorted(values.values(), reverse=True)[: self.config.at_the_top]
            threshold = max(threshold, best[-1])
            state = self.tell(jax.random.fold_in(key, 2 * number + 1), state, candidates, threshold)
            yield {
                "evaluations": (number + 1) * self.config.num_candidates, "best": best[0],
                "threshold": threshold, "mean": float(of.mean()), "distinct": len(values),
            }  # fmt: skip


def recorded(
    config: Config, function: Ehrlich, seeds: Sequence[int], path: Path
) -> Iterator[dict[str, Any]]:
    """The runs of these seeds, each a line of the file when it has ended."""
    climb = Climb(config, function)
    for seed in seeds:
        began, rounds = time.perf_counter(), []
        for at in climb.run(seed):
            rounds.append(at)
            if len(rounds) % 10 == 0:
                print(
                    f"seed {seed}: {at['evaluations']:,} evaluations, best {at['best']:.3g}, "
                    f"threshold {at['threshold']:.3g}", flush=True,
                )  # fmt: skip
        by_round = {key: [at[key] for at in rounds] for key in rounds[0]}
        about = {"of": config.identity, "commit": report.commit(), "at_the_top": config.at_the_top}
        line = about | {"seed": seed, "seconds": round(time.perf_counter() - began)} | by_round
        report.append_json_line(path, line)
        yield line


def main(config: Config) -> None:
    """Runs the seeds that are not recorded, and puts all of them together."""
    started = time.perf_counter()
    function = read_function(config.evolution)
    output = report.output_folder(config.output)
    path, name = output / "climb.jsonl", config.identity
    lines: list[dict[str, Any]] = report.read_json_lines(path)
    done = {line["seed"]: line for line in lines if line["of"] == name}
    due = [seed for seed in config.every_seed if seed not in done]
    if due:
        done |= {line["seed"]: line for line in recorded(config, function, due, path)}
    runs = [done[seed] for seed in sorted(done)]
    evolution = files.read_object(files.expand(config.evolution))
    summary = {"climb": runs, "evolution": {k: evolution[k] for k in ("chosen", "runs")}}
    for title, best in (("ours", runs), ("evolution", evolution["runs"])):
        finals = [run["best"][-1] for run in best]
        print(f"{title}: best value {report.format_spread(finals)} of {len(finals)} seeds")
    publish(started, output, config, summary, figures.draw)


if __name__ == "__main__":
    flags.run(main, Config())
