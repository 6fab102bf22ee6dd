"""What succeeded, written down and told the moment it is known: `successes.jsonl`."""

import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from banel_jax import files
from banel_jax.oracle import Success, reading
from banel_jax.oracle.export import shown
from banel_jax.runs import folder as run_folder
from banel_jax.runs.progress import note
from banel_jax.types import Sequences

logger = logging.getLogger(__name__)

TOLD = 10  # on the terminal; the file has all


class Successes:
    """The file, a line a success in the order in which they became known.

    What a stop kept from it is added from the ledger. Where it cannot be written a warning says
    so, and nothing is withheld for it: the ledger has it all.

    Args:
      folder: of the run.
      text: `text(sequences [n]) -> n texts`; None for none.
    """

    def __init__(self, folder: Path, text: Callable[[Sequences], Sequence[str]] | None = None):
        self._path, self._told, self._warned = folder / "successes.jsonl", 0, False
        try:
            self._complete(folder, text)
        except (OSError, ValueError) as error:
            self._warn(error)

    def _complete(self, folder: Path, text: Any) -> None:
        there = reading.successes(folder)
        lines = self._path.read_bytes().split(b"\n") if self._path.exists() else [b""]
        rows = [_row(line) for line in lines[:-1]]
        if sorted(rows, key=str) == sorted(there.row.tolist(), key=str) and not lines[-1]:
            return
        texts: Sequence[str | None] = [None] * len(there)
        if text and len(there):  # only now, as that may take long
            texts = list(map(str, text(there.sequences)))
        records = [
            _record(row, round, index, tokens, mask, score, cost, given)
            for row, round, index, tokens, mask, score, cost, given in zip(
                there.row, there.round, there.index, there.tokens, there.mask, there.score,
                there.cost, texts, strict=True,
            )
        ]  # fmt: skip
        content = "".join(json.dumps(record) + "\n" for record in records)
        files.write_atomically(self._path, content)

    def add(self, successes: Sequence[Success]) -> None:
        """Appends some that the ledger has; durable on return."""
        records = [
            _record(
                one.row.row, one.row.round, one.row.index, one.tokens, one.mask, one.answer.score,
                one.answer.cost, one.text,
            )
            for one in successes
        ]  # fmt: skip
        try:
            run_folder.append_records(self._path, records)
        except OSError as error:
            self._warn(error)
        for one, record in zip(successes, records, strict=True):
            self._told += 1
            if self._told <= TOLD:
                what = record.get("text") or " ".join(map(str, record["tokens"]))
                more = "" if self._told < TOLD else f"; further ones are in {self._path}"
                note(f"success: {one.row}: {shown(what)[:200]}{more}")

    def _warn(self, error: Exception) -> None:
        if not self._warned:
            full = "the disk is full" if files.is_full(error) else error
            logger.warning("%s is left as it is: %s", self._path, full)
        self._warned = True


def _record(row, round, index, tokens, mask, score, cost, text) -> dict[str, Any]:
    record = {"row": int(row), "round": int(round), "index": int(index)}
    record |= {"tokens": np.asarray(tokens).tolist()}
    if not np.all(mask):
        record["mask"] = np.asarray(mask).astype(int).tolist()
    told = {"text": text, "score": score, "cost": cost}
    absent = lambda value: value is None or (isinstance(value, float) and np.isnan(value))
    return record | {name: value for name, value in told.items() if not absent(value)}


def _row(line: bytes) -> Any:
    try:
        return json.loads(line)["row"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
