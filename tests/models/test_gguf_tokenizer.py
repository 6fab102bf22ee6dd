"""Tokenizers from the metadata of GGUF files: how text is cut, merged, and given back."""

import itertools

import numpy as np
import pytest
from gguf_files import CORPUS, KEY, SPECIAL, byte_level

from banel_jax.models.language import gguf_tokenizer
from banel_jax.models.language.gguf_file import GgufFile

tokenizers = pytest.importorskip("tokenizers")
transformers = pytest.importorskip("transformers")

TEXT = "I'LL pay  12345 don't\n\n x"


def file(folder, metadata):
    return GgufFile(folder / "a.gguf", metadata, {}, b"")


def written(tmp_path, metadata, rows=400):
    gguf_tokenizer.write(tmp_path, file(tmp_path, metadata), rows)
    return transformers.AutoTokenizer.from_pretrained(tmp_path, local_files_only=True)


def test_a_byte_level_encoding_is_the_one_that_was_learned(tmp_path):
    metadata, learned = byte_level()
    found = written(tmp_path, metadata)
    for text in [*CORPUS, TEXT, "日本 ½\x00\t", "", "  "]:
        assert found(text)["input_ids"] == learned.encode(text).ids
        assert found.decode(found(text)["input_ids"]) == text
    assert (found.bos_token_id, found.eos_token_id, found.unk_token_id) == (1, 2, 0)
    assert found("the</s>cat<s>")["input_ids"].count(2) == 1  # whole, and special
    assert found.decode(found("the</s> cat")["input_ids"], skip_special_tokens=True) == "the cat"


@pytest.mark.parametrize(
    ("pre", "expected"),
    [
        ("gpt-2", ["I", "'", "LL", " pay", " ", " 12345", " don", "'t", "\n\n", " x"]),
        ("smollm", ["I", "'", "LL", " pay", "  ", *"12345", " don", "'t", "\n\n", " x"]),
        ("llama-bpe", ["I", "'LL", " pay", " ", " ", "123", "45", " don", "'t", "\n\n", " x"]),
        ("qwen2", ["I", "'LL", " pay", " ", " ", *"12345", " don", "'t", "\n\n", " x"]),
        ("tekken", ["I", "'LL", " pay", " ", " ", *"12345", " don", "'t", "\n\n", " x"]),
    ],
)
def test_text_is_cut_as_the_vocabulary_was_learned(tmp_path, pre, expected):
    found = written(tmp_path, byte_level(pre)[0])
    cut = found.backend_tokenizer.pre_tokenizer.pre_tokenize_str(TEXT)
    assert [piece.replace("Ġ", " ").replace("Ċ", "\n") for piece, _ in cut] == expected


def test_without_a_name_the_cut_is_that_of_the_architecture(tmp_path, caplog):
    for architecture, as_named in (("llama", "gpt-2"), ("gpt2", "gpt-2"), ("qwen3", "qwen2")):
        metadata = byte_level(None)[0] | {"general.architecture": architecture}
        a, b = (tmp_path / architecture / name for name in "ab")
        for folder, values in ((a, metadata), (b, byte_level(as_named)[0])):
            folder.mkdir(parents=True)
            gguf_tokenizer.write(folder, file(a, values), 400)
        assert (a / "tokenizer.json").read_text() == (b / "tokenizer.json").read_text()
    assert len(caplog.records) == 1 and "llama" in caplog.text  # where it is not known


def test_a_word_of_llama_3s_vocabulary_is_taken_whole_whatever_its_merges(tmp_path):
    for pre in ("llama-bpe", "dbrx"):
        metadata, _ = byte_level(pre)
        metadata[KEY + "tokens"] += ["xyzzy"]
        metadata[KEY + "token_type"] = np.append(metadata[KEY + "token_type"], 1)
        found = written(tmp_path, metadata)
        assert (len(found("xyzzy")["input_ids"]) == 1) == (pre == "llama-bpe")


SCORES = {"hat": -8, "th": -6, "▁▁": -7, "▁at": -5, "▁the": -3, "at": -4, "he": -2, "▁t": -1}


def sentencepiece(**more):
    letters = "▁thea"
    tokens = [*SPECIAL, *(f"<0x{i:02X}>" for i in range(256)), *SCORES, *letters]
    scores = [0.0] * 259 + [float(s) for s in SCORES.values()] + [-100.0 - i for i in range(5)]
    kinds = [2, 3, 3] + [6] * 256 + [1] * (len(tokens) - 259)
    values = {
        "model": "llama", "tokens": tokens, "scores": np.array(scores),
        "token_type": np.array(kinds), "bos_token_id": 1, "eos_token_id": 2, "unknown_token_id": 0,
    }  # fmt: skip
    return {KEY + key: value for key, value in (values | more).items()}


def merged(text, metadata):
    """As llama.cpp does: the neighbours that make the token of the highest score, one by one."""
    tokens = metadata[KEY + "tokens"]
    pieces = list("▁" + text.replace(" ", "▁"))
    while True:
        pairs = [
            (-SCORES[a + b], i)
            for i, (a, b) in enumerate(itertools.pairwise(pieces))
            if a + b in SCORES
        ]
        if not pairs:
            break
        i = min(pairs)[1]
        pieces[i : i + 2] = ["".join(pieces[i : i + 2])]
    found = []
    for piece in pieces:
        known = [piece] if piece in tokens else [f"<0x{byte:02X}>" for byte in piece.encode()]
        found += [tokens.index(token) for token in known]
    return found


def test_a_sentencepiece_vocabulary_merges_by_its_scores(tmp_path):
    metadata = sentencepiece()
    found = written(tmp_path, metadata)
    rng = np.random.default_rng(0)
    for _ in range(200):
        text = "".join(rng.choice(list("theat  é\n"), rng.integers(1, 14)))
        ids = found(text, add_special_tokens=False)["input_ids"]
        assert ids == merged(text, metadata), text
        assert found.decode(ids) == text
    assert found("the")["input_ids"] == [1, *merged("the", metadata)]  # begins with <s>


def test_what_begins_a_text_is_as_the_file_says(tmp_path):
    bos = lambda metadata: written(tmp_path, metadata)("the")["input_ids"][0] == 1
    assert bos(sentencepiece()) and not bos(sentencepiece(add_bos_token=False))
    assert not bos(byte_level()[0]) and bos(byte_level(add_bos_token=True)[0])
    metadata = sentencepiece(add_space_prefix=False)
    ids = written(tmp_path, metadata)("the", add_special_tokens=False)["input_ids"]
    tokens = metadata[KEY + "tokens"]
    assert [tokens[i] for i in ids] == ["t", "he"]


def test_tokens_of_a_users_own_are_whole_and_stay_in_the_text(tmp_path):
    metadata, _ = byte_level()
    metadata[KEY + "tokens"] += ["<think> on"]
    metadata[KEY + "token_type"] = np.append(metadata[KEY + "token_type"], 4)
    found = written(tmp_path, metadata)
    last = len(metadata[KEY + "tokens"]) - 1
    ids = found("cat<think> on it")["input_ids"]
    assert last in ids and found.decode(ids, skip_special_tokens=True) == "cat<think> on it"


def test_the_chat_template_comes_along(tmp_path):
    metadata = byte_level()[0] | {"tokenizer.chat_template": "{{ messages[0]['content'] }}!"}
    chat = [{"role": "user", "content": "hat"}]
    assert written(tmp_path, metadata).apply_chat_template(chat, tokenize=False) == "hat!"


def test_a_file_without_a_tokenizer_makes_a_folder_without_one(tmp_path, caplog):
    for values in ({}, {KEY + "model": "no_vocab"}):
        gguf_tokenizer.write(tmp_path, file(tmp_path, values), 40)
    assert not list(tmp_path.iterdir()) and caplog.text.count("a.gguf has no tokenizer") == 2


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": "rwkv"}, "model=rwkv is not supported"),
        ({"model": ["a"]}, "must be a text"),
        ({"pre": "falcon\nx"}, "pre=falcon x is not supported, only gpt-2"),
        ({"pre": ["a"]}, "must be a text"),
        ({"tokens": None}, "has no tokens"),
        ({"tokens": "abc"}, "has no tokens"),
        ({"tokens": ["x"] * 401}, "has 401 tokens, and the embedding 400 rows"),
        ({"merges": None}, "merges"),
        ({"merges": ["a b c"]}, "cannot be built"),
        ({"merges": ["zz yy"]}, "cannot be built"),
        ({"eos_token_id": 5000}, "no token 5000"),
        ({"eos_token_id": "x"}, "cannot be built"),
        ({"token_type": np.ones(3)}, "cannot be built"),
    ],
)
def test_what_is_amiss_is_one_line_that_names_the_file(tmp_path, changes, said):
    metadata, _ = byte_level(**changes)
    with pytest.raises(ValueError, match=said) as error:
        gguf_tokenizer.write(tmp_path, file(tmp_path, metadata), 400)
    assert "a.gguf" in str(error.value) and "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())
