"""Checkpoints of a run's state, written by orbax while the run goes on."""

import contextlib
import errno
import logging
import os
import shutil
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from banel_jax import checks, files, hosts
from banel_jax.runs import packing
from banel_jax.runs.leaves import checksum, rebuilt, shapes_of, signature, stored
from banel_jax.types import State

logger = logging.getLogger(__name__)
SPARE = 2**20


def _raised_as_well(record: logging.LogRecord) -> bool:
    """Whether orbax logs, with its traceback, what `save` or `wait` raise in one line."""
    if not record.exc_info or not record.exc_info[1]:
        return False
    frames = traceback.walk_tb(record.exc_info[1].__traceback__)
    return any("orbax" in frame.f_code.co_filename for frame, _ in frames)


for _name in ("absl", "asyncio"):
    logging.getLogger(_name).addFilter(lambda record: not _raised_as_well(record))


class Checkpoints:
    """The latest checkpoints of a run.

    A checkpoint is named by the number of rounds done. Saving returns once the state is
    copied; a process killed while it is written leaves the one before.

    Args:
      folder: of the checkpoints; made where it is missing.
      run: names the run; a checkpoint of another is refused.
      keep: how many to keep; 2 leave one where the newest turns out damaged.
    """

    def __init__(self, folder: Path | str, run: str = "", keep: int = 2):
        self.folder = Path(folder).absolute()
        self.run = run
        by_itself = ocp.options.MultiprocessingOptions()
        if not hosts.alone():  # the others keep no folder, so none is waited for
            by_itself = ocp.options.MultiprocessingOptions(active_processes={jax.process_index()})
        handlers = {
            "state": ocp.StandardCheckpointHandler(multiprocessing_options=by_itself),
            "about": ocp.JsonCheckpointHandler(multiprocessing_options=by_itself),
        }
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            options = ocp.CheckpointManagerOptions(
                max_to_keep=keep, cleanup_tmp_directories=True, create=False,
                multiprocessing_options=by_itself,
            )  # fmt: skip
            self._manager = ocp.CheckpointManager(
                self.folder, options=options, item_handlers=handlers
            )
        except (OSError, ValueError) as error:
            raise ValueError(
                f"cannot keep checkpoints in {self.folder}: {error}; choose another folder"
            ) from error

    def save(self, rounds: int, state: State, paid: Mapping[str, int] | None = None) -> None:
        """Saves the state after so many rounds; waits for the save before it.

        Args:
          rounds: that were done.
          state: after them.
          paid: the ledger's counts of these rounds, by name.

        Raises:
          ValueError: where this save or the one before it cannot be written; what was saved
            earlier stays.
        """
        about = {"run": self.run, "state": signature(state), "checksum": checksum(state)}
        about |= {"paid": dict(paid or {}), "packed_below": packing.BELOW}
        with self._explain():
            leaves = stored(state)
            needed = sum(leaf.nbytes for leaf in leaves.values()) + SPARE
            # Asked first, for what writes checkpoints fails in many threads and says so in each.
            if shutil.disk_usage(self.folder).free < needed:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            kept, note = ocp.args.StandardSave(packing.pack(leaves)), ocp.args.JsonSave(about)
            self._manager.save(rounds, args=ocp.args.Composite(state=kept, about=note))

    @contextlib.contextmanager
    def _explain(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # of whatever kind
            if files.is_full(error):
                raise ValueError(
                    f"the disk is full at the checkpoints {self.folder}; make room, and the same "
                    "command goes on from the checkpoint before"
                ) from error
            raise ValueError(
                f"the checkpoints {self.folder} cannot be written: {checks.first_line(error)}; "
                "mend it, and the same command goes on from the checkpoint before"
            ) from error

    def newest(self) -> int:
        """Rounds of the newest checkpoint, sound or not; 0 where there is none."""
        return max(self._manager.all_steps(), default=0)

    def restore_latest(self, abstract_state: State) -> tuple[int, State] | None:
        """The newest sound checkpoint, as (rounds done, state), or None.

        A damaged one is moved aside with a warning: the rounds since the one before are run
        again, and the ledger answers for the oracle.

        Args:
          abstract_state: `jax.eval_shape` of the state.

        Raises:
          ValueError: for a checkpoint of another run, or of a state of other shapes.
        """
        for rounds in sorted(self._manager.all_steps(), reverse=True):
            try:
                told = self._about(rounds)
                run, saved, expected = (told[name] for name in ("run", "state", "checksum"))
            except Exception as error:
                self._set_aside(rounds, error)
                continue
            self._check(rounds, run, saved, signature(abstract_state))
            try:
                like = {n: np.empty(x.shape, x.dtype) for n, x in shapes_of(abstract_state).items()}
                below = told.get("packed_below", 0)  # none were, in earlier versions
                restore = ocp.args.StandardRestore(packing.pack(like, below))
                packed = self._manager.restore(rounds, args=ocp.args.Composite(state=restore))
                state = rebuilt(abstract_state, packing.unpack(packed["state"], like, below))
                if checksum(state) != expected:
                    raise ValueError("checksum differs")
            except Exception as error:
                self._set_aside(rounds, error)
                continue
            return rounds, state
        return None

    def paid(self, rounds: int) -> dict[str, int]:
        """The ledger's counts that were saved with a sound checkpoint; empty if none were."""
        return self._about(rounds).get("paid", {})

    def _about(self, rounds: int) -> dict[str, Any]:
        restore = ocp.args.Composite(about=ocp.args.JsonRestore())
        return self._manager.restore(rounds, args=restore)["about"]

    def _check(self, rounds: int, run: str, saved: dict, expected: dict) -> None:
        folder = self.folder / str(rounds)
        if run != self.run:
            raise ValueError(
                f"the checkpoint {folder} belongs to a run of another configuration ({run}, this "
                f"one is {self.run}); use another folder"
            )
        differences = [
            f"{path} is {saved.get(path, 'absent')} there and {expected.get(path, 'absent')} here"
            for path in sorted(saved.keys() | expected.keys())
            if saved.get(path) != expected.get(path)
        ]
        if differences:
            more = f" and {len(differences) - 3} more" if len(differences) > 3 else ""
            raise ValueError(
                f"the checkpoint {folder} holds another state: {'; '.join(differences[:3])}{more}. "
                "It was written by another version or model; use another folder"
            )

    def _set_aside(self, rounds: int, error: Exception) -> None:
        damaged = self.folder.with_name(f"{self.folder.name}.damaged")
        damaged.mkdir(exist_ok=True)
        target = damaged / f"{rounds}.{len(list(damaged.iterdir()))}"
        os.replace(self.folder / str(rounds), target)
        self._manager.reload()
        logger.warning(
            "the checkpoint %s is damaged (%s); moved to %s, going on from the one before",
            self.folder / str(rounds),
            checks.first_line(error)[:200],
            target,
        )

    def wait(self) -> None:
        """Until everything saved is on disk; raises, as `save`, what went wrong meanwhile."""
        with self._explain():
            self._manager.wait_until_finished()

    def close(self) -> None:
        with self._explain():
            self._manager.close()
