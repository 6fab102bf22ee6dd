"""What a run is measured by: evaluations until it works, how many different successes, how widely.

A success is distinct by its tokens under its mask. An evaluation is counted where it was paid for,
in the order of a round's candidates.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

COUNTS = (1, 10, 100)  # distinct successes
RATES = (0.1, 0.5, 0.9)
QUANTILES = (0.1, 0.5, 0.9)
Value = float | int | None  # None is never


class Record(NamedTuple):
    """What a run of R rounds leaves.

    Attributes:
      tokens: of the candidates that were paid for, in order, int32 [R, m, length].
      mask: bool [R, m, length].
      rewards: theirs, [R, m].
      rates: success rate of the generator after each round, [R].
    """

    tokens: np.ndarray
    mask: np.ndarray
    rewards: np.ndarray
    rates: np.ndarray


class Reference(NamedTuple):
    """The prior given success, by all sequences of reward 1 or by those among its samples.

    Attributes:
      tokens, mask: of K distinct successes, [K, length].
      weights: their shares of it, [K]; they sum to 1.
      log_given: log p(x | success) under the prior in nats, [K].
    """

    tokens: np.ndarray
    mask: np.ndarray
    weights: np.ndarray
    log_given: np.ndarray


# How many modes successes [n, length], tokens and mask, are of.
Modes = Callable[[np.ndarray, np.ndarray], int]


def identities(tokens: np.ndarray, mask: np.ndarray) -> list[bytes]:
    """What sequences [n, length] are told apart by."""
    return [row.tobytes() for row in np.where(mask, tokens, -1).astype(np.int32)]


def firsts(record: Record) -> np.ndarray:
    """Evaluations paid when each distinct success was first met, rising, that one counted."""
    won = record.rewards > 0
    names = identities(record.tokens[won], record.mask[won])
    places = np.flatnonzero(won)
    first = {name: at for at, name in zip(places[::-1], names[::-1], strict=True)}
    return np.sort(np.array([*first.values()], int)) + 1


def to_rate(rates: np.ndarray, num_candidates: int, rate: float) -> Value:
    """Evaluations paid by the first round after which the generator has the rate; None for never.

    Args:
      rates: after each round.
      num_candidates: m, evaluations a round.
      rate: that is to be reached.
    """
    reached = np.asarray(rates) >= rate
    return int(num_candidates * (1 + np.argmax(reached))) if reached.any() else None


def coverage(reference: Reference, log_probs: np.ndarray) -> float:
    """How much of the prior given success a generator p covers, in [0, 1].

    The mean over the prior's successes of min(1, p(x) / p_prior(x | success)): 1 less the total
    variation where the generator succeeds always. The prior itself has its success rate; a
    generator that knows few successes alone has no more than their share.
    """
    ratio = np.exp(np.minimum(np.asarray(log_probs, float) - reference.log_given, 0.0))
    return float(np.sum(reference.weights * ratio))


def found_share(record: Record, reference: Reference) -> float:
    """The share of the prior given success that was paid for and met."""
    won = record.rewards > 0
    found = set(identities(record.tokens[won], record.mask[won]))
    names = identities(reference.tokens, reference.mask)
    return float(sum(w for w, name in zip(reference.weights, names, strict=True) if name in found))


def of_record(record: Record, modes: Modes) -> dict[str, Value]:
    """All that needs the record alone."""
    num_candidates = record.rewards.shape[1] if record.rewards.ndim == 2 else 0
    met = firsts(record)
    name = lambda k: "to_first" if k == 1 else f"to_{k}_distinct"
    won = record.rewards > 0
    return {
        **{name(k): int(met[k - 1]) if len(met) >= k else None for k in COUNTS},
        **{f"to_{rate}": to_rate(record.rates, num_candidates, rate) for rate in RATES},
        "distinct": len(met),
        "modes": modes(record.tokens[won], record.mask[won]),
        "final": float(record.rates[-1]) if len(record.rates) else None,
    }


def by_kind(kind: Callable[[np.ndarray, np.ndarray], Sequence[Any]]) -> Modes:
    """Modes as the different values of what `kind` says of each sequence."""
    return lambda tokens, mask: len(set(kind(tokens, mask))) if len(tokens) else 0


def apart(distance: int) -> Modes:
    """Modes as successes that differ from every one counted before in `distance` tokens or more."""

    def count(tokens, mask):
        rows = np.where(mask, tokens, -1)
        kept: list[np.ndarray] = []
        for row in dict.fromkeys(map(tuple, rows.tolist())):
            new = np.array(row)
            if all(np.sum(new != old) >= distance for old in kept):
                kept.append(new)
        return len(kept)

    return count


def quantile(values: Sequence[Value], q: float) -> float | None:
    """Of values over seeds, None being never: None where fewer than the share q ever got there."""
    reached = sorted(value for value in values if value is not None)
    if not reached or len(reached) < q * len(values) - 1e-9:
        return None
    place = q * (len(values) - 1)
    low = int(place)
    high = min(low + 1, len(reached) - 1)  # what never got there is no value to lie halfway to
    return float(reached[low] + (place - low) * (reached[high] - reached[low]))


def quantiles(lines: Sequence[Mapping[str, Any]], name: str) -> list[float | None]:
    """10, 50 and 90% of a measure over seeds."""
    return [quantile([line.get(name) for line in lines], q) for q in QUANTILES]
