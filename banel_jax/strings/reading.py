"""Strings from files as people have them: lines, a column of a table, FASTA."""

import gzip
import json
import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

from banel_jax import files
from banel_jax.oracle import tables
from banel_jax.vocabulary import place

GZIP = b"\x1f\x8b"
TABLES = {".csv": ".csv", ".tsv": ".csv", ".jsonl": ".jsonl", ".ndjson": ".jsonl"}
PARQUET = ".parquet"
FASTA = (".fasta", ".fas", ".fa", ".faa", ".fna")
USUAL = ("text", "string", "sequence", "smiles")  # names of a column that need not be told


@dataclass(frozen=True)
class Strings(Sequence[str]):
    """Strings that know where they stand.

    Attributes:
      texts: n of them.
      lines: n, counted from 1 as an editor shows them.
      source: what they were read from.
      unit: what is counted: a `line`, or a `row` where a file has no lines.
    """

    texts: list[str]
    lines: list[int]
    source: str
    unit: str = "line"

    def __len__(self) -> int:
        return len(self.texts)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...
    def __getitem__(self, index):
        return self.texts[index]

    def place(self, row: int) -> str:
        """Where a string stands, for a message."""
        return f"{self.unit} {self.lines[row]} of {self.source}"


def read_strings(path: str | os.PathLike, column: str = "") -> Strings:
    """The strings of a file in UTF-8, which may be packed by gzip: all but those that are empty.

    A file is CSV or JSON lines where its name ends in .csv, .tsv, .jsonl or .ndjson (before a .gz),
    Parquet, which needs pyarrow, where it ends in .parquet, and FASTA where it ends in .fasta,
    .fas, .fa, .faa or .fna: then a string is what stands under a line that begins with >, its lines
    joined. Else every line is a string, spaces included. Lines end by LF or CRLF, and a byte order
    mark is no part of the first. In CSV an apostrophe before a sign that begins a formula is taken
    away, as `banel export` puts it there.

    Args:
      path: of the file.
      column: of a table. It need not be given where there is but one, or one of them is called
        text, string, sequence or smiles, whatever the case.

    Returns:
      The strings, copies included, in the file's order.

    Raises:
      ValueError: in one line that names the file, and the line where there is one, for a file
        that cannot be read, is not UTF-8 or holds no string, for a column that is not there or
        holds no text, and for Parquet without pyarrow.
    """
    path = files.expand(path)
    content = _content(path)
    name = path.with_suffix("") if path.suffix == ".gz" else path
    suffix = name.suffix.lower()
    kind = TABLES.get(suffix)
    if suffix == PARQUET:
        cells = _parquet_cells(path, content, column)
    elif kind:
        rows = list(tables.parsed(path, _text(path, content), kind))
        cells = _cells(path, rows, column) if rows else []
    elif column:
        raise ValueError(f"{path} is no table with a column {column!r}; name it .csv or .jsonl")
    elif suffix in FASTA:
        cells = _records(path, _text(path, content))
    else:
        parts = _text(path, content).split("\n")
        cells = [(i, one.removesuffix("\r")) for i, one in enumerate(parts, 1)]
    kept = [(line, one) for line, one in cells if one]
    if not kept:
        raise ValueError(f"{path} holds no string; give a file with one in a line")
    lines, texts = zip(*kept, strict=True)
    unit = "row" if suffix == PARQUET else "line"
    found = Strings(list(texts), list(lines), str(path), unit)
    check_characters(found)
    return found


def check_characters(strings: Sequence[str]) -> None:
    """That all are strings of whole characters, which a file can hold.

    Raises:
      ValueError: for the first that is not.
    """
    for row, string in enumerate(strings):
        if not isinstance(string, str):
            raise ValueError(f"{place(strings, row)} is a {type(string).__name__}; give strings")
        try:
            string.encode()
        except UnicodeEncodeError as error:
            half = string[error.start]
            raise ValueError(
                f"{place(strings, row)} has {half!r}, half of a character; mend or remove it"
            ) from error


def _content(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    if content.startswith(GZIP):
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"{path} is damaged or cut short ({error}); pack it anew") from error
    return content


def _text(path: Path, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"line {line} of {path} is not text in UTF-8 ({error.reason}); convert it"
        ) from error


def _records(path: Path, text: str) -> list[tuple[int, str]]:
    """(line of its header, sequence) of FASTA; a line that begins with ; is a comment."""
    found: list[tuple[int, list[str]]] = []
    for number, line in enumerate(map(str.strip, text.split("\n")), 1):
        if line.startswith(">"):
            found.append((number, []))
        elif line and not line.startswith(";"):
            if not found:
                raise ValueError(
                    f"line {number} of {path} stands under no header; FASTA begins with a line "
                    "of > and a name, and a file of a string a line is named .txt"
                )
            found[-1][1].append("".join(line.split()))
    return [(number, "".join(parts)) for number, parts in found]


def _cells(
    path: Path, rows: list[tuple[int, dict[str, Any]]], column: str
) -> list[tuple[int, str]]:
    """(line, string) of a column; what is null is empty."""
    names = list(dict.fromkeys(name for _, values in rows for name in values))
    column = column or _only(path, names)
    without = [line for line, values in rows if column not in values]
    if without:
        lacking = (
            f"{len(without):,} of {len(rows):,} rows have no" if column in names else "no row has"
        )
        raise ValueError(
            f"{path}: {lacking} {column!r} (the first: line {without[0]}); there is "
            f"{', '.join(map(repr, names[:8]))}"
        )
    cells = []
    for line, values in rows:
        value = "" if values[column] is None else values[column]
        if not isinstance(value, str):
            shown = json.dumps(value)[:60]
            raise ValueError(f"line {line} of {path} has {shown} in {column!r}, which is no string")
        cells.append((line, value))
    return cells


def _parquet_cells(path: Path, content: bytes, column: str) -> list[tuple[int, str]]:
    """(row, string) of a column; what is null is empty."""

    def choose(names):
        if column and column not in names:
            raise ValueError(
                f"{path} has no column {column!r}; there is {', '.join(map(repr, names[:8]))}"
            )
        return column or _only(path, names)

    try:
        texts = tables.parquet_texts(path, content, choose)
    except ImportError as error:
        raise ValueError(f"{path}: {error}") from error
    return [(row, text or "") for row, text in enumerate(texts, 1)]


def _only(path: Path, names: list[str]) -> str:
    if len(names) == 1:
        return names[0]
    usual = [name for name in names if name.lower() in USUAL]
    if len(usual) != 1:
        raise ValueError(
            f"{path} has the columns {', '.join(map(repr, names[:8]))}; say which with column="
        )
    return usual[0]
