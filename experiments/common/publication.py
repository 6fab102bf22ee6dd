"""What an experiment leaves in its folder: tables, summary.json, texts and figures."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from banel_jax import files
from experiments.common import report

STAMP = ("command", "commit", "device")  # of every row; one that is read from disk has its own


def publish(
    started: float,
    output: Path,
    config: Any,
    summary: Mapping[str, Any],
    draw: Callable[[dict[str, Any], Path], None],
    rows: Sequence[Mapping[str, Any]] = (),
    table: str = "table.json",
    preset: str = "",
    texts: Mapping[str, str] | None = None,
) -> None:
    """Writes all of it and says so.

    Args:
      started: `time.perf_counter()` at the start.
      output: the folder.
      config: the configuration, a dataclass.
      summary: what is found, for summary.json, which has command, commit, device and
        configuration beside it.
      draw: `draw(summary as it is in the file, folder of the figures)`.
      rows: of the table; none, no file.
      table: its name.
      preset: of the configuration, for the rows.
      texts: other files by name.
    """
    about = report.provenance(started)
    whole = report.jsonable(about | {"config": asdict(config)} | dict(summary))
    files_of = dict(texts or {})
    if rows:
        stamp = {name: about[name] for name in STAMP} | {"preset": preset}
        report.write_json(output / table, [stamp | dict(row) for row in rows])
    report.write_json(output / "summary.json", whole)
    for name, text in files_of.items():
        files.write_atomically(output / name, text)
    draw(whole, output / "figures")
    names = [*([table] if rows else []), "summary.json", *files_of, "figures/"]
    print(
        f"\nwritten: {output}/{', '.join(names)} ({time.perf_counter() - started:.0f} s in all)",
        flush=True,
    )
