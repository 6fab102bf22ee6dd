"""A language model from a folder, and what it is asked."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from banel_jax.models.language import huggingface, named_models, responses, tokenizer
from banel_jax.models.language.decoder_config import DecoderConfig
from banel_jax.models.language.responses import ResponseConfig
from banel_jax.types import Params, SequenceModel, Sequences

HEAD_BLOCK, HEAD_LOGITS = 64, 2**18  # positions and logits of a sequence that are held at a time
LARGE = 512  # width from which a gradient computes layers again


class Prompted(NamedTuple):
    """A model of the responses to a prompt.

    Attributes:
      model, params: of it; sequences [max_new_tokens] are what follows the prompt.
      words: the tokenizer.
    """

    model: SequenceModel
    params: Params
    words: Any

    def text(self, sequences: Sequences) -> Sequence[str]:
        """What each of n responses says, without what ends it."""
        rows = zip(np.asarray(sequences.tokens), np.asarray(sequences.mask), strict=True)
        return [tokenizer.response_text(self.words, tokens[mask]) for tokens, mask in rows]


class LanguageModel(NamedTuple):
    """What a folder holds.

    Attributes:
      config, params: of the decoder.
      words: the tokenizer.
      response: how long a response may be, and what ends it.
      examples: questions and answers that stand before each question.
    """

    config: DecoderConfig
    params: Params
    words: Any
    response: ResponseConfig
    examples: tuple[tuple[str, str], ...] = ()

    def prompt(self, text: str) -> list[int]:
        """The tokens that a question is asked in, a chat of one turn where the model has chats.

        Raises:
          ValueError: if the context has no room for them and a response.
        """
        ids = tokenizer.prompt_ids(self.words, text, self.examples)
        needed = len(ids) + self.response.max_new_tokens
        if needed > self.config.context:
            raise ValueError(
                f"the prompt has {len(ids)} tokens, and with max_new_tokens="
                f"{self.response.max_new_tokens} more than the context of {self.config.context}; "
                "lower it, or take a shorter prompt or fewer examples"
            )
        return ids

    def asked(self, text: str) -> Prompted:
        """Its responses to a question."""
        model = responses.conditioned(self.config, self.response, self.prompt(text))
        return Prompted(model, self.params, self.words)

    def text(self, tokens: np.ndarray) -> str:
        """What a response says, without what ends it."""
        return tokenizer.response_text(self.words, tokens)


def language_model(
    folder: str | Path,
    max_new_tokens: int,
    examples: Sequence[tuple[str, str]] = (),
    forbidden_tokens: Sequence[str] = (),
    **settings: Any,
) -> LanguageModel:
    """The model of a folder.

    Args:
      folder: with the weights and the tokenizer, or the name of a model (`named_models`).
      max_new_tokens: the longest response.
      examples: questions and answers that stand before each question.
      forbidden_tokens: what no response has, each an id such as `"7"` (digits are always one) or
        a name that the tokenizer knows, such as `"<|endoftext|>"`.
      **settings: as for `huggingface.load`.

    Raises:
      FileNotFoundError, ValueError: as `huggingface.load` and `tokenizer.tokenizer`; ValueError
        for a forbidden token that is none or that ends a response.
    """
    folder = named_models.folder(folder)
    words = tokenizer.tokenizer(folder)
    config, params = huggingface.load(folder, **settings)
    # A small model has room for more positions' logits, and for a gradient's activations.
    block = min(HEAD_BLOCK, max(config.head_block, HEAD_LOGITS // config.vocab_size))
    config = dataclasses.replace(config, head_block=block, remat=config.width >= LARGE)
    forbidden = _forbidden(forbidden_tokens, words, config.vocab_size)
    response = ResponseConfig(max_new_tokens, words.response_ends, forbidden)
    return LanguageModel(config, params, words, response, tuple(examples))


def load(folder: str | Path, prompt: str, max_new_tokens: int = 256) -> Prompted:
    """A model's responses to a prompt, as `language_model(...).asked(prompt)` in float32."""
    return language_model(folder, max_new_tokens, param_dtype=jnp.float32).asked(prompt)


def _forbidden(given, words, rows):
    """Their ids in order, so that runs that forbid the same are the same run."""
    vocabulary, ids = words.get_vocab() if given else {}, set()
    for token in given:
        what = f"forbidden_tokens={token}"
        number = int(token) if token.isascii() and token.isdigit() else vocabulary.get(token)
        if number is None:
            raise ValueError(f"{what} is no token of {words.name_or_path}; give its id or its name")
        if number >= rows:
            raise ValueError(f"{what} must be below {rows}, the size of the model's vocabulary")
        if number in words.response_ends:
            ends = ", ".join(map(str, words.response_ends))
            raise ValueError(f"{what} ends a response; leave out what does: {ends}")
        ids.add(number)
    return tuple(sorted(ids))
