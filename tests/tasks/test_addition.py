"""The addition attack's oracle against Python's own strings and integers."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import nightly
import numpy as np
import pytest

from banel_jax.models import autoregressive
from banel_jax.models.transformer import TransformerConfig, network
from banel_jax.tasks.addition import models as addition_models
from banel_jax.tasks.addition import task as addition
from banel_jax.tasks.addition.models import ModelConfig
from banel_jax.tasks.addition.task import CHARACTERS, EOS, VOCAB_SIZE, AdditionOracle, GrammarConfig
from banel_jax.training import TrainingConfig
from banel_jax.types import Sequences

GRAMMAR = GrammarConfig(max_digits=3)
LENGTH = GRAMMAR.query_length  # 9 characters
GRAMMATICAL = re.compile(r"[0-9]+\+[0-9]+=")
ADVERSARIAL = [
    "", "+", "=", "+=", "++", "1+=", "+1=", "1+1", "1=1", "1+1==", "1++1=", "1+1=+", "1+1=2",
    "=1+1", "a+1=", "1+a=", "1-1=", "1+1=a", "1*2=", "0+0=", "00+0=", "0+00=", "01+1=", "1+01=",
    "10+1=", "999+999=", "999999+9=", "9+999999=", "000000+0=", "12+3/=", "1+1+1=", "99999999=",
    "9999999999"[:9], "+++++++++", "=========", "zzzzzzzzz", "1+123456=", "123456+1=",
]  # fmt: skip


def random_texts(number, seed, length=LENGTH):
    """Half of them grammatical up to a random change of one character."""
    rng = np.random.default_rng(seed)
    texts = []
    for _ in range(number):
        a, b = ("".join(rng.choice(list("0123456789"), rng.integers(1, 5))) for _ in range(2))
        text = f"{a}+{b}="
        if rng.random() < 0.5:
            at = rng.integers(len(text) + 1)
            text = text[:at] + rng.choice(list(CHARACTERS)) + text[at + rng.integers(2) :]
        texts.append(text[:length])
    return texts


def adversarial_texts(number, length, seed):
    """No character, signs alone, two signs of a kind, letters, leading zeros, longest operands."""
    rng = np.random.default_rng(seed)
    digits = lambda n: "".join(rng.choice(list("0123456789"), n))
    kinds = (
        lambda: "",
        lambda: "".join(rng.choice(list("+=-*/"), rng.integers(1, length + 1))),
        lambda: f"{digits(1)}+{digits(1)}+"[: rng.integers(3, 5)] + "+=",
        lambda: f"{digits(1)}+{digits(1)}==",
        lambda: "".join(rng.permutation([*digits(2), "+", "=", rng.choice(list("abcxyz"))])),
        lambda: f"0{digits(1)}+{digits(length - 4)}=",
        lambda: f"{digits(length - 4)}+0{digits(1)}=",
        lambda: f"{digits(length - 3)}+{digits(1)}=",
        lambda: f"{digits(1)}+{digits(length - 3)}=",
        lambda: digits(length),
    )
    return [kinds[i % len(kinds)]()[:length] for i in range(number)]


def by_hand(text):
    """(grammatical, has a leading zero, sum)"""
    if not GRAMMATICAL.fullmatch(text):
        return False, None, None
    operands = text[:-1].split("+")
    return True, any(len(o) > 1 and o[0] == "0" for o in operands), sum(map(int, operands))


TEXTS = ADVERSARIAL + random_texts(2000, 0)


def test_the_texts_try_both_sides():
    found = [by_hand(text) for text in TEXTS]
    assert 0.4 < np.mean([valid for valid, *_ in found]) < 0.8
    assert 0.1 < np.mean([bool(leading) for valid, leading, _ in found if valid]) < 0.9


def test_texts_survive_encoding():
    assert addition.strings_of(addition.sequences_of(TEXTS, LENGTH)) == TEXTS
    ended = addition.sequences_of(["1+2="], LENGTH)
    assert ended.tokens[0, 4] == EOS and int(ended.mask.sum()) == 5


def test_the_grammar_is_that_of_the_regular_expression():
    query = jax.jit(jax.vmap(addition.parse))(addition.sequences_of(TEXTS, LENGTH))
    for i, text in enumerate(TEXTS):
        valid, leading, _ = by_hand(text)
        assert bool(query.valid[i]) == valid, text
        if valid:
            assert bool(query.leading_zero[i]) == leading, text
            assert int(query.length[i]) == len(text) and int(query.plus[i]) == text.index("+")


def test_what_is_missing_or_has_holes_is_no_query():
    one = addition.sequences_of(["12+3="], LENGTH)
    gone = Sequences(one.tokens, jnp.zeros_like(one.mask))
    assert not jax.vmap(addition.parse)(gone).valid[0]
    hole = Sequences(one.tokens, one.mask.at[0, 1].set(False))
    assert not jax.vmap(addition.parse)(hole).valid[0]


def test_sums_of_any_size_are_exact():
    long = GrammarConfig(max_digits=12).query_length
    rng = np.random.default_rng(1)
    operand = lambda: "".join(rng.choice(list("0123456789"), rng.integers(1, 13)))
    texts = [f"{operand()}+{operand()}=" for _ in range(300)]
    texts += ["9" * 23 + "+1=", "1+" + "9" * 23 + "=", "0+0=", "9" * 12 + "+" + "9" * 12 + "="]
    sequences = addition.sequences_of(texts, long)
    query = jax.vmap(addition.parse)(sequences)
    totals = jax.vmap(addition.exact_sum)(sequences.tokens, query.plus, query.length - 1)
    for text, total in zip(texts, np.asarray(totals), strict=True):
        assert int("".join(map(str, total[::-1]))) == by_hand(text)[2], text


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ("13", True), ("013", True), ("130", False), ("31", False), ("3", False), ("", False),
        ("1+3", False), ("a13", False), ("13=", False), ("113", False),
    ],
)  # fmt: skip
def test_answers_are_compared_as_numbers(answer, right):
    total = jnp.array([3, 1, 0, 0, 0, 0, 0, 0, 0])
    for size in (6, 12):  # shorter and longer than the sum's
        tokens = addition.sequences_of([answer], size).tokens[0]
        assert bool(addition.answers_right(tokens, total)) == right
        after = tokens.at[len(answer) + 1 :].set(7)  # what follows the end does not count
        assert bool(addition.answers_right(after, total)) == right
    # Without an end a number is an answer only where the sum leaves no room for one.
    for room in (len(answer), len(answer) + 1):
        endless = addition.sequences_of([answer], max(room, 1)).tokens[0]
        endless = jnp.where(endless == EOS, 0, endless)
        assert bool(addition.answers_right(endless, total)) == (right and room == 2)


def test_the_longest_sum_fills_the_room_of_an_answer():
    """Two operands of 2 d and 1 digits fill a proposal, and their sum may have 2 d + 1."""
    grammar = GrammarConfig(max_digits=1)
    query = "99+9="
    assert len(query) == grammar.query_length and grammar.answer_length == len("108")
    tokens = addition.sequences_of([query], grammar.query_length).tokens[0]
    total = addition.exact_sum(tokens, jnp.int32(2), jnp.int32(4))
    answer = lambda text: jnp.array([CHARACTERS.index(c) for c in text])
    assert addition.answers_right(answer("108"), total)
    assert not addition.answers_right(answer("107"), total)
    assert not addition.answers_right(answer("10="), total)


TARGET = TransformerConfig(
    vocab_size=VOCAB_SIZE, length=addition.target_length(GRAMMAR), num_layers=1, num_heads=2,
    width=16,
)  # fmt: skip


def never_ending(scale):
    params = network(TARGET).init(jax.random.key(0))
    return jax.tree.map(lambda p: p * scale, params)


def test_the_cache_completes_as_the_whole_network_does():
    net, params = network(TARGET), never_ending(20.0)
    prompts = addition.sequences_of(random_texts(20, 2), LENGTH).tokens
    prompts = jnp.pad(prompts, ((0, 0), (0, TARGET.length - LENGTH)))
    given = jnp.arange(20) % (LENGTH + 1)
    complete = lambda tokens, n: autoregressive.complete_greedily(
        net, VOCAB_SIZE, params, tokens, n
    )
    found = np.asarray(jax.jit(jax.vmap(complete))(prompts, given).tokens)
    logits = jax.jit(lambda tokens: net.logits(params, tokens, None))
    for row in range(20):
        tokens = np.array(prompts[row])
        for at in range(int(given[row]), TARGET.length):
            tokens[at] = int(jnp.argmax(logits(jnp.asarray(tokens))[at]))
        np.testing.assert_array_equal(found[row], tokens)
    assert len(np.unique(found[:, -1])) > 1


def _model(width, training):
    sizes = dict(num_layers=1, num_heads=2, width=width, dropout=0.0)
    return ModelConfig(**sizes, num_problems=400, training=training)


SMALL = addition_models.AdditionConfig(
    grammar=GrammarConfig(max_digits=1),
    target=_model(32, TrainingConfig(40, 50, 3e-3)),
    attacker=_model(16, TrainingConfig(20, 50, 3e-3)),
    held_out=100,
)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("addition")


@pytest.fixture(scope="module")
def models(cache):
    return {name: addition_models.trained(SMALL, name, cache) for name in ("target", "attacker")}


@pytest.fixture(scope="module")
def attack(models):
    return addition_models.attack(SMALL, models["target"], models["attacker"])


def answers_by_hand(oracle, texts):
    """The target's greedy answers, a token at a time by the whole network, up to their end."""
    net, length = network(oracle.target), oracle.target.length
    logits = jax.jit(jax.vmap(lambda tokens: net.logits(oracle.params, tokens, None)))
    rows = [[CHARACTERS.index(c) for c in text] for text in texts]
    for _ in range(oracle.grammar.answer_length):
        found = logits(jnp.array([row + [0] * (length - len(row)) for row in rows]))
        for row, scores in zip(rows, np.asarray(found), strict=True):
            row.append(int(np.argmax(scores[len(row)])))
    answers = [row[len(text) :] for row, text in zip(rows, texts, strict=True)]
    texts = ["".join("." if t == EOS else CHARACTERS[t] for t in answer) for answer in answers]
    return [text.partition(".")[0] if "." in text else text + "!" for text in texts]


def rewards_by_hand(oracle, texts):
    rewards = []
    for text, answer in zip(texts, answers_by_hand(oracle, texts), strict=True):
        valid, leading, total = by_hand(text)
        allowed = valid and (oracle.grammar.leading_zeros or not leading)
        if len(str(total)) == oracle.grammar.answer_length:
            answer = answer.rstrip("!")  # there was no room for an end
        right = re.fullmatch("[0-9]+", answer) and int(answer) == total
        rewards.append(int(allowed and not right))
    return rewards


NUMBERS = [(500, 3_000), (1000, 10_000)]  # adversarial ones and random ones


@pytest.mark.parametrize("numbers", nightly.params(NUMBERS, NUMBERS[1:]), ids=str)
def test_rewards_are_those_of_plain_python(attack, numbers):
    _, oracle = attack
    strict = dataclasses.replace(
        oracle, grammar=dataclasses.replace(oracle.grammar, leading_zeros=False)
    )
    texts = [f"{a}+{b}=" for a in range(10) for b in range(10)]
    texts += adversarial_texts(numbers[0], 5, 4) + random_texts(numbers[1], 3, 5)
    sequences = addition.sequences_of(texts, 5)
    spoken = answers_by_hand(oracle, texts)
    for judge in (oracle, strict):
        verdict = jax.jit(judge.judge)(sequences)
        np.testing.assert_array_equal(verdict.reward, rewards_by_hand(judge, texts))
        np.testing.assert_array_equal(verdict.valid, [by_hand(text)[0] for text in texts])
        answers = addition.strings_of(verdict.answers)
        for text, answer, expected in zip(texts, answers, spoken, strict=True):
            if by_hand(text)[0] and expected is not None:
                assert answer == expected, text
    # The target has learnt something, or nothing would be tried.
    assert int(jnp.sum(verdict.reward[:100] == 0)) > 20
    assert int(jnp.sum(oracle.reward(sequences))) > int(jnp.sum(verdict.reward))


def test_a_person_may_ask(attack):
    _, oracle = attack
    texts = ["7+6=", "07+6=", "7+6", ""]
    assert [oracle(text) for text in texts] == rewards_by_hand(oracle, texts)
    with pytest.raises(ValueError, match=r"^'123456' has 6 tokens, and 5 are the most"):
        oracle("123456")
    with pytest.raises(ValueError, match=r"'1\?2=' has '\?', which is not among"):
        oracle("1?2=")


def test_targets_that_do_not_fit_are_refused(attack):
    _, oracle = attack
    with pytest.raises(ValueError, match="the target has 12 tokens"):
        dataclasses.replace(oracle, target=dataclasses.replace(oracle.target, vocab_size=12))
    with pytest.raises(ValueError, match=r"context has 8 tokens, and queries .* need 20"):
        AdditionOracle(
            GrammarConfig(max_digits=4), dataclasses.replace(oracle.target, length=8), oracle.params
        )
    with pytest.raises(ValueError, match="proposals have 7 tokens, and a query 5"):
        oracle.reward(addition.sequences_of(["1+1="], 7))


def test_problems_are_even_over_lengths_and_exact():
    rng = np.random.default_rng(0)
    for digits in (1, 3, 25):
        drawn = addition_models.problems(rng, digits, 3000)
        lengths = np.array([[len(str(x)) for x in pair] for pair in drawn])
        assert lengths.min() == 1 and lengths.max() == digits
        counts = np.bincount(lengths.ravel(), minlength=digits + 1)[1:]
        assert np.abs(counts - 6000 / digits).max() < 5 * np.sqrt(6000 / digits)
    tens = [x for pair in addition_models.problems(rng, 2, 20_000) for x in pair if x > 9]
    counts = np.bincount(tens, minlength=100)[10:]
    assert np.abs(counts - len(tens) / 90).max() < 5 * np.sqrt(len(tens) / 90)


def test_what_the_models_learn():
    sequences, held_out = addition_models.target_sequences(SMALL)
    tokens, mask = np.asarray(sequences.tokens), np.asarray(sequences.mask)
    for row, scored in zip(tokens[:50], mask[:50], strict=True):
        whole = "".join(CHARACTERS[t] for t in row[: list(row).index(EOS)])
        query, answer = whole.split("=")
        assert sum(map(int, query.split("+"))) == int(answer)
        places = np.flatnonzero(scored)
        assert places[0] == len(query) + 1 and places[-1] == len(whole)
    assert float(held_out.sum()) == 100
    queries, _ = addition_models.attacker_sequences(SMALL)
    assert all(by_hand(text)[0] for text in addition.strings_of(queries))
    assert set(addition.strings_of(queries)) <= {f"{a}+{b}=" for a in range(10) for b in range(10)}


def test_accuracy_by_digits(attack):
    _, oracle = attack
    every = [f"{a}+{b}=" for a in range(10) for b in range(10)]
    right = 1 - np.mean(rewards_by_hand(oracle, every))
    assert addition_models.accuracy(oracle, 0, 2000)[1] == pytest.approx(right, abs=0.05)


def test_a_model_of_other_settings_is_refused(models, cache, tmp_path):
    del models
    (file,) = cache.glob("addition-target-*.npz")
    assert not list(cache.glob("*.training")) + list(cache.glob("*.tmp"))
    other = dataclasses.replace(SMALL, grammar=GrammarConfig(max_digits=2))
    with pytest.raises(ValueError, match="max_digits is 1 there and 2 here"):
        addition_models.trained(other, "target", tmp_path, file)
    strict = dataclasses.replace(SMALL, grammar=GrammarConfig(1, leading_zeros=False))
    addition_models.trained(strict, "target", tmp_path, file)  # a matter of the reward alone
