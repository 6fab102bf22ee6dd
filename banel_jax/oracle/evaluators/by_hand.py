"""Evaluation by people: rounds are written as tables, and answers are read from tables."""

import contextlib
import json
import logging
import re
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any, NamedTuple

from banel_jax.checks import one_line
from banel_jax.files import expand
from banel_jax.oracle import tables
from banel_jax.oracle.answers import Answer, Failed, OracleError, Outcome, Pending
from banel_jax.oracle.calls import Call, Row

logger = logging.getLogger(__name__)

REWARDS = {"0": 0.0, "1": 1.0, "0.0": 0.0, "1.0": 1.0, "false": 0.0, "true": 1.0}


class Entry(NamedTuple):
    """A line of a table that holds an answer, and where it is."""

    place: str
    row: int | None
    id: str | None
    outcome: Outcome


class by_hand:
    """Evaluation by people: a laboratory, a panel, whoever can fill in a table.

    A round is written to the folder as `round_0003.csv` and `round_0003.jsonl`, once; both hold
    the same, and either may be filled in. The reward of a row is 0 or 1, or `failed`, or
    `failed: why`; `score` and `cost` are as you like. Answers are read from every CSV, JSONL
    and Parquet file in the folder: the round's own or others that have the columns `row` or `id`,
    and `reward`; in any order, in several parts, and with rows missing, which are awaited. Columns
    may be divided by commas, semicolons or tabs.

    A row that waits for its answer is `Pending`, which ends the run in order; the same command
    goes on with what has been filled in by then.

    Args:
      folder: for this run alone; made where it is missing.
    """

    workers = 1
    can_end = "yes"  # nothing takes long here
    rows_a_call: int | None = None
    whole_rounds = True  # a table is written once

    def __init__(self, folder: Path | str):
        self.folder = expand(folder)

    def submit(self, call: Call) -> Future:
        future: Future = Future()
        try:
            future.set_result(self.evaluate(call))
        except (OSError, ValueError, ImportError) as error:
            future.set_exception(OracleError(one_line(error)))
        return future

    def evaluate(self, call: Call) -> list[Outcome]:
        """What has been filled in for the rows of a call.

        Raises:
          ValueError: for a line that contradicts another, is another run's or holds something
            else than an answer; one line that names the file and the line.
          OSError: if the folder cannot be read or written.
          ImportError: for Parquet without pyarrow.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        round = call.rows[0].round
        table = self.folder / f"round_{round:04d}.csv"
        for path in (table, table.with_suffix(".jsonl")):
            if not path.exists():
                tables.write(path, _columns(call))
        found: dict[int, Entry] = {}
        rows = {row.row: row for row in call.rows}
        ids = {row.id: row for row in call.rows}
        for entry in self._entries(round):
            row = _row_of(entry, rows, ids)
            if row is None and entry.row is not None and entry.row > max(rows):
                self._check_asked(entry, entry.row, max(rows))
            if row is None:
                continue
            other = found.setdefault(row.row, entry)
            if other.outcome != entry.outcome:
                raise ValueError(
                    f"{entry.place} and {other.place} say different things of row {row.row}; "
                    "correct one of the two"
                )
        missing = len(rows) - len(found)
        what = Pending(
            f"{missing} of {len(rows)} rows of round {round}; fill in their rewards in {table} and "
            "go on with the same command"
        )
        return [found[row.row].outcome if row.row in found else what for row in call.rows]

    def _check_asked(self, entry: Entry, row: int, last: int) -> None:
        """A row beyond those of the call: answered before, or of a round that was asked ahead."""
        tables_of = sorted(
            self.folder.glob("round_*.jsonl"), key=lambda path: (len(path.name), path.name)
        )
        for _, values in tables.read(tables_of[-1]) if tables_of else ():
            last = max(last, _number(values.get("row"), str(tables_of[-1])) or 0)
        if row > last:
            raise ValueError(
                f"{entry.place} has row={row}, which was not asked for; the last that was is {last}"
            )

    def _entries(self, round: int) -> Iterator[Entry]:
        for path in sorted(self.folder.iterdir()):
            other = re.fullmatch(r"round_(\d+)", path.stem)
            if path.name.startswith((".", "~")) or (other and int(other[1]) != round):
                continue
            if path.suffix.lower() in tables.KINDS:
                yield from _read(path)

    def end(self, future: Future) -> None:
        pass

    def close(self) -> None:
        pass


def _row_of(entry: Entry, rows: dict[int, Row], ids: dict[str, Row]) -> Row | None:
    """The row that an entry is for; None for one that is not asked for now."""
    by_id = None if entry.id is None else ids.get(entry.id)
    by_row = None if entry.row is None else rows.get(entry.row)
    if entry.id is not None:
        known = next(iter(ids)).rpartition("-")[0]
        if entry.id.rpartition("-")[0] != known:
            raise ValueError(
                f"{entry.place} has id={entry.id[:60]}, which is not of this run, whose ids begin "
                f"with {known}-; move the file away, or correct the id"
            )
        if entry.row is not None and (by_id is not by_row or f"{known}-{entry.row}" != entry.id):
            raise ValueError(
                f"{entry.place} has row={entry.row} with id={entry.id[:60]}, which is another "
                "row's; correct one of the two"
            )
    return by_id or by_row


def _read(path: Path) -> Iterator[Entry]:
    """The answers in a file."""
    texts = tables.kind(path) != ".jsonl"  # CSV and Parquet hold a score of many parts as JSON
    for number, values in _lines(path):
        # What is missing is NaN to pandas.
        said = {
            k.lower(): None if isinstance(v, float) and v != v else v for k, v in values.items()
        }
        place = f"line {number} of {path}"
        if ("reward" not in said and "failed" not in said) or not said.keys() & {"row", "id"}:
            raise ValueError(
                f"{place} has {', '.join(said)[:80]}; it must have row or id, and reward"
            )
        if texts:
            said["score"] = _meant(said.get("score"))
        outcome = _outcome(said, place)
        if outcome is None:
            continue
        row, name = _number(said.get("row"), place), said.get("id")
        if row is None and not name:
            raise ValueError(f"{place} has a reward and neither row nor id; say whose it is")
        yield Entry(place, row, str(name) if name else None, outcome)


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows of a file that people may be writing."""
    if tables.kind(path) == ".parquet":
        return tables.read(path)
    text = tables.decoded(path.read_bytes())
    if text and not text.endswith("\n"):
        logger.warning(
            "the last line of %s has no end of line and may be half-written, so it is left out; "
            "end it with a new line if it is whole",
            path,
        )
        text = text[: text.rfind("\n") + 1]
    return tables.parsed(path, text)


def _meant(text: Any) -> Any:
    """What a cell says, where that is JSON: a number, a list, an object."""
    if not isinstance(text, str):
        return text
    with contextlib.suppress(ValueError, RecursionError):
        found = json.loads(text)
        json.dumps(found, allow_nan=False)  # neither NaN nor what is too large for a float
        return found
    return text


def _outcome(said: Mapping[str, Any], place: str) -> Outcome | None:
    """The answer of a line, None where it is not filled in."""
    if said.get("failed"):
        return Failed(str(said["failed"]))
    reward = said.get("reward")
    text = str("" if reward is None else reward).strip()
    if not text:
        return None
    if text.lower().startswith("failed"):
        return Failed(text[6:].lstrip(" :") or "no reason was given")
    if text.lower() not in REWARDS:
        raise ValueError(f"{place} has reward={one_line(text)[:60]}; write 0, 1 or failed: why")
    score, cost = said.get("score"), said.get("cost")
    try:
        cost = None if cost in (None, "") else float(str(cost))
    except ValueError:
        raise ValueError(f"{place} has cost={one_line(cost)[:60]}; write a number") from None
    return Answer(REWARDS[text.lower()], None if score == "" else score, cost)


def _number(row: Any, place: str) -> int | None:
    text = str("" if row is None else row).strip()
    if not text:
        return None
    if not text.removesuffix(".0").isdecimal():
        raise ValueError(f"{place} has row={one_line(text)[:60]}; write the number of a row")
    return int(text.removesuffix(".0"))


def _columns(call: Call) -> dict[str, list[Any]]:
    k = len(call.rows)
    return {
        "row": [row.row for row in call.rows],
        "id": [row.id for row in call.rows],
        "tokens": [" ".join(map(str, tokens.tolist())) for tokens in call.sequences.tokens],
        "text": [None] * k if call.text is None else list(call.text),
        **{name: [None] * k for name in ("reward", "score", "cost")},
    }
