"""A ledger of format 2, written by hand."""

import functools
import json
import sqlite3
import struct
import zlib

import numpy as np

from banel_jax.types import Sequences

M = 3
FORMAT_2 = """
CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE evaluations (
  row INTEGER PRIMARY KEY,
  round INTEGER NOT NULL,
  index_in_round INTEGER NOT NULL,
  tokens BLOB NOT NULL,
  mask BLOB NOT NULL,
  reward REAL,
  attempts INTEGER NOT NULL,
  checksum INTEGER NOT NULL
);
INSERT INTO about VALUES ('format', '2'), ('run', 'a');
"""
# (row, round, index, reward, attempts): two rounds and a part of the third, one row in flight.
ROWS = [
    (0, 0, 0, 0.0, 1), (1, 0, 1, 1.0, 2), (2, 0, 2, 0.0, 1),
    (3, 1, 0, 0.0, 1), (4, 1, 1, 0.0, 1), (5, 1, 2, 1.0, 1),
    (6, 2, 0, 1.0, 1), (7, 2, 1, None, 1),
]  # fmt: skip


def candidates(round):
    tokens = np.arange(M * 2, dtype=np.int32).reshape(M, 2) + 10 * round
    return Sequences(tokens, tokens % 3 > 0)


def checksum(row, round, index, tokens, mask, reward, run="a"):
    place = struct.pack("<qqqq", row, round, index, len(tokens))
    said = b"?" if reward is None else str(int(reward)).encode()
    return zlib.crc32(run.encode() + tokens + mask + place + said)


def write_format_2(path, rows=ROWS):
    with sqlite3.connect(path) as file:
        file.execute("PRAGMA journal_mode = WAL")
        file.executescript(FORMAT_2)
        for row, round, index, reward, attempts in rows:
            x = candidates(round)
            place = (row, round, index, x.tokens[index].tobytes(), x.mask[index].tobytes())
            file.execute(
                "INSERT INTO evaluations VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (*place, reward, attempts, checksum(*place, reward)),
            )
    file.close()


def as_format_2(path):
    """A ledger of format 3 as its run would have left it in format 2, where a row that raised had
    no answer, like one in flight."""
    columns = "row, round, index_in_round, tokens, mask, reward, attempts"
    table = FORMAT_2[FORMAT_2.index("CREATE TABLE evaluations") : FORMAT_2.index("INSERT")]
    with sqlite3.connect(path) as file:
        (run,) = file.execute("SELECT value FROM about WHERE name = 'run'").fetchone()
        file.create_function("checksum", 6, functools.partial(checksum, run=run))
        file.executescript(
            "ALTER TABLE evaluations RENAME TO newer;"
            + table
            + f"INSERT INTO evaluations SELECT {columns}, checksum({columns.rpartition(',')[0]}) "
            "FROM newer WHERE attempts > 0;"
            "DROP TABLE newer; DROP TABLE rounds; DROP TABLE known;"
            "UPDATE about SET value = '2' WHERE name = 'format'"
        )
    file.close()
    mark = path.with_name(f"{path.name}.mark")
    told = json.loads(mark.read_text())
    names = ("rows", "answers", "successes", "digest")
    mark.write_text(json.dumps({name: told[name] for name in names}).ljust(191) + "\n")
