"""The oracle as the loop sees it: counted in rows, within a budget, every row paid once."""

import functools
import inspect
import itertools
import logging
from collections.abc import Callable, Iterator
from typing import Any, cast

import jax
import numpy as np

from banel_jax import checks
from banel_jax.oracle import interrupts
from banel_jax.oracle.answers import OracleError, Rows, each_reward, one_line, sound
from banel_jax.oracle.ledger import Ledger
from banel_jax.types import Sequences

logger = logging.getLogger(__name__)

GOES_ON = "what was paid before is kept, and the same command goes on from there"


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
        Python. It is given NumPy arrays. It may be a generator, which yields one reward a row:
        each is on disk before the next is worked for.
      budget: reward evaluations in all; None for no bound.
      ledger: the record; None for a new one in memory.
      batch_size: rows in a call, each call being on disk before the next, so an exception costs
        the answers of its own call. None for one row a call; for all of a round where nothing
        is lost by it, which is so for a generator and for a function of `jax.jit`, and where
        the oracle turns out to answer for a whole round whatever it is given.

    Raises:
      BudgetExceeded: a ValueError, before anything is asked that the budget does not allow.
      OracleError: a ValueError, where the reward function raises or answers anything but 0 or 1
        for each row; what it answered before is kept.
      LedgerError: a ValueError, where the ledger holds another run.
    """

    def __init__(
        self,
        reward_fn: Callable[[Sequences], Any],
        budget: int | None = None,
        ledger: Ledger | None = None,
        batch_size: int | None = None,
    ):
        self.reward_fn = reward_fn
        self.budget = budget
        self.batch_size = batch_size
        checks.integers(self, "budget", at_least=0, none=True)
        checks.integers(self, "batch_size", at_least=1, none=True)
        self._takes_all = _takes_all(reward_fn)
        self.ledger = ledger if ledger is not None else Ledger()
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
          LedgerError: if the ledger holds other sequences for this round, or cannot be written;
            the answers in hand are then kept in a file and the message names it.
        """
        tokens = np.ascontiguousarray(candidates.tokens, "<i4")
        mask = np.ascontiguousarray(candidates.mask, np.bool_)
        if tokens.ndim != 2 or tokens.shape != mask.shape:
            raise ValueError(
                f"candidates have tokens {tokens.shape} and mask {mask.shape}; both must be "
                "[m, length]"
            )
        self._num_rows = len(tokens)
        recorded = self.ledger.recorded(round)
        if np.sum(~np.isnan(recorded.rewards)) < len(tokens):
            self._admit(round, len(tokens))
        first_row = self.ledger.propose(round, tokens, mask)
        rewards = np.full(len(tokens), np.nan)
        paid_for = recorded.indices < len(tokens)
        rewards[recorded.indices[paid_for]] = recorded.rewards[paid_for]
        unpaid = np.flatnonzero(np.isnan(rewards))
        if len(unpaid):
            size = self.batch_size or (len(unpaid) if self._takes_all else 1)
            for start in range(0, len(unpaid), size):
                rows = Rows(round, first_row, unpaid[start : start + size])
                try:
                    paid = self._pay(rows, tokens[rows.indices], mask[rows.indices])
                except _AnswersForAll:
                    logger.warning(
                        "given one row the oracle answers for all %d of a round, so it is given "
                        "whole rounds, and an exception costs all of their answers; let it answer "
                        "for the rows that it is given",
                        len(tokens),
                    )
                    self._takes_all = True
                    return self.evaluate(round, candidates)
                rewards[rows.indices] = paid
        return rewards.astype(np.float32)

    def _admit(self, round: int, num_rows: int) -> None:
        """Checks order and budget of a round with unpaid rows."""
        if self.ledger.last_round() > round or self.ledger.unfinished(round):
            raise ValueError(
                f"round {round} is out of order: rounds are paid for one after another"
            )
        before = self.ledger.totals(round)[0]
        if self.budget is not None and before + num_rows > self.budget:
            raise BudgetExceeded(
                f"round {round} asks for {num_rows} reward evaluations after {before}, more "
                f"than budget={self.budget}; nothing of it was evaluated. Raise the budget or "
                "ask for fewer candidates or rounds"
            )

    def _pay(self, rows: Rows, tokens: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """float64 [k]: the rewards of these rows, from one call of the oracle."""
        self.ledger.start(rows.first_row + rows.indices)
        rewards = np.full(len(rows.indices), np.nan)

        def take(answer):
            if not isinstance(answer, Iterator):
                rewards[:] = self._record(answer, rows)

        def take_yielded(position, answer):
            rewards[position] = self._record([answer], rows.only(position))[0]

        calls = map(self.reward_fn, [Sequences(cast(Any, tokens), cast(Any, mask))])
        came = _receive(calls, rows, take)
        if not came:  # a StopIteration from within ends the map
            raise OracleError(f"the oracle raised StopIteration for {rows}; {GOES_ON}")
        if isinstance(came[0], Iterator):
            for i in range(len(rewards)):
                one = functools.partial(take_yielded, i)
                if not _receive(came[0], rows.only(i), one):
                    raise OracleError(
                        f"the oracle ended after {i} rewards, before {rows.name(i)}; "
                        f"it must yield one a row. {GOES_ON.capitalize()}"
                    )
            if _receive(came[0], rows, lambda answer: None):
                raise OracleError(
                    f"the oracle yielded more than {len(rewards)} rewards for {rows}; it must "
                    f"yield one a row. The first {len(rewards)} are kept"
                )
        return rewards

    def _record(self, answer: Any, rows: Rows) -> np.ndarray:
        by_row = self.batch_size is None and not self._takes_all
        if by_row and _length(answer) == self._num_rows > 1:
            raise _AnswersForAll
        rewards = each_reward(answer, rows)
        good = sound(rewards)
        numbers = rows.first_row + rows.indices[good]
        self.ledger.record(zip(numbers, rewards[good], strict=True))
        if not good.all():
            bad = int(np.flatnonzero(~good)[0])
            said = (answer if isinstance(answer, list | tuple) else rewards)[bad]
            raise OracleError(
                f"the oracle answered {one_line(said)[:60]} for {rows.name(bad)}; a reward "
                "is 0 or 1. The sound answers are kept"
            )
        return rewards


def _receive(source: Iterator, rows: Rows, take: Callable[[Any], None]) -> list:
    """The next of an iterator, in a list, empty at its end; no signal keeps it from `take`."""
    came: list = []
    with interrupts.held_back(came):
        try:
            # Within C, as no signal can come between an answer and its place in the list there.
            came.extend(itertools.islice(source, 1))
        except Exception as error:
            raise OracleError(
                f"the oracle raised {type(error).__name__}: {one_line(error)} for {rows}; {GOES_ON}"
            ) from error
        for answer in came:
            take(answer)
    return came


class _AnswersForAll(Exception):
    """An oracle that was given one row answered for a whole round."""


def _length(answer: Any) -> int | None:
    """Of an answer with one axis."""
    one_axis = isinstance(answer, list | tuple) or getattr(answer, "ndim", 0) == 1
    return len(answer) if one_axis else None


def _takes_all(reward_fn: Callable) -> bool:
    """Whether an exception costs no answer however many rows it is asked for."""
    while isinstance(reward_fn, functools.partial):
        reward_fn = reward_fn.func
    generators = map(inspect.isgeneratorfunction, (reward_fn, type(reward_fn).__call__))
    return isinstance(reward_fn, jax.stages.Wrapped) or any(generators)
