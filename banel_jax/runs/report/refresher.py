"""Keeps a run's page and its `status.json` fresh from a thread that can do the run no harm."""

import contextlib
import logging
import os
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from banel_jax import files
from banel_jax.runs.report import status
from banel_jax.runs.report.facts import Facts, Since, facts
from banel_jax.runs.report.page import REFRESH, page
from banel_jax.runs.report.view import Reader, Render, RunView, Standing

logger = logging.getLogger(__name__)

PAGE = "report.html"
FIRST = 0.5  # seconds until the first drawing, which a run of a moment goes without
SHARE = 0.01  # of the time that may go into the page, beyond which it is drawn more rarely


class Refresher:
    """Draws the page of a run that is held, every few seconds and at the end.

    Used as a context it ends with the run, and says how that ended. What goes wrong here is
    logged once and never raised.

    Args:
      folder: of the run.
      command: that goes on with the run, for people; None for one that cannot be told.
      render: `render(row) -> str`, what stands for a row's tokens.
      every: seconds between two drawings.
      report: draw the page; else `status.json` is written alone.
      shown: is given the numbers of each look, for a terminal.
    """

    def __init__(
        self,
        folder: Path,
        command: str | None = None,
        render: Render | None = None,
        every: float = REFRESH,
        report: bool = True,
        shown: Callable[[Facts], None] = lambda known: None,
    ):
        self.folder, self.command, self.every, self.report = folder, command, every, report
        self._shown = shown
        self._reader = Reader(folder, render)
        self._since: Since | None = None
        self._end = threading.Event()
        self._drawing = threading.Lock()
        self._logged: set[str] = set()
        self._thread = threading.Thread(target=self._go, name="banel_jax.report", daemon=True)

    def __enter__(self) -> "Refresher":
        self._thread.start()
        return self

    def __exit__(self, kind, error, traceback) -> None:
        self.close(ended(error))

    def close(self, standing: Standing) -> None:
        """Ends the thread, and draws how it ended."""
        self._end.set()
        if self._thread.is_alive():
            self._thread.join(timeout=10.0)
        self.draw(standing)

    def _go(self) -> None:
        wait = min(FIRST, self.every)
        while not self._end.wait(wait):
            begun = time.thread_time()
            self.draw(Standing("running"))
            wait = max(self.every, (time.thread_time() - begun) / SHARE)

    def draw(self, standing: Standing) -> None:
        """Looks at the folder and writes both files; what hinders that is logged once."""
        with self._drawing:
            try:
                view = self._reader.read(standing)
                self._write(view)
            except Exception as error:  # whatever it is, the run goes on
                self._warn(error)

    def _write(self, view: RunView) -> None:
        if self._since is None:
            self._since = Since(view.time, facts(view).answered)
        said = status.record(view, self._since, self.command)
        view.live.update(said)
        self._shown(facts(view, self._since))
        status.write(self.folder, said)
        if self.report:
            files.write_atomically(self.folder / PAGE, page(view))

    def _warn(self, error: Exception) -> None:
        kind = "the disk is full" if files.is_full(error) else f"{type(error).__name__}: {error}"
        if kind not in self._logged:
            self._logged.add(kind)
            logger.warning("the page of %s is left as it is: %s", self.folder, kind)


def show(folder: Path | str) -> Path:
    """Draws the page of a run, whether or not it runs.

    Returns:
      where the page is.

    Raises:
      ValueError: where the folder holds no run.
      OSError: where the page cannot be written; it names the file.
    """
    path = status.named(folder)
    files.write_atomically(path / PAGE, page(Reader(path).read()))
    return path / PAGE


def ended(error: BaseException | None) -> Standing:
    """How a run ended that raised this, or nothing."""
    if error is None:
        return Standing("complete")
    said = " ".join(f"{error}".split())
    if isinstance(error, KeyboardInterrupt):
        return Standing("stopped", said or "by Ctrl-C")
    if isinstance(error, SystemExit):
        with contextlib.suppress(ValueError):
            if isinstance(error.code, int):  # a signal's number above 128
                said = f"by {signal.Signals(error.code - 128).name}"
        return Standing("stopped", said)
    if state := getattr(error, "standing", None):  # an error that is none, such as a pause
        return Standing(state, said)
    return Standing(
        "failed", said if isinstance(error, ValueError) else f"{type(error).__name__}: {said}"
    )


def own_command() -> str | None:
    """The command line of this process, where running it again would do the same again."""
    words = list(getattr(sys, "orig_argv", []))
    if len(words) < 2 or not sys.argv or sys.argv[0] in ("", "-c") or "ipykernel" in sys.argv[0]:
        return None
    return shlex.join([os.path.basename(words[0]), *words[1:]])
