"""A language model from a Hugging Face folder, asked GSM8K's questions."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
from jaxtyping import Array, Int

from banel_jax import parallel, sampling
from banel_jax.models.language import named_models, responses
from banel_jax.models.language.decoder_config import DecoderConfig
from banel_jax.models.language.prompted import LanguageModel, language_model
from banel_jax.models.language.responses import Prompt, ResponseConfig
from banel_jax.tasks.gsm8k.data import Problem
from banel_jax.types import Key, Params, Sequences


def load(
    folder: str, max_new_tokens: int, shots: Sequence[Problem] = (), **settings: Any
) -> LanguageModel:
    """The model of a folder.

    Args:
      folder: with its weights and its tokenizer, or the name of a model.
      max_new_tokens: of a response.
      shots: problems that stand before each question, with their solutions.
      **settings: as for `language_model`.

    Raises:
      OSError, ValueError: if there is none, or it cannot be used.
    """
    path = named_models.folder(folder)
    if not path.exists():
        raise ValueError(
            f"model={folder}: there is no such folder; name a Hugging Face folder or smollm2, or "
            "train a stand-in with `python -m experiments.gsm8k pretrain`"
        )
    examples = [(problem.prompt, problem.solution) for problem in shots]
    return language_model(path, max_new_tokens, examples, **settings)


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
