"""Strings as sequences of tokens, and back."""

import dataclasses
import json
import random

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from banel_jax.types import Sequences
from banel_jax.vocabulary import EXPRESSIONS, Vocabulary

AB = Vocabulary(("a", "b", " "))
HOSTILE = [
    "a\0b",
    "'\"\\,;",
    "e\u0301\u200d😀\ufeff",
    "\u2028\x85\r \n\t\x1b[31m",
    " ",
    "",
    "x" * 9,
]
ASPIRIN = "CC(=O)Oc1ccccc1C(=O)O"


def test_strings_by_hand():
    sequences = AB.sequences_of(["ab", "", "a b"], 3)
    assert sequences.tokens.tolist() == [[0, 1, 3], [3, 0, 0], [0, 2, 1]]
    assert sequences.mask.astype(int).tolist() == [[1, 1, 1], [1, 0, 0], [1, 1, 1]]
    assert (AB.eos, AB.vocab_size) == (3, 4)
    assert AB.strings_of(sequences) == ["ab", "", "a b"]
    ended = AB.sequences_of(["ab", ""])  # with room for the longest and its end
    assert ended.tokens.tolist() == [[0, 1, 3], [3, 0, 0]]
    assert AB.sequences_of([]).tokens.shape == (0, 1)


def test_what_follows_an_end_or_lies_outside_the_mask_is_no_part():
    tokens = jnp.asarray([[0, 3, 1], [0, 1, 9]], jnp.int32)
    mask = jnp.asarray([[True, True, True], [True, False, False]])
    assert AB.strings_of(Sequences(tokens, mask)) == ["a", "a"]


def test_molecules_and_proteins_by_hand():
    pieces = ["Cl", "[C@@H]", "(", "Br", ")", "c", "1", "%12", "=", "[nH+]", "/", "N", "B", ">>"]
    smiles = Vocabulary.of(["".join(pieces)], "smiles")
    assert smiles.tokens == tuple(sorted(pieces))
    assert [smiles.tokens[i] for i in smiles.encode("".join(pieces))] == pieces
    assert len(smiles.encode("".join(pieces))) == len(pieces)
    assert Vocabulary.of([ASPIRIN], "smiles").tokens == ("(", ")", "1", "=", "C", "O", "c")
    protein = Vocabulary.of(["MKV*", "ACX-"], "protein")
    assert protein.tokens == tuple("*-ACKMVX")


def test_byte_pairs_join_what_often_stands_together():
    words = Vocabulary.of(["abab cd", "abab", "ab abab"], "byte_pair", size=8)
    assert words.tokens[:5] == (" ", "a", "b", "c", "d")
    assert words.merges[0] == ("a", "b") and words.vocab_size == 8
    assert [words.tokens[i] for i in words.encode("abab d")] == ["abab", " ", "d"]
    assert Vocabulary.of(["abc"], "byte_pair", size=2).tokens == ("a", "b", "c")  # never fewer


@pytest.mark.parametrize("tokens", ["characters", "byte_pair", r"\w+|[^\w]", "(?s:.)"])
@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(max_size=12), min_size=1, max_size=6).filter(any))
@example(HOSTILE)
def test_any_string_comes_back(tokens, strings):
    """From the tokens of a vocabulary, from its sequences, and from its file's text."""
    words = Vocabulary.of(strings, tokens, size=40)
    kept = Vocabulary(**json.loads(json.dumps(dataclasses.asdict(words))))
    assert kept == words and hash(kept) == hash(words)
    for string in strings:
        assert kept.encode(string) == words.encode(string)
        assert words.decode(words.encode(string)) == string
        # A token's text is where it stands in the string.
        assert "".join(words.tokens[i] for i in words.encode(string)) == string
    sequences = words.sequences_of(strings)
    assert words.strings_of(sequences) == strings
    mask, tokens = np.asarray(sequences.mask), np.asarray(sequences.tokens)
    assert ((tokens == words.eos) & mask).sum(axis=1).tolist() == [1] * len(strings)
    sizes = [len(words.encode(string)) + 1 for string in strings]
    assert mask.sum(axis=1).tolist() == sizes and mask.shape[1] == max(sizes)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["C", "Cl", "[O-]", "(", ")", "=", "%10", "c", "1"]), max_size=20))
def test_pieces_of_a_molecule_are_the_tokens_that_it_was_made_of(pieces):
    words = Vocabulary.of(["".join(["C", *pieces])], "smiles")
    assert [words.tokens[i] for i in words.encode("".join(pieces))] == pieces


def test_a_million_characters_come_back():
    text = "".join(random.Random(0).choices("ab 😀\0'\u0301", k=1_000_000))
    for tokens in ("characters", r"[ab]+|.|\n"):
        words = Vocabulary.of([text], tokens)
        assert words.decode(words.encode(text)) == text
    with pytest.raises(ValueError) as caught:
        AB.encode(text)
    assert len(str(caught.value)) < 300 and "of 1,000,000 characters" in str(caught.value)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: AB.encode("a\nc"), r"^'a\\nc' has '\\n', which is not among the 3 tokens \(a b"),
        (lambda: AB.sequences_of(["ab", "cab"]), "^string 2: 'cab' has 'c', which is not among"),
        (lambda: AB.sequences_of(["abab"], 3), "'abab' has 4 tokens, and 3 are the most"),
        (lambda: AB.sequences_of([b"ab"]), "^b'ab' is a bytes, not a string"),
        (lambda: AB.encode("\ud800"), r"has '\\ud800', which is not among"),
        (lambda: AB.decode([0, 4]), "token 4 is none of the vocabulary's 4, the end among them"),
        (lambda: Vocabulary(("a", "b", "a")), "the tokens have 'a' twice; give each once"),
        (lambda: Vocabulary(()), "there are no tokens"),
        (lambda: Vocabulary(("a", "")), "one of the tokens is empty"),
        (lambda: Vocabulary("ab"), "tokens='ab' must be a tuple"),
        (lambda: Vocabulary(("a", "bc")), "'bc' is no single character"),
        (lambda: Vocabulary(("a",), "("), r"'\(' is no regular expression: missing \)"),
        (lambda: Vocabulary(("a", "b"), "", (("a", "b"),)), "no pair of tokens that make a third"),
        (lambda: Vocabulary(("a",), ".", (("a", "a"),)), "by an expression or joined by merges, n"),
        (lambda: Vocabulary.of(["", ""]), "the strings hold no character"),
        (
            lambda: Vocabulary.of([ASPIRIN, "C C"], "smiles"),
            "string 2: 'C C' has ' ' at character 2, where the expression 'smiles' matches",
        ),
        (lambda: Vocabulary.of(["ab"], "a*"), "'ab' has 'b' at character 2, where the expre"),
        (lambda: Vocabulary.of([ASPIRIN], "smiles").encode("C[Se]"), r"has '\[Se\]', which is not"),
        (lambda: Vocabulary.of(["ab ab"], "byte_pair").encode("abz"), "'abz' has 'z', which is"),
        (
            lambda: Vocabulary.of([chr(i + 256) for i in range(70_000) if not 0xD700 < i < 0xE000]),
            "tokens are more than 65,536",
        ),
    ],
)
def test_what_is_refused(call, message):
    with pytest.raises(ValueError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_expressions_by_name_are_known():
    assert set(EXPRESSIONS) == {"smiles", "protein"}
