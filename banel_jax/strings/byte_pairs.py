"""Byte pairs by the package `tokenizers`: characters, of which neighbours are joined."""

import json
from collections.abc import Sequence
from typing import Any

from banel_jax.models.language.optional import optional

WORDS = r"\s?\S+|\s"  # merges stay within these, which make up any string


def tokenizer(ids: dict[str, int] | None = None, merges: Sequence[Sequence[str]] = ()) -> Any:
    """One whose pieces are always the string itself; without ids, to be trained."""
    package = optional("tokenizers")
    model = package.models.BPE(ids, list(map(tuple, merges))) if ids else package.models.BPE()
    made = package.Tokenizer(model)
    words = package.Regex(WORDS)
    made.pre_tokenizer = package.pre_tokenizers.Split(words, behavior="isolated")
    return made


def trained(strings: Sequence[str], size: int) -> tuple[tuple[str, ...], str, tuple]:
    """Tokens, of which there are `size` at most but for characters, no expression, and merges."""
    made = tokenizer()
    trainer = optional("tokenizers").trainers.BpeTrainer(
        vocab_size=size, min_frequency=2, special_tokens=[], show_progress=False
    )
    made.train_from_iterator(iter(strings), trainer)
    model = json.loads(made.to_str())["model"]
    tokens = sorted(model["vocab"], key=lambda token: model["vocab"][token])
    return tuple(tokens), "", tuple(map(tuple, model["merges"]))
