"""All that looks on while a run runs, as one: page, status, table, terminal, callbacks."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from banel_jax.oracle.calls import Call
from banel_jax.runs.callbacks import Callbacks
from banel_jax.runs.metrics_csv import MetricsCsv
from banel_jax.runs.progress import Bar
from banel_jax.runs.report.ledger_table import Row
from banel_jax.runs.report.refresher import Refresher, ended, own_command
from banel_jax.runs.report.view import Standing
from banel_jax.types import Sequences, State

TEXTS = 10_000  # of a round that are kept for the page


class Watch:
    """For the time that a folder is held; nothing of it can end the run or change its numbers.

    As a context it ends with the run: by an error, by the `standing` it was told, or complete.

    Args:
      folder: of the run.
      records: of the rounds that are done.
      callbacks: of the caller.
      description: stands before the line on the terminal.
      report: draw `report.html`.
    """

    def __init__(
        self,
        folder: Path,
        records: Sequence[Mapping[str, float]] = (),
        callbacks: Callbacks | None = None,
        description: str = "",
        report: bool = True,
    ):
        self._callbacks = callbacks or Callbacks()
        self.tells_states = bool(self._callbacks)
        self._csv = MetricsCsv(folder / "metrics.csv", records)
        self._bar = Bar(description)
        self._refresher = Refresher(
            folder, own_command(), self._text, report=report, shown=self._bar.show
        )
        self._texts: dict[int, str] = {}
        self.standing: Standing | None = None  # how it ends, where that is no error

    def __enter__(self) -> "Watch":
        self._refresher.__enter__()
        return self

    def propose(self, call: Call) -> None:
        """Before a round is paid for: what its rows look like, where they can be rendered."""
        if call.text is not None:
            rows = [row.row for row in call.rows[:TEXTS]]
            before = list(self._texts.items())[-TEXTS:]
            self._texts = dict([*before, *zip(rows, call.text, strict=False)])

    def _text(self, row: Row) -> str | None:
        return self._texts.get(row.row)

    def on_round(
        self, record: Mapping[str, float], state: State, candidates: Sequences, rewards: np.ndarray
    ) -> None:
        """After a round was written down."""
        self._csv.append(record)
        self._callbacks.on_round(record, state, candidates, rewards)

    def __exit__(self, kind, error, traceback) -> None:
        self._callbacks.on_end()
        self._refresher.close(ended(error) if error or not self.standing else self.standing)
        self._bar.close()
