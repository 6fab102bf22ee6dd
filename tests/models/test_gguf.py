"""GGUF files made folders: every weight, `transformers`' logits, and what is refused."""

import json
import os

import numpy as np
import pytest
from gguf_files import SIZES, TYPES, byte_level, in_gguf, metadata, model, weights, write

from banel_jax.models.language import gguf, huggingface, tokenizer
from banel_jax.models.language.decoder_config import RopeScaling

safetensors = pytest.importorskip("safetensors.numpy")
ARCHITECTURES = ("llama", "qwen2", "qwen3", "gpt2")


def tensors(folder):
    found = [safetensors.load_file(path) for path in sorted(folder.glob("*.safetensors"))]
    return {name: tensor for file in found for name, tensor in file.items()}


@pytest.mark.parametrize("shard_bytes", [10**9, 20_000])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_weight_arrives(tmp_path, name, shard_bytes):
    path, folder = model(tmp_path / "a.gguf", name)
    gguf.convert(path, tmp_path / "it", shard_bytes)
    files = list((tmp_path / "it").glob("*.safetensors"))
    assert (len(files) > 1) == (shard_bytes == 20_000)
    found = tensors(tmp_path / "it")
    assert found.keys() == folder.keys()
    for key, value in folder.items():
        np.testing.assert_array_equal(found[key], value, err_msg=key)
    config, params = huggingface.load(tmp_path / "it")
    s = SIZES
    assert (config.vocab_size, config.width, config.num_layers) == (s["rows"], s["width"], 2)
    assert (config.num_heads, config.mlp_width, config.context) == (s["heads"], s["mlp"], 48)
    assert config.num_kv_heads == (s["heads"] if name == "gpt2" else s["kv_heads"])
    assert config.head_width == (16 if name == "qwen3" else 8)
    assert config.norm_eps == 1e-5  # and not what float32 makes of it
    assert config.tied and (name == "gpt2" or config.rope_theta == 5000.0)
    assert {path.name for path in (tmp_path / "it").iterdir()} - {file.name for file in files} <= {
        "config.json", "generation_config.json", "model.safetensors.index.json",
    }  # fmt: skip
    assert params["embedding"].shape == (s["rows"], s["width"])


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_logits_are_those_of_transformers(tmp_path, name):
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    import jax.numpy as jnp

    from banel_jax.models.language.decoder import Decoder

    path, _ = model(tmp_path / "a.gguf", name)
    gguf.convert(path, tmp_path / "it")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "it").eval()
    tokens = np.random.default_rng(0).integers(0, SIZES["rows"], 24)
    with torch.no_grad():
        expected = theirs(torch.tensor(tokens)[None]).logits[0].numpy()
    config, params = huggingface.load(tmp_path / "it")
    found = Decoder(config).apply({"params": params}, jnp.asarray(tokens, jnp.int32))
    np.testing.assert_allclose(found, expected, atol=1e-4)


def converted(tmp_path, name="llama", more=None, kinds=None, change=lambda folder: None, **changes):
    """A folder from a file whose weights, or what it says, were changed."""
    folder = weights(name)
    change(folder)
    values = metadata(name, **changes) | (more or {})
    path = write(tmp_path / "a.gguf", name, values, in_gguf(name, folder), kinds)
    gguf.convert(path, tmp_path / "it")
    return tmp_path / "it"


def matrices(kind, name="llama"):
    return {key: kind for key, value in in_gguf(name, weights(name)).items() if value.ndim == 2}


@pytest.mark.parametrize(
    ("kind", "stored", "error"),
    [("Q8_0", "float32", 0.01), ("Q4_0", "float32", 0.3), ("Q4_1", "float32", 0.2),
     ("F16", "float16", 1e-3), ("BF16", "bfloat16", 1e-2)],
)  # fmt: skip
def test_a_folder_has_the_floats_that_hold_its_weights(tmp_path, kind, stored, error):
    folder = converted(tmp_path, kinds=matrices(TYPES[kind]))
    assert json.loads((folder / "config.json").read_text())["torch_dtype"] == stored
    for key, value in tensors(folder).items():
        assert value.dtype.name == (stored if value.ndim == 2 else "float32")
        np.testing.assert_allclose(value.astype(np.float32), weights("llama")[key], atol=error)
    _, params = huggingface.load(folder, param_dtype=np.float32)
    assert params["embedding"].dtype == np.float32


def test_a_head_of_its_own_is_kept_and_one_that_is_the_embedding_too(tmp_path):
    head = np.random.default_rng(1).normal(size=(SIZES["rows"], SIZES["width"])).astype(np.float32)
    own = converted(tmp_path, change=lambda folder: folder.update({"lm_head.weight": head}))
    config, _ = huggingface.load(own)
    assert not config.tied
    np.testing.assert_array_equal(tensors(own)["lm_head.weight"], head)


def test_biases_of_q_and_k_are_turned_as_their_weights_are(tmp_path):
    biases = {}

    def add(folder):
        rng = np.random.default_rng(2)
        for i in range(SIZES["layers"]):
            for x, rows in (("q", 32), ("k", 16), ("v", 16), ("o", 32)):
                key = f"model.layers.{i}.self_attn.{x}_proj.bias"
                biases[key] = rng.normal(size=rows).astype(np.float32)
        folder |= biases

    folder = converted(tmp_path, change=add)
    assert json.loads((folder / "config.json").read_text())["attention_bias"] is True
    for key, value in biases.items():
        np.testing.assert_array_equal(tensors(folder)[key], value)


def test_what_llama_cpp_takes_a_missing_key_for(tmp_path):
    square = lambda folder: folder.update(
        {
            key: np.zeros((32, 32), np.float32)
            for key in folder
            if "k_proj" in key or "v_proj" in key
        }
    )
    missing = {"attention.head_count_kv": None, "rope.freq_base": None}
    config, _ = huggingface.load(converted(tmp_path, change=square, **missing))
    assert (config.num_kv_heads, config.rope_theta) == (SIZES["heads"], 10000.0)


@pytest.mark.parametrize(
    "changes",
    [{"rope.scaling.type": "linear", "rope.scaling.factor": 4.0}, {"rope.scale_linear": 4.0}],
)
def test_positions_that_are_stretched_evenly(tmp_path, changes):
    config, _ = huggingface.load(converted(tmp_path, **changes))
    assert config.rope_scaling == RopeScaling("linear", 4.0)


def test_no_scaling_by_name_or_by_factor(tmp_path):
    for i, changes in enumerate(
        ({"rope.scaling.type": "none", "rope.scaling.factor": 4.0}, {"rope.scaling.factor": 1.0})
    ):
        (tmp_path / str(i)).mkdir()
        config, _ = huggingface.load(converted(tmp_path / str(i), **changes))
        assert config.rope_scaling is None


def llama3_factors(factor, theta, width=8, low=1.0, high=4.0, context=8192):
    """As llama.cpp's conversion computes them, one by one."""
    found = []
    for i in range(0, width, 2):
        wavelength = 2 * np.pi * theta ** (i / width)
        if wavelength < context / high:
            found.append(1.0)
        elif wavelength > context / low:
            found.append(factor)
        else:
            smooth = (context / wavelength - low) / (high - low)
            found.append(1 / ((1 - smooth) / factor + smooth))
    return np.array(found, np.float32)


def with_factors(tmp_path, factors, **changes):
    values = metadata("llama", **changes)
    held = in_gguf("llama", weights("llama")) | {"rope_freqs.weight": factors}
    path = write(tmp_path / "a.gguf", "llama", values, held)
    gguf.convert(path, tmp_path / "it")
    return huggingface.load(tmp_path / "it")[0]


@pytest.mark.parametrize(("context", "theta"), [(8192, 5e5), (64, 1e4)])
def test_the_factors_of_llama_3s_positions_are_recognised(tmp_path, context, theta):
    factors = llama3_factors(8.0, theta, context=context)
    assert len(set(factors.tolist())) == 3  # one lies between
    config = with_factors(tmp_path, factors, **{"rope.freq_base": theta})
    assert config.rope_scaling == RopeScaling("llama3", 8.0, 1.0, 4.0, context)


@pytest.mark.parametrize(
    "factors", [np.array([1, 1, 3, 8]), np.ones(3) * 2, np.array([np.nan] * 4)]
)
def test_other_factors_are_refused(tmp_path, factors):
    with pytest.raises(ValueError, match=r"a\.gguf: rope_freqs\.weight are not .* Llama 3"):
        with_factors(tmp_path, factors.astype(np.float32))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_tokenizer_of_the_folder_is_the_files(tmp_path, name):
    pre = "qwen2" if name == "qwen2" else "smollm"  # which `transformers` gives any Qwen2
    more, _ = byte_level(pre)
    number = len(more["tokenizer.ggml.tokens"])
    rows = np.random.default_rng(0).normal(size=(number, 32)).astype(np.float32)
    key = "transformer.wte.weight" if name == "gpt2" else "model.embed_tokens.weight"
    more |= {"tokenizer.chat_template": "{{ messages[0]['content'] }}"}
    folder = converted(tmp_path, name, more, change=lambda folder: folder.update({key: rows}))
    words = tokenizer.tokenizer(folder)
    assert words.decode(tokenizer.prompt_ids(words, "the  12")) == "the  12"
    cut = words.backend_tokenizer.pre_tokenizer.pre_tokenize_str("the  12")
    expected = ["the", "Ġ", "Ġ", "1", "2"] if name == "qwen2" else ["the", "ĠĠ", "1", "2"]
    assert [piece for piece, _ in cut] == expected
    assert words.response_ends == (2,)


def test_what_ends_a_text_and_a_turn_is_written(tmp_path):
    ids = {f"tokenizer.ggml.{name}_token_id": i for i, name in enumerate(("bos", "eos", "eot"), 3)}
    folder = converted(tmp_path, more=ids | {"tokenizer.ggml.padding_token_id": 4})
    for name in ("generation_config.json", "config.json"):
        found = json.loads((folder / name).read_text())
        assert (found["bos_token_id"], found["eos_token_id"]) == (3, [4, 5])
        assert found["pad_token_id"] == 4


def test_stopped_at_any_write_it_can_be_repeated(tmp_path, monkeypatch):
    path, folder = model(tmp_path / "a.gguf", "llama")
    real, left = os.replace, [0]

    def replace(*arguments):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        real(*arguments)

    for stopped_at in range(12):
        left[0] = stopped_at
        monkeypatch.setattr(os, "replace", replace)
        try:
            gguf.convert(path, tmp_path / "it", 20_000)
            break
        except KeyboardInterrupt:
            assert not (tmp_path / "it" / "config.json").exists()
    else:
        monkeypatch.setattr(os, "replace", real)
        gguf.convert(path, tmp_path / "it", 20_000)
    assert stopped_at > 4 and tensors(tmp_path / "it").keys() == folder.keys()
    monkeypatch.undo()
    with pytest.raises(FileExistsError, match="holds a model already"):
        gguf.convert(path, tmp_path / "it")
