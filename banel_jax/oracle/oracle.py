"""The oracle as the loop sees it: counted in rows, within a budget, every row paid once."""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

import numpy as np

from banel_jax import checks
from banel_jax.oracle import signals, told
from banel_jax.oracle.answers import Answer, Failed, OracleError
from banel_jax.oracle.calls import Call, Row
from banel_jax.oracle.config import OracleConfig
from banel_jax.oracle.database import LedgerError
from banel_jax.oracle.ending import drain
from banel_jax.oracle.evaluators import as_evaluator
from banel_jax.oracle.feeder import Feeder
from banel_jax.oracle.hand import of_outcomes
from banel_jax.oracle.ledger import Ledger
from banel_jax.oracle.memo import answer_from_memory
from banel_jax.oracle.schedule import Ended, Schedule
from banel_jax.oracle.told import GOES_ON, AnswersPending, BudgetExceeded, Stopped, Success
from banel_jax.types import Sequences

logger = logging.getLogger(__name__)


class Oracle:
    """Pays for each row once, whatever the way to evaluate.

    Rows are counted, duplicates included. What the ledger already holds is answered from it
    and costs nothing, so a run that was stopped goes on where it was. Rows that were in flight
    when it was stopped are asked again, as nobody can know what became of them; they count
    once.

    While rows are in flight a first Ctrl-C or SIGTERM begins nothing more and waits for them; a
    second ends them.

    Args:
      reward_fn: an `evaluators.Evaluator`, or a function `reward_fn(sequences [k]) -> k rewards`,
        each 0 or 1; a JAX function or plain Python, see `evaluators.in_place`.
      budget: reward evaluations in all; None for no bound.
      ledger: the record; None for a new one in memory.
      config: how the oracle is asked.
      rounds_in_flight: how many rounds are proposed before the first of them is collected.
      text: `text(sequences [n]) -> n texts`, for oracles that take texts, and for people.
      stopping: asked after each commit; where it says why, nothing more is asked.
      on_successes: called with those of a commit once they are on disk.
      on_proposed: called for each round, with all of its rows, before they are asked.

    Raises:
      ValueError: for what is no oracle, or a timeout that it cannot keep.
      BudgetExceeded: a ValueError, before anything is asked that the budget does not allow.
      OracleError: a ValueError, where a row failed for good; all answers are kept.
      LedgerError: a ValueError, where the ledger holds another run.
    """

    def __init__(
        self,
        reward_fn: Any,
        budget: int | None = None,
        ledger: Ledger | None = None,
        config: OracleConfig | None = None,
        rounds_in_flight: int = 1,
        text: Callable[[Sequences], Sequence[str]] | None = None,
        stopping: Callable[[], str | None] = lambda: None,
        on_successes: Callable[[list[Success]], None] = lambda successes: None,
        on_proposed: Callable[[Call], None] = lambda call: None,
    ):
        self.config, self.budget = config or OracleConfig(), budget
        checks.integers(self, "budget", at_least=0, none=True)
        self.ledger = ledger if ledger is not None else Ledger()
        self._text, self._told_to_stop, self._on_successes = text, stopping, on_successes
        self.rounds_in_flight, self._on_proposed = rounds_in_flight, on_proposed
        self._rounds, self._reasons = dict[int, Call](), dict[int, str]()
        self._noted, self._failure = signals.Noted(), ""  # the first that failed and ends the run
        self.reward_fn, self._evaluator = reward_fn, as_evaluator(reward_fn)
        self._line: Schedule | Feeder | None = None
        self._begin()  # which refuses what cannot be done
        if in_flight := self.ledger.in_doubt():
            logger.warning(
                "%d reward evaluations were in flight when the run was stopped; the oracle is "
                "asked for them again, and each counts once",
                in_flight,
            )

    def _begin(self) -> Schedule | Feeder:
        """The line that rows wait in; a new one where the last was left with some."""
        if self._line is None:
            heard = (self._change, self._why_to_stop, self._unask)
            self._schedule = Schedule(self._evaluator, self.config, *heard)
            ahead = self.rounds_in_flight > 1
            self._line = Feeder(self._schedule) if ahead else self._schedule
        return self._line

    @property
    def num_reward_evaluations(self) -> int:
        """NRE: the rows paid for so far."""
        return self.ledger.totals()[0]

    @property
    def num_successes(self) -> int:
        return self.ledger.totals()[1]

    def evaluate(self, round: int, candidates: Sequences) -> np.ndarray:
        """The rewards of a round's candidates: `propose` and `collect`.

        Args:
          round: from 0; new rows belong to the latest round.
          candidates: tokens int32 [m, length] and mask bool [m, length].

        Returns:
          float32 [m], each 0 or 1, or NaN for a row that failed where `on_failure="drop"`.

        Raises:
          BudgetExceeded: before anything is evaluated.
          OracleError: if a row failed for good; all other answers are kept.
          AnswersPending: if answers come later.
          Stopped: if `stopping` said so.
          LedgerError: if the ledger holds other sequences for this round, or cannot be written;
            the answers in hand are then kept in a file and the message names it.
        """
        self.propose(round, candidates)
        return self.collect(round)

    def propose(self, round: int, candidates: Sequences) -> None:
        """Writes the rows of a round down, and has those evaluated that have no answer yet."""
        tokens = np.ascontiguousarray(candidates.tokens, "<i4")
        mask = np.ascontiguousarray(candidates.mask, np.bool_)
        if tokens.ndim != 2 or tokens.shape != mask.shape:
            raise ValueError(
                f"candidates have tokens {tokens.shape} and mask {mask.shape}; both must be "
                "[m, length]"
            )
        self._admit(round, len(tokens))
        first, name = self.ledger.propose(round, tokens, mask), self.ledger.name_of
        rows = [Row(name(first + i), first + i, round, i) for i in range(len(tokens))]
        sequences = Sequences(cast(Any, tokens), cast(Any, mask))
        text = None if self._text is None else list(map(str, self._text(sequences)))
        call = self._rounds[round] = Call(rows, sequences, text)
        self._on_proposed(call)
        if self.config.memo != "off":
            learned = self.ledger.first_row(round + 1 - self.rounds_in_flight)
            answer_from_memory(self.ledger, call, self._unpaid(round), self.config.memo, learned)
        if unpaid := self._unpaid(round):
            self._begin().add(call.only(unpaid))

    def collect(self, round: int) -> np.ndarray:
        """Waits for a round that was proposed, and returns as `evaluate` does."""
        with signals.in_order(lambda: len(self._schedule.in_flight)) as self._noted:
            try:
                reason = self._begin().wait_for(round)
            except BaseException:
                if self._schedule.runs_here:  # what was not begun is proposed anew
                    self._schedule.end_all()
                    self._line = None
                raise
        failure, self._failure = self._failure, ""
        if failure or reason is not None:  # what was not begun is proposed anew
            self._line = self._line if isinstance(self._line, Feeder) else None
        if failure:
            raise OracleError(f"the oracle {failure}; {GOES_ON}")
        if reason is not None:
            raise Stopped(reason)
        states, call = self.ledger.states_of(round), self._rounds.pop(round)
        awaited = [i for i, state in enumerate(states) if state == "pending"]
        if awaited:
            raise AnswersPending(told.awaiting(call, awaited, self._reasons))
        failed = [i for i, state in enumerate(states) if state == "failed"]
        if failed and self.config.on_failure != "drop" and round == self.ledger.last_round():
            raise OracleError(told.failed_again(call, failed, self._reasons))
        return self.ledger.rewards(round).astype(np.float32)

    def close(self) -> None:
        """Ends what is in flight, and the evaluator."""
        self._begin().close()

    def end(self, kind: type | None = None, *error: object) -> None:
        """`close`, once what is in flight has ended; at once where a signal came twice."""
        self._failure, by_signal = "the run ends", kind in (KeyboardInterrupt, SystemExit)
        try:
            if not self._noted.twice:
                line = self._begin()
                with signals.in_order(lambda: 0) as noted:
                    (line.drain if isinstance(line, Feeder) else partial(drain, line))(
                        noted.reason if by_signal else lambda: None
                    )
        finally:
            self.close()

    def _admit(self, round: int, num_rows: int) -> None:
        """Checks order and budget of a round with rows that have no answer."""
        states = self.ledger.states_of(round)
        if len(states) >= num_rows and set(states) == {"done"}:
            return
        earlier = round - self.rounds_in_flight
        if earlier >= 0 and self._unpaid(earlier):
            raise ValueError(
                f"round {round} is out of order: rounds are paid for one after another"
            )
        before = self.ledger.totals(round)[0]
        if self.budget is not None and before + num_rows > self.budget:
            raise BudgetExceeded(told.over_budget(round, num_rows, before, self.budget))

    def _unpaid(self, round: int) -> list[int]:
        """Places in the round of the rows that the oracle is to be asked for."""
        # Where a round was learned from, its failures were dropped then, and stay so.
        over = round + self.rounds_in_flight <= self.ledger.last_round()
        settled = {"done", "failed"} if self.config.on_failure == "drop" or over else {"done"}
        return [i for i, s in enumerate(self.ledger.states_of(round)) if s not in settled]

    def _unask(self, rows: list[Row]) -> None:
        try:
            self.ledger.undo_start(row.row for row in rows)
        except LedgerError as error:
            logger.warning("%s. %d evaluations count as asked for, but were not", error, len(rows))

    def _change(self, ended: list[Ended], starting: list[Row]) -> None:
        """Writes down what has come, and what is asked for; what is awaited is no outcome yet."""
        results, awaited = of_outcomes(ended, self.config)
        rows = [row.row for row in starting]
        again = not {row.row for row, _, _ in ended}.isdisjoint(rows)
        together = bool(results) and not awaited and not again
        if results:
            self.ledger.record(results, rows if together else ())
        for what, those in awaited.items():
            self.ledger.postpone(those, what)
        self._tell(ended)
        if rows and not together:
            self.ledger.start(rows)

    def _tell(self, ended: list[Ended]) -> None:
        failed = [(row, outcome) for row, outcome, _ in ended if isinstance(outcome, Failed)]
        self._reasons |= {row.row: str(x) for row, x, _ in ended if not isinstance(x, Answer)}
        if failed and self.config.on_failure == "stop" and not self._failure:
            reason = failed[0][1].reason
            same = [row for row, outcome in failed if outcome.reason == reason]
            self._failure = f"{reason} for {told.names(same)}"
        successes = []
        for row, outcome, _ in ended:
            if isinstance(outcome, Answer) and outcome.reward:
                call, i = self._rounds[row.round], row.index
                text, x = None if call.text is None else call.text[i], call.sequences
                successes.append(Success(row, x.tokens[i], x.mask[i], text, outcome))
        if successes:
            self._on_successes(successes)

    def _why_to_stop(self) -> str | None:
        return self._failure or self._noted.reason() or self._told_to_stop()
