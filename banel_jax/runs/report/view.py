"""A run's folder as it stands: what the page, the status and the terminal tell of."""

import json
import math
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from banel_jax import files
from banel_jax.runs import control_file, lock
from banel_jax.runs import folder as run_folder
from banel_jax.runs.control_file import Controls
from banel_jax.runs.report.ledger_table import SHOWN, Row
from banel_jax.runs.report.markup import visible
from banel_jax.runs.report.paid import LedgerReader, Paid

STATUS = "status.json"
HEARTBEAT = 60.0  # seconds without one after which a run on another host counts as gone

Record = dict[str, Any]
Render = Callable[[Row], str | None]


class Standing(NamedTuple):
    """Whether a run runs.

    Attributes:
      state: running, complete, waiting (for answers by hand), stopped or failed.
      why: what is awaited, or what ended it, in one line; may be empty.
    """

    state: str
    why: str = ""


@dataclass(frozen=True)
class RunView:
    """What is in a run's folder.

    Attributes:
      folder: of the run.
      time: of the look, unix seconds.
      standing: whether it runs.
      settings: in force, by name, such as `run.rounds`.
      records: of the rounds that are told, as in `metrics.jsonl`.
      timings: seconds by phase, likewise.
      paid: what the ledger holds; None where there is none, or it cannot be read now.
      told: unix seconds of when the newest round was told, None before.
      live: what the run itself last wrote into `status.json`.
      notes: what could not be read, a line each.
      texts: of the newest successes, by row, where the run has written them.
      render: what stands for a row's tokens, or None.
      controls: where they were judged.
    """

    folder: Path
    time: float
    standing: Standing
    settings: Record = field(default_factory=dict)
    records: list[Record] = field(default_factory=list)
    timings: list[Record] = field(default_factory=list)
    paid: Paid | None = None
    told: float | None = None
    live: Record = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    texts: dict[int, str] = field(default_factory=dict)
    render: Render | None = None
    controls: Controls | None = None

    @property
    def rounds(self) -> int | None:
        """That the run is to have: as many as it was asked for, or as the budget pays."""
        found, budget, m = map(self.setting, ("rounds", "budget", "num_candidates"))
        if found is None and isinstance(budget, int) and isinstance(m, int) and m:
            return budget // m
        return found if isinstance(found, int) else None

    def setting(self, name: str) -> Any:
        """Of the run, whether or not it may change."""
        return self.settings.get(f"run.may_change.{name}", self.settings.get(f"run.{name}"))

    def shown(self, row: Row) -> str:
        """A row as a text; where `render` fails, its tokens."""
        text = self.texts.get(row.row)
        if text is None and self.render is not None:
            try:
                text = self.render(row)
            except Exception as error:  # a person's function; the page is for more than this
                return f"{tokens(row)} (render: {visible(error, 80)})"
        return tokens(row) if text is None else str(text)


def tokens(row: Row) -> str:
    more = f" … ({row.length:,} tokens)" if row.length > len(row.tokens) else ""
    return " ".join(map(str, row.tokens)) + more


class Reader:
    """Looks at a folder again and again; what was read once is not read again.

    Args:
      folder: of a run.
      render: `render(row) -> str`, what stands for a row's tokens; they do where that is None.
    """

    def __init__(self, folder: Path, render: Render | None = None):
        self.folder, self.render = folder, render
        self._metrics = _Lines(folder / "metrics.jsonl")
        self._timings = _Lines(folder / "timings.jsonl")
        self._successes = _Lines(folder / "successes.jsonl", _text)
        self._ledger = LedgerReader(folder / "oracle.sqlite")

    def read(self, standing: Standing | None = None) -> RunView:
        """The folder now.

        Args:
          standing: where the reader knows it; else it is found out.
        """
        notes: list[str] = []
        records = self._of(self._metrics.read, notes) or []
        live = self._of(lambda: files.read_object(self.folder / STATUS), notes) or {}
        settings = self._of(lambda: _settings(self.folder / "config.json"), notes) or {}
        controls = self._of(lambda: control_file.read(self.folder), notes)
        view = RunView(
            self.folder, time.time(), Standing("stopped"), settings, records,
            self._of(self._timings.read, notes) or [],
            self._of(lambda: self._ledger.read(len(records)), notes),
            self._of(lambda: (self.folder / "metrics.jsonl").stat().st_mtime, notes),
            live, (*notes, *self._metrics.notes, *self._timings.notes),
            dict((self._of(self._successes.read, []) or [])[-SHOWN:]), self.render,
            controls,
        )  # fmt: skip
        object.__setattr__(view, "standing", standing or found_standing(view))
        return view

    def _of(self, read: Callable[[], Any], notes: list[str]) -> Any:
        """What can be read; what is missing is None, and what cannot be read gives a note."""
        try:
            return read()
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            notes.append(visible(error))
        return None


def _settings(path: Path) -> Record:
    return run_folder.in_force(path) if path.exists() else {}


def found_standing(view: RunView) -> Standing:
    """Whether a run runs, from its folder's lock and what it last wrote itself."""
    live, here = view.live, socket.gethostname()
    said = Standing(str(live.get("state", "")), str(live.get("why") or ""))
    host, process = str(live.get("host", here)), live.get("pid", "?")
    if lock.is_held(view.folder):
        return Standing("running", said.why if said.state == "running" else "")
    if said.state == "running":
        quiet = view.time - _number(live.get("time"), -math.inf)
        if host != here and quiet < HEARTBEAT:
            return Standing("running", f"on {host}, by its heartbeat")
        return Standing("stopped", f"its process {process} on {host} ended without a word")
    if said.state in ("complete", "waiting", "stopped", "failed"):
        return said
    whole = view.rounds is not None and len(view.records) >= view.rounds
    whole = whole and (view.folder / "summary.json").exists()
    return Standing("complete" if whole else "stopped")


def _number(value: Any, default: float) -> float:
    return float(value) if isinstance(value, int | float) else default


class _Lines:
    """The records of a file of JSON lines that only grows; a half-written last one is not yet."""

    def __init__(self, path: Path, parse: Callable[[bytes], Any] | None = None):
        self.path, self._parse = path, parse or _record
        self._begin(b"")

    def _begin(self, start: bytes) -> None:
        self._start, self._end, self._records = start, 0, list[Any]()
        self.notes: tuple[str, ...] = ()

    def read(self) -> list[Any]:
        """Raises: OSError."""
        with open(self.path, "rb") as file:
            start = file.read(256)
            size = file.seek(0, 2)
            if size < self._end or start[: len(self._start)] != self._start:
                self._begin(start)  # it was cut, or is another
            self._start = start
            file.seek(self._end)
            new = file.read()
        *lines, rest = new.split(b"\n")
        self._end += len(new) - len(rest)
        for line in lines:
            try:
                self._records.append(self._parse(line))
            except (
                ArithmeticError,
                LookupError,
                TypeError,
                ValueError,
                RecursionError,
                AttributeError,
            ) as error:
                self.notes = (f"{self.path.name} has a line that is damaged: {visible(error)}",)
        return list(self._records)


def _record(line: bytes) -> Record:
    """Numbers by name; NaN and infinities, which JSON lacks, are there as strings."""
    return {name: _float(value) for name, value in json.loads(line).items()}


def _float(value: Any) -> float:
    if isinstance(value, str | int | float):
        return float(value)
    raise ValueError(f"{value!r:.40} is no number")


def _text(line: bytes) -> tuple[int, str]:
    """Row and text of a success; of one without a text, the tokens are shown."""
    success = json.loads(line)
    return int(success["row"]), str(success["text"])
