"""One algorithm on one task from several seeds, in compiled calls, kept on disk once done."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from banel_jax import numerics, parallel
from banel_jax.runs import fingerprint, loop, naming
from banel_jax.runs import folder as run_folder
from banel_jax.runs.checkpoint import Checkpoints
from banel_jax.runs.environment import environment
from banel_jax.runs.progress import progress
from banel_jax.types import Algorithm, Params, State, Task
from experiments.common import report, seed_results
from experiments.common.seed_results import SeedRuns, together

RESULT = "result.npz"
FINAL = "final"  # the function that measures the last states
# Of the environment, what makes other random numbers of the same seeds.
RANDOM = ("prng", "threefry_partitionable", "seed_offset", "x64")


class Runner:
    """Runs the seeds of an algorithm, a group of them in each compiled call.

    A group lies in a folder of its own, named after everything that determines its rounds (reward
    and evaluation by what they compute, settings by what is not at its default), so that tables,
    sweeps and searches share what they have in common. A stopped group goes on from its last block
    of rounds and ends with the same numbers; one that is complete is measured again where `final`
    measures something else.

    Args:
      name: begins the folders' names, and stands before the progress bar.
      algorithm: what learns.
      task: its reward_fn must be a JAX function.
      base: parameters to start from.
      rounds: of ask and tell.
      evaluate: as for `loop.run`.
      final: `final(state) -> dict` of float32 scalars; of each seed's last state.
      configuration: what the folders are of, for who reads their config.json: dataclasses as they
        are, so that it is known what is at its default.
      folder: of all groups.
      block: rounds in a compiled call; after each the progress is on disk.
      seeds_at_once: in a group, computed as one batch; 1 for one by one.
      num_snapshot: n, samples in a snapshot.
      watch: `watch(seeds, rounds done, metrics of the block by name [seeds, rounds], snapshot
        [seeds, n, length])`, called after each block that is run.
    """

    def __init__(
        self,
        name: str,
        algorithm: Algorithm,
        task: Task,
        base: Params,
        rounds: int,
        evaluate: loop.Evaluate | None,
        final: Callable[[State], dict[str, jax.Array]],
        configuration: Mapping[str, Any],
        folder: Path,
        block: int = 5,
        seeds_at_once: int = 1,
        num_snapshot: int = 64,
        watch: Callable[[Sequence[int], int, dict[str, np.ndarray], np.ndarray], None]
        | None = None,
    ):
        self.watch = watch
        self.name, self.base, self.rounds = name, base, rounds
        self.folder, self.block, self.seeds_at_once = folder, block, seeds_at_once
        at_once = 1 if seeds_at_once == 1 else None  # the last group may be smaller than the others
        self.run = loop.compiled_blocks(algorithm, task.reward_fn, evaluate, at_once)
        draw = lambda state: algorithm.sample(jax.random.key(0), state, num_snapshot).tokens
        each = lambda function: jax.jit(lambda states: jax.lax.map(function, states))
        self.snapshot, self.final = each(draw), each(final)
        functions = task.reward_fn, evaluate, final
        self._names = lambda: _names_of(algorithm, base, *functions)
        self._given = {
            **configuration,
            "algorithm": naming.plain(dict(algorithm.settings), "algorithm"),
            "rounds": rounds,
            "snapshots": {"samples": num_snapshot, "every": min(block, rounds)},
            "numerics": numerics.VERSION,
            "base": fingerprint.of_arrays(base),
            "random": {name: environment(jax.random.key(0))[name] for name in RANDOM},
        }
        if (devices := parallel.num_devices()) > 1:  # sums over a batch differ by rounding
            self._given["devices"] = devices

    @cached_property
    def configuration(self) -> dict[str, Any]:
        """All that determines the rounds, but for the seeds."""
        functions = {k: v for k, v in self.functions.items() if k != FINAL}
        return naming.plain(self._given) | {"functions": functions}

    @cached_property
    def functions(self) -> dict[str, str]:
        """Fingerprints of what computes the numbers."""
        return self._names()

    def run_seeds(self, seeds: Sequence[int]) -> SeedRuns:
        """All of these seeds; what is on disk is read, the rest is run."""
        groups = [
            seeds[i : i + self.seeds_at_once] for i in range(0, len(seeds), self.seeds_at_once)
        ]
        return together([self._group(tuple(group)) for group in groups])

    def _group(self, seeds: tuple[int, ...]) -> SeedRuns:
        configuration = self.configuration | {"seeds": list(seeds)}
        place = lambda name: self.folder / f"{self.name}-{name}" / "config.json"
        # What is measured at the end was once in the name.
        name = naming.name_at(place, configuration, configuration | {"functions": self.functions})
        path, folder = place(name), place(name).parent
        kept = folder / RESULT
        with ExitStack() as stack:
            stack.enter_context(run_folder.hold(folder))
            if not run_folder.check_configuration(path, configuration, [f"functions.{FINAL}"]):
                run_folder.record_configuration(path, configuration)
            if kept.exists():
                result, final = seed_results.load(kept)
                if final in (None, self.functions[FINAL]):
                    return result
            checkpoints = stack.enter_context(closing(Checkpoints(folder / "checkpoints", name)))
            result = self._run(seeds, checkpoints)
            seed_results.save(kept, result, self.functions[FINAL])
        return result

    def _run(self, seeds, checkpoints) -> SeedRuns:
        keys = jnp.stack([jax.random.key(seed) for seed in seeds])
        abstract = jax.eval_shape(self.run.start, keys, self.base)
        one = jax.eval_shape(self.snapshot, abstract.states)
        blocks = [
            (first, min(self.block, self.rounds - first))
            for first in range(0, self.rounds, self.block)
        ]
        # Of the first block's rounds, so that this traces what is then run.
        advance = lambda keys, at: self.run.advance(keys, at, 0, blocks[0][1])[1]
        whole = lambda x: jax.ShapeDtypeStruct((len(seeds), self.rounds), x.dtype)
        kept = {
            "progress": abstract,
            "metrics": jax.tree.map(whole, jax.eval_shape(advance, keys, abstract)),
            "snapshots": jax.ShapeDtypeStruct((len(blocks) + 1, *one.shape), one.dtype),
            "seconds": jax.ShapeDtypeStruct((), jnp.float32),
        }
        done, state = checkpoints.restore_latest(kept) or (0, None)
        started = time.perf_counter()
        if state is None:
            start = self.run.start(keys, self.base)
            state = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), kept | {"progress": {}})
            state = state | {"progress": start, "seconds": np.float32(0)}
            state["snapshots"][0] = self.snapshot(start.states)
        else:
            # What comes back from disk may be read-only; it is written to below.
            kept_parts = {k: jax.tree.map(np.array, v) for k, v in state.items() if k != "progress"}
            state = state | kept_parts
        before = float(state["seconds"])
        bar = progress(range(self.rounds), self.rounds, f"{self.name}, seeds {seeds}", done)
        for number, (first, rounds) in enumerate(blocks, 1):
            if first < done:
                continue
            state["progress"], metrics = self.run.advance(keys, state["progress"], first, rounds)
            for name, values in metrics.items():
                state["metrics"][name][:, first : first + rounds] = values
            state["snapshots"][number] = self.snapshot(state["progress"].states)
            state["seconds"] = np.float32(before + time.perf_counter() - started)
            checkpoints.save(first + rounds, jax.tree.map(jnp.asarray, state))
            bar.update(rounds)
            if self.watch:
                block = jax.tree.map(np.asarray, metrics)
                self.watch(seeds, first + rounds, block, state["snapshots"][number])
        checkpoints.wait()
        bar.close()
        final = self.final(state["progress"].states)
        return SeedRuns(
            metrics={k: np.asarray(v) for k, v in state["metrics"].items()},
            final={k: np.asarray(v) for k, v in final.items()},
            snapshots=np.asarray(state["snapshots"]).swapaxes(0, 1),
            snapshot_rounds=np.array([0] + [first + rounds for first, rounds in blocks]),
            seconds=before + time.perf_counter() - started,
            about={k: v for k, v in report.provenance().items() if k in ("commit", "device")},
        )


def _names_of(algorithm, base, reward_fn, evaluate, final) -> dict[str, str]:
    """Of what computes the numbers: the reward, the evaluations, and an algorithm that does not
    say what determines it."""
    key = jax.eval_shape(jax.random.key, 0)
    state = jax.eval_shape(algorithm.init, key, base)  # of the form that it has in every round
    candidates, asked = jax.eval_shape(algorithm.ask, key, state)
    traced = {
        "reward": (reward_fn, candidates),
        "evaluate": (evaluate or (lambda *_: {}), asked, state),
        FINAL: (final, state),
    }
    if not algorithm.settings or None in dict(algorithm.settings).values():
        rewards = jax.ShapeDtypeStruct(candidates.tokens.shape[:1], jnp.float32)
        traced |= {
            "init": (algorithm.init, key, base),
            "ask": (algorithm.ask, key, state),
            "tell": (algorithm.tell, key, asked, candidates, rewards),
            "sample": (lambda key, state: algorithm.sample(key, state, 1), key, state),
        }
    return {name: fingerprint.of_function(*call) for name, call in traced.items()}


def run_each(
    methods: Mapping[str, Any],
    names: Sequence[str],
    runner: Callable[[str], Runner],
    seeds: Sequence[int],
    in_words: Callable[[str, SeedRuns], str],
) -> dict[str, SeedRuns]:
    """The results of several algorithms; one that cannot go on is told of and left out.

    Args:
      methods: with a `title`, by name.
      names: of those to run.
      runner: of a name.
      seeds: of each.
      in_words: what a result found, for the line that is printed of it.
    """
    results = {}
    for name in names:
        try:
            results[name] = result = runner(name).run_seeds(seeds)
        except loop.CandidatesNotFound as error:
            print(f"  {methods[name].title}: stopped, {error}", flush=True)
            continue
        print(
            f"  {methods[name].title}: {in_words(name, result)}, {result.seconds:.0f} s", flush=True
        )
    return results
