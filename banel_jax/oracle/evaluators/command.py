"""A program as the oracle: a line of JSON for every row, and one for every answer."""

import json
import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from banel_jax.checks import one_line
from banel_jax.oracle.answers import OracleError, WorkerDied
from banel_jax.oracle.calls import Call
from banel_jax.oracle.evaluators.child import Child, Holder
from banel_jax.oracle.evaluators.pool import Pool

logger = logging.getLogger(__name__)


class command(Pool):
    """A program as the oracle, which no shell sees and which is ended as worker processes are.

    For every row it is given one line of JSON on its standard input,
    `{"id": "...", "row": 7, "round": 0, "index": 7, "tokens": [3, 1], "mask": [true, true],
    "text": "..."}` (`text` is null where there is none), and it prints one line for it on its
    standard output: `{"reward": 1}`, with `score` and `cost` as it likes, `{"failed": "why"}`, or
    `{"pending": "what"}`; a bare 1 or 0 will do. With the `id` or `row` of the row in it, answers
    may come in any order, and one that comes twice or late is never taken for another row's;
    without, they must come in the order of the rows.

    A program that lives long must flush every line. One that prints what it was not asked for, or
    something else than JSON, is ended, and another is begun. What it says on its standard error is
    kept for the reason of a failure, and told by `logging` at INFO.

    Args:
      argv: the program and its arguments, a list.
      workers: how many of it at a time.
      per_call: whether every call has a process of its own, whose input ends after its rows. What
        it answered counts, whatever its exit status is.

    Raises:
      ValueError: if there is no such program.
    """

    can_end = "yes"

    def __init__(self, argv: Sequence[str], workers: int = 1, per_call: bool = False):
        if isinstance(argv, str) or not argv or not all(isinstance(one, str) for one in argv):
            raise ValueError(
                f"argv={repr(argv)[:80]} must be a list of texts, the program and its arguments, "
                'such as ["python", "oracle.py"]; no shell takes it apart'
            )
        if shutil.which(argv[0]) is None:
            raise ValueError(f"argv[0]={argv[0]!r} is no program that can be found and run")
        super().__init__(workers, lambda: _Program(list(argv), per_call))


class _Program(Holder):
    def __init__(self, argv: list[str], per_call: bool):
        super().__init__()
        self._argv, self._per_call = argv, per_call
        self._past: set[str] = set()  # rows that the program has answered for

    def work(self, call: Call, begun: Callable[[], bool]) -> Any:
        answers = _Answers(call, self._past)
        try:
            child = self._program()
            if not begun():
                return None
            child.exchange(_lines(call), answers.take, close=self._per_call)
            if answers.wrong:
                raise WorkerDied(answers.wrong)
        except WorkerDied as error:
            self._drop()
            return answers.others_are(error)
        except BaseException:
            self._drop()
            raise
        if self._per_call:
            self._drop()
        return answers.others_are(None)

    def _program(self) -> Child:
        if self._child and not self._child.is_ready():
            logger.warning(
                "%s ended, or said more than it was asked, and is begun anew", self._argv[0]
            )
            self._drop()
        if self._child is None:
            try:
                self._child = Child(self._argv)
            except OSError as error:
                raise OracleError(f"{self._argv[0]} cannot be run: {one_line(error)}") from error
        return self._child

    def _drop(self) -> None:
        child, self._child = self._child, None
        self._past.clear()
        if child and self._per_call and not child.lives():
            child.finish(0.0)
        elif child:
            child.release()


def _lines(call: Call) -> bytes:
    lines = []
    for i, row in enumerate(call.rows):
        about = {
            "id": row.id, "row": row.row, "round": row.round, "index": row.index,
            "tokens": call.sequences.tokens[i].tolist(), "mask": call.sequences.mask[i].tolist(),
            "text": None if call.text is None else call.text[i],
        }  # fmt: skip
        lines.append(json.dumps(about) + "\n")  # in ASCII, so that no text can hurt
    return "".join(lines).encode()


class _Answers:
    """The answers to a call's rows, from the lines that a program prints."""

    def __init__(self, call: Call, past: set[str]):
        self._rows = call.rows
        self._open = list(range(len(call.rows)))
        self._answers: list[Any] = [None] * len(call.rows)
        self._past, self._searched = past, 0
        self.wrong = ""  # what was wrong with a line, after which nothing can be trusted

    def take(self, read: bytearray, at_end: bool) -> bool:
        while self._open and not self.wrong:
            end = read.find(b"\n", self._searched)
            if end < 0:
                self._searched = len(read)
                break
            self._line(bytes(read[:end]))
            del read[: end + 1]
            self._searched = 0
        if at_end and self._open and read:  # without an end of line, for which it must be whole
            self._line(bytes(read), whole=False)
            read.clear()
        return not self._open or bool(self.wrong)

    def _line(self, line: bytes, whole: bool = True) -> None:
        if not line.strip():
            return
        shown = one_line(line[:200].decode("utf-8", "replace"))[:60]
        try:
            answer = json.loads(line)
        except (ValueError, RecursionError) as error:
            self.wrong = f"answered {shown}, which is no JSON: {one_line(error)[:100]}"
            return
        if not whole and not isinstance(answer, Mapping):
            self.wrong = f"answered {shown} without an end of line, which may not be all"
            return
        said = answer if isinstance(answer, Mapping) else {}
        name = said.get("id", said.get("row"))
        if name is None:
            at: int | None = self._open[0]
        else:
            rows = self._rows
            at = next((i for i in self._open if name in (rows[i].id, rows[i].row)), None)
        if at is not None:
            self._open.remove(at)
            self._answers[at] = answer
            self._past |= {_named(self._rows[at].id), _named(self._rows[at].row)}
        elif _named(name) in self._past:
            logger.warning("the oracle answered twice for row %s; the first counts", one_line(name))
        else:
            self.wrong = f"answered for row {one_line(name)[:60]}, which it was not asked"

    def others_are(self, error: Exception | None) -> list[Any]:
        """The answers by row; what has none ended by the error."""
        return [error if i in self._open else one for i, one in enumerate(self._answers)]


def _named(name: Any) -> str:
    return json.dumps(name)
