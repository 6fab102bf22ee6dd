"""What others are given of a ledger: a table, files, and whether it is sound."""

import json
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from banel_jax import files
from banel_jax.oracle import reading, seals, tables
from banel_jax.oracle.evaluations import Evaluations
from banel_jax.oracle.kept import Kept
from banel_jax.oracle.known import stored as stored_known
from banel_jax.oracle.mark import Mark
from banel_jax.oracle.rows import COLUMNS, Counts, Stored

SHOWN = ("row", "round", "state", "reward", "score", "cost", "seconds", "attempts")
MOST = 100  # troubles that `verify` tells


def write(evaluations: Evaluations, path: Path | str) -> None:
    """Writes rows to a .csv, .jsonl or .parquet file, which `tables.read` and `known.read` read.

    Raises:
      ValueError, ImportError, OSError: as `tables.write`.
    """
    tables.write(path, evaluations.columns())


def table(evaluations: Evaluations, width: int = 100) -> Iterator[str]:
    """Lines of a table for a terminal, their names first; what would move its cursor is escaped."""
    columns = evaluations.columns()
    last = "text" if "text" in columns else "tokens"
    told = [[shown(value) for value in columns[name]] for name in SHOWN]
    widths = [max([len(name), *map(len, cells)]) for name, cells in zip(SHOWN, told, strict=True)]
    for cells in ((*SHOWN, last), *zip(*told, map(shown, columns[last]), strict=True)):
        line = "  ".join(cell.ljust(w) for cell, w in zip(cells, widths, strict=False))
        yield f"{line}  {cells[-1]}"[:width].rstrip()


def shown(value: Any) -> str:
    """A value as text without a control character."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:g}"
    text = value if isinstance(value, str) else json.dumps(value)
    return text if text.isprintable() else repr(text)[1:-1]


def verify(folder: Path | str) -> list[str]:
    """What is wrong with a run's ledger, a line each, the first hundred; nothing is changed.

    Every row is checked by itself, which the opening of a run leaves to the sums of rounds.

    Raises:
      LedgerError: if it cannot be read at all.
    """
    troubles: list[str] = []
    with reading.opened(folder) as (database, form):
        for (damage,) in database.execute("PRAGMA integrity_check(10)"):
            troubles += [] if damage == "ok" else [f"the file is damaged: {damage}"]
        about = dict(database.execute("SELECT name, value FROM about"))
        seed = zlib.crc32(about.get("run", "").encode())
        if form == "2":
            return [*troubles, "it has format 2, and its rows are checked when the run goes on"]
        counts, repeated = Counts(), 0
        for number, row in enumerate(
            map(Stored._make, database.execute(f"SELECT {COLUMNS} FROM evaluations ORDER BY row"))
        ):
            try:
                if row.row != number:
                    raise ValueError(f"row {number} is missing, or not in its place")
                row.base(seed)
                counts = counts.plus(row.counts())
                repeated += max(row.attempts - 1, 0)
            except (ValueError, TypeError, KeyError, struct.error) as error:
                troubles.append(str(error))
                if row.row != number or len(troubles) >= MOST:
                    break
        for seal in list(seals.read(database)):
            if not seals.holds(database, seed, seal):
                troubles.append(f"round {seal.round} is not as it was when it was complete")
        stored_known(database, seed)
    path = files.expand(folder)
    path = path / "oracle.sqlite" if path.is_dir() else path
    if not troubles and Mark(path).contradicted_by(counts, repeated):
        troubles.append(f"{path.name}.mark says that it held more, or other answers")
    for place in Kept(path).places:
        if place.exists():
            troubles.append(f"{place} holds answers that the next start takes up")
    return troubles[:MOST]
