"""What is kept of an algorithm's runs from several seeds, and how it is written down."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from banel_jax import files


class SeedRuns(NamedTuple):
    """What is kept of an algorithm's runs.

    Attributes:
      metrics: by name, [seeds, rounds].
      final: by name, [seeds], of the last state.
      snapshots: tokens int32 [seeds, blocks + 1, n, length], drawn before the first round and
        after each block of rounds.
      snapshot_rounds: rounds done at each of them.
      seconds: of all seeds, compilation and evaluation included.
      about: where it comes from: commit, device.
    """

    metrics: dict[str, np.ndarray]
    final: dict[str, np.ndarray]
    snapshots: np.ndarray
    snapshot_rounds: np.ndarray
    seconds: float
    about: dict[str, Any]


def together(results: Sequence[SeedRuns]) -> SeedRuns:
    """The seeds of several results as one."""
    first = results[0].snapshot_rounds
    if not all(np.array_equal(result.snapshot_rounds, first) for result in results):
        raise ValueError("seeds were run in blocks of different lengths; give one block for all")
    join = lambda parts: {k: np.concatenate([p[k] for p in parts]) for k in parts[0]}
    return SeedRuns(
        metrics=join([c.metrics for c in results]),
        final=join([c.final for c in results]),
        snapshots=np.concatenate([c.snapshots for c in results]),
        snapshot_rounds=first,
        seconds=sum(c.seconds for c in results),
        about={k: ", ".join(sorted({str(c.about[k]) for c in results})) for k in results[0].about},
    )


def save(path: Path, result: SeedRuns, final: str) -> None:
    """Writes a result; `final` names the function that measured the last states."""
    arrays: dict[str, Any] = {f"metrics/{k}": v for k, v in result.metrics.items()}
    arrays |= {f"final/{k}": v for k, v in result.final.items()}
    about = json.dumps(result.about | {"seconds": result.seconds, "final": final})
    arrays |= {"snapshots": result.snapshots, "snapshot_rounds": result.snapshot_rounds}
    with files.replacing(path) as file:
        np.savez_compressed(file, about=np.array(about), **arrays)


def load(path: Path) -> tuple[SeedRuns, str | None]:
    """A result, and by which function its last states were measured; None where that is not said.

    Raises:
      ValueError: for a file that cannot be read.
    """
    try:
        with np.load(path) as archive:
            arrays = {name: archive[name] for name in archive.files}
        about = json.loads(str(arrays.pop("about")))
        part = lambda p: {k.removeprefix(p): v for k, v in arrays.items() if k.startswith(p)}
        final = about.pop("final", None)
        result = SeedRuns(
            part("metrics/"),
            part("final/"),
            arrays["snapshots"],
            arrays["snapshot_rounds"],
            about.pop("seconds"),
            about,
        )
        return result, final
    except Exception as error:
        raise ValueError(f"{path} cannot be read ({error}); delete it to run it again") from error
