"""What a prior of strings draws: how much of it is new, different, and valid."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from banel_jax import sampling
from banel_jax.strings.prior import StringPrior
from banel_jax.success_rate import clopper_pearson

SHOWN = 10  # strings


def report(
    prior: StringPrior,
    strings: Sequence[str],
    number: int = 1000,
    checker: Callable[[str], Any] | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """What is to be known of samples before any of them is paid for.

    Args:
      prior: to draw from.
      strings: that it was trained on and stopped early by.
      number: of samples.
      checker: `checker(string)` is true for a valid one; one that it raises at is not valid.
      seed: of the samples.

    Returns:
      `samples`, how many; `unique`, the share of them that are different; `novel`, the share of
      the different ones that are not among the strings; `unended`, the share that the longest
      length cut off; `mean_tokens`, the end among them; `valid`, the share that the checker takes,
      `valid_interval`, its 95% interval, and `valid_strings`, its share of as many strings, where
      there is a checker; and `examples`, the first ten different ones.

    Raises:
      ValueError: where the checker raises at all of the samples.
    """
    key = jax.random.key(seed)
    sequences, _ = sampling.sample(prior.model, key, prior.params, number)
    tokens, mask = np.asarray(sequences.tokens), np.asarray(sequences.mask)
    drawn = prior.vocabulary.strings_of(sequences)
    different, known = list(dict.fromkeys(drawn)), set(strings)
    found: dict[str, Any] = {
        "samples": number,
        "unique": len(different) / number,
        "novel": float(np.mean([one not in known for one in different])),
        "unended": float(np.mean(~((tokens == prior.vocabulary.eos) & mask).any(axis=1))),
        "mean_tokens": float(mask.sum(axis=1).mean()),
    }
    if checker:
        valid = _valid(checker, drawn)
        low, high = clopper_pearson(int(valid.sum()), number)
        found |= {
            "valid": float(valid.mean()),
            "valid_interval": [float(low), float(high)],
            "valid_strings": float(_valid(checker, list(strings[:number])).mean()),
        }
    return found | {"examples": different[:SHOWN]}


def _valid(checker: Callable[[str], Any], strings: Sequence[str]) -> np.ndarray:
    """bool [n]."""
    valid, raised = np.zeros(len(strings), bool), []
    for row, string in enumerate(strings):
        try:
            valid[row] = bool(checker(string))
        except Exception as error:
            raised.append(error)
    if len(raised) == len(strings):
        first = raised[0]
        raise ValueError(
            f"the checker raises at every string, first {type(first).__name__}: {first}"
        ) from first
    return valid
