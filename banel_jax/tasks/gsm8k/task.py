"""GSM8K's reward: does a text end in the right answer? By the strict rule or a flexible one.

The strict rule is the usual one of reinforcement learning on GSM8K, quirks included: `#### 16.`,
`#### 16.00`, `####16` and `#### $16` are wrong where 16 is right. It looks at form as much as
at the number, so a success rate by it is no rate of right solutions.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

import numpy as np

from banel_jax.tasks.gsm8k.data import GOLD
from banel_jax.tasks.text import last_number
from banel_jax.types import Sequences

STRICT = re.compile(r"#### (-?[0-9.,]+)")
Rule = Literal["strict", "flexible"]


def strict_answer(text: str) -> str | None:
    """What follows the last `#### ` that a number follows, without its commas; None without one."""
    found = STRICT.findall(text)
    return found[-1].replace(",", "") if found else None


def is_right(text: str, gold: str, rule: Rule = "strict") -> bool:
    """Whether the text's answer is `gold`: as a string (strict), or as a number (flexible)."""
    if rule == "strict":
        return strict_answer(text) == gold
    if rule == "flexible":
        return last_number(text) == Decimal(gold)
    raise ValueError(f"rule={rule!r} must be strict or flexible")


def has_answer(text: str, rule: Rule = "strict") -> bool:
    """Whether the rule finds an answer in the text, right or wrong."""
    return (strict_answer(text) if rule == "strict" else last_number(text)) is not None


def reward(texts: Iterable[str], gold: str, rule: Rule = "strict") -> np.ndarray:
    """float32 [n] in {0, 1}, one of each text."""
    return np.array([is_right(text, gold, rule) for text in texts], np.float32)


@dataclass(frozen=True)
class GsmOracle:
    """The reward of sequences for one question, as `oracle.Oracle` and `loop.run` take it.

    Attributes:
      decode: `decode(tokens int [k]) -> text`. It is given the tokens that the mask marks:
        what the model wrote, neither prompt nor padding.
      gold: the right answer without commas, as `Problem.gold`.
      rule: `strict` or `flexible`.
    """

    decode: Callable[[np.ndarray], str]
    gold: str
    rule: Rule = "strict"

    def __post_init__(self):
        if self.rule not in ("strict", "flexible"):
            raise ValueError(f"rule={self.rule!r} must be strict or flexible")
        if not GOLD.fullmatch(self.gold):
            raise ValueError(
                f"gold={self.gold!r} is no number; give the answer without commas, such as 1080"
            )

    def texts(self, sequences: Sequences) -> list[str]:
        """What the model wrote in each of n sequences."""
        tokens, mask = np.asarray(sequences.tokens), np.asarray(sequences.mask, bool)
        return [self.decode(row[marked]) for row, marked in zip(tokens, mask, strict=True)]

    def __call__(self, sequences: Sequences) -> np.ndarray:
        """float32 [n] in {0, 1}."""
        return reward(self.texts(sequences), self.gold, self.rule)

    def answered(self, sequences: Sequences) -> np.ndarray:
        """float32 [n], 1 where the rule finds an answer, right or wrong."""
        return np.array([has_answer(text, self.rule) for text in self.texts(sequences)], np.float32)
