"""A run's standing: a screen of text for people, and `status.json` for programs."""

import dataclasses
import json
import os
import socket
from pathlib import Path
from typing import Any

from banel_jax import files
from banel_jax.runs import folder as run_folder
from banel_jax.runs.report import markup
from banel_jax.runs.report.facts import Facts, Since, facts, rates
from banel_jax.runs.report.numbers import duration, format_value, moment
from banel_jax.runs.report.view import STATUS, Reader, RunView

OURS = ("metrics.jsonl", "config.json", "oracle.sqlite", STATUS)
WIDTH = 100  # of a line of text


def status(folder: Path | str) -> str:
    """One screen of text about a run, running or not.

    Raises:
      ValueError: where the folder holds no run; one line that names it.
    """
    return as_text(Reader(named(folder)).read())


def named(folder: Path | str) -> Path:
    """The absolute path of a run's folder.

    Raises:
      ValueError: where the folder holds no run; one line that names it.
    """
    path = run_folder.named(folder)
    if not any((path / name).exists() for name in OURS):
        raise ValueError(f"{path} holds no run; name the folder of one")
    return path


def as_text(view: RunView) -> str:
    """What `status` says of a view."""
    known, standing = facts(view), view.standing
    lines = [f"{view.folder}: {standing.state}"]
    if standing.why:
        lines.append(f"  {markup.visible(standing.why)}")
    lines += [f"  note: {note}" for note in view.notes]
    pairs = {
        "rounds": _of(known.told, known.rounds),
        "rows paid": _of(known.rows, known.rows_in_all),
        "successes": _successes(known),
        "success rate": _rate(view),
        "in flight": _states(known),
        "failed": f"{known.failed:,}" if known.failed else "",
        "pace": _pace(known),
        "last round": moment(view.told) if view.told and view.records else "",
        "heartbeat": _heartbeat(view),
    }
    width = max(map(len, pairs))
    lines += [f"  {name:<{width}}  {value}" for name, value in pairs.items() if value]
    if view.paid and view.paid.failures:
        lines.append("  failures:")
        for reason, rows, _ in view.paid.failures[:5]:
            lines.append(f"    {rows:,} times: {markup.visible(reason, WIDTH - 20)}")
    command = view.live.get("command")
    if command and standing.state != "running":
        lines.append(f"  goes on with: {markup.visible(command, 10_000)}")
    return "\n".join(lines) + "\n"


def _of(number: int, whole: int | None) -> str:
    return f"{number:,}" if whole is None else f"{number:,} of {whole:,}"


def _successes(known: Facts) -> str:
    distinct = "" if known.distinct is None else f" ({known.distinct:,} distinct)"
    return f"{known.successes:,}{distinct if known.successes else ''}"


def _rate(view: RunView) -> str:
    newest = rates(view, bins=10)[-1:]
    if not newest:
        return ""
    value, low, high = map(format_value, (newest[0].value, newest[0].low, newest[0].high))
    return f"{value} (95%: {low} to {high}) in rounds {newest[0].first} to {newest[0].last}"


def _states(known: Facts) -> str:
    parts = {"running": known.in_flight, "pending": known.pending, "abandoned": known.abandoned}
    return ", ".join(f"{number:,} {state}" for state, number in parts.items() if number)


def _pace(known: Facts) -> str:
    parts = []
    if known.rows_per_second:
        parts.append(f"{format_value(known.rows_per_second)} rows a second")
    if known.seconds_per_row is not None:
        parts.append(f"{duration(known.seconds_per_row)} of the oracle a row")
    if known.seconds_left is not None:
        parts.append(f"{duration(known.seconds_left)} left")
    return ", ".join(parts)


def _heartbeat(view: RunView) -> str:
    time = view.live.get("time")
    if view.standing.state != "running" or not isinstance(time, int | float):
        return ""
    ago, live = max(view.time - time, 0.0), view.live
    where = f"process {live.get('pid')} on {live.get('host')}"
    return f"{duration(ago)} ago, {markup.visible(where, 80)}"


def record(view: RunView, since: Since, command: str | None) -> dict[str, Any]:
    """What a run says of itself in `status.json`; times in seconds, moments in unix seconds."""
    return {
        "state": view.standing.state,
        "why": view.standing.why,
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "time": view.time,
        "begun": since.time,
        "command": command,
        **dataclasses.asdict(facts(view, since)),
    }


def write(folder: Path, said: dict[str, Any]) -> None:
    """Raises: OSError."""
    files.write_atomically(folder / STATUS, json.dumps(said, indent=2) + "\n")
