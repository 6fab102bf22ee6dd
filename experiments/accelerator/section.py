"""A section of the check: parts that run in turn, each in the section's file as soon as it ends."""

import contextlib
import statistics
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from experiments.common import report

# What a part may end as. Only the first and the last two need no look.
PASSED, FAILED, ERROR, CUT, SKIPPED, RAN = "passed", "failed", "error", "cut", "skipped", "ran"
RUNNING = "running"
SHOWN = 300  # characters of a part's result on the terminal


class Skip(Exception):
    """Raised by a part that cannot run here; its message says why."""


class Section:
    """Runs parts and keeps what they found in `FOLDER/NAME.json`.

    A part is a function that returns a dict of numbers. One with a `passed` in it is a check;
    an exception ends the part alone, and a missing package is a reason to skip it.

    Attributes:
      name: of the section and its file.
      folder: where the file goes.
      size: `full`, or `smoke` for a CPU.
      parts: of each part by name its status, its seconds, those of them in the compiler, and
        its result or the reason for which there is none.
    """

    def __init__(self, name: str, folder: Path, size: str, seconds: float):
        self.name, self.folder, self.size = name, Path(folder), size
        self.parts: dict[str, dict[str, Any]] = {}
        self.compiling = 0.0  # seconds in the compiler
        self._end = time.monotonic() + seconds
        with contextlib.suppress(ImportError):
            import jax

            jax.monitoring.register_event_duration_secs_listener(self._count)

    @property
    def smoke(self) -> bool:
        return self.size == "smoke"

    @property
    def left(self) -> float:
        """Seconds left to the section."""
        return self._end - time.monotonic()

    def part(self, name: str, run: Callable[[], dict[str, Any]], needs: float = 0.0) -> Any:
        """What `run` returns, or None where it did not come to an end.

        It is skipped where less than `needs` seconds are left.
        """
        self._keep(name, {"status": RUNNING})
        start, compiled = time.monotonic(), self.compiling
        result: dict[str, Any] | None = None
        found: dict[str, Any] = {}
        try:
            if self.left < needs:
                raise Skip(f"{self.left:.0f} s are left, and it takes about {needs:.0f}")
            result = run()
            passed = result.get("passed")
            found = {"status": RAN if passed is None else PASSED if passed else FAILED}
            found["result"] = result
        except (Skip, ImportError) as reason:
            found = {"status": SKIPPED, "reason": str(reason)}
        except Exception as error:
            traceback.print_exc()
            found = {"status": ERROR, "reason": f"{type(error).__name__}: {error}"[:2000]}
        found["seconds"] = round(time.monotonic() - start, 3)
        found["compiler_seconds"] = round(self.compiling - compiled, 3)
        self._keep(name, found)
        shown = found.get("reason") or str(report.jsonable(result))
        print(f"{name}: {found['status']} in {found['seconds']:.1f} s: {shown[:SHOWN]}", flush=True)
        return result

    def _keep(self, name, found):
        self.parts[name] = found
        whole = {"section": self.name, "size": self.size, "parts": self.parts}
        report.write_json(self.folder / f"{self.name}.json", whole)

    def _count(self, event: str, duration_secs: float, **_: str | int) -> None:
        if event.endswith("backend_compile_duration"):
            self.compiling += duration_secs


REPEATS = 3


def timed(run: Callable[[], Any]) -> dict[str, float]:
    """Seconds of the first run, which compiles, and of the median of some others."""
    import jax

    seconds = []
    for _ in range(1 + REPEATS):
        start = time.perf_counter()
        jax.block_until_ready(run())
        seconds.append(time.perf_counter() - start)
    return {"first_seconds": seconds[0], "seconds": statistics.median(seconds[1:])}


def within(value: Any, limit: float, **more: Any) -> dict[str, Any]:
    """The result of a check that a value is at most the limit; NaN is not."""
    return {"passed": bool(value <= limit), "value": float(value), "limit": limit, **more}
