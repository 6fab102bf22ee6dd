"""An answer in hand is written or kept, whatever hinders that."""

import logging
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from banel_jax.checks import one_line
from banel_jax.oracle import interrupts
from banel_jax.oracle.answers import Answer, Failed, Outcome
from banel_jax.oracle.calls import Row
from banel_jax.oracle.config import OracleConfig
from banel_jax.oracle.database import LedgerError, LedgerLocked
from banel_jax.oracle.kept import Entry, Kept
from banel_jax.oracle.rows import outcome_checksum
from banel_jax.oracle.store import Store
from banel_jax.oracle.values import as_cost, as_json, as_text

logger = logging.getLogger(__name__)


class Result(NamedTuple):
    """What came of a row.

    Attributes:
      row: counted over the whole run, from 0.
      reward: 0 or 1; None where it failed.
      score: any JSON that the oracle said beside it.
      cost: of this attempt; None where the oracle does not tell.
      reason: why it failed.
      seconds: that the oracle took.
    """

    row: int
    reward: float | None
    score: Any = None
    cost: float | None = None
    reason: str | None = None
    seconds: float | None = None


def of_outcomes(
    ended: Iterable[tuple[Row, Outcome, float]], config: OracleConfig
) -> tuple[list[Result], dict[str, list[int]]]:
    """What came of rows, and by what is awaited the rows that have no outcome yet."""
    results, awaited = list[Result](), dict[str, list[int]]()
    for row, outcome, seconds in ended:
        cost = getattr(outcome, "cost", None)
        cost = (config.cost_per_row or None) if cost is None else cost
        if isinstance(outcome, Answer):
            results.append(Result(row.row, outcome.reward, outcome.score, cost, None, seconds))
        elif isinstance(outcome, Failed):
            reward = 0.0 if config.on_failure == "zero" else None
            results.append(Result(row.row, reward, None, cost, outcome.reason, seconds))
        else:
            awaited.setdefault(outcome.what, []).append(row.row)
    return results, awaited


class Hand:
    """Between what the oracle said and the ledger's file.

    Args:
      store: what is written to.
      kept: takes what cannot be written.

    Raises:
      LedgerError: where kept answers are of another ledger, or cannot be taken up.
    """

    def __init__(self, store: Store, kept: Kept):
        self.store, self.kept = store, kept
        self.take_up()

    def take_up(self) -> None:
        """Records the answers that the ledger could not take before."""
        self.store.fresh()
        try:
            kept = self.kept.read()
        except (ValueError, OSError) as error:
            raise LedgerError(one_line(error)) from error
        new: dict[int, Entry] = {}
        for place, entry in kept:
            was = self.store.tally.open.get(entry.row)
            if was is not None and entry.belongs_to(was.base):
                new[entry.row] = entry
                continue
            query = "SELECT checksum FROM evaluations WHERE row = ?"
            if self.store.database.read(query, entry.row) != [(entry.checksum,)]:
                raise LedgerError(
                    f"{place} holds an answer for row {entry.row} of another run than the ledger "
                    f"{self.store.path}; put the ledger that it belongs to back, or move it away"
                )
        if new:
            self.store.write(list(new.values()))
            logger.warning(
                "%d answers that the ledger %s could not take before are in it now",
                len(new),
                self.store.path,
            )
        self.kept.remove()  # half a line among it, which was never promised

    def entries(
        self, results: Iterable[Result], attempts: int = 1, source: str = "oracle"
    ) -> list[Entry]:
        """What is to be written of rows that are not done; their first answer stays."""
        entries: dict[int, Entry] = {}
        for result in results:
            row, was = int(result.row), self.store.tally.open.get(int(result.row))
            if not 0 <= row < self.store.tally.proposed:
                raise ValueError(f"row {row} was not proposed")
            if was is None or row in entries:
                logger.warning("row %d was answered before; its first answer stays", row)
                continue
            reward = None if result.reward is None else float(result.reward)
            costs = [cost for cost in (was.cost, as_cost(result.cost)) if cost is not None]
            cost = sum(costs) if costs else None
            score, reason = as_json(result.score), as_text(result.reason)
            checksum = outcome_checksum(
                was.base, reward, reward is None, score, cost, reason, source
            )
            entries[row] = Entry(
                row, reward, checksum, "failed" if reward is None else "done", score, cost, reason,
                as_cost(result.seconds), time.time(), attempts, source,
            )  # fmt: skip
        return list(entries.values())

    def write(self, entries: list[Entry], starting: Sequence[int] = ()) -> None:
        """Writes answers, and that other rows are asked for; durable on return.

        Raises:
          LedgerError: if the ledger could not take them; it says where the answers are.
        """
        try:
            self.store.write(entries, starting, patience=0)
            return
        except BaseException as failure:
            error = failure
        place = self.kept.keep(entries)  # before any waiting, which may be ended by a kill
        if isinstance(error, LedgerLocked):
            try:
                self.take_up() if place else self.store.write(entries)
            except BaseException as failure:
                error = failure
            else:
                self.store.write((), starting)
                return
        self._give_up(entries, place, error)

    def _give_up(self, entries: list[Entry], place: Path | None, error: BaseException) -> NoReturn:
        if place:
            said = f"the {len(entries)} answers in hand are kept in {place} and will be taken up"
        else:
            told = ", ".join(
                f"{entry.row}: {'failed' if entry.reward is None else format(entry.reward, 'g')}"
                for entry in entries
            )
            said = f"no file could keep the answers in hand, which are, by row, {told}"
        if interrupts.pending() or not isinstance(error, LedgerError):  # said here or not at all
            logger.warning("writing the ledger %s was interrupted; %s", self.store.path, said)
        if isinstance(error, LedgerError):
            raise LedgerError(f"{error}; {said}") from error
        raise error
