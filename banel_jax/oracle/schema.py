"""What is in a ledger's file: its tables, the changes that are made to them, and older formats."""

import secrets
import sqlite3
import zlib
from collections.abc import Mapping

FORMAT = "3"
SCHEMA = """
CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS evaluations (
  row INTEGER PRIMARY KEY,          -- counted over the whole run, from 0
  round INTEGER NOT NULL,
  index_in_round INTEGER NOT NULL,
  tokens BLOB NOT NULL,             -- int32, little-endian
  mask BLOB NOT NULL,               -- one byte a token, 0 or 1
  reward REAL,                      -- 0 or 1 where the row is done, else NULL
  attempts INTEGER NOT NULL,        -- how often the oracle was asked; it is paid where above 0
  checksum INTEGER NOT NULL,        -- CRC-32 of the run and of all but attempts, state and times
  state TEXT NOT NULL DEFAULT 'done',  -- pending, running, done, failed, abandoned
  score TEXT,                       -- JSON, whatever the oracle said beside the reward
  cost REAL,                        -- of all attempts, where the oracle told
  reason TEXT,                      -- why it failed, or what is awaited
  worker TEXT,                      -- which was asked last
  started REAL,                     -- when it was asked last, Unix seconds
  ended REAL,                       -- when its outcome was written, Unix seconds
  seconds REAL,                     -- how long the oracle took
  source TEXT NOT NULL DEFAULT 'oracle'  -- or memo, known: answered without asking
);
CREATE TABLE IF NOT EXISTS rounds ( -- those whose rows are all done or failed
  round INTEGER PRIMARY KEY,
  first_row INTEGER NOT NULL,
  proposed INTEGER NOT NULL,        -- how many rows
  rows INTEGER NOT NULL,            -- how many of them were asked for or answered
  answers INTEGER NOT NULL,
  successes INTEGER NOT NULL,
  digest INTEGER NOT NULL,          -- the sum of the answered rows' checksums
  failed INTEGER NOT NULL,
  paid INTEGER NOT NULL,            -- how many of them were asked for, or count as such
  repeated INTEGER NOT NULL,        -- how often a row was asked for again
  first_success INTEGER,            -- row
  cost REAL NOT NULL,
  bytes INTEGER NOT NULL,           -- of tokens, masks and texts
  content INTEGER NOT NULL,         -- CRC-32 of the round's rows, see seals.py
  checksum INTEGER NOT NULL         -- CRC-32 of the run and of this row
);
CREATE TABLE IF NOT EXISTS known (  -- what was given, and cost nothing
  number INTEGER PRIMARY KEY,       -- from 0
  tokens BLOB NOT NULL,             -- as above
  mask BLOB NOT NULL,
  reward REAL,                      -- 0 or 1; NULL where it is known to fail
  source TEXT NOT NULL,             -- the file
  line INTEGER NOT NULL,            -- of the file
  checksum INTEGER NOT NULL         -- CRC-32 of the run and of this row
);
"""
PROPOSE = (
    "INSERT INTO evaluations (row, round, index_in_round, tokens, mask, attempts, checksum, state) "
    "VALUES (?, ?, ?, ?, ?, 0, ?, 'pending') ON CONFLICT (row) DO UPDATE SET "
    "tokens = excluded.tokens, mask = excluded.mask, checksum = excluded.checksum "
    "WHERE state = 'pending' AND attempts = 0"
)
# What is awaited was asked for already.
START = (
    "UPDATE evaluations SET attempts = attempts + (state <> 'pending' OR attempts = 0), "
    "state = 'running', source = 'oracle', score = NULL, reason = NULL, worker = ?, started = ?, "
    "checksum = ? WHERE row = ? AND state <> 'done'"
)
ENTER = (
    "UPDATE evaluations SET state = ?, reward = ?, score = ?, cost = ?, reason = ?, seconds = ?, "
    "ended = ?, attempts = max(attempts, ?), source = ?, checksum = ? "
    "WHERE row = ? AND state <> 'done'"
)
BEFORE_START = (
    "SELECT state, attempts, score, reason, source, worker, started, checksum FROM evaluations "
    "WHERE row = ?"
)
UNDO_START = (
    "UPDATE evaluations SET state = ?, attempts = ?, score = ?, reason = ?, source = ?, "
    "worker = ?, started = ?, checksum = ? WHERE row = ? AND state = 'running'"
)
NEVER_STARTED = ("pending", 0, None, None, "oracle", None, None)  # and the checksum
ABANDON = "UPDATE evaluations SET state = 'abandoned' WHERE state = 'running'"

ADDED_BY_3 = (
    "state TEXT NOT NULL DEFAULT 'done'",
    "score TEXT",
    "cost REAL",
    "reason TEXT",
    "worker TEXT",
    "started REAL",
    "ended REAL",
    "seconds REAL",
    "source TEXT NOT NULL DEFAULT 'oracle'",
)


def describe(database: sqlite3.Connection, run: str) -> dict[str, str]:
    """The names and values of `about`, within a transaction; a new file is made and filled, and
    one of format 2 becomes one of format 3.

    Raises:
      sqlite3.DatabaseError: if it is another program's.
    """
    tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
    if tables and "about" not in tables:
        raise sqlite3.DatabaseError("it is another program's database")
    about = dict(database.execute("SELECT name, value FROM about")) if tables else {}
    if about and (about.get("format") != "2" or about.get("run") != run):
        return about
    if about:
        _from_2(database)
    for statement in SCHEMA.strip().split(";\n"):
        database.execute(statement)
    # One that was begun without a salt keeps the names that its rows have been asked under.
    about |= {} if about else {"salt": _signed(secrets.token_hex(6), run)}
    about |= {"format": FORMAT, "run": run}
    database.executemany("INSERT OR REPLACE INTO about VALUES (?, ?)", about.items())
    return about


def salt(about: Mapping[str, str]) -> str:
    """What tells a ledger's rows from those of another folder of the same run; "" if nothing does.

    Raises:
      ValueError: if it is not as it was written.
    """
    stored = about.get("salt", "")
    if stored and stored != _signed(stored.partition(" ")[0], about["run"]):
        raise ValueError(f"its salt is {stored[:60]!r}")
    return stored.partition(" ")[0]


def _signed(salt: str, run: str) -> str:
    return f"{salt} {zlib.crc32(f'{run} {salt}'.encode()):08x}"


def _from_2(database: sqlite3.Connection) -> None:
    """Format 2 had a row from when it was first asked for, and no other state than its reward."""
    for column in ADDED_BY_3:
        database.execute(f"ALTER TABLE evaluations ADD COLUMN {column}")
    database.execute("UPDATE evaluations SET state = 'abandoned' WHERE reward IS NULL")
