"""Tables as people have them: CSV, JSONL and Parquet, written and read back unharmed.

In CSV a text that a spreadsheet would take for a formula gets an apostrophe before it, which
reading takes away again; lists and objects are JSON. What is no UTF-8 is carried along.
"""

import contextlib
import csv
import io
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from banel_jax import files

FORMULA = tuple("=+-@\t\r'")
KINDS = (".csv", ".jsonl", ".parquet")


def kind(path: Path) -> str:
    """What a file's name says that it is.

    Raises:
      ValueError: for another ending than those of `KINDS`.
    """
    if path.suffix.lower() not in KINDS:
        raise ValueError(f"{path} is none of {', '.join(KINDS)}; name it by what it is")
    return path.suffix.lower()


def write(path: Path | str, columns: Mapping[str, Sequence[Any]]) -> None:
    """Writes columns of equal length, whole or not at all.

    Raises:
      ValueError: for a name that says nothing of the kind.
      ImportError: for Parquet without pyarrow.
      OSError: as `files.replacing`.
    """
    path = files.expand(path)
    ending = kind(path)
    with files.replacing(path) as file:
        if ending == ".parquet":
            _pyarrow().parquet.write_table(_arrow_table(columns), file)
            return
        for line in csv_lines(columns) if ending == ".csv" else json_lines(columns):
            file.write(encoded(line))


def read(path: Path | str) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line, values by column) of each row; lines count from 1 as an editor shows them.

    Empty lines are passed over. In CSV all values are texts; empty ones are None.

    Raises:
      OSError: if it cannot be read.
      ValueError: in one line that names the file and the line.
      ImportError: for Parquet without pyarrow.
    """
    path = files.expand(path)
    ending = kind(path)
    if ending == ".parquet":
        yield from enumerate(_read_parquet(path), 1)
        return
    yield from parsed(path, decoded(path.read_bytes()))


def parsed(
    path: Path, text: str, ending: str | None = None
) -> Iterator[tuple[int, dict[str, Any]]]:
    """As `read`, of the text of a CSV or JSONL file, whose name need not end so where that is
    given."""
    is_csv = (ending or kind(path)) == ".csv"
    return _read_csv(path, text) if is_csv else _read_json_lines(path, text)


def csv_lines(columns: Mapping[str, Sequence[Any]]) -> Iterator[str]:
    """The lines of a CSV file, its names first, each with its end."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\r\n")
    for row in (list(columns), *zip(*columns.values(), strict=True)):
        writer.writerow([_cell(value) for value in row])
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()


def json_lines(columns: Mapping[str, Sequence[Any]]) -> Iterator[str]:
    for row in zip(*columns.values(), strict=True):
        yield json.dumps(dict(zip(columns, row, strict=True))) + "\n"


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, str):
        return f"'{value}" if value.startswith(FORMULA) or not value else value
    return json.dumps(value) if isinstance(value, list | dict | bool) else value


def uncell(text: str | None) -> str | None:
    """A cell of CSV without what `csv_lines` puts before a formula; None for an empty one."""
    if not text:
        return None
    return text[1:] if text == "'" or (text[0] == "'" and text[1] in FORMULA) else text


def _read_csv(path: Path, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    limit = csv.field_size_limit(sys.maxsize)  # of the module, so put back
    try:
        divider = max(",;\t", key=text.partition("\n")[0].count)  # spreadsheets have their own
        reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=divider)
        names: list[str] = []
        begin = 1
        for cells in reader:
            line, begin = begin, reader.line_num + 1
            if not cells:
                continue
            if not names:
                names = [name.strip() for name in cells]
                continue
            if len(cells) != len(names):
                raise ValueError(
                    f"line {line} of {path} has {len(cells)} cells, and {len(names)} columns have "
                    "names; mend it"
                )
            yield line, dict(zip(names, map(uncell, cells), strict=True))
    except csv.Error as error:
        raise ValueError(
            f"line {reader.line_num} of {path} is no CSV ({error}); mend it"
        ) from error
    finally:
        csv.field_size_limit(limit)


def _read_json_lines(path: Path, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for line, one in enumerate(text.split("\n"), 1):
        if not one.strip():
            continue
        try:
            values = json.loads(one)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"line {line} of {path} is no JSON ({error}); mend it") from error
        if not isinstance(values, dict):
            raise ValueError(f"line {line} of {path} is no JSON object; mend it")
        yield line, values


def encoded(text: str) -> bytes:
    """In UTF-8; bytes that were none, and halves of characters, as they were."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def decoded(text: bytes) -> str:
    """What `encoded` wrote, or anybody; a byte order mark goes."""
    for errors in ("strict", "surrogatepass"):
        with contextlib.suppress(UnicodeDecodeError):
            return text.decode("utf-8", errors).removeprefix("\ufeff")
    return text.decode("utf-8", "surrogateescape").removeprefix("\ufeff")


def _arrow_table(columns: Mapping[str, Sequence[Any]]) -> Any:
    pyarrow = _pyarrow()
    plain = {}
    for name, values in columns.items():
        if any(isinstance(value, dict) for value in values) or name == "score":
            values = [None if value is None else json.dumps(value) for value in values]
        plain[name] = [
            value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
            for value in values
        ]
    return pyarrow.table(plain)


def parquet_texts(
    path: Path, content: bytes, choose: Callable[[list[str]], str]
) -> list[str | None]:
    """A column of texts of a Parquet file, the only one that is read of it.

    Args:
      path: of the file, for messages.
      content: of the file.
      choose: the name of the column, of all names.

    Returns:
      A text of each row; None for what is null.

    Raises:
      ValueError: in one line that names the file, for what is no Parquet and for a column that
        holds no texts.
      ImportError: without pyarrow.
    """
    pyarrow = _pyarrow()
    with _parquet_errors(path):
        file = pyarrow.parquet.ParquetFile(pyarrow.BufferReader(content))
        schema = file.schema_arrow
    name = choose(schema.names)
    kind = schema.types[schema.names.index(name)]
    kind = kind.value_type if pyarrow.types.is_dictionary(kind) else kind
    if str(kind) not in ("string", "large_string", "string_view"):
        raise ValueError(f"{path} has {kind} in {name!r}, which is no text; name another column")
    with _parquet_errors(path):
        return file.read([name]).column(0).to_pylist()


def _read_parquet(path: Path) -> list[dict[str, Any]]:
    pyarrow, content = _pyarrow(), path.read_bytes()
    with _parquet_errors(path):
        return pyarrow.parquet.read_table(pyarrow.BufferReader(content)).to_pylist()


@contextlib.contextmanager
def _parquet_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (_pyarrow().ArrowException, OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path} is no Parquet ({' '.join(str(error).split())}); mend it"
        ) from error


def _pyarrow() -> Any:
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError(
            "Parquet needs pyarrow, which is not installed; pip install pyarrow, or take CSV"
        ) from error
    return pyarrow
