"""Responses to a prompt: the decoder as a SequenceModel conditioned on one.

The sequences hold the response alone. What the prompt contributes, its keys and values, depends
on nothing but the parameters, so `vmap` over responses computes it once for all of them; `vmap`
over prompts as well, as `sample` and `log_prob` allow it, computes it once for each.
"""

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from banel_jax import checks
from banel_jax.models import autoregressive
from banel_jax.models.language import decoder as decoders
from banel_jax.models.language.decoder import Decoder
from banel_jax.models.language.decoder_config import DecoderConfig
from banel_jax.models.language.prompts import Prompt, pad_prompts
from banel_jax.types import Key, Params, SequenceModel, Sequences


@dataclass(frozen=True)
class ResponseConfig:
    """What a response is.

    Attributes:
      max_new_tokens: the longest response; one without an end by then counts as it is.
      eos_tokens: each of them ends a response (and its probability counts).
      forbidden_tokens: have no probability, such as padding; the others share theirs. None of
        them may be in eos_tokens.
    """

    max_new_tokens: int
    eos_tokens: tuple[int, ...] = ()
    forbidden_tokens: tuple[int, ...] = ()

    def __post_init__(self):
        checks.fields(self)
        checks.integers(self, "max_new_tokens", at_least=1)
        both = set(self.eos_tokens) & set(self.forbidden_tokens)
        if both:
            raise ValueError(
                f"token {min(both)} is in eos_tokens and in forbidden_tokens; take it out of one"
            )


def _token_ids(what, ids):
    """Ids as Python's whole numbers."""
    try:
        return tuple(map(operator.index, ids))
    except TypeError as error:
        raise ValueError(f"{what}={ids!r} must be whole numbers, ids of tokens") from error


class Prefix(NamedTuple):
    """What a decoder has made of a prompt.

    Attributes:
      params: the decoder's, in the type that it computes in.
      head: of them the output projection, [D, V].
      layers: of them and of the prompt's cache what each layer has, for steps of one token.
      cache: keys and values of the prompt, [layers, H, P, K].
      seen: which of the P positions count, bool [P].
      features: of the prompt's last token, from which the response's first is predicted, [D].
      size: how many tokens the prompt has.
    """

    params: Params
    head: Float[Array, "D V"]
    layers: list[Any]
    cache: tuple[Array, Array]
    seen: Bool[Array, " P"]
    features: Float[Array, " D"]
    size: Int[Array, ""]


def segment_size(config: DecoderConfig, length: int) -> int:
    """Positions by which the cache of a response grows.

    Each size of it is a program of all layers, and compiling those on a CPU takes its time.
    """
    few = max(1, 32 // config.num_layers, length // 256)
    sizes = min(8, few) if jax.default_backend() == "cpu" else 8
    return max(8, -(-length // sizes))


def network(
    config: DecoderConfig, response: ResponseConfig, prompt: Prompt
) -> autoregressive.Network:
    """The decoder as a network that predicts the tokens after a prompt [P].

    The prompt may be traced, so that `vmap` over prompts is `vmap` over networks.
    """
    decoder = Decoder(config)

    def apply(params, method, *args) -> Any:
        return decoder.apply({"params": params}, *args, method=method)

    def init(key):
        return decoder.init(key, jnp.zeros((1,), jnp.int32))["params"]

    def prepare(params):
        # Once here instead of in every step. Norms and biases stay as they are.
        small = lambda path: getattr(path[-1], "key", "") in ("scale", "bias")
        cast = lambda path, x: x if small(path) else x.astype(config.dtype)
        params = jax.tree_util.tree_map_with_path(cast, params)
        tokens, mask = jnp.asarray(prompt.tokens), jnp.asarray(prompt.mask)
        places = jnp.arange(tokens.shape[0])
        positions = jnp.maximum(jnp.cumsum(mask) - 1, 0)
        # Padding sees itself, since a softmax over nothing would be NaN; no token sees padding.
        seen = (places[:, None] >= places) & mask | (places[:, None] == places)
        made, cache = apply(params, Decoder.features, tokens, positions, seen)
        last = made[jnp.max(jnp.where(mask, places, 0))]
        head = params["embedding" if config.tied else "head"].T
        layers = decoders.unstacked((params["layers"], cache))
        return Prefix(params, head, layers, cache, mask, last, jnp.sum(mask))

    def project(prefix, features):
        found = decoders.logits(config, features, prefix.head)
        forbidden = np.asarray(response.forbidden_tokens, np.int32)
        return found.at[..., forbidden].set(-jnp.inf) if forbidden.size else found

    def features(prefix, tokens):
        places = jnp.arange(tokens.shape[0] - 1)
        seen = places[:, None] >= places
        args = (tokens[:-1], prefix.size + places, seen, prefix.cache, prefix.seen)
        first = prefix.features[None]
        if tokens.shape[0] == 1:
            return first
        return jnp.concatenate([first, apply(prefix.params, Decoder.features, *args)[0]])

    def logits(prefix, tokens, dropout_key=None):
        return project(prefix, features(prefix, tokens))

    def token_log_probs(prefix, tokens, temperature=1.0, dropout_key=None):
        head = partial(project, prefix)
        return autoregressive.blockwise_log_probs(
            head, features(prefix, tokens), tokens, temperature, config.head_block
        )

    def init_cache(size):
        zeros = jnp.zeros((config.num_kv_heads, size, config.head_width), config.dtype)
        return ((zeros, zeros),) * config.num_layers

    def first(prefix, cache):
        # XLA makes at once what waits for nothing: an empty cache for all responses, while merged
        # weights are still there both stacked and layer by layer. So it waits for the prompt.
        waits = jnp.isnan(prefix.features[0]).astype(config.dtype)
        cache = jax.tree.map(lambda x: x + waits, cache)
        return project(prefix, prefix.features), cache

    def step(prefix, previous, position, cache):
        index = position - 1  # of the token before among those of the response
        args = (previous, prefix.size + index, index, cache, prefix.seen)
        made, cache = apply(prefix.params, Decoder.step, prefix.layers, *args)
        return project(prefix, made), cache

    return autoregressive.Network(
        init, logits, init_cache, step, prepare, token_log_probs, first,
        partial(segment_size, config),
    )  # fmt: skip


def conditioned(
    config: DecoderConfig, response: ResponseConfig, prompt: Sequence[int]
) -> SequenceModel:
    """The decoder as a SequenceModel over the responses to one prompt, given as token ids.

    Raises:
      ValueError: for a prompt that is empty, has ids that are no tokens, or leaves no room.
    """
    prompt = _token_ids("prompt", prompt)
    named = (*prompt, *response.eos_tokens, *response.forbidden_tokens)
    unknown = [t for t in named if not 0 <= t < config.vocab_size]
    if unknown:
        raise ValueError(f"token {unknown[0]} is outside the vocabulary of {config.vocab_size}")
    if len(set(response.forbidden_tokens)) == config.vocab_size:
        raise ValueError("forbidden_tokens are the whole vocabulary; leave one that may be drawn")
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
    response: ResponseConfig,
    params: Params,
    prompt: Prompt,
    sequence: Sequences,
    *,
    temperature: Any = 1.0,
) -> Float[Array, ""]:
    """The log-likelihood in nats of the masked positions of a response to a prompt [P]."""
    model = _model(config, response, prompt)
    return model.log_prob(params, sequence, temperature=temperature)


def complete_greedily(
    config: DecoderConfig, response: ResponseConfig, params: Params, prompt: Prompt
) -> Sequences:
    """The response [max_new_tokens] to a prompt [P] whose every token is the likeliest next."""
    _check_room(config, response, prompt)
    room = jnp.zeros((response.max_new_tokens,), jnp.int32)
    decoder = network(config, response, prompt)
    return autoregressive.complete_greedily(
        decoder, config.vocab_size, params, room, 0, response.eos_tokens
    )


def _model(config, response, prompt):
    _check_room(config, response, prompt)
    model = autoregressive.sequence_model(
        network(config, response, prompt),
        config.vocab_size,
        response.max_new_tokens,
        response.eos_tokens,
    )
    return model._replace(takes_low_rank=True)


def _check_room(config, response, prompt):
    needed = prompt.tokens.shape[-1] + response.max_new_tokens
    if needed > config.context:
        raise ValueError(
            f"context={config.context} has no room for a prompt of {prompt.tokens.shape[-1]} "
            f"tokens and max_new_tokens={response.max_new_tokens}; shorten one of them"
        )
