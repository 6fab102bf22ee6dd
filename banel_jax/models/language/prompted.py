"""A language model from a folder, asked one thing."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from banel_jax.models.language import huggingface, named_models, responses, tokenizer
from banel_jax.types import Params, SequenceModel, Sequences


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


def load(folder: str | Path, prompt: str, max_new_tokens: int = 256) -> Prompted:
    """A model's responses to a prompt, which is put as a chat of one turn where it has chats.

    Args:
      folder: with the weights and the tokenizer, or the name of a model (`named_models`).
      prompt: the text of the turn.
      max_new_tokens: the longest response.

    Raises:
      FileNotFoundError, ValueError: as `huggingface.load` and `tokenizer.tokenizer`; ValueError
        where the context has no room for the prompt and a response.
    """
    folder = named_models.folder(folder)
    words = tokenizer.tokenizer(folder)
    config, params = huggingface.load(folder, param_dtype=jnp.float32)
    ids = tokenizer.prompt_ids(words, prompt)
    response = responses.ResponseConfig(max_new_tokens, words.response_ends)
    return Prompted(responses.conditioned(config, response, ids), params, words)
