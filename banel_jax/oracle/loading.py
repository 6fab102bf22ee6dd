"""A ledger's counts from its file: the sums of complete rounds, and the rows of the others."""

import sqlite3
from collections.abc import Iterable

from banel_jax.oracle import schema, seals
from banel_jax.oracle.rows import Stored
from banel_jax.oracle.tally import Tally

LAST = 2**63 - 1


def tally(database: sqlite3.Connection, seed: int, abandon: bool) -> Tally:
    """The counts, after checking every row, within a transaction; complete rounds are sealed.

    Args:
      database: the ledger.
      seed: of its checksums.
      abandon: note of rows that were running that nobody knows what became of them.

    Raises:
      ValueError, TypeError, struct.error: if a row is not as it was written.
    """
    counted = Tally()
    _read(database, seed, counted)
    if abandon and any(row.state == "running" for row in counted.open.values()):
        database.execute(schema.ABANDON)
        counted.abandon()
    for round in counted.rounds:
        if round not in counted.sealed and not counted.unfinished[round]:
            first, end = counted.first_row(round), counted.first_row(round + 1)
            seals.seal(database, seed, round, first, end)
            counted.sealed.add(round)
    return counted


def _read(database: sqlite3.Connection, seed: int, tally: Tally) -> None:
    begin = -LAST  # before row 0, where none may be
    for seal in list(seals.read(database)):
        _take(tally, seed, seals.stored(database, begin, seal.first_row))
        begin = seal.end
        if seal.first_row != tally.proposed or not seals.holds(database, seed, seal):
            _take(tally, seed, seals.stored(database, seal.first_row, seal.end))
            raise ValueError(f"round {seal.round} is not as it was when it was complete")
        tally.begin(seal.round)
        tally.add(seal.round, seal.counts(), seal.proposed, seal.first_success)
        tally.repeated += seal.repeated
        tally.paid(seal.round, -1, seal.cost)
        tally.sealed.add(seal.round)
        if seal.failed:
            failed = seals.stored(database, seal.first_row, begin, "AND state = 'failed'")
            for row in failed:
                tally.reopen(row, row.base(seed))
    _take(tally, seed, seals.stored(database, begin, LAST))


def _take(tally: Tally, seed: int, rows: Iterable[Stored]) -> None:
    for row in rows:
        if row.round != tally.last_round:
            tally.begin(row.round)
        index = tally.proposed - tally.first_row(row.round)
        if (row.row, row.index_in_round) != (tally.proposed, index):
            raise ValueError(f"row {tally.proposed} is missing, or not in its place")
        tally.take(row, row.base(seed))
