"""GSM8K's problems, read from its `train.jsonl` and `test.jsonl` (Cobbe et al., 2021)."""

import json
import os
import re
from functools import lru_cache
from numbers import Integral
from typing import Literal, NamedTuple

from banel_jax import files
from banel_jax.tasks import data_files
from banel_jax.tasks.data_files import DATA_DIR_VARIABLE

SOURCE = "https://github.com/openai/grade-school-math"
LINES = {"train": 7473, "test": 1319}
# Rows of test.jsonl, counted from 0, that Section 5.2 of the paper names.
HARD_QUESTIONS = (143, 1248, 1012, 510, 942, 205)
INSTRUCTION = ' Let\'s think step by step and output the final answer after "####".'
GOLD = re.compile(r"-?[0-9]+(\.[0-9]+)?")
ANNOTATION = re.compile(r"<<[^<>]*>>")

Split = Literal["train", "test"]


class Problem(NamedTuple):
    """A word problem.

    Attributes:
      question: as it is in the file.
      answer: the worked solution, calculator annotations included, its last line `#### gold`.
      gold: the number after `####` without its commas.
    """

    question: str
    answer: str
    gold: str

    @property
    def prompt(self) -> str:
        """What a model is asked: the question and how to give the answer."""
        return self.question + INSTRUCTION

    @property
    def solution(self) -> str:
        """The answer as a model is shown it: without calculator annotations."""
        return strip_annotations(self.answer)


def strip_annotations(text: str) -> str:
    """The text without calculator annotations: `2*3=$<<2*3=6>>6` is `2*3=$6`."""
    return ANNOTATION.sub("", text)


def worked_examples(n: int, data_dir: str | os.PathLike | None = None) -> tuple[Problem, ...]:
    """The first n problems of the training split, to be put before a question.

    Raises:
      ValueError: if there are not so many, or the data are not there or damaged.
    """
    if not 0 <= n <= LINES["train"]:
        raise ValueError(f"shots={n} must be 0 to {LINES['train']}, the training problems")
    return load_gsm8k(data_dir, "train")[:n] if n else ()


def question(row: int, data_dir: str | os.PathLike | None = None, split: Split = "test") -> Problem:
    """The problem of one row, counted from 0; see `load_gsm8k`.

    Raises:
      ValueError: if there is no such row, or the data are not there or damaged.
    """
    problems = load_gsm8k(data_dir, split)
    if not isinstance(row, Integral) or isinstance(row, bool) or not 0 <= row < len(problems):
        raise ValueError(
            f"question={row} is no row of GSM8K's {split} split; give --question a number from 0 "
            f"to {len(problems) - 1}"
        )
    return problems[row]


def load_gsm8k(
    data_dir: str | os.PathLike | None = None, split: Split = "test"
) -> tuple[Problem, ...]:
    """The problems of a split in the order of its file, plain or gzip.

    Args:
      data_dir: the folder of the data, by default that of the environment variable
        BANEL_DATA_DIR. The files are found in it or in its folder `gsm8k`.
      split: `train` or `test`.

    Raises:
      ValueError: if the data are not there or damaged.
    """
    if split not in LINES:
        raise ValueError(f"split={split!r} must be train or test")
    name = f"{split}.jsonl"
    data_dir = data_dir or os.environ.get(DATA_DIR_VARIABLE)
    if not data_dir:
        raise ValueError(
            "no folder of the GSM8K files is given; point --data_dir or "
            f"{DATA_DIR_VARIABLE} at one that holds {name}, from {SOURCE}"
        )
    try:
        folder = files.expand(os.fspath(data_dir))
        if not folder.is_dir():
            raise ValueError(f"there is no folder {folder}")
        file = data_files.find(folder, "gsm8k", name)
        if file is None:
            raise ValueError(f"there is no {name} or {name}.gz in {folder} or {folder / 'gsm8k'}")
        state = file.stat()
        return _read(file, LINES[split], state.st_mtime_ns, state.st_size)
    except ValueError as error:
        raise ValueError(
            f"{error}; download it anew from {SOURCE}, or point --data_dir or "
            f"{DATA_DIR_VARIABLE} at a good copy"
        ) from error


@lru_cache(8)  # read once, and again if the file has changed
def _read(file, count, *_):
    problems = []
    # Not splitlines, which would split at characters that JSON allows inside a string.
    for number, line in enumerate(_text(file).rstrip().split("\n"), start=1):
        try:
            problems.append(_problem(line))
        except ValueError as error:
            raise ValueError(f"line {number} of the GSM8K file {file} {error}") from error
    if len(problems) != count:
        raise ValueError(f"the GSM8K file {file} has {len(problems)} lines in place of {count}")
    return tuple(problems)


def _text(file):
    """What a file holds, its lines ended by LF, with no byte order mark."""
    try:
        content = data_files.read(file)
    except ValueError as error:
        raise ValueError(f"the GSM8K file {file} {error}") from error
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        number = error.object[: error.start].count(b"\n") + 1
        raise ValueError(
            f"line {number} of the GSM8K file {file} is not text in UTF-8 ({error.reason})"
        ) from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _problem(line):
    """A line's problem; ValueError says what is wrong with it, as a predicate."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"is no JSON ({error})") from error
    match record:
        case {"question": str(asked), "answer": str(answer)} if asked.strip():
            _, mark, gold = answer.rpartition("####")
        case _:
            raise ValueError("has no question and answer")
    try:
        f"{asked}{answer}".encode()  # JSON can name half a character
    except UnicodeEncodeError as error:
        raise ValueError(f"has what is no text ({error.reason})") from error
    gold = gold.strip().replace(",", "")
    if not (mark and GOLD.fullmatch(gold)):
        raise ValueError("has no number after #### in its answer")
    return Problem(asked, answer, gold)
