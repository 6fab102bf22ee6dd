"""What is known before a run begins: sequences with their rewards, given and not paid for."""

import json
import sqlite3
import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np

from banel_jax.oracle import tables
from banel_jax.types import Sequences

FAILED = "failed"
Row = tuple[int, Any, Any, float]  # line, tokens, mask, reward


class Known(NamedTuple):
    """Sequences whose reward is known, k of them.

    Attributes:
      tokens: int32 [k, length].
      mask: bool [k, length].
      reward: float64 [k], 0 or 1; NaN where the evaluation is known to fail.
      source: list [k], the file that said so.
      line: int64 [k], its line there.
    """

    tokens: np.ndarray
    mask: np.ndarray
    reward: np.ndarray
    source: list[str]
    line: np.ndarray

    @property
    def sequences(self) -> Sequences:
        return Sequences(cast(Any, self.tokens), cast(Any, self.mask))


def read(
    path: Path | str,
    length: int | None = None,
    encode: Callable[[list[str]], Sequences] | None = None,
) -> Known:
    """The sequences of a CSV, JSONL or Parquet file, each once.

    It has a column `reward` (0, 1 or failed) and either `tokens` (integers, as a JSON list or
    with spaces between them) with or without `mask` (as many 0 and 1), or `text`.

    Args:
      path: of the file.
      length: of the sequences; shorter ones are filled up outside the mask. None for the
        longest's.
      encode: `encode(texts) -> sequences [k]`, for a file of texts.

    Raises:
      OSError: if it cannot be read.
      ValueError: in one line that names the file and the line.
    """
    rows: list[Row] = []
    texts: list[str] = []
    for line, values in tables.read(path):
        at = f"line {line} of {path}"
        if values.get("tokens") is not None:
            rows.append((line, *_sequence(at, values), _reward(at, values)))
        elif values.get("text") is not None and encode is not None:
            texts.append(str(values["text"]))
            rows.append((line, None, None, _reward(at, values)))
        else:
            text = values.get("text") is not None
            what = "text, and nothing to encode it" if text else "neither tokens nor text"
            raise ValueError(f"{at} has {what}; give it a column of tokens")
    if texts and encode is not None:
        encoded = encode(texts)
        pairs = zip(np.asarray(encoded.tokens), np.asarray(encoded.mask), strict=True)
        rows = [(line, *(next(pairs) if t is None else (t, m)), r) for line, t, m, r in rows]
    return _once(str(path), rows, length)


def _sequence(at: str, values: dict[str, Any]) -> tuple[list[int], list[int]]:
    tokens = _integers(at, "tokens", values["tokens"])
    given = values.get("mask")
    mask = [1] * len(tokens) if given is None else _integers(at, "mask", given)
    if len(mask) != len(tokens) or set(mask) - {0, 1}:
        raise ValueError(f"{at} has no mask of {len(tokens)} 0 or 1; mend it")
    return tokens, mask


def _reward(at: str, values: dict[str, Any]) -> float:
    given: Any = values.get("reward")
    if given is None and values.get("state") == FAILED:
        return np.nan
    try:
        reward = float(given)
    except (TypeError, ValueError):
        reward = np.nan if str(given).strip().lower() == FAILED else np.inf
    else:
        reward = reward if reward in (0, 1) else np.inf
    if reward == np.inf:
        raise ValueError(f"{at} has the reward {str(given)[:60]!r}; give 0, 1 or {FAILED}")
    return reward


def _integers(at: str, name: str, given: Any) -> list[int]:
    try:
        parts = given
        if isinstance(given, str):
            parts = json.loads(given) if given.strip().startswith("[") else given.split()
        numbers = [int(x) for x in parts]
        if any(number != float(part) for number, part in zip(numbers, parts, strict=True)):
            raise ValueError(given)
        return np.array(numbers, np.int32).tolist()
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ValueError(
            f"{at} has {name} that are no integers ({str(given)[:60]!r}); mend it"
        ) from error


def _once(source: str, rows: Sequence[Row], length: int | None) -> Known:
    longest = max((len(tokens) for _, tokens, _, _ in rows), default=0)
    length = longest if length is None else length
    first: dict[bytes, int] = {}
    tokens = np.zeros((len(rows), length), np.int32)
    mask = np.zeros((len(rows), length), bool)
    reward = np.zeros(len(rows))
    for i, (line, some_tokens, some_mask, given) in enumerate(rows):
        if len(some_tokens) > length:
            raise ValueError(
                f"line {line} of {source} has {len(some_tokens)} tokens, more than {length}; take "
                "it out, or use a prior of longer sequences"
            )
        tokens[i, : len(some_tokens)], mask[i, : len(some_mask)] = some_tokens, some_mask
        reward[i] = given
        before = first.setdefault(tokens[i].tobytes() + mask[i].tobytes(), i)
        if {reward[before], given} == {0.0, 1.0}:
            raise ValueError(
                f"line {line} of {source} has the reward {given:g} for the sequence of line "
                f"{rows[before][0]}, which has {reward[before]:g}; take one out"
            )
        if np.isnan(reward[before]):  # an answer tells more than a failure
            reward[before] = given
    kept = np.array(sorted(first.values()), np.int64)
    lines = np.array([line for line, *_ in rows], np.int64)
    return Known(tokens[kept], mask[kept], reward[kept], [source] * len(kept), lines[kept])


COLUMNS = "number, tokens, mask, reward, source, line"


def write(database: sqlite3.Connection, seed: int, known: Known) -> int:
    """Adds what is not in the table yet, within a transaction; returns how many these are.

    Raises:
      ValueError: where a sequence of the table has the other reward.
    """
    there = {t + m: (r, s, n) for _, t, m, r, s, n in stored(database, seed)}
    new: list[tuple] = []
    for tokens, mask, reward, source, line in zip(*known, strict=True):
        names = tokens.astype("<i4").tobytes(), mask.astype(np.bool_).tobytes()
        given = None if np.isnan(reward) else float(reward)
        old = there.get(b"".join(names))
        if old is not None and {old[0], given} == {0.0, 1.0}:
            raise ValueError(
                f"line {line} of {source} has the reward {given:g} for a sequence that line "
                f"{old[2]} of {old[1]} gave {old[0]:g}; take one out"
            )
        if old is None:
            row = (len(there), *names, given, source, int(line))
            there[b"".join(names)] = row[3:]
            new.append((*row, _checksum(seed, row)))
    database.executemany(
        f"INSERT INTO known ({COLUMNS}, checksum) VALUES (?, ?, ?, ?, ?, ?, ?)", new
    )
    database.execute("INSERT OR REPLACE INTO about VALUES ('known', ?)", (str(len(there)),))
    return len(new)


def stored(database: sqlite3.Connection, seed: int) -> list[tuple]:
    """The rows of the table, each checked.

    Raises:
      sqlite3.DatabaseError: if one is not as it was written.
    """
    rows = database.execute(f"SELECT {COLUMNS}, checksum FROM known ORDER BY number").fetchall()
    count = dict(database.execute("SELECT name, value FROM about")).get("known", "0")
    sound = all(row[0] == i and _checksum(seed, row[:-1]) == row[-1] for i, row in enumerate(rows))
    if not sound or str(len(rows)) != count:
        raise sqlite3.DatabaseError("what was given as known was changed or damaged")
    return [row[:-1] for row in rows]


def gathered(rows: Iterable[tuple]) -> Known:
    """Rows of the table as arrays; all have the length of the longest."""
    rows = list(rows)
    length = max((len(mask) for _, _, mask, *_ in rows), default=0)
    tokens, mask = np.zeros((len(rows), length), np.int32), np.zeros((len(rows), length), bool)
    for i, (_, some_tokens, some_mask, *_) in enumerate(rows):
        tokens[i, : len(some_mask)] = np.frombuffer(some_tokens, "<i4")
        mask[i, : len(some_mask)] = np.frombuffer(some_mask, np.bool_)
    reward = np.array([np.nan if row[3] is None else row[3] for row in rows], np.float64)
    lines = np.array([row[5] for row in rows], np.int64)
    return Known(tokens, mask, reward, [row[4] for row in rows], lines)


def _checksum(seed: int, row: tuple) -> int:
    number, tokens, mask, *rest = row
    return zlib.crc32(tokens + mask + json.dumps([number, *rest]).encode(), seed)
