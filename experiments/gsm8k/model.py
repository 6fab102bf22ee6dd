"""A language model from a Hugging Face folder, asked GSM8K's questions."""

import dataclasses
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Int

from banel_jax import parallel, sampling
from banel_jax.models.language import huggingface, named_models, responses
from banel_jax.models.language import tokenizer as tokenizers
from banel_jax.models.language.decoder_config import DecoderConfig
from banel_jax.models.language.responses import Prompt, ResponseConfig
from banel_jax.tasks.gsm8k.data import Problem
from banel_jax.types import Key, Params, Sequences

HEAD_BLOCK, HEAD_LOGITS = 64, 2**18  # positions and logits of a sequence that are held at a time
LARGE = 512  # width from which a gradient computes layers again


class LanguageModel(NamedTuple):
    """What a folder holds.

    Attributes:
      config, params: of the decoder.
      tokenizer: of `transformers`.
      response: how long a response may be, and what ends it.
      examples: questions and answers that stand before each question.
    """

    config: DecoderConfig
    params: Params
    tokenizer: Any
    response: ResponseConfig
    examples: tuple[tuple[str, str], ...] = ()

    def prompt(self, problem: Problem) -> list[int]:
        """The tokens that a question is asked in.

        Raises:
          ValueError: if the context has no room for them and a response.
        """
        ids = tokenizers.prompt_ids(self.tokenizer, problem.prompt, self.examples)
        needed = len(ids) + self.response.max_new_tokens
        if needed > self.config.context:
            raise ValueError(
                f"the prompt has {len(ids)} tokens, and with max_new_tokens="
                f"{self.response.max_new_tokens} more than the context of {self.config.context}; "
                "lower max_new_tokens or shots, or choose another question"
            )
        return ids

    def text(self, tokens: np.ndarray) -> str:
        return tokenizers.response_text(self.tokenizer, tokens)


def load(
    folder: str, max_new_tokens: int, shots: Sequence[Problem] = (), **settings: Any
) -> LanguageModel:
    """The model of a folder.

    Args:
      folder: with its weights and its tokenizer, or the name of a model.
      max_new_tokens: of a response.
      shots: problems that stand before each question, with their solutions.
      **settings: as for `huggingface.load`.

    Raises:
      OSError, ValueError: if there is none, or it cannot be used.
    """
    path = named_models.folder(folder)
    if not path.exists():
        raise ValueError(
            f"model={folder}: there is no such folder; name a Hugging Face folder or smollm2, or "
            "train a stand-in with `python -m experiments.gsm8k pretrain`"
        )
    tokenizer = tokenizers.tokenizer(path)
    config, params = huggingface.load(path, **settings)
    # A small model has room for more positions' logits, and for a gradient's activations.
    block = min(HEAD_BLOCK, max(config.head_block, HEAD_LOGITS // config.vocab_size))
    config = dataclasses.replace(config, head_block=block, remat=config.width >= LARGE)
    response = ResponseConfig(max_new_tokens, tokenizer.response_ends)
    examples = tuple((problem.prompt, problem.solution) for problem in shots)
    return LanguageModel(config, params, tokenizer, response, examples)


@partial(jax.jit, static_argnums=(0, 1))
def draw(
    config: DecoderConfig,
    response: ResponseConfig,
    key: Key,
    params: Params,
    prompt: Prompt,
    indices: Int[Array, " n"],
) -> Sequences:
    """Responses [n, max_new_tokens] to a prompt [P], the ones of these indices in its stream.

    Another prompt of the same padded length compiles nothing anew.
    """

    def one(replicated, index):
        key, params, prompt = replicated
        key = jax.random.fold_in(key, index)
        return responses.sample(config, response, key, params, prompt)[0]

    size = sampling.default_chunk_size(response.max_new_tokens, params)
    return parallel.map_sequences(one, (key, params, prompt), indices, size)
