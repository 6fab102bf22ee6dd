"""Texts as sequences, and back."""

import numpy as np
import pytest

from banel_jax.tasks.strings import Alphabet

AB = Alphabet("ab ")


def test_texts_by_hand():
    sequences = AB.encode(["ab", "", "a b"], 3)
    assert sequences.tokens.tolist() == [[0, 1, 3], [3, 0, 0], [0, 2, 1]]
    assert sequences.mask.astype(int).tolist() == [[1, 1, 1], [1, 0, 0], [1, 1, 1]]
    assert (AB.eos, AB.vocab_size) == (3, 4)
    assert AB.decode(sequences) == ["ab", "", "a b"]


def test_any_text_comes_back():
    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice(list("ab "), size=n)) for n in rng.integers(7, size=50)]
    assert AB.decode(AB.encode(texts, 6)) == texts


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: AB.encode(["abc"], 5), "'abc' has 'c', which is not among ab "),
        (lambda: AB.encode(["abab"], 3), "'abab' has 4 characters, and 3 are the most"),
        (lambda: Alphabet("aba"), "characters='aba' has 'a' twice; give each"),
        (lambda: Alphabet(""), "characters='' is empty; give each"),
    ],
)
def test_what_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
