"""Responses to a prompt: the decoder as a SequenceModel conditioned on one.

The sequences hold the response alone. What the prompt contributes, its keys and values, depends
on nothing but the parameters, so `vmap` over responses computes it once for all of them; `vmap`
over prompts as well, as `sample` and `log_prob` allow it, computes it once for each.
"""

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from banel_jax import checks
from banel_jax.models import autoregressive
from banel_jax.models.language.decoder import Decoder
from banel_jax.models.language.decoder_config import DecoderConfig
from banel_jax.types import Key, Params, SequenceModel, Sequences


@struct.dataclass
class Prompt:
    """Prompts, one or a batch of them, padded on either side.

    Attributes:
      tokens: int32 [*batch, P].
      mask: bool [*batch, P]; True at the tokens that are there, one at the least.
    """

    tokens: Int[Array, "*batch P"]
    mask: Bool[Array, "*batch P"]


@dataclass(frozen=True)
class ResponseConfig:
    """What a response is.

    Attributes:
      max_new_tokens: the longest response; one without an end by then counts as it is.
      eos_tokens: each of them ends a response (and its probability counts).
    """

    max_new_tokens: int
    eos_tokens: tuple[int, ...] = ()

    def __post_init__(self):
        checks.fields(self)
        checks.integers(self, "max_new_tokens", at_least=1)


def _token_ids(what, ids):
    """Ids as Python's whole numbers."""
    try:
        return tuple(map(operator.index, ids))
    except TypeError as error:
        raise ValueError(f"{what}={ids!r} must be whole numbers, ids of tokens") from error


class Prefix(NamedTuple):
    """A prompt but for its last token, which stands in for the start of the response.

    Attributes:
      params: the decoder's, in the type that it computes in.
      cache: (keys, values) of each layer, [H, P, K].
      seen: which of the P positions count.
      last: the prompt's last token.
      position: of the last token.
    """

    params: Params
    cache: Any
    seen: Bool[Array, " P"]
    last: Int[Array, ""]
    position: Int[Array, ""]


def pad_prompts(prompts: Sequence[Sequence[int]], length: int | None = None) -> Prompt:
    """Prompts of different lengths as a batch [n, length], padded on the left.

    Raises:
      ValueError: for a prompt that is empty or longer than `length`, by default the longest's.
    """
    if not prompts:
        raise ValueError("there is no prompt; give one at the least")
    sizes = [len(prompt) for prompt in prompts]
    length = max(sizes) if length is None else length
    for row, size in enumerate(sizes):
        if not 1 <= size <= length:
            raise ValueError(f"prompt {row} has {size} tokens, and must have from 1 to {length}")
    tokens = np.zeros((len(prompts), length), np.int32)
    for row, prompt in enumerate(prompts):
        tokens[row, length - len(prompt) :] = prompt
    mask = np.arange(length) >= length - np.asarray(sizes)[:, None]
    return Prompt(jnp.asarray(tokens), jnp.asarray(mask))


def network(config: DecoderConfig, prompt: Prompt) -> autoregressive.Network:
    """The decoder as a network that predicts the tokens after a prompt [P].

    The prompt may be traced, so that `vmap` over prompts is `vmap` over networks.
    """
    decoder = Decoder(config)

    def apply(params, method, *args) -> Any:
        return decoder.apply({"params": params}, *args, method=method)

    def init(key):
        return decoder.init(key, jnp.zeros((1,), jnp.int32))["params"]

    def prepare(params):
        # Once here instead of in every step. Norms' scales stay as they are.
        cast = lambda x: x.astype(config.dtype) if x.ndim > 1 else x
        params = jax.tree.map(cast, params)
        tokens, mask = jnp.asarray(prompt.tokens), jnp.asarray(prompt.mask)
        places = jnp.arange(tokens.shape[0])
        last = jnp.max(jnp.where(mask, places, 0))
        positions = jnp.maximum(jnp.cumsum(mask) - 1, 0)
        # Padding sees itself, since a softmax over nothing would be NaN; no token sees padding.
        seen = (places[:, None] >= places) & mask | (places[:, None] == places)
        _, cache = apply(params, Decoder.features, tokens, positions, seen)
        rest = mask & (places != last)
        return Prefix(params, cache, rest, tokens[last], jnp.sum(rest))

    def features(prefix, tokens):
        inputs = jnp.concatenate([prefix.last[None].astype(tokens.dtype), tokens[:-1]])
        places = jnp.arange(tokens.shape[0])
        seen = places[:, None] >= places
        positions = prefix.position + places
        args = (inputs, positions, seen, prefix.cache, prefix.seen)
        return apply(prefix.params, Decoder.features, *args)[0]

    def logits(prefix, tokens, dropout_key=None):
        return apply(prefix.params, Decoder.logits, features(prefix, tokens))

    def token_log_probs(prefix, tokens, temperature=1.0, dropout_key=None):
        head = lambda x: apply(prefix.params, Decoder.logits, x)
        return autoregressive.blockwise_log_probs(
            head, features(prefix, tokens), tokens, temperature, config.head_block
        )

    def init_cache(size):
        zeros = jnp.zeros((config.num_kv_heads, size, config.head_width), config.dtype)
        return ((zeros, zeros),) * config.num_layers

    def step(prefix, previous, position, cache):
        token = jnp.where(previous == config.vocab_size, prefix.last, previous)
        place = prefix.position + position
        args = (token, place, position, cache, prefix.cache, prefix.seen)
        return apply(prefix.params, Decoder.step, *args)

    return autoregressive.Network(init, logits, init_cache, step, prepare, token_log_probs)


def conditioned(
    config: DecoderConfig, response: ResponseConfig, prompt: Sequence[int]
) -> SequenceModel:
    """The decoder as a SequenceModel over the responses to one prompt, given as token ids.

    Raises:
      ValueError: for a prompt that is empty, has ids that are no tokens, or leaves no room.
    """
    prompt = _token_ids("prompt", prompt)
    unknown = [t for t in (*prompt, *response.eos_tokens) if not 0 <= t < config.vocab_size]
    if unknown:
        raise ValueError(f"token {unknown[0]} is outside the vocabulary of {config.vocab_size}")
    padded = jax.tree.map(lambda x: np.asarray(x[0]), pad_prompts([prompt]))
    return _model(config, response, padded)._replace(settings=(config, response, prompt))


def sample(
    config: DecoderConfig,
    response: ResponseConfig,
    key: Key,
    params: Params,
    prompt: Prompt,
    *,
    temperature: Any = 1.0,
) -> tuple[Sequences, Float[Array, ""]]:
    """One response [max_new_tokens] to a prompt [P], and its log-likelihood in nats.

    `vmap` over keys and prompts samples for many prompts of different lengths at once.
    """
    return _model(config, response, prompt).sample(key, params, temperature=temperature)


def log_prob(
    config: DecoderConfig,
    params: Params,
    prompt: Prompt,
    response: Sequences,
    *,
    temperature: Any = 1.0,
) -> Float[Array, ""]:
    """The log-likelihood in nats of the masked positions of a response to a prompt [P]."""
    lengths = ResponseConfig(response.tokens.shape[0])
    return _model(config, lengths, prompt).log_prob(params, response, temperature=temperature)


def complete_greedily(
    config: DecoderConfig, response: ResponseConfig, params: Params, prompt: Prompt
) -> Sequences:
    """The response [max_new_tokens] to a prompt [P] whose every token is the likeliest next."""
    _check_room(config, response, prompt)
    room = jnp.zeros((response.max_new_tokens,), jnp.int32)
    tokens = autoregressive.complete_greedily(
        network(config, prompt), config.vocab_size, params, room, 0
    )
    is_end = jnp.isin(tokens, jnp.asarray(response.eos_tokens, jnp.int32))
    mask = jnp.cumsum(is_end) - is_end == 0
    return Sequences(jnp.where(mask, tokens, 0), mask)


def _model(config, response, prompt):
    _check_room(config, response, prompt)
    return autoregressive.sequence_model(
        network(config, prompt), config.vocab_size, response.max_new_tokens, response.eos_tokens
    )


def _check_room(config, response, prompt):
    needed = prompt.tokens.shape[-1] + response.max_new_tokens
    if needed > config.context:
        raise ValueError(
            f"context={config.context} has no room for a prompt of {prompt.tokens.shape[-1]} "
            f"tokens and max_new_tokens={response.max_new_tokens}; shorten one of them"
        )
