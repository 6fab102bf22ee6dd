"""What an oracle tells its caller beside rewards: why it stopped, and what it met."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from banel_jax.oracle.answers import Answer, OracleError
from banel_jax.oracle.calls import Call, Row

GOES_ON = "what was paid before is kept, and the same command goes on from there"


class BudgetExceeded(ValueError):
    """Evaluating would cost more than the budget; nothing was evaluated."""


class AnswersPending(OracleError):
    """Answers come later; the run goes on when they are there."""

    standing = "waiting"  # of a run that it ends


class Stopped(Exception):
    """A rule of the caller's ended the evaluation; the message says which."""


class Success(NamedTuple):
    """A row of reward 1, as soon as it is known.

    Attributes:
      row: which.
      tokens, mask: [length].
      text: where sequences can be rendered.
      answer: with the score and cost that the oracle told.
    """

    row: Row
    tokens: np.ndarray
    mask: np.ndarray
    text: str | None
    answer: Answer


def names(rows: Sequence[Row]) -> str:
    """Rows as a person is told of them."""
    if len(rows) == 1:
        return str(rows[0])
    return f"the {len(rows)} rows from {rows[0]} to {rows[-1]}"


def awaiting(call: Call, awaited: Sequence[int], reasons: Mapping[int, str]) -> str:
    """One line on the rows of a round, by place, whose answers come later."""
    what = "; ".join(dict.fromkeys(reasons.get(call.rows[i].row, "") for i in awaited))
    return (
        f"{len(awaited)} of the {len(call.rows)} answers of round {call.rows[0].round} are "
        f"awaited: {what[:200]}. Nothing is asked twice; the same command goes on when they are "
        "there"
    )


def failed_again(call: Call, failed: Sequence[int], reasons: Mapping[int, str]) -> str:
    """One line on the rows of a round, by place, that failed however often they were asked for."""
    return (
        f"{len(failed)} of the {len(call.rows)} rows of round {call.rows[0].round} failed, and "
        f"asking again brought no answer: the oracle {reasons.get(call.rows[failed[0]].row)}; "
        f"{GOES_ON}"
    )


def over_budget(round: int, num_rows: int, before: int, budget: int) -> str:
    return (
        f"round {round} asks for {num_rows} reward evaluations after {before}, more than "
        f"budget={budget}; nothing of it was evaluated. Raise the budget or ask for fewer "
        "candidates or rounds"
    )
