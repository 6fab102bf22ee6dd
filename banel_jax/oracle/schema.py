"""What is in a ledger's file: its tables, and the two changes that are made to them."""

import sqlite3

SCHEMA = """
CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS evaluations (
  row INTEGER PRIMARY KEY,          -- counted over the whole run, from 0
  round INTEGER NOT NULL,
  index_in_round INTEGER NOT NULL,
  tokens BLOB NOT NULL,             -- int32, little-endian
  mask BLOB NOT NULL,               -- one byte a token, 0 or 1
  reward REAL,                      -- NULL from before the oracle is asked until it answered
  attempts INTEGER NOT NULL,        -- how often it was asked; above 1 after an interruption
  checksum INTEGER NOT NULL         -- CRC-32 of the run and of all columns but attempts
);
"""
FORMAT = "2"
START = (
    "INSERT INTO evaluations VALUES (?, ?, ?, ?, ?, NULL, 1, ?) "
    "ON CONFLICT (row) DO UPDATE SET attempts = attempts + 1"
)
ANSWER = "UPDATE evaluations SET reward = ?, checksum = ? WHERE row = ? AND reward IS NULL"


def describe(database: sqlite3.Connection, run: str) -> dict[str, str]:
    """The names and values of `about`; tables are made and filled where the file is new.

    Raises:
      sqlite3.DatabaseError: if it is another program's.
    """
    tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
    if tables and "about" not in tables:
        raise sqlite3.DatabaseError("it is another program's database")
    for statement in SCHEMA.strip().split(";\n"):
        database.execute(statement)
    about = dict(database.execute("SELECT name, value FROM about"))
    if not about:
        about = {"format": FORMAT, "run": run}
        database.executemany("INSERT INTO about VALUES (?, ?)", about.items())
    return about
