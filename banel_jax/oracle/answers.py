"""What an oracle may say of a row: a reward of 0 or 1, that it failed, or that it comes later."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from banel_jax.checks import one_line
from banel_jax.oracle.calls import kinds
from banel_jax.oracle.values import as_cost, plain


class OracleError(ValueError):
    """The oracle raised or answered wrongly; the message names the row."""


def _numbers(answer: Any) -> np.ndarray:
    array = np.asarray(answer)
    if array.dtype.kind not in "biufV":  # V: bfloat16 and its like
        raise TypeError("it holds no real numbers")
    return array.astype(np.float64)


def sound(rewards: np.ndarray) -> np.ndarray:
    """bool [k]: which rewards are 0 or 1 (NaN is neither)."""
    return (rewards == 0) | (rewards == 1)


@dataclass(frozen=True)
class Answer:
    """What the oracle found out about a row.

    Attributes:
      reward: 0 or 1.
      score: anything beside it that JSON can hold, which is kept in the ledger.
      cost: what the row cost, in the user's currency; None for `OracleConfig.cost_per_row`.
    """

    reward: float
    score: Any = None
    cost: float | None = None


class Failed(Exception):
    """An evaluation that failed, which is no reward of 0; returned for a row, or raised.

    Args:
      reason: one line.
    """

    def __init__(self, reason: str = "no reason was given"):
        super().__init__(one_line(reason))
        self.reason = one_line(reason)

    def __str__(self):
        return self.reason

    def __eq__(self, other):
        return type(other) is type(self) and other.args == self.args

    def __hash__(self):
        return hash(self.args)


class Pending(Exception):
    """An answer that comes later; returned for a row, or raised for all rows of a call.

    Args:
      what: what is awaited, one line.
    """

    def __init__(self, what: str = "the answer"):
        super().__init__(one_line(what))
        self.what = one_line(what)

    __eq__, __hash__ = Failed.__eq__, Failed.__hash__


class Raised(Failed):
    """A call that ended by an exception, whose type may be one that the user calls transient.

    Args:
      reason: one line.
      kinds: dotted names of the exception's type and of its bases.
    """

    def __init__(self, reason: str, kinds: tuple[str, ...] = ()):
        super().__init__(reason)
        self.args = (reason, kinds)
        self.kinds = kinds

    def is_one_of(self, names: tuple[str, ...]) -> bool:
        """Whether the exception's type is named, with or without its module, or a base of it."""
        last = {kind.rpartition(".")[2] for kind in self.kinds}
        return any(name in (self.kinds if "." in name else last) for name in names)


class WorkerDied(Raised):
    """The process that worked on a call ended, or answered what it was not asked."""

    def __init__(self, reason: str):
        super().__init__(reason, kinds(WorkerDied))
        self.args = (reason,)


Outcome = Answer | Failed | Pending


def raised(error: BaseException) -> Outcome:
    """What an exception in place of an answer says."""
    if isinstance(error, Failed | Pending):
        return error
    said = f"raised {type(error).__name__}: {one_line(error)}"
    return Raised(said.rstrip(" :"), kinds(type(error)))


def outcomes(answer: Any, k: int) -> list[Outcome]:
    """The answer of a call of k rows, taken as people give it, row by row.

    That is an array [k] or [k, 1] of numbers or truth values; a list of k numbers, `Answer`s,
    `Failed`s, `Pending`s, exceptions, or dicts such as `{"reward": 1, "score": 0.3}`,
    `{"failed": "why"}` and `{"pending": "what"}`; any of these without a list around it for one
    row; or an exception that stands for all rows. Whatever cannot be told to belong to a row is a
    failure of all of them, and a bad answer beside good ones is a failure of its own row.
    """
    if isinstance(answer, BaseException):
        return [raised(answer)] * k
    try:
        each = _by_row(answer, k)
        if isinstance(each, np.ndarray) and each.dtype != object and sound(each).all():
            return [Answer(reward) for reward in each.ravel().tolist()]
    except Exception as error:
        return [Failed(f"answered {_shown(answer)}: {one_line(error)}")] * k
    return [_outcome(one) for one in each]


def _by_row(answer: Any, k: int) -> Sequence[Any]:
    if isinstance(answer, list | tuple):
        shape: tuple[int, ...] = (len(answer),)
    elif isinstance(answer, Answer | Mapping):
        shape, answer = (), [answer]
    else:
        array = np.asarray(answer)
        answer = np.atleast_1d(array if array.dtype == object else _numbers(array))
        shape = array.shape
    if shape not in ((k,), (k, 1)) and (shape, k) != ((), 1):
        raise ValueError(f"shape {shape} for {k} rows; it must be one reward a row, shape ({k},)")
    return answer


def _outcome(one: Any) -> Outcome:
    if isinstance(one, BaseException):
        return raised(one)
    if isinstance(one, Mapping):
        return _from_mapping(one)
    answer = one if isinstance(one, Answer) else Answer(one)
    try:
        number = _numbers(answer.reward)
        if number.shape in ((), (1,)) and sound(number).all():
            return Answer(float(number.item()), plain(answer.score), as_cost(answer.cost))
    except Exception:
        pass
    return Failed(f"answered {_shown(answer.reward)}; a reward is 0 or 1")


def _from_mapping(one: Mapping) -> Outcome:
    said = one.keys() & {"reward", "failed", "pending"}
    if len(said) != 1:
        return Failed(f"answered {_shown(one)}; it must say one of reward, failed and pending")
    if "reward" in said:
        return _outcome(Answer(one["reward"], one.get("score"), one.get("cost")))
    return Failed(one["failed"]) if "failed" in said else Pending(one["pending"])


def _shown(answer: Any) -> str:
    return one_line(answer, str if isinstance(answer, int | float) else repr)[:60]
