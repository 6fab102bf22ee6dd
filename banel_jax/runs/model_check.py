"""Whether a model is one: its samples and likelihoods agree, and all are numbers.

For models that people bring. A run checks its prior before anything is paid for.
"""

from collections import Counter
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import special

from banel_jax import sampling, scoring
from banel_jax.types import Key, Params, SequenceModel, Sequences

MOST_SAMPLES, WORK = 256, 2e9  # parameters times tokens; a large model draws fewer
LEAST_SAMPLES = 4
# Nats, and a share of the likelihood: half precision and caches round, other laws differ by more.
TOLERANCE, RELATIVE = 0.02, 5e-3
ALARM = 1e-9  # how rarely chance may look like a wrong likelihood


def check_model(
    model: SequenceModel, params: Params, key: Key | None = None, num_samples: int | None = None
) -> None:
    """Draws from a model and refuses what cannot be right.

    That the parameters hold no NaN; that what is drawn has tokens int32 [length] and a mask bool
    [length] that marks some of them, with ids from 0 to below `model.settings.vocab_size` where
    the settings say that; that `sample` and `log_prob` give one scalar log-likelihood, finite, not
    above 0, and the same; and that what is drawn often is not said to be rare.

    Args:
      model: the generative model.
      params: of it.
      key: consumed once; None for one of its own.
      num_samples: how many to draw; None for 256, or fewer of a large model (4 at least).

    Raises:
      ValueError: in one line, for the first of these that does not hold.
    """
    key = jax.random.key(0) if key is None else key
    if names := names_of_nan(params):
        raise ValueError(
            f"the model's parameters hold NaN in {_some(names)}: what they were trained by "
            "diverged, or their file is damaged; nothing was drawn"
        )
    length = _check_shapes(model, params, key)
    n = num_samples or _affordable(params, length)
    sequences, said = sampling.sample(model, key, params, n)
    scores = np.asarray(scoring.log_likelihood(model, params, sequences), np.float64)
    tokens, mask = np.asarray(sequences.tokens), np.asarray(sequences.mask)
    _check_tokens(tokens, mask, vocab_size(model.settings))
    _check_scores(tokens, mask, np.asarray(said, np.float64), scores)
    _check_frequencies(tokens, mask, scores)


def check_data(model: SequenceModel, sequences: Sequences) -> None:
    """That sequences are what a model with an end token can be trained on.

    In each the first end that the mask marks is the last position that it marks; where it marks
    none, it reaches to the last position. An end left out teaches no length, and padding left in
    is learned like any token. A model without an end takes all.

    Args:
      model: whose settings name its `eos_token`.
      sequences: [n, length].

    Raises:
      ValueError: in one line, for the first that is not.
    """
    end = _setting(model.settings, "eos_token", (int, tuple))
    if end is None:
        return
    tokens, mask = np.asarray(sequences.tokens), np.asarray(sequences.mask)
    places = np.arange(mask.shape[1])
    last = np.max(np.where(mask, places, -1), axis=1)
    ends = mask & np.isin(tokens, end)
    first = np.min(np.where(ends, places, places[-1]), axis=1)
    for row in np.flatnonzero(first != last):
        after = ends[row].any()
        wrong = "more after its" if after else "no"
        mend = "leave what follows it out of the mask" if after else "set the mask there too"
        raise ValueError(
            f"row {row} of the data, {_shown(tokens[row][mask[row]])} where the mask is set, has "
            f"{wrong} end (eos_token={end}); the end counts as a token, so {mend}"
        )
    _check_ids(tokens[mask], vocab_size(model.settings), "the data have")


def names_of_nan(tree: Any) -> list[str]:
    """The paths of the leaves that hold NaN."""
    floats = [
        (path, leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
        if jnp.issubdtype(jnp.result_type(leaf), jnp.floating)
    ]
    found = jax.device_get([jnp.any(jnp.isnan(leaf)) for _, leaf in floats])
    return [
        jax.tree_util.keystr(path, simple=True, separator=".") or "the array"
        for (path, _), bad in zip(floats, found, strict=True)
        if bad
    ]


def vocab_size(settings: Any) -> int | None:
    """V, where the settings of a model, or of the one that it wraps, tell it."""
    return _setting(settings, "vocab_size", int)


def _setting(settings: Any, name: str, kind: Any) -> Any:
    value = getattr(settings, name, None)
    if isinstance(value, kind):
        return value
    inner = settings if isinstance(settings, tuple) else ()
    found = (_setting(one, name, kind) for one in inner)
    return next((value for value in found if value is not None), None)


def _check_shapes(model: SequenceModel, params: Params, key: Key) -> int:
    """The types of what the functions return; the length of a sequence."""
    sequence, said = jax.eval_shape(model.sample, key, params)
    tokens, mask = sequence.tokens, sequence.mask
    if tokens.ndim != 1 or not tokens.size or not jnp.issubdtype(tokens.dtype, jnp.integer):
        raise ValueError(
            f"the model's sample has tokens {tokens.dtype} {tokens.shape}; it draws ONE sequence, "
            "int32 [length]"
        )
    if mask.shape != tokens.shape or mask.dtype != bool:
        raise ValueError(
            f"the model's sample has a mask {mask.dtype} {mask.shape} for tokens {tokens.shape}; "
            "it marks the positions that count, bool [length]"
        )
    score = jax.eval_shape(model.log_prob, params, sequence)
    for name, value in (("sample", said), ("log_prob", score)):
        if value.shape != () or not jnp.issubdtype(value.dtype, jnp.floating):
            raise ValueError(
                f"the model's {name} gives a log-likelihood {value.dtype} {value.shape}; it is one "
                "float32 for one sequence"
            )
    return tokens.shape[0]


def _affordable(params: Params, length: int) -> int:
    weights = sum(leaf.size for leaf in jax.tree.leaves(params))
    return int(np.clip(WORK / max(1, weights * length), LEAST_SAMPLES, MOST_SAMPLES))


def _check_tokens(tokens: np.ndarray, mask: np.ndarray, size: int | None) -> None:
    for row in np.flatnonzero(~mask.any(1)):
        raise ValueError(
            f"the model's sample {_shown(tokens[row])} marks no position as one that counts; set "
            "the mask where a token was drawn, the end token included"
        )
    _check_ids(tokens[mask], size, "the model draws")


def _check_ids(tokens: np.ndarray, size: int | None, who: str) -> None:
    if tokens.size and (tokens.min() < 0 or (size is not None and tokens.max() >= size)):
        wrong = int(tokens[(tokens < 0) | (tokens >= (size or np.inf))][0])
        below = f", below vocab_size={size}" if size is not None else ""
        raise ValueError(f"{who} token {wrong}; ids count from 0{below}")


def _check_scores(tokens, mask, said, scores) -> None:
    for name, values in (("sample", said), ("log_prob", scores)):
        for row in np.flatnonzero(~np.isfinite(values) | (values > TOLERANCE)):
            raise ValueError(
                f"the model's {name} gives {values[row]:g} nats to the tokens "
                f"{_shown(tokens[row][mask[row]])} that it drew; a log-likelihood of what was "
                "drawn is finite and not above 0"
            )
    apart = np.abs(said - scores)
    beyond = apart - RELATIVE * np.abs(scores) - TOLERANCE
    for row in np.flatnonzero(beyond == max(0.0, beyond.max())):
        raise ValueError(
            f"the model's sample gives {said[row]:g} nats to the tokens "
            f"{_shown(tokens[row][mask[row]])} that it drew and its log_prob {scores[row]:g}; both "
            "are the log-likelihood of the positions that the mask marks, the end token among them"
        )


def _check_frequencies(tokens, mask, scores) -> None:
    """What is drawn c times of n cannot be as rare as log_prob may say."""
    n = len(tokens)
    rows = [tuple(t) for t in np.where(mask, tokens, -1).tolist()]
    first = {row: i for i, row in reversed(list(enumerate(rows)))}
    for row, times in Counter(rows).items():
        p = min(1.0, 1.05 * float(np.exp(scores[first[row]])))
        if times > 1 and special.bdtrc(times - 1, n, p) < ALARM:
            shown = _shown([t for t in row if t >= 0])
            raise ValueError(
                f"the model draws the tokens {shown} {times} times in {n} under different keys, "
                f"and its log_prob gives them {scores[first[row]]:g} nats; sample must draw from "
                "what log_prob says, and use its key"
            )
    total = sum(np.exp(scores[i]) for i in first.values())
    if total > 1.05:
        raise ValueError(
            f"the model's log_prob gives {len(first)} different sequences {total:.3g} in all; "
            "probabilities sum to 1. Is a position that counts, such as an end token, left out?"
        )


def _shown(tokens) -> str:
    tokens = [int(token) for token in tokens]
    return str(tokens if len(tokens) <= 8 else [*tokens[:8], "..."]).replace("'", "")


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
