"""Checks this project on an accelerator, in at most eight minutes.

    python3 -m experiments.accelerator --output=FOLDER

needs neither `make` nor an installation, only a Python with JAX, Flax, Optax and Orbax; what else
is missing is named, and what needs it left out. Each section runs in a process of its own, so
that a crash, a hang or full memory ends no other, and within its share of the time; each of its
parts is in its file as soon as it ends. `--size=smoke` tries all of it on a CPU in a minute or two.

The folder gets a JSON file for each section, `summary.json`, and what was printed in `log.txt`.
The exit code is 0 where no part failed, broke or was cut.
"""

import argparse
import importlib.metadata
import importlib.util
import json
import os
import platform
import shlex
import sys
import threading
import time
from pathlib import Path
from typing import Any

try:
    from banel_jax import files
except ImportError as error:
    sys.exit(f"error: {error}; nothing of this runs without JAX: give a Python that has it")
from banel_jax.runs import border
from experiments.accelerator.processes import ROOT, follow

# In order, with the share of the time that each may take; what one leaves goes to those behind.
SECTIONS = {
    "device": 20, "numerics": 110, "speed": 140, "mnist": 120, "torch_round": 60,
    "pytest_files": 30,
}  # fmt: skip
SECONDS = {"full": 480.0, "smoke": 600.0}  # of all of it; a smoke test that is slow is no fault
NEEDED = ("jax", "jaxlib", "numpy", "flax", "optax", "orbax-checkpoint", "jaxtyping")
USEFUL = (
    "absl-py", "tqdm", "scipy", "scikit-learn", "matplotlib", "torch", "transformers",
    "safetensors", "pytest", "pytest-xdist", "beartype", "jax-cuda13-plugin",
)  # fmt: skip
WRONG = ("failed", "error", "cut")


class Log:
    """Lines on the terminal and in a file, each with the seconds since the start."""

    def __init__(self, path: Path):
        self.start = time.monotonic()
        self._file = open(path, "w", encoding="utf-8")  # noqa: SIM115 (as long as the program)
        self._lock = threading.Lock()

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.start

    def __call__(self, line: str) -> None:
        with self._lock:
            line = f"[{self.elapsed:6.1f}] {line.rstrip()}"
            print(line, flush=True)
            self._file.write(line + "\n")
            self._file.flush()


def versions(names) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found


def environment(size: str, name: str) -> dict[str, str]:
    """Of a section: memory is taken as it is needed, since PyTorch and the CPU want some too."""
    found = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT)}
    if os.environ.get("PYTHONPATH"):
        found["PYTHONPATH"] += os.pathsep + os.environ["PYTHONPATH"]
    found.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    if size == "smoke":  # its speed is nothing to measure
        found.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
        if name == "numerics":  # a mesh to try, where there is one device
            flag = "--xla_force_host_platform_device_count=8"
            found["XLA_FLAGS"] = f"{flag} {os.environ.get('XLA_FLAGS', '')}"
    return found


def command(name: str, folder: Path, size: str, seconds: float) -> list[str]:
    alone = [sys.executable, "-m", "experiments.accelerator.alone"]
    return [*alone, name, str(folder), size, str(seconds)]


def run_section(name: str, folder: Path, size: str, seconds: float, log: Log) -> dict[str, Any]:
    """Runs a section to its end or for so long; what became of it, and of its parts."""
    start, last = log.elapsed, [""]
    log(f"{name}: {seconds:.0f} s at most")

    def say(line):
        last[0] = line.strip() or last[0]
        log(f"{name}: {line}")

    file = folder / f"{name}.json"
    file.unlink(missing_ok=True)  # of an earlier run
    run = command(name, folder, size, seconds)
    code = follow(run, seconds, say, environment(size, name), group=True)
    end = f"ended with code {code}: {last[0]}" if code else ""
    if code is None:
        end = f"stopped after {seconds:.0f} s"
    return {"seconds": round(log.elapsed - start, 1), **settle(file, end)}


def settle(file: Path, end: str) -> dict[str, Any]:
    """How many parts of a section ended how; the one at work when all of it ended is cut."""
    try:
        section = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        section = {"section": file.stem, "parts": {}}
    if end:
        running = [part for part in section["parts"].values() if part["status"] == "running"]
        for part in running or [section["parts"].setdefault("section", {})]:
            part |= {"status": "cut", "reason": end}
        files.write_atomically(file, json.dumps(section, indent=1) + "\n")
    counts: dict[str, int] = {}
    for part in section["parts"].values():
        counts[part["status"]] = counts.get(part["status"], 0) + 1
    told = lambda *statuses: {
        name: part.get("reason") or part.get("result")
        for name, part in section["parts"].items()
        if part["status"] in statuses
    }
    return {"parts": counts, "wrong": told(*WRONG), "skipped": told("skipped")}


def commit() -> str:
    try:
        from experiments.common import report
    except ImportError:  # without NumPy
        return "unknown"
    return report.commit()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.accelerator",
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--output", default="runs/accelerator", help="folder of the files")
    parser.add_argument("--size", choices=sorted(SECONDS), default="full")
    parser.add_argument("--seconds", type=float, help="for all of it; 480, or 600 at size smoke")
    parser.add_argument("--sections", help=f"some of {','.join(SECTIONS)}")
    parser.add_argument("--commit", help="where git cannot tell it")
    given = parser.parse_args(arguments)
    chosen = given.sections.split(",") if given.sections else list(SECTIONS)
    if unknown := set(chosen) - set(SECTIONS):
        parser.error(
            f"--sections: {', '.join(sorted(unknown))} is not one of {', '.join(SECTIONS)}"
        )
    folder = files.expand(given.output).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    log = Log(folder / "log.txt")
    total = given.seconds or SECONDS[given.size]
    packages = versions((*NEEDED, *USEFUL))
    missing = [name for name in NEEDED if packages[name] is None]
    log(
        f"Python {platform.python_version()}; " + ", ".join(f"{n} {v}" for n, v in packages.items())
    )
    if missing:
        log(f"missing: {', '.join(missing)}; what needs them is left out")
    summary: dict[str, Any] = {
        "command": shlex.join(["python", *sys.orig_argv[1:]]),
        "commit": given.commit or commit(),
        "size": given.size,
        "python": platform.python_version(),
        "packages": packages,
        "device": None,
        "sections": {},
    }
    for i, name in enumerate(chosen):
        share = SECTIONS[name] / sum(SECTIONS[other] for other in chosen[i:])
        seconds = share * (total - log.elapsed)
        summary["sections"][name] = run_section(name, folder, given.size, seconds, log)
        summary["device"] = summary["device"] or device(folder / f"{name}.json")
        summary["wall_seconds"] = round(log.elapsed, 1)
        files.write_atomically(folder / "summary.json", json.dumps(summary, indent=1) + "\n")
    return conclude(summary, folder, log)


def device(file: Path) -> str | None:
    try:
        parts = json.loads(file.read_text(encoding="utf-8"))["parts"]
        return parts["versions"]["result"]["device"]
    except (OSError, ValueError, KeyError):
        return None


def conclude(summary: dict[str, Any], folder: Path, log: Log) -> int:
    """Says what failed and what was left out, last; the exit code."""
    wrong = 0
    for name, section in summary["sections"].items():
        counts = ", ".join(f"{number} {status}" for status, number in section["parts"].items())
        log(f"{name}: {counts} in {section['seconds']:.0f} s")
        for status in ("skipped", "wrong"):
            for part, reason in section[status].items():
                log(f"    {status}: {part}: {str(reason)[:300]}")
        wrong += len(section["wrong"])
    log(f"{wrong} parts failed; written: {folder} ({summary['wall_seconds']:.0f} s in all)")
    return int(wrong > 0)


if __name__ == "__main__":
    words = "stopped; what had ended is in the folder, and the same command starts anew"
    border.program(lambda: sys.exit(main()), words)
