"""A task over texts without a class of its own: a model, and what a right text looks like.

task = prompted("FOLDER", "What is 12 times 7?", "numeric: 84")
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from banel_jax import parallel
from banel_jax.models.language import prompted as models
from banel_jax.types import Sequences, Task

# A minus is a sign unless a number, a word or a bracket ends before it; commas part thousands.
NUMBER = re.compile(
    r"(?:(?<![\w)\]])-)?(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?"
    r"|(?:(?<![\w)\]])-)?(?<![0-9])\.[0-9]+"
)
Check = Callable[[str], Any]


def last_number(text: str) -> Decimal | None:
    """The last number in a text, wherever it is; None without one."""
    found = NUMBER.findall(text)
    return Decimal(found[-1].replace(",", "")) if found else None


def _exact(wanted: str) -> Check:
    return lambda text: text.strip() == wanted


def _numeric(wanted: str) -> Check:
    try:
        number = Decimal(wanted.replace(",", ""))
        if not number.is_finite():
            raise InvalidOperation
    except InvalidOperation as error:
        raise ValueError(f"{wanted!r} is no number; give one such as 1080 or -0.5") from error
    return lambda text: last_number(text) == number


def _regex(wanted: str) -> Check:
    try:
        pattern = re.compile(wanted)
    except re.error as error:
        raise ValueError(f"{wanted!r} is no regular expression ({error})") from error
    return lambda text: pattern.search(text) is not None


KINDS: dict[str, Callable[[str], Check]] = {"exact": _exact, "numeric": _numeric, "regex": _regex}


def is_check(text: str) -> bool:
    """Whether a text names a check, such as `numeric: 84`."""
    kind, colon, _ = text.partition(":")
    return bool(colon) and kind in KINDS


def check(what: str) -> Check:
    """A check by its name, `check(text) -> bool`.

    Args:
      what: `exact: TEXT`, the whole text but for blanks around it; `numeric: NUMBER`, the last
        number in the text, as a number; or `regex: PATTERN`, found anywhere in it.

    Raises:
      ValueError: for another name, what is no number, and what is no regular expression.
    """
    kind, _, wanted = what.partition(":")
    if not is_check(what) or not wanted.strip():
        kinds = ", ".join(f'"{name}: ..."' for name in KINDS)
        raise ValueError(f"{what!r} is no check; give one of {kinds}, or a function of the text")
    try:
        return KINDS[kind](wanted.strip())
    except ValueError as error:
        raise ValueError(f"{what}: {error}") from error


@dataclass(frozen=True)
class TextOracle:
    """The answers to sequences that are texts, as `run` and `Oracle` take them.

    Attributes:
      render: `render(sequences [n]) -> n texts`.
      check: `check(text)`, whatever an oracle may answer of a row: a truth value, 0 or 1, an
        `Answer` or `Failed`. An exception fails its own text alone.
    """

    render: Callable[[Sequences], Sequence[str]]
    check: Check

    def __call__(self, sequences: Sequences) -> list[Any]:
        """An answer for each of n sequences."""
        return [self._answer(text) for text in self.render(sequences)]

    def _answer(self, text: str) -> Any:
        try:
            return self.check(text)
        except Exception as error:  # this row's, beside others
            return error

    def rewards(self, sequences: Sequences) -> np.ndarray:
        """float32 [n] in {0, 1}, for rates that no ledger stands between.

        Raises:
          ValueError: where a check fails, or answers with what is no reward.
        """
        rewards = [getattr(answer, "reward", answer) for answer in self(sequences)]
        for reward in rewards:
            if isinstance(reward, Exception):
                raise ValueError(f"a text cannot be judged: {reward!r}") from reward
            if reward not in (0, 1):
                raise ValueError(f"a text was judged {reward!r}; a reward is 0 or 1")
        return np.array(rewards, np.float32)


def prompted(
    folder: str | Path, prompt: str, right: str | Check, max_new_tokens: int = 256
) -> Task:
    """A language model's responses to one prompt, and which of them are right.

    Args:
      folder: of the model, with its tokenizer, as `models.language.prompted.load` takes it.
      prompt: the text of the user's turn.
      right: a check by its name, such as `numeric: 84` (see `check`), or `right(text)`.
      max_new_tokens: the longest response.

    Returns:
      The task; its reward is Python (see `TextOracle`), its targets are None, and `render` gives
      the responses as texts.

    Raises:
      ValueError: as `check` and the loader do.
    """
    judge = check(right) if isinstance(right, str) else right
    found = models.load(folder, prompt, max_new_tokens)
    oracle = TextOracle(found.text, judge)
    return Task(found.model, found.params, oracle, None, found.text)  # type: ignore[arg-type]


def on_host(judge: Callable[[Sequences], np.ndarray]) -> Callable[[Sequences], Float[Array, " n"]]:
    """A function of Python, such as `TextOracle.rewards`, as one that compiled programs can call.

    Args:
      judge: from sequences [n] to float32 [n].

    Raises (what is returned):
      ValueError: on a mesh of several CPU devices, whose threads may all be waiting for each
        other while the call waits for one of them.
    """

    def compiled(sequences: Sequences) -> Float[Array, " n"]:
        if jax.default_backend() == "cpu" and parallel.is_spread():
            raise ValueError(
                "Python cannot be called from a mesh of several CPU devices; use one device, or "
                "judge between the compiled calls as `loop.run` does"
            )
        shape = jax.ShapeDtypeStruct(sequences.tokens.shape[:1], jnp.float32)
        return jax.pure_callback(judge, shape, sequences, vmap_method="sequential")

    return compiled
