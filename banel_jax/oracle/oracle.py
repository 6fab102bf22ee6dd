"""The oracle as the loop sees it: counted in rows, within a budget, every row paid once."""

import logging
from collections.abc import Callable
from typing import Any, cast

import numpy as np

from banel_jax.oracle.answers import OracleError, Rows, as_rewards, one_line, sound
from banel_jax.oracle.ledger import Ledger, LedgerError
from banel_jax.types import Sequences

logger = logging.getLogger(__name__)


class BudgetExceeded(ValueError):
    """Evaluating would cost more than the budget; nothing was evaluated."""


class Oracle:
    """Pays a reward function once for each row.

    Rows are counted, duplicates included. What the ledger already holds is answered from it
    and costs nothing, so a run that was stopped goes on where it was. Rows that were in flight
    when it was stopped are asked again, as nobody can know what became of them; they count
    once.

    Args:
      reward_fn: `reward_fn(sequences [k]) -> k rewards`, each 0 or 1; a JAX function or plain
        Python. It is given NumPy arrays.
      budget: reward evaluations in all; None for no bound.
      ledger: the record; None for a new one in memory.
      batch_size: rows in a call, each call being on disk before the next; None for all rows of
        a round at once.
    """

    def __init__(
        self,
        reward_fn: Callable[[Sequences], Any],
        budget: int | None = None,
        ledger: Ledger | None = None,
        batch_size: int | None = None,
    ):
        if budget is not None and budget < 0:
            raise ValueError(f"budget={budget} must not be negative")
        if batch_size is not None and batch_size < 1:
            raise ValueError(f"batch_size={batch_size} must be at least 1")
        self.reward_fn = reward_fn
        self.budget = budget
        self.ledger = ledger if ledger is not None else Ledger()
        self.batch_size = batch_size
        in_flight = self.ledger.unanswered()
        if in_flight:
            logger.warning(
                "%d reward evaluations were in flight when the run was stopped; the oracle is "
                "asked for them again, and each counts once",
                in_flight,
            )

    @property
    def num_reward_evaluations(self) -> int:
        """NRE: the rows paid for so far."""
        return self.ledger.totals()[0]

    @property
    def num_successes(self) -> int:
        return self.ledger.totals()[1]

    def evaluate(self, round: int, candidates: Sequences) -> np.ndarray:
        """The rewards of a round's candidates.

        Args:
          round: from 0; new rows belong to the latest round.
          candidates: tokens int32 [m, length] and mask bool [m, length].

        Returns:
          float32 [m], each 0 or 1.

        Raises:
          BudgetExceeded: before anything is evaluated.
          OracleError: if the reward function raises or answers wrongly; sound answers are kept.
          LedgerError: if the ledger holds other sequences for this round.
        """
        tokens = np.ascontiguousarray(candidates.tokens, "<i4")
        mask = np.ascontiguousarray(candidates.mask, np.bool_)
        if tokens.ndim != 2 or tokens.shape != mask.shape:
            raise ValueError(
                f"candidates have tokens {tokens.shape} and mask {mask.shape}; both must be "
                "[m, length]"
            )
        rewards = self._paid(round, tokens, mask)
        unpaid = np.flatnonzero(np.isnan(rewards))
        if len(unpaid):
            first_row = self._admit(round, len(tokens))
            size = self.batch_size or len(unpaid)
            for start in range(0, len(unpaid), size):
                rows = Rows(round, first_row, unpaid[start : start + size])
                rewards[rows.indices] = self._pay(rows, tokens[rows.indices], mask[rows.indices])
        return rewards.astype(np.float32)

    def _paid(self, round: int, tokens: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """float64 [m]: the recorded rewards, NaN where there is none."""
        rewards = np.full(len(tokens), np.nan)
        recorded = self.ledger.recorded(round)
        for i, t, m in zip(recorded.indices, recorded.tokens, recorded.mask, strict=True):
            if i >= len(tokens) or t != tokens[i].tobytes() or m != mask[i].tobytes():
                raise LedgerError(
                    f"the ledger {self.ledger.path} holds another sequence for round {round}, "
                    f"index {i}: it is another run's (another prior, seed, version or kind of "
                    "device); use another folder"
                )
        rewards[recorded.indices] = recorded.rewards
        return rewards

    def _admit(self, round: int, num_rows: int) -> int:
        """Checks order and budget of a round with unpaid rows; returns its first row's number."""
        if self.ledger.last_round() > round or self.ledger.unanswered(round):
            raise ValueError(
                f"round {round} is out of order: rounds are paid for one after another"
            )
        first_row = self.ledger.totals(round)[0]
        if self.budget is not None and first_row + num_rows > self.budget:
            raise BudgetExceeded(
                f"round {round} asks for {num_rows} reward evaluations after {first_row}, more "
                f"than budget={self.budget}; nothing of it was evaluated. Raise the budget or "
                "ask for fewer candidates or rounds"
            )
        return first_row

    def _pay(self, rows: Rows, tokens: np.ndarray, mask: np.ndarray) -> np.ndarray:
        self.ledger.start(rows.round, rows.first_row, rows.indices, tokens, mask)
        try:
            answer = self.reward_fn(Sequences(cast(Any, tokens), cast(Any, mask)))
        except Exception as error:
            raise OracleError(
                f"the oracle raised {type(error).__name__}: {one_line(error)} for {rows}; what was "
                "paid before is kept, and the same command goes on from there"
            ) from error
        rewards = as_rewards(answer, rows)
        good = sound(rewards)
        self.ledger.record(rows.round, rows.indices[good], rewards[good])
        if not good.all():
            bad = int(np.flatnonzero(~good)[0])
            raise OracleError(
                f"the oracle answered {rewards[bad]} for {rows.name(bad)}; a reward is 0 or 1. "
                "The sound answers are kept"
            )
        return rewards
