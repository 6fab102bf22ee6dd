"""The addition attack (Appendix B.1): queries that a model of addition answers wrongly.

The target model answers queries such as `10+23=`; the attacker was trained on the queries alone
and proposes them. The reward is 1 for a query that is grammatical and that the target, decoding
greedily, answers with another number than the sum.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from banel_jax import checks
from banel_jax.models import autoregressive
from banel_jax.models.transformer import TransformerConfig, network
from banel_jax.parallel import map_sequences
from banel_jax.types import Params, Sequences
from banel_jax.vocabulary import Vocabulary

# Digits first, so that a digit's token is its value; the last token ends a sequence.
CHARACTERS = "0123456789+-*/=abcdefghijklmnopqrstuvwxyz"
VOCABULARY = Vocabulary(tuple(CHARACTERS))
EOS, VOCAB_SIZE = VOCABULARY.eos, VOCABULARY.vocab_size
sequences_of, strings_of = VOCABULARY.sequences_of, VOCABULARY.strings_of
JUDGED_AT_ONCE = 256  # proposals in work at a time on a device
PLUS, EQUALS = CHARACTERS.index("+"), CHARACTERS.index("=")


@dataclass(frozen=True)
class GrammarConfig:
    """What a query may be.

    Attributes:
      max_digits: of an operand in the training data of both models, where no operand has a
        leading zero.
      leading_zeros: whether a query with a leading zero in an operand can have reward 1.
    """

    max_digits: int = 10
    leading_zeros: bool = True

    def __post_init__(self):
        checks.fields(self)
        checks.integers(self, "max_digits", at_least=1)

    @property
    def query_length(self) -> int:
        """Tokens of a proposal: two operands, the signs, and the end."""
        return 2 * self.max_digits + 3

    @property
    def answer_length(self) -> int:
        """Tokens of an answer: at most 2 max_digits digits and the end, or one digit more."""
        return 2 * self.max_digits + 1


class Query(NamedTuple):
    """What the grammar sees in a proposal.

    Attributes:
      valid: digits, a plus, digits, an equals sign, and nothing else.
      length: of the query in tokens, without the end.
      plus: where the plus is.
      leading_zero: an operand of two digits or more begins with 0.
    """

    valid: Bool[Array, ""]
    length: Int[Array, ""]
    plus: Int[Array, ""]
    leading_zero: Bool[Array, ""]


def parse(sequence: Sequences) -> Query:
    """What the grammar sees in one proposal [length]; a missing one is not valid."""
    tokens = sequence.tokens
    inside = sequence.mask & (tokens != EOS)
    length = jnp.sum(inside)
    places = jnp.arange(tokens.shape[0])
    is_plus, is_equals = inside & (tokens == PLUS), inside & (tokens == EQUALS)
    plus = jnp.argmax(is_plus)
    digits = jnp.sum(inside & (tokens < 10))
    ends = (jnp.sum(is_equals) == 1) & (tokens[length - 1] == EQUALS)
    operands = (jnp.sum(is_plus) == 1) & (plus >= 1) & (plus <= length - 3)
    whole = jnp.all(inside == (places < length)) & (digits == length - 2)
    begins = (places == 0) | (places == plus + 1)  # an operand
    longer = tokens[jnp.minimum(places + 1, tokens.shape[0] - 1)] < 10
    leading = jnp.any(begins & (tokens == 0) & longer & inside)
    return Query(ends & operands & whole, length, plus, leading)


def exact_sum(
    tokens: Int[Array, " length"], plus: Int[Array, ""], equals: Int[Array, ""]
) -> Int[Array, " length"]:
    """The digits of a valid query's sum, the units first, zeros after them; of any size."""
    length = tokens.shape[0]
    places = jnp.arange(length)

    def operand(start, end):
        at = end - 1 - places
        return jnp.where(at >= start, tokens[jnp.maximum(at, 0)], 0)

    def add(carry, digits):
        total = digits[0] + digits[1] + carry
        return total // 10, total % 10

    both = jnp.stack([operand(0, plus), operand(plus + 1, equals)], axis=1)
    return jax.lax.scan(add, jnp.int32(0), both)[1]


def answers_right(answer: Int[Array, " n"], total: Int[Array, " length"]) -> Bool[Array, ""]:
    """Whether tokens up to their end are a number equal to a sum of `exact_sum`.

    No digit, or anything but digits before the end, is a wrong answer; so is one without an end,
    unless the sum has n digits and leaves no room for it.
    """
    n, width = answer.shape[0], total.shape[0]
    ends = answer == EOS
    size = jnp.where(jnp.any(ends), jnp.argmax(ends), n)
    fills = total[n - 1] > 0 if n <= width else False
    ended = jnp.any(ends) | fills
    digits = jnp.all((answer < 10) | (jnp.arange(n) >= size)) & (size > 0) & ended
    at = size - 1 - jnp.arange(max(n, width))  # the units first
    number = jnp.where(at >= 0, answer[jnp.maximum(at, 0)], 0)
    return digits & jnp.all(number == jnp.pad(total, (0, max(n, width) - width)))


class Verdict(NamedTuple):
    """What the oracle found of proposals [n].

    Attributes:
      reward: float32 in {0, 1}.
      valid: whether the grammar allows it.
      answers: the target's, with the end and what follows it cut off.
    """

    reward: Float[Array, " n"]
    valid: Bool[Array, " n"]
    answers: Sequences


@dataclass(frozen=True, eq=False)
class AdditionOracle:
    """The reward of the attack: a JAX function of proposals, and a function of a text.

    Attributes:
      grammar: what a query may be.
      target: settings of the target model.
      params: its parameters.

    Raises:
      ValueError: for a target of another vocabulary, or with no room for a query and its answer.
    """

    grammar: GrammarConfig
    target: TransformerConfig
    params: Params

    def __post_init__(self):
        if self.target.vocab_size != VOCAB_SIZE:
            raise ValueError(
                f"the target has {self.target.vocab_size} tokens, and the task's vocabulary "
                f"{VOCAB_SIZE}; give a target of this vocabulary"
            )
        needed = target_length(self.grammar)
        if self.target.length < needed:
            raise ValueError(
                f"the target's context has {self.target.length} tokens, and queries of operands "
                f"trained to {self.grammar.max_digits} digits need {needed} with their answers; "
                "lower max_digits or give a target of a longer context"
            )

    def __call__(self, text: str) -> int:
        """The reward of one query, such as `07+6=`: 1 or 0.

        Raises:
          ValueError: for a text longer than a proposal can be, or with a character outside the
            vocabulary.
        """
        return int(self.compiled_judge(sequences_of([text], self.grammar.query_length)).reward[0])

    @cached_property
    def compiled_judge(self) -> Callable[[Sequences], Verdict]:
        """`judge`, compiled once for a number of proposals; for callers outside a compiled call."""
        return jax.jit(self.judge)

    def reward(self, sequences: Sequences) -> Float[Array, " n"]:
        """float32 in {0, 1} for each of the proposals [n, query_length]."""
        return self.judge(sequences).reward

    def judge(self, sequences: Sequences) -> Verdict:
        """The reward of proposals [n, query_length], and why."""
        length = sequences.tokens.shape[-1]
        if length != self.grammar.query_length:
            raise ValueError(
                f"proposals have {length} tokens, and a query {self.grammar.query_length}"
            )
        return map_sequences(self._judge_one, self.params, sequences, JUDGED_AT_ONCE)

    def _judge_one(self, params, sequence):
        query = parse(sequence)
        asked = jnp.where(query.valid, query.length, 0)
        room = self.target.length - sequence.tokens.shape[0]
        completed = autoregressive.complete_greedily(
            network(self.target), VOCAB_SIZE, params, jnp.pad(sequence.tokens, (0, room)), asked
        )
        size = self.grammar.answer_length
        answer = jax.lax.dynamic_slice_in_dim(completed.tokens, asked, size)
        total = exact_sum(sequence.tokens, query.plus, query.length - 1)
        wrong = query.valid & ~answers_right(answer, total)
        allowed = self.grammar.leading_zeros | ~query.leading_zero
        spoken = (jnp.cumsum(answer == EOS) == 0) & query.valid
        return Verdict(
            (wrong & allowed).astype(jnp.float32), query.valid, Sequences(answer, spoken)
        )


def target_length(grammar: GrammarConfig) -> int:
    """Tokens of the longest query and its answer."""
    return grammar.query_length + grammar.answer_length
