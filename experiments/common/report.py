"""What every experiment reports: tables on the terminal, JSON in the run's folder."""

import codecs
import json
import os
import subprocess
import textwrap
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from banel_jax import files
from banel_jax.runs import border
from banel_jax.runs.report.numbers import format_value as format_value

WIDTH = 120  # of a table on a terminal, in characters
FOLD = 40  # of a text in one that is too wide


def format_table(
    rows: Sequence[Mapping[str, Any]], columns: Sequence[str], width: int = WIDTH
) -> str:
    """Rows of named values as aligned text; the first column to the left, others to the right.

    Where that is wider than `width`, names of columns and long texts fold; where it still is,
    the columns that do not fit follow in a table of their own, below, under the same first one.
    """
    body = [[format_value(row.get(c)) for c in columns] for row in rows]
    widths = [max(map(len, column)) for column in zip(columns, *body, strict=True)]
    if _total(widths) > width:
        for i, name in enumerate(columns):
            needed = max([len(line[i]) for line in body] + [len(word) for word in name.split()])
            widths[i] = min(widths[i], needed, FOLD)
    blocks: list[list[int]] = [[0]]
    for i in range(1, len(columns)):
        if len(blocks[-1]) > 1 and _total([widths[j] for j in [*blocks[-1], i]]) > width:
            blocks.append([0])
        blocks[-1].append(i)
    return "\n\n".join(_block([list(columns), *body], block, widths) for block in blocks)


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + 2 * (len(widths) - 1)


def _block(lines: list[list[str]], chosen: list[int], widths: list[int]) -> str:
    """Some columns of a table, the names of which are its first line."""
    text: list[str] = []
    for line in lines:
        results = [textwrap.wrap(line[i], widths[i], break_on_hyphens=False) for i in chosen]
        height = max(1, *map(len, results))
        fill = lambda result, h=height, head=not text: (
            [""] * (h - len(result)) + result if head else result + [""] * (h - len(result))
        )
        for parts in zip(*map(fill, results), strict=True):
            padded = [
                part.rjust(widths[i]) if i else part.ljust(widths[i])
                for i, part in zip(chosen, parts, strict=True)
            ]
            text.append("  ".join(padded).rstrip())
        if line is lines[0]:
            text.append("")
    rule = text.index("")
    text[rule] = "-" * max(map(len, text))
    return "\n".join(text)


def print_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    print(format_table(rows, columns), flush=True)


def output_folder(path: str | Path) -> Path:
    """The folder of a result, made and tried before any work.

    Raises:
      ValueError: where it cannot be written; one line that names it.
    """
    return files.writable_folder(path)


def output_file(path: str | Path) -> Path:
    """The file of a result, likewise."""
    file = files.expand(path)
    if file.is_dir():
        raise ValueError(f"{file} is a folder; name a file in it")
    output_folder(file.parent)
    return file


def seed_spread(values) -> dict[str, Any]:
    """Median, lowest and highest over seeds (the first axis), and the values themselves."""
    values = np.asarray(values, np.float64)
    return {
        "median": np.median(values, axis=0).tolist(),
        "min": values.min(axis=0).tolist(),
        "max": values.max(axis=0).tolist(),
        "values": values.tolist(),
    }


def format_spread(values) -> str:
    """'median [lowest, highest]' over seeds."""
    spread = seed_spread(values)
    low, high = format_value(spread["min"]), format_value(spread["max"])
    return f"{format_value(spread['median'])} [{low}, {high}]"


def expected_evaluations(rates, num_candidates: int) -> float:
    """Expected reward evaluations until the first success, that one counted.

    Args:
      rates: success rate of each round's candidates; the last one holds from then on.
      num_candidates: m, evaluations a round.
    """
    expected, none_yet = 0.0, 1.0
    rates = np.asarray(rates, np.float64)
    for rate in rates:
        failing = np.exp(num_candidates * np.log1p(-min(rate, 1 - 1e-12)))
        # Of m draws at this rate, those made while none has succeeded yet.
        expected += none_yet * ((1 - failing) / rate if rate > 0 else num_candidates)
        none_yet *= failing
    if not none_yet:
        return float(expected)
    return float(expected + none_yet / rates[-1]) if rates[-1] > 0 else float("inf")


def fall_after_peak(rates) -> float:
    """How far a run's success rate falls below its best, at any time after it."""
    rates = np.asarray(rates)
    peak = int(np.argmax(rates))
    return float(rates[peak] - rates[peak:].min())


def provenance(started: float | None = None) -> dict[str, Any]:
    """Where a result comes from: command, commit, device, versions, wall time.

    Args:
      started: `time.perf_counter()` at the start of the work, for `wall_seconds`.
    """
    import jax

    device = jax.devices()[0]
    return {
        "command": border.command(),
        "commit": commit(),
        "device": f"{jax.device_count()} x {device.device_kind}",
        "cpu_cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "jax": jax.__version__,
        "wall_seconds": None if started is None else round(time.perf_counter() - started, 1),
    }


def write_json(path: str | Path, obj: Any) -> None:
    """Writes a file that is at every moment either the old one or the new one, whole."""
    path = files.expand(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(jsonable(obj), indent=1, allow_nan=False) + "\n"
    files.write_atomically(path, text)


def read_json_lines(path: str | Path) -> list[Any]:
    """The lines of such a file as `append_json_line` writes; what a kill left unfinished goes.

    Raises:
      ValueError: for a line that is no JSON.
    """
    path = files.expand(path)
    if not path.exists():
        return []
    whole, _, rest = path.read_bytes().rpartition(b"\n")
    if rest.strip():
        with path.open("r+b") as file:
            file.truncate(len(whole) + 1 if whole else 0)
    lines = whole.removeprefix(codecs.BOM_UTF8).split(b"\n")
    try:
        return [json.loads(line) for line in lines if line.strip()]
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged ({error}); mend or delete the line") from error


def append_json_line(path: str | Path, obj: Any) -> None:
    """Adds a line to a file of one JSON value a line."""
    path = files.expand(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(jsonable(obj), allow_nan=False) + "\n")


def jsonable(value: Any) -> Any:
    """The value for JSON: arrays as lists, numbers that JSON lacks (NaN, infinities) as None, and
    whatever is no number as `naming.plain` has it.

    Raises:
      ValueError: for an object that has no name there.
    """
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(item) for item in value]
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    if hasattr(value, "tolist"):
        return jsonable(np.asarray(value).tolist())
    from banel_jax.runs import naming

    return naming.plain(value, "a result")


def commit() -> str:
    """The commit of this code, with `+changes` where it was changed since; else `unknown`."""

    def git(*arguments):
        return subprocess.run(
            ["git", *arguments],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        ).stdout.strip()

    try:
        # What the command itself writes is no change to what made it.
        code = [":/", ":(top,exclude)experiments/results"]
        changed = git("status", "--porcelain", "--untracked-files=no", "--", *code)
        return git("rev-parse", "--short", "HEAD") + ("+changes" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"
