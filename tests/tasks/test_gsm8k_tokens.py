"""The small tokenizer: its pieces, its files, and that transformers reads them alike."""

import subprocess
import sys

import another_process
import pytest

from banel_jax.tasks.gsm8k.tokens import SPECIAL_TOKENS, TokenizerConfig, train_tokenizer

tokenizers = pytest.importorskip("tokenizers")

TEXTS = [f"Anna has {i * 37} eggs and sells {i} of them for ${i}.50.\n#### {i}" for i in range(60)]
NEW = [
    "Anna sells 1234567 eggs.\n\n#### 42",
    "  café \u2019 \U0001f600\ttabs  and   spaces ",
    "12+30=42, 007",
    "",
]
CONFIG = TokenizerConfig(vocab_size=320)


def load_tokenizer(folder):
    return tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return train_tokenizer(TEXTS, tmp_path_factory.mktemp("tokens") / "new", CONFIG)


@pytest.fixture(scope="module")
def tokenizer(folder):
    return load_tokenizer(folder)


def test_any_text_comes_back_and_special_tokens_are_skipped(tokenizer):
    for text in [*TEXTS[:3], *NEW]:
        ids = tokenizer.encode(text).ids
        assert tokenizer.decode(ids) == text
        assert max(ids, default=0) < tokenizer.get_vocab_size() <= 320
    assert tokenizer.decode(tokenizer.encode("#### 16<|im_end|>").ids) == "#### 16"


def test_special_tokens_are_the_first_three(tokenizer):
    assert [tokenizer.token_to_id(token) for token in SPECIAL_TOKENS] == [0, 1, 2]
    assert tokenizer.encode("<|im_start|><|im_end|>").ids == [1, 2]


def test_every_digit_is_a_token_of_its_own_and_words_are_not(tokenizer):
    tokens = tokenizer.encode("Anna has 1234 eggs for $56.70, 8th").tokens
    assert [t for t in tokens if any(c.isdigit() for c in t)] == list("12345670" + "8")
    vocabulary = tokenizer.get_vocab()
    assert not [t for t in vocabulary if len(t) > 1 and any(c in "0123456789" for c in t)]
    assert "Anna" in tokens and len(vocabulary) > 259


def test_the_vocabulary_is_at_most_what_is_asked_for(tmp_path):
    few = load_tokenizer(train_tokenizer(TEXTS, tmp_path / "few", TokenizerConfig(vocab_size=262)))
    assert few.get_vocab_size() == 262
    none = load_tokenizer(train_tokenizer(["ab"], tmp_path / "none"))
    assert none.get_vocab_size() == 259  # nothing occurs twice
    assert TokenizerConfig().vocab_size == 4096
    with pytest.raises(ValueError, match="vocab_size=258 must be at least 259"):
        TokenizerConfig(vocab_size=258)
    with pytest.raises(ValueError, match="min_frequency=0 must be at least 1"):
        TokenizerConfig(min_frequency=0)


def test_the_same_texts_give_the_same_files_in_another_process(folder, tmp_path):
    another_process.printed(
        f"import {__name__} as t\nt.train_tokenizer(iter(t.TEXTS), {str(tmp_path)!r}, t.CONFIG)"
    )
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


def test_transformers_loads_the_folder_and_agrees(folder, tokenizer):
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("jinja2")
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    assert theirs.eos_token == "<|im_end|>" and theirs.pad_token == "<|endoftext|>"
    assert (theirs.eos_token_id, theirs.pad_token_id) == (2, 0)
    assert len(theirs) == tokenizer.get_vocab_size()
    for text in [*TEXTS[:5], *NEW]:
        ids = tokenizer.encode(text).ids
        assert theirs.encode(text) == ids and theirs.decode(ids) == text
    for system in (None, "Be brief."):
        messages = [{"role": "system", "content": system}] if system else []
        messages.append({"role": "user", "content": TEXTS[0]})
        text = "<|im_start|>system\nBe brief.<|im_end|>\n" if system else ""
        text += f"<|im_start|>user\n{TEXTS[0]}<|im_end|>\n<|im_start|>assistant\n"
        render = theirs.apply_chat_template
        assert render(messages, add_generation_prompt=True, tokenize=False) == text
        ended = [*messages, {"role": "assistant", "content": "#### 0"}]
        assert render(ended, tokenize=False) == f"{text}#### 0<|im_end|>\n"
    assert tokenizer.encode(text).ids[0] == 1


def test_without_the_library_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(ValueError, match=r"needs tokenizers: pip install 'banel_jax\[gsm8k\]'"):
        train_tokenizer(TEXTS, tmp_path)


def test_importing_the_module_imports_no_extra():
    code = (
        "import sys, banel_jax.tasks.gsm8k.tokens, banel_jax.tasks.gsm8k.task\n"
        "assert not {'tokenizers', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
