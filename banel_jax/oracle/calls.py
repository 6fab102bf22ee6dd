"""What one call of an oracle is about, and how a user's function is given it.

Nothing of this package is imported here, and so no JAX: worker processes load this file alone.
"""

import inspect
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass
from typing import Any, NamedTuple

import numpy as np


@dataclass(frozen=True)
class Row:
    """What an oracle may be told of a row.

    Attributes:
      id: a name of the row that is the same however often it is asked for, and no other row's,
        of this folder or another.
      row: number in the whole run, from 0.
      round: from 0.
      index: place in the round, from 0.
    """

    id: str
    row: int
    round: int
    index: int

    def __str__(self) -> str:
        return f"row {self.row} (round {self.round}, index {self.index})"


class Pair(NamedTuple):
    """Stands for `Sequences` where JAX is not loaded."""

    tokens: np.ndarray
    mask: np.ndarray


@dataclass(frozen=True, eq=False)
class Call:
    """What one call of an oracle evaluates, k rows.

    Attributes:
      rows: k of them.
      sequences: tokens int32 [k, length] and mask bool [k, length], NumPy arrays.
      text: k texts, where the sequences can be rendered.
    """

    rows: Sequence[Row]
    sequences: Any
    text: Sequence[str] | None = None

    def only(self, positions: Sequence[int]) -> "Call":
        """The call of some of its rows."""
        at = list(positions)
        text = None if self.text is None else [self.text[i] for i in at]
        tokens, mask = self.sequences.tokens[at], self.sequences.mask[at]
        return Call([self.rows[i] for i in at], sequences_of(tokens, mask), text)

    def split(self, size: int | None) -> "list[Call]":
        """Calls of at most `size` rows; None for one call of all."""
        k = len(self.rows)
        starts = range(0, k, size or max(k, 1))
        return [self.only(range(i, min(i + (size or k), k))) for i in starts]

    @staticmethod
    def join(calls: "Sequence[Call]") -> "Call":
        """One call of all their rows."""
        tokens, mask = (
            np.concatenate([getattr(call.sequences, name) for call in calls])
            for name in ("tokens", "mask")
        )
        text = None
        if all(call.text is not None for call in calls):
            text = [one for call in calls for one in call.text or ()]
        return Call([row for call in calls for row in call.rows], sequences_of(tokens, mask), text)

    def __str__(self) -> str:
        first, k = self.rows[0], len(self.rows)
        return str(first) if k == 1 else f"the {k} rows from {first} to {self.rows[-1]}"

    def __reduce__(self):
        arrays = np.asarray(self.sequences.tokens), np.asarray(self.sequences.mask)
        return call_of, (list(map(astuple, self.rows)), *arrays, self.text)


def call_of(rows: list[tuple], tokens: np.ndarray, mask: np.ndarray, text: Any) -> Call:
    return Call([Row(*row) for row in rows], sequences_of(tokens, mask), text)


def sequences_of(tokens: np.ndarray, mask: np.ndarray) -> Any:
    """`Sequences`, or what has the same fields where nobody has imported them."""
    types = sys.modules.get("banel_jax.types")
    return (types.Sequences if types else Pair)(tokens, mask)


def ask(fn: Callable, call: Call) -> Any:
    """What a user's function answers; it is given arrays of its own, which it may change."""
    x = call.sequences
    more = {"rows": list(call.rows), "text": None if call.text is None else list(call.text)}
    wanted = {name: more[name] for name in parameters(fn) & more.keys()}
    return fn(sequences_of(np.array(x.tokens), np.array(x.mask)), **wanted)


def parameters(fn: Callable) -> set[str]:
    try:
        return set(list(inspect.signature(fn).parameters)[1:])
    except (TypeError, ValueError):  # some that are written in C tell nothing
        return set()


def length(answer: Any) -> int | None:
    """Of an answer with one axis."""
    one_axis = isinstance(answer, list | tuple) or getattr(answer, "ndim", 0) == 1
    return len(answer) if one_axis else None


def taken(answer: Any, k: int) -> Any:
    """What was answered; of an iterator the answers, and after them what kept it from others."""
    if not isinstance(answer, Iterator):
        return answer
    answers: list[Any] = []
    try:
        for one in answer:
            answers.append(one)
            if len(answers) > k:
                return [ValueError(f"it yielded more than {k} rewards for {k} rows")] * k
    except Exception as error:
        answers += [error] * (k - len(answers))
    short = ValueError(f"it ended after {len(answers)} rewards; it must yield one a row")
    return answers + [short] * (k - len(answers))


def kinds(kind: type) -> tuple[str, ...]:
    """Dotted names of an exception's type and of its bases."""
    return tuple(f"{one.__module__}.{one.__qualname__}" for one in kind.__mro__[:-1])


class each:
    """An oracle of one sequence as one of a batch, which yields one answer a row.

    Args:
      fn: `fn(sequence) -> answer`, of tokens int32 [length] and mask bool [length]; it may have
        parameters named `row`, the `Row`, and `text`.
    """

    def __init__(self, fn: Callable):
        self.fn = fn

    def __call__(self, sequences, rows, text):
        wanted = parameters(self.fn)
        for i in range(len(rows)):
            more = {"row": rows[i], "text": None if text is None else text[i]}
            one = sequences_of(sequences.tokens[i], sequences.mask[i])
            yield self.fn(one, **{name: more[name] for name in wanted & more.keys()})
