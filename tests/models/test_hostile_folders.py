"""Model folders that are damaged, foreign or worse: one line that names the file, and no more."""

import json
import shutil
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from banel_jax.models.language import huggingface, tokenizer, weight_files
from banel_jax.models.language.decoder import Decoder
from banel_jax.models.language.decoder_config import DecoderConfig
from banel_jax.models.language.huggingface_config import read_config
from banel_jax.models.language.weight_files import INDEX
from banel_jax.tasks.gsm8k.tokens import TokenizerConfig, train_tokenizer

pytest.importorskip("transformers")
pytest.importorskip("jinja2")
from safetensors.numpy import load_file, save_file

CONFIG = DecoderConfig(300, 8, 1, 2, 1, 6, context=64)
POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 9\n".encode()
WEIGHTS, FIRST = "model.safetensors", "model-00001-of-00002.safetensors"
NORM = "model.norm.weight"


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """Two good folders of one model with a tokenizer: of one file of weights, and of two."""
    root = tmp_path_factory.mktemp("good")
    tokens = train_tokenizer(["ab 12"] * 3, root / "tokens", TokenizerConfig(vocab_size=262))
    params = Decoder(CONFIG).init(jax.random.key(0), jnp.zeros(1, jnp.int32))["params"]
    for name, size in (("one", 10**9), ("two", 9700)):
        huggingface.save(root / name, CONFIG, params, like=tokens, shard_bytes=size)
        read(root / name)
    assert len(list((root / "two").glob("*.safetensors"))) == 2
    return root


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """No question is asked, and no other machine."""

    def refused(*args):
        raise AssertionError(f"this was to be left alone: {args}")

    monkeypatch.setattr("builtins.input", refused)
    monkeypatch.setattr("socket.socket.connect", refused)
    monkeypatch.setattr("socket.getaddrinfo", refused)


def read(folder):
    huggingface.load(folder)
    tokenizer.tokenizer(folder)
    tokenizer.eos_tokens(folder)


def bytes_of(name, change):
    def mutate(folder):
        path = folder / name
        path.write_bytes(change(path.read_bytes()) if callable(change) else change)

    return mutate


def values_of(name, **changes):
    def mutate(folder):
        path = folder / name
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return mutate


def config(**changes):
    return values_of("config.json", **changes)


def rope(key="rope_parameters", **changes):
    return config(**{key: changes})


def tensors(change, name=WEIGHTS):
    def mutate(folder):
        found = {n: x.copy() for n, x in load_file(folder / name).items()}
        change(found)
        save_file(found, folder / name)

    return mutate


def value(x):
    return tensors(lambda found: found[NORM].__setitem__(3, x))


def header(**entry):
    text = json.dumps({NORM: dict(shape=[4], data_offsets=[0, 4]) | entry}).encode()
    return bytes_of(WEIGHTS, len(text).to_bytes(8, "little") + text + b"abcd")


def index(**files):
    def mutate(folder):
        path = folder / INDEX
        values = json.loads(path.read_text())
        values["weight_map"] |= files
        path.write_text(json.dumps(values))

    return mutate


def template(text, file="chat_template.jinja"):
    return bytes_of(file, text.encode())


def removed(*names):
    return lambda folder: [(folder / name).unlink() for name in names]


def all_of(*changes):
    return lambda folder: [change(folder) for change in changes]


def directory(name):
    return lambda folder: ((folder / name).unlink(), (folder / name).mkdir())


def twice(folder):
    found = load_file(folder / FIRST)
    other = folder / FIRST.replace("-00001-", "-00002-")
    save_file(load_file(other) | dict([next(iter(found.items()))]), other)


ROWS = {
    # weights
    "pointer": ("one", WEIGHTS, bytes_of(WEIGHTS, POINTER)),
    "empty": ("one", WEIGHTS, bytes_of(WEIGHTS, b"")),
    "truncated": ("one", WEIGHTS, bytes_of(WEIGHTS, lambda x: x[:-7])),
    "truncated header": ("one", WEIGHTS, bytes_of(WEIGHTS, lambda x: x[:30])),
    "too long": ("one", WEIGHTS, bytes_of(WEIGHTS, lambda x: x + b"zz")),
    "garbage": ("one", WEIGHTS, bytes_of(WEIGHTS, bytes(range(256)))),
    "web page": ("one", WEIGHTS, bytes_of(WEIGHTS, b"<!DOCTYPE html>\n<html>\n</html>\n" * 9)),
    "directory": ("one", WEIGHTS, directory(WEIGHTS)),
    "NaN": ("one", f"{NORM} in .*{WEIGHTS}", value(np.nan)),
    "infinity": ("one", f"{NORM} in .*{WEIGHTS}", value(-np.inf)),
    "int8": ("one", f"{NORM} in .*{WEIGHTS} is of type I8", header(dtype="I8")),
    "float8": ("one", f"{NORM} in .*{WEIGHTS} is of type F8_E4M3", header(dtype="F8_E4M3")),
    "no such type": ("one", WEIGHTS, header(dtype="Q8")),
    "a shape": ("one", NORM, tensors(lambda x: x.update({NORM: np.zeros(9, np.float32)}))),
    "missing": ("one", NORM, tensors(lambda x: x.pop(NORM))),
    "more": ("one", "new.weight", tensors(lambda x: x.update({"new.weight": np.zeros(2)}))),
    "odd name": ("one", "a b", tensors(lambda x: x.update({"a\nb": np.zeros(2)}))),
    # several files
    "one is missing": ("two", FIRST, removed(FIRST)),
    "one and the index": ("two", FIRST, removed(FIRST, INDEX)),
    "one is a pointer": ("two", FIRST, bytes_of(FIRST, POINTER)),
    "broken index": ("two", INDEX, bytes_of(INDEX, lambda x: x[:-9])),
    "index of a list": ("two", INDEX, bytes_of(INDEX, b"[]")),
    "index of none": ("two", INDEX, values_of(INDEX, weight_map=None)),
    "index of numbers": ("two", INDEX, index(**{NORM: 5})),
    "index of nothing there": ("two", "x.safetensors", index(**{NORM: "x.safetensors"})),
    "index of elsewhere": ("two", INDEX, index(**{NORM: "../one/model.safetensors"})),
    "index of the root": ("two", INDEX, index(**{NORM: "/etc/passwd"})),
    "index of two lines": ("two", INDEX, index(**{NORM: "a\nb"})),
    "twice": ("two", "model-0000.-of-00002", twice),
    "two sets": (
        "two", WEIGHTS, lambda folder: shutil.copy(folder / "../one" / WEIGHTS, folder),
    ),
    "bin alone": (
        "one", "pytorch_model.bin",
        all_of(removed(WEIGHTS), lambda f: (f / "pytorch_model.bin").write_bytes(b"x")),
    ),
    "adapters": (
        "one", "adapter_config.json",
        all_of(removed("config.json"), lambda f: (f / "adapter_config.json").write_text("{}")),
    ),
    # config.json
    "no config": ("one", "config.json", removed("config.json")),
    "broken": ("one", "config.json", bytes_of("config.json", lambda x: x[:-20])),
    "empty config": ("one", "config.json", bytes_of("config.json", b"")),
    "list": ("one", "config.json", bytes_of("config.json", b"[1]")),
    "latin": ("one", "config.json", bytes_of("config.json", b'{"a": "\xe9"}')),
    "deep": ("one", "config.json", bytes_of("config.json", b"[" * 100_000)),
    "config pointer": ("one", "config.json.*git lfs", bytes_of("config.json", POINTER)),
    "config directory": ("one", "config.json", directory("config.json")),
    "text": ("one", "num_hidden_layers='24'", config(num_hidden_layers="24")),
    "fraction": ("one", r"hidden_size=8\.0", config(hidden_size=8.0)),
    "negative": ("one", "vocab_size=-1", config(vocab_size=-1)),
    "zero": ("one", "num_attention_heads=0", config(num_attention_heads=0)),
    "true": ("one", "num_attention_heads=True", config(num_attention_heads=True)),
    "a list": ("one", r"hidden_size=\[8\]", config(hidden_size=[8])),
    "eps": ("one", "rms_norm_eps=nan", config(rms_norm_eps=float("nan"))),
    "eps of text": ("one", "rms_norm_eps='1e-6'", config(rms_norm_eps="1e-6")),
    "infinite": ("one", "rope_theta", rope(rope_theta=float("inf"))),
    "tied of text": ("one", "tie_word_embeddings='false'", config(tie_word_embeddings="false")),
    "many layers": ("one", "num_hidden_layers=2000000000", config(num_hidden_layers=2 * 10**9)),
    "too many": ("one", "num_hidden_layers", config(num_hidden_layers=10**40)),
    "null": ("one", "hidden_size is missing", config(hidden_size=None)),
    "odd heads": ("one", "hidden_size=8 over num_attention_heads=3", config(num_attention_heads=3)),
    "a kind": ("one", "model_type='llama3'.* gpt2, llama, ", config(model_type="llama3")),
    "another head": ("one", "architectures=.*only .*Llama", config(model_type="llama")),
    "no kind": ("one", "model_type=None", config(model_type=None)),
    "a head": ("one", "architectures", config(architectures=["Qwen2ForSequenceClassification"])),
    "quantised": ("one", "quantization_config", config(quantization_config={"bits": 4})),
    "no bias": ("one", "attention_bias", config(attention_bias=False)),
    "windows": ("one", "layer_types", config(layer_types=["sliding_attention"])),
    "a window": ("one", "use_sliding_window", config(use_sliding_window=True)),
    "by layer": ("one", "per_layer_config", config(per_layer_config={"0": {"hidden_size": 4}})),
    "partial": ("one", "partial_rotary_factor", config(partial_rotary_factor=0.5)),
    "yarn": ("one", "rope_parameters", rope(rope_type="yarn", factor=4.0)),
    "legacy yarn": ("one", "rope_parameters", rope(type="yarn", factor=4.0)),
    "old yarn": ("one", "rope_scaling", rope("rope_scaling", type="yarn", factor=4.0)),
    "linear": ("one", "rope_scaling", rope("rope_scaling", factor=2.0)),
    "no factor": ("one", "rope_scaling=.* lacks 'factor'", rope("rope_scaling", type="linear")),
    "a factor": ("one", "factor=0", rope("rope_scaling", type="linear", factor=0.0)),
    "more of linear": (
        "one", "for its 'beta_fast'", rope("rope_scaling", type="linear", factor=2.0, beta_fast=3),
    ),
    "two scalings": (
        "one", "rope_scaling and rope_parameters are not the same",
        config(rope_scaling={"type": "linear", "factor": 2.0},
               rope_parameters={"rope_type": "linear", "factor": 3.0}),
    ),
    "two bases": (
        "one", "rope_scaling and rope_parameters are not the same",
        config(rope_scaling={"type": "linear", "factor": 2.0}, rope_theta=5e3),
    ),
    "low above high": (
        "one", "high_freq_factor",
        rope(rope_type="llama3", factor=8.0, low_freq_factor=4.0, high_freq_factor=1.0),
    ),
    "half a token": (
        "one", r"rope_parameters: original_max_position_embeddings=8\.5",
        rope(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
             original_max_position_embeddings=8.5),
    ),
    "a kind of numbers": ("one", "rope_parameters", rope(rope_type=[3])),
    "nested": ("one", "full_attention", rope(full_attention={"rope_type": "yarn", "factor": 4})),
    "rope of text": ("one", "rope_scaling='yarn'", config(rope_scaling="yarn")),
    "rope in part": ("one", "rope_parameters", rope(partial_rotary_factor=0.5)),
    "multimodal": ("one", "mrope_section", rope(rope_type="default", mrope_section=[1, 1, 2])),
    "relu": ("one", "hidden_act='relu'", config(hidden_act="relu")),
    "an activation": ("one", r"hidden_act=\[", config(hidden_act=["silu"])),
    "odd head": ("one", "head_dim=3", config(head_dim=3)),
    "interleaved": ("one", "rope_interleaved=True", config(rope_interleaved=True)),
    "code": ("one", "config.json.*auto_map", config(auto_map={"AutoModel": "evil.Model"})),
    # the tokenizer
    "no tokenizer": ("one", "tokenizer.json", removed("tokenizer.json")),
    "broken tokenizer": ("one", "tokenizer.json", bytes_of("tokenizer.json", lambda x: x[:-9])),
    "empty object": ("one", "tokenizer.json", bytes_of("tokenizer.json", b"{}")),
    "tokenizer pointer": ("one", "tokenizer.json.*git lfs", bytes_of("tokenizer.json", POINTER)),
    "another table": ("one", r"embed_tokens.weight is \[300, 8\]", config(vocab_size=400)),
    "broken settings": (
        "one", "tokenizer_config.json", bytes_of("tokenizer_config.json", lambda x: x[:-9]),
    ),
    "settings of a list": (
        "one", "tokenizer_config.json", bytes_of("tokenizer_config.json", b"[]"),
    ),
    "a class of numbers": (
        "one", "tokenizer_config.json", values_of("tokenizer_config.json", tokenizer_class=5),
    ),
    "tokenizer code": (
        "one", "tokenizer_config.json.*auto_map",
        values_of("tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.T", "evil.T"]}),
    ),
    "raises": ("one", "chat_template.jinja.*no", template("{{ raise_exception('no\nno') }}")),
    "no Jinja": ("one", "chat_template.jinja", template("{% for m in %}")),
    "undefined": ("one", "chat_template.jinja", template("{{ messages[7].content.x }}")),
    "unsafe": ("one", "chat_template.jinja", template("{{ ''.__class__.__mro__ }}")),
    "no question": ("one", "chat_template.jinja", template("What?")),
    "raises in settings": (
        "one", "tokenizer_config.json",
        values_of("tokenizer_config.json", chat_template="{{ raise_exception('no') }}"),
    ),
    # what ends a response
    "broken generation": (
        "one", "generation_config.json", bytes_of("generation_config.json", b"{"),
    ),
    "an end of text": (
        "one", "generation_config.json", values_of("generation_config.json", eos_token_id="2"),
    ),
    "a negative end": (
        "one", "generation_config.json", values_of("generation_config.json", eos_token_id=[2, -1]),
    ),
    "an end beyond": ("one", "config.json: eos_token_id=300", config(eos_token_id=300)),
    "ends in ends": ("one", "config.json: eos_token_id", config(eos_token_id=[[2]])),
    "a true end": ("one", "config.json: eos_token_id", config(eos_token_id=[True])),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_one_line_names_what_is_amiss(good, tmp_path, name):
    which, expected, mutate = ROWS[name]
    folder = shutil.copytree(good / which, tmp_path / "m")
    (tmp_path / "one").symlink_to(good / "one")
    ran = tmp_path / "ran"
    (folder / "evil.py").write_text(f"open({str(ran)!r}, 'w')\nclass Model: pass\nT = Model\n")
    mutate(folder)
    with pytest.raises((ValueError, OSError), match=expected) as error:
        read(folder)
    text = str(error.value)
    assert "\n" not in text and len(text) < 1500 and str(folder) in text
    assert not ran.exists()


def test_what_is_no_folder_is_said_to_be_none(good, tmp_path):
    (tmp_path / "empty").mkdir()
    for folder in (good / "one" / WEIGHTS, tmp_path / "nowhere", tmp_path / "empty"):
        for call in (huggingface.load, tokenizer.tokenizer):
            with pytest.raises(OSError, match=folder.name) as error:
                call(folder)
            assert "\n" not in str(error.value)


def test_a_weight_is_named_under_debugging_as_well(good, tmp_path):
    folder = shutil.copytree(good / "one", tmp_path / "m")
    value(np.nan)(folder)
    with jax.debug_nans(True), pytest.raises(ValueError, match=f"{NORM} in .*{WEIGHTS}"):
        huggingface.load(folder)


def test_weights_of_pytorch_are_refused_by_name_where_it_is_not_installed(
    good, tmp_path, monkeypatch
):
    folder = shutil.copytree(good / "one", tmp_path / "m")
    (folder / WEIGHTS).rename(folder / "pytorch_model.bin")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(
        ValueError, match=r"pytorch_model\.bin needs PyTorch.*pip install 'torch>=2\.6', or"
    ):
        huggingface.load(folder)
    with pytest.raises(FileExistsError, match="holds a model already"):
        weight_files.check_free(folder)


def test_what_may_not_be_read_is_named(good, monkeypatch):
    def refused(path, *args, **kwargs):
        raise PermissionError("Permission denied (os error 13)")

    monkeypatch.setattr("safetensors.safe_open", refused)
    with pytest.raises(PermissionError, match=WEIGHTS):
        huggingface.load(good / "one")


@pytest.mark.parametrize(
    "change",
    [
        config(rope_scaling=None, head_dim=None, sliding_window=None, quantization_config=None),
        config(rope_scaling={"rope_type": "default"}),
        config(rope_scaling={}, rope_parameters={"type": "default", "factor": None}),
        config(num_key_value_heads=1, attention_dropout=0, layer_types=["full_attention"]),
        config(head_dim=4, use_cache=False, pad_token_id=-1, _name_or_path="a"),
        bytes_of("config.json", lambda x: b"\xef\xbb\xbf" + x.replace(b"\n", b"\r\n")),
    ],
)
def test_what_changes_no_number_is_no_matter(good, tmp_path, change, caplog):
    folder = shutil.copytree(good / "one", tmp_path / "m")
    change(folder)
    assert huggingface.load(folder)[0] == CONFIG
    read(folder)
    assert not [record for record in caplog.records if record.name.startswith("banel_jax")]


def test_null_takes_as_many_heads_of_keys_as_of_queries(good, tmp_path):
    folder = shutil.copytree(good / "one", tmp_path / "m")
    config(num_key_value_heads=None)(folder)
    assert read_config(folder).num_kv_heads == 2


def test_theta_is_read_where_newer_files_keep_it(good, tmp_path):
    folder = shutil.copytree(good / "one", tmp_path / "m")
    rope(rope_theta=5e5, rope_type="default")(folder)
    assert huggingface.load(folder)[0].rope_theta == 5e5
    config(rope_theta=None, rope_parameters={"rope_theta": None})(folder)
    assert huggingface.load(folder)[0].rope_theta == 1e4  # as `transformers` has it


def test_keys_that_are_not_known_are_refused_by_name(good, tmp_path):
    folder = shutil.copytree(good / "one", tmp_path / "m")
    config(logit_scale=2.0, other={"a": 1}, absent=None, summary_type="x", n_ctx=9)(folder)
    with pytest.raises(ValueError, match=r"config\.json: 'logit_scale', 'other' not known here"):
        read(folder)


def test_another_family_is_the_one_thing_that_is_said(good, tmp_path):
    folder = shutil.copytree(good / "one", tmp_path / "m")
    config(
        model_type="gemma2", architectures=["Gemma2ForCausalLM"], hidden_act="relu", new=1,
        attention_bias=False, rope_scaling={"type": "yarn"}, hidden_size=None, auto_map={"a": "b"},
    )(folder)  # fmt: skip
    with pytest.raises(ValueError) as error:
        read(folder)
    assert str(error.value) == (
        f"{folder / 'config.json'}: model_type='gemma2' is not supported, only the families gpt2, "
        "llama, mistral, qwen2, qwen3 are"
    )
