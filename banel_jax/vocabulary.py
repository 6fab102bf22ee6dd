"""Strings as sequences of tokens, and back: characters, pieces by an expression, or byte pairs."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import jax.numpy as jnp
import numpy as np

from banel_jax import checks
from banel_jax.strings import byte_pairs
from banel_jax.types import Sequences

CHARACTERS, BYTE_PAIR = "characters", "byte_pair"
EXPRESSIONS = {
    # Schwaller et al., Molecular Transformer (2019): a bracketed atom is one token.
    "smiles": r"\[[^\]]+\]|Br|Cl|[BCNOSPFI]|[bcnops]|%[0-9]{2}|[0-9]|>>|[-=#$:/\\.()+~@?>*]",
    # The 20 amino acids, selenocysteine, pyrrolysine, the ambiguous ones, a stop and a gap.
    "protein": r"[ACDEFGHIKLMNPQRSTVWYUOBJZX*-]",
}
MOST_TOKENS = 65_536
SHOWN = 60  # characters of a string in a message
Made = TypeVar("Made")


@dataclass(frozen=True)
class Vocabulary:
    """What strings are written in; a token's id is its place, and the end comes last.

    A string is cut into its characters; or into the pieces that an expression matches one after
    the other; or into characters of which neighbours are joined, pair by pair, as `merges` say.
    Either way the tokens of a string, one after the other, are the string.

    Attributes:
      tokens: the text of each, every one once.
      expression: matches the next token of a string; empty for characters.
      merges: pairs of tokens that are joined to a third, the first before those that follow.

    Raises:
      ValueError: in one line, for tokens that are empty or stand there twice, one of several
        characters where nothing makes them, and an expression or merges that are none.
    """

    tokens: tuple[str, ...]
    expression: str = ""
    merges: tuple[tuple[str, ...], ...] = ()

    def __post_init__(self):
        checks.fields(self)
        if not self.tokens or "" in self.tokens:
            what = "one of the tokens is empty" if self.tokens else "there are no tokens"
            raise ValueError(f"{what}; give each as text")
        if len(self._ids) < len(self.tokens):
            twice = next(t for i, t in enumerate(self.tokens) if self._ids[t] != i)
            raise ValueError(f"the tokens have {twice!r} twice; give each once")
        if self.vocab_size > MOST_TOKENS:
            raise ValueError(
                f"{self.vocab_size:,} tokens are more than {MOST_TOKENS:,}; cut strings smaller"
            )
        if self.expression and self.merges:
            raise ValueError("tokens are cut by an expression or joined by merges, not by both")
        if self.expression:
            self._pattern  # noqa: B018 (its own check)
        elif not self.merges and max(map(len, self.tokens)) > 1:
            longest = max(self.tokens, key=len)
            raise ValueError(
                f"{_shown(longest)} is no single character; give an expression or merges"
            )
        for pair in self.merges:
            if len(pair) != 2 or not {*pair, "".join(pair)} <= self._ids.keys():
                raise ValueError(f"merges: {pair!r} is no pair of tokens that make a third")

    @classmethod
    def of(cls, strings: Sequence[str], tokens: str = CHARACTERS, size: int = 512) -> "Vocabulary":
        """The vocabulary that some strings need.

        Args:
          strings: all that it is to hold.
          tokens: "characters", "smiles", "protein", "byte_pair" (trained on the strings, by the
            package `tokenizers`), or a regular expression that matches each token.
          size: tokens of byte pairs at most, the end among them; never fewer than characters.

        Raises:
          ValueError: in one line, for strings that hold nothing or that the expression does not
            match whole.
        """
        if not any(strings):
            raise ValueError("the strings hold no character; give some that do")
        if tokens == BYTE_PAIR:
            return cls(*byte_pairs.trained(strings, size - 1))
        if tokens == CHARACTERS:
            return cls(tuple(sorted(set().union(*strings))))
        expression = EXPRESSIONS.get(tokens, tokens)
        pieces = each(strings, cls(("?",), expression)._pieces)
        return cls(tuple(sorted(set().union(*pieces))), expression)

    @property
    def eos(self) -> int:
        """The token that ends a string."""
        return len(self.tokens)

    @property
    def vocab_size(self) -> int:
        return len(self.tokens) + 1

    def encode(self, string: str) -> list[int]:
        """The ids of a string's tokens, without the end.

        Raises:
          ValueError: in one line that shows the string and what the vocabulary does not have.
        """
        if not isinstance(string, str):
            raise ValueError(f"{string!r} is a {type(string).__name__}, not a string")
        pieces = self._pieces(string)
        try:
            if self.merges:
                for character in string:
                    self._ids[character]
                return self._merging.encode(string, add_special_tokens=False).ids
            return [self._ids[piece] for piece in pieces]
        except KeyError as error:
            (piece,) = error.args
            raise ValueError(
                f"{_shown(string, string.find(piece))} has {piece!r}, which is not among the "
                f"{len(self.tokens)} tokens ({_listed(self.tokens)})"
            ) from None

    def decode(self, ids: Iterable[int]) -> str:
        """The string of ids, up to the first end; ValueError for an id that is no token's."""
        texts: list[str] = []
        for i in map(int, ids):
            if i == self.eos:
                break
            if not 0 <= i < self.eos:
                raise ValueError(
                    f"token {i} is none of the vocabulary's {self.vocab_size}, the end among them; "
                    "give the vocabulary of this model"
                )
            texts.append(self.tokens[i])
        return "".join(texts)

    def sequences_of(self, strings: Sequence[str], length: int | None = None) -> Sequences:
        """Strings as sequences [n, length]: tokens and an end, all of them marked by the mask.

        A string of as many tokens as there is room has no end, as a model of this length draws it.

        Args:
          strings: n of them.
          length: of the sequences; None for the longest string and its end.

        Raises:
          ValueError: in one line, for a string that is too long or that `encode` refuses.
        """
        rows = each(strings, self.encode)
        most = max(map(len, rows), default=0)
        length = most + 1 if length is None else length
        if most > length:
            row = next(i for i, ids in enumerate(rows) if len(ids) > length)
            raise ValueError(
                f"{_where(strings, row)}{_shown(strings[row])} has {len(rows[row])} tokens, and "
                f"{length} are the most"
            )
        tokens = np.zeros((len(rows), length), np.int32)
        mask = np.zeros((len(rows), length), bool)
        for row, ids in enumerate(rows):
            ids = [*ids, self.eos][:length]
            tokens[row, : len(ids)] = ids
            mask[row, : len(ids)] = True
        return Sequences(jnp.asarray(tokens), jnp.asarray(mask))

    def strings_of(self, sequences: Sequences) -> list[str]:
        """The strings of sequences [n, length], without their ends.

        Raises:
          ValueError: as `decode`.
        """
        tokens, mask = np.asarray(sequences.tokens), np.asarray(sequences.mask)
        return [self.decode(row[kept]) for row, kept in zip(tokens, mask, strict=True)]

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {token: i for i, token in enumerate(self.tokens)}

    @cached_property
    def _pattern(self) -> re.Pattern:
        try:
            return re.compile(self.expression, re.DOTALL)
        except (re.error, RecursionError, OverflowError) as error:
            raise ValueError(f"{self.expression!r} is no regular expression: {error}") from error

    @cached_property
    def _merging(self) -> Any:
        return byte_pairs.tokenizer(self._ids, self.merges)

    def _pieces(self, string: str) -> Sequence[str]:
        if not self.expression:
            return string
        pieces, end = [], 0
        while end < len(string):
            found = self._pattern.match(string, end)
            if not found or not found.group():
                raise ValueError(
                    f"{_shown(string, end)} has {string[end]!r} at character {end + 1}, where "
                    f"{_called(self.expression)} matches nothing"
                )
            pieces.append(found.group())
            end = found.end()
        return pieces


def each(strings: Sequence[str], function: Callable[[str], Made]) -> list[Made]:
    """What a function makes of every string; its ValueError says which of several it was."""
    made: list[Made] = []
    for i, string in enumerate(strings):
        try:
            made.append(function(string))
        except ValueError as error:
            raise ValueError(f"{_where(strings, i)}{error}") from error
    return made


def place(strings: Any, row: int) -> str:
    """Where a string stands, by what it was read from if that knows."""
    return strings.place(row) if hasattr(strings, "place") else f"string {row + 1}"


def _where(strings: Any, row: int) -> str:
    return f"{place(strings, row)}: " if len(strings) > 1 else ""


def _shown(string: str, at: int = 0) -> str:
    """A string, of a long one what stands around a place."""
    if len(string) <= SHOWN:
        return repr(string)
    start = max(0, min(at - SHOWN // 2, len(string) - SHOWN))
    dots = "..." if start else "", "..." if start + SHOWN < len(string) else ""
    return f"{string[start : start + SHOWN]!r}".join(dots) + f" of {len(string):,} characters"


def _called(expression: str) -> str:
    """An expression by its name, if it has one."""
    names = [f"the expression {name!r}" for name, one in EXPRESSIONS.items() if one == expression]
    return names[0] if names else f"the expression {_shown(expression)}"


def _listed(tokens: Sequence[str]) -> str:
    text = " ".join(t if t.isprintable() and t != " " else repr(t) for t in tokens)
    return text if len(text) <= 2 * SHOWN else f"{text[: 2 * SHOWN]} ..."
