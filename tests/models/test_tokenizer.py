"""Tokenizers of model folders: chat templates, ids, what does not fit the model."""

import json
import os
import shlex
import subprocess
import sys

import pytest

from banel_jax.models.language import tokenizer
from banel_jax.models.language.decoder_config import DecoderConfig
from banel_jax.models.language.huggingface_config import write_config

tokenizers = pytest.importorskip("tokenizers")
transformers = pytest.importorskip("transformers")
pytest.importorskip("jinja2")

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def change(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def written(folder, special=SPECIAL, template=None, rows=300, eos_token=None):
    """A folder with a byte-level tokenizer of 256 tokens and the special ones after them."""
    import byte_tokenizer

    byte_tokenizer.written(folder, special, template, eos_token)
    write_config(folder, DecoderConfig(rows, 8, 1, 2, 1, 6), "float32", {"eos_token_id": 258})
    return folder


def test_without_a_template_a_question_is_asked_as_qwens_are(tmp_path):
    found = tokenizer.tokenizer(written(tmp_path))
    ids = tokenizer.prompt_ids(found, "What is 1+1?")
    assert found.decode(ids, skip_special_tokens=False) == (
        "<|im_start|>system\n"
        "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n"
        "<|im_start|>user\nWhat is 1+1?<|im_end|>\n<|im_start|>assistant\n"
    )
    # Each mark is one token: three begin a turn, two end one.
    assert (ids.count(257), ids.count(258)) == (3, 2)
    assert all(isinstance(i, int) for i in ids)


def test_the_folders_own_template_is_used(tmp_path):
    template = "{% for m in messages %}Q: {{ m['content'] }}\nA:{% endfor %}"
    found = tokenizer.tokenizer(written(tmp_path, template=template))
    assert found.decode(tokenizer.prompt_ids(found, "why? <b>")) == "Q: why? <b>\nA:"


def test_examples_are_turns_before_the_question_or_text_before_it(tmp_path):
    examples = [("1+1?", "2."), ("2+2?", "4.")]
    chats = tokenizer.tokenizer(written(tmp_path / "chats"))
    asked = chats.decode(tokenizer.prompt_ids(chats, "3+3?", examples), skip_special_tokens=False)
    turns = ["user\n1+1?", "assistant\n2.", "user\n2+2?", "assistant\n4.", "user\n3+3?"]
    expected = "".join(f"<|im_start|>{turn}<|im_end|>\n" for turn in turns)
    assert asked.endswith(expected + "<|im_start|>assistant\n") and asked.count("user") == 3
    plain = tokenizer.tokenizer(written(tmp_path / "plain", special=["<|end|>"]))
    assert not plain.chat_template
    asked = plain.decode(tokenizer.prompt_ids(plain, "3+3?", examples))
    assert asked == "1+1?\n2.\n\n2+2?\n4.\n\n3+3?"


def test_a_response_is_read_without_its_end(tmp_path):
    found = tokenizer.tokenizer(written(tmp_path))
    ids = found("It is 2 é.")["input_ids"]
    assert tokenizer.response_text(found, [*ids, 258]) == "It is 2 é."


def test_an_embedding_may_have_more_rows_than_the_tokenizer_ids_but_not_fewer(tmp_path):
    assert tokenizer.tokenizer(written(tmp_path / "equal", rows=259))
    with pytest.raises(ValueError, match="token id 258, and the model's embedding 258 rows"):
        tokenizer.tokenizer(written(tmp_path / "fewer", rows=258))


LLAMA = DecoderConfig(300, 8, 1, 2, 1, 6, qkv_bias=False)
GPT2 = DecoderConfig(
    300, 8, 1, 2, 2, 6, norm="layer", positions="learned", gated=False, activation="gelu_tanh",
    out_bias=True, mlp_bias=True,
)  # fmt: skip


@pytest.mark.parametrize("config,special", [(None, SPECIAL[:1]), (LLAMA, SPECIAL), (GPT2, SPECIAL)])
def test_without_a_template_of_its_own_or_qwens_marks_a_prompt_is_continued(
    tmp_path, config, special
):
    """Also where another family than Qwen's has the marks, as SmolLM2's base model does."""
    written(tmp_path, special=special, eos_token=special[0])
    if config:
        write_config(tmp_path, config, "float32", {})
    found = tokenizer.tokenizer(tmp_path)
    text = "Once <|endoftext|> upon\n é "
    ids = tokenizer.prompt_ids(found, text)
    assert found.decode(ids, skip_special_tokens=False) == text and ids.count(256) == 1
    assert tokenizer.eos_tokens(tmp_path)[-1] == found.eos_token_id == 256
    assert tokenizer.response_text(found, [*ids[:3], 256, 5]) == found.decode(ids[:3])
    assert not found.chat_template and tokenizer.prompt_ids(found, "") == []


def test_a_prompt_to_continue_begins_as_the_tokenizer_begins_a_text_and_does_not_end(tmp_path):
    written(tmp_path, special=["<s>", "</s>"])
    write_config(tmp_path, LLAMA, "float32", {})
    plain = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    plain.post_processor = tokenizers.processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 256), ("</s>", 257)]
    )
    plain.save(str(tmp_path / "tokenizer.json"))
    change(tmp_path / "tokenizer_config.json", bos_token="<s>", eos_token="</s>")
    found = tokenizer.tokenizer(tmp_path)
    assert tokenizer.prompt_ids(found, "ab") == [256, *found.encode("ab", add_special_tokens=False)]
    assert tokenizer.prompt_ids(found, "") == [256]


def test_a_folder_of_gpt2_without_a_tokenizer_json_is_read_as_gpt2s(tmp_path):
    """Its tokenizer_config.json names no class, and Qwen's splits digits and normalises."""
    written(tmp_path / "made", special=SPECIAL[:1])
    made = json.loads((tmp_path / "made" / "tokenizer.json").read_text())
    vocabulary = made["model"]["vocab"] | {"12": 256, "<|endoftext|>": 257}
    (tmp_path / "vocab.json").write_text(json.dumps(vocabulary))
    (tmp_path / "merges.txt").write_text("#version: 0.2\n1 2\n")
    (tmp_path / "tokenizer_config.json").write_text('{"model_max_length": 1024}')
    write_config(tmp_path, GPT2, "float32", {})
    found = tokenizer.tokenizer(tmp_path)
    ids = tokenizer.prompt_ids(found, "12e\u0301")
    assert ids[0] == 256 and found.decode(ids) == "12e\u0301"
    assert tokenizer.eos_tokens(tmp_path) == (257,)


@pytest.mark.parametrize(
    "generation,expected",
    [(None, (258,)), ({"eos_token_id": [258, 256]}, (258, 256)), ({}, (258,))],
)
def test_end_tokens(tmp_path, generation, expected):
    write_config(tmp_path, DecoderConfig(300, 8, 1, 2, 1, 6), "float32", {"eos_token_id": 258})
    if generation is not None:
        (tmp_path / "generation_config.json").write_text(json.dumps(generation))
    assert tokenizer.eos_tokens(tmp_path) == expected


@pytest.mark.parametrize("generation", [None, {}, {"eos_token_id": 256}, {"eos_token_id": [256]}])
@pytest.mark.parametrize("eos", [None, 256, 258])
def test_what_ends_a_chats_turn_ends_a_response_whatever_the_files_name(tmp_path, generation, eos):
    """As in folders of base models, whose files name the end of a document alone."""
    written(tmp_path, eos_token="<|endoftext|>")
    change(tmp_path / "config.json", eos_token_id=eos)
    if generation is not None:
        (tmp_path / "generation_config.json").write_text(json.dumps(generation))
    assert set(tokenizer.eos_tokens(tmp_path)) == {256, 258}
    found = tokenizer.tokenizer(tmp_path)
    assert found.response_ends == tokenizer.eos_tokens(tmp_path)
    for end in SPECIAL[::2]:
        ran_on = f"#### 18{end}\n<|im_start|>user\n#### 5"
        ids = found(ran_on, add_special_tokens=False)["input_ids"]
        assert tokenizer.response_text(found, ids) == "#### 18"


def test_a_turn_ends_where_the_folders_template_ends_it(tmp_path):
    each = "{{ m['role'] }}: {{ m['content'] }}"
    for name, template, ends in (
        ("marked", f"{{% for m in messages %}}{each} <|eot|>\n{{% endfor %}}", (257, 256)),
        ("plain", f"{{% for m in messages %}}{each}\n{{% endfor %}}", (257,)),
        (
            "questions",
            "{{ messages[1] and raise_exception('one') }}{{ messages[0].content }}",
            (257,),
        ),
    ):
        special = ["<|eot|>", "</s>", "<x>"]
        folder = written(tmp_path / name, special, template, eos_token="</s>")
        change(folder / "config.json", eos_token_id=None)
        assert tokenizer.eos_tokens(folder) == ends


def test_a_folder_without_a_tokenizer_that_can_be_read_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"has no tokenizer\.json or vocab\.json"):
        tokenizer.tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ValueError, match=r"tokenizer\.json cannot be read by transformers \("):
        tokenizer.tokenizer(tmp_path)


def test_a_sentencepiece_file_alone_is_refused_with_what_makes_a_tokenizer_json_of_it(tmp_path):
    folder = tmp_path / "two words"
    folder.mkdir()
    (folder / "tokenizer.model").write_bytes(b"")
    with pytest.raises(FileNotFoundError) as refused:
        tokenizer.tokenizer(folder)
    said = str(refused.value)
    assert "\n" not in said and said.startswith(f"{folder} has no tokenizer.json or vocab.json; ")
    install, into, convert = map(shlex.split, said.partition("tokenizer.model: ")[2].split(" && "))
    assert install == ["python", "-m", "pip", "install", "sentencepiece"]
    assert into == ["cd", str(folder)] and convert[:2] == ["python", "-c"] and len(convert) == 3
    compile(convert[2], "convert", "exec")


def test_what_the_refusal_names_makes_sentencepieces_own_tokens(tmp_path):
    sentencepiece = pytest.importorskip("sentencepiece")
    text = tmp_path / "text.txt"
    text.write_text("".join(f"{i} eggs and {i * i} words of a text\n" for i in range(99)))
    sentencepiece.SentencePieceTrainer.train(
        input=str(text), model_prefix=str(tmp_path / "tokenizer"), vocab_size=300,
        model_type="bpe", byte_fallback=True, hard_vocab_limit=False,
        normalization_rule_name="identity", remove_extra_whitespaces=False, minloglevel=2,
    )  # fmt: skip
    write_config(tmp_path, LLAMA, "float32", {})
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "LlamaTokenizer"}')
    with pytest.raises(FileNotFoundError) as refused:
        tokenizer.tokenizer(tmp_path)
    *_, code = shlex.split(str(refused.value))
    there = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=there, check=True)
    found, own = tokenizer.tokenizer(tmp_path), sentencepiece.SentencePieceProcessor()
    own.Load(str(tmp_path / "tokenizer.model"))
    # Of texts that begin with a blank, where transformers adds none, they would differ.
    for said in ("12 eggs  and é", "words\n"):
        assert found(said, add_special_tokens=False)["input_ids"] == own.Encode(said)
