"""What a caller wants done with each round beside the run, such as TensorBoard."""

import importlib
import logging
import math
import secrets
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from banel_jax.types import Sequences, State

logger = logging.getLogger(__name__)


class Callback(Protocol):
    """Called in the run's own thread, which waits meanwhile.

    A round that is run again after a stop, because its checkpoint was not written yet, is told
    again; one whose end fell together with a kill may not have been.
    """

    def on_round(
        self, record: Mapping[str, float], state: State, candidates: Sequences, rewards: np.ndarray
    ) -> None:
        """A round was written down.

        Args:
          record: its line of `metrics.jsonl`.
          state: the algorithm's, after `tell`.
          candidates: tokens [m, length] and mask [m, length].
          rewards: float32 [m], each 0 or 1, NaN where a row has no answer.
        """

    def on_end(self) -> None:
        """The run ends, in order or by an error."""


class Callbacks:
    """Several callbacks as one. What one raises is logged once and does not end the run.

    Args:
      callbacks: called one after another.

    Raises:
      ValueError: for one that lacks a method.
    """

    def __init__(self, callbacks: Sequence[Callback] = ()):
        self._callbacks, self._warned = tuple(callbacks), set[tuple[int, str]]()
        for callback in self._callbacks:
            for name in ("on_round", "on_end"):
                if not callable(getattr(callback, name, None)):
                    raise ValueError(
                        f"callbacks hold a {type(callback).__name__} without {name}; give objects "
                        "as callbacks.Callback describes them"
                    )

    def __bool__(self) -> bool:
        return bool(self._callbacks)

    def on_round(self, record, state, candidates, rewards) -> None:
        self._call("on_round", record, state, candidates, rewards)

    def on_end(self) -> None:
        self._call("on_end")

    def _call(self, method: str, *arguments: Any) -> None:
        for number, callback in enumerate(self._callbacks):
            try:
                getattr(callback, method)(*arguments)
            except Exception as error:  # the run is dearer than what looks at it
                first = (number, method) not in self._warned
                self._warned.add((number, method))
                if first:
                    name = type(callback).__name__
                    logger.warning("%s of the callback %s failed, and the run goes on: %r", method,
                                   name, error, exc_info=True)  # fmt: skip


# (module, class) of what can write TensorBoard's files, the lightest first.
WRITERS = (
    ("tensorboardX", "SummaryWriter"),
    ("torch.utils.tensorboard", "SummaryWriter"),
    ("clu.metric_writers", "SummaryWriter"),
)


class TensorBoard:
    """Each round's metrics as scalars, by the round.

    Args:
      folder: of the event files, for `tensorboard --logdir`; made with the first of them.

    Raises:
      ValueError: where no package that writes them is installed; one line that names them.
    """

    def __init__(self, folder: Path | str):
        self._folder, self._make = str(folder), _writer()
        self._writer: Any = None

    def on_round(self, record, state, candidates, rewards) -> None:
        if self._writer is None:
            self._writer = self._make(self._folder)
        round = int(record["round"])
        scalars = {k: float(v) for k, v in record.items() if k != "round" and math.isfinite(v)}
        if hasattr(self._writer, "add_scalar"):  # clu takes all scalars at once
            for name, value in scalars.items():
                self._writer.add_scalar(name, value, round)
        else:
            self._writer.write_scalars(round, scalars)
        self._writer.flush()

    def on_end(self) -> None:
        if self._writer is not None:
            self._writer.close()


def _writer() -> Callable[[str], Any]:
    for module, name in WRITERS:
        try:
            found = getattr(importlib.import_module(module), name)
        except ImportError:
            continue
        # Two starts of one second would write to one file, and the second would empty it.
        own = {} if module.startswith("clu") else {"filename_suffix": f".{secrets.token_hex(4)}"}
        return partial(found, **own)
    raise ValueError(
        "TensorBoard's files need a package that writes them and none is installed; "
        "run pip install tensorboardX, or leave TensorBoard out"
    )
