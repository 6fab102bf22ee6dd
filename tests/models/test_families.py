"""Families of models against `transformers`: every weight, the logits, and what is likeliest."""

import importlib
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from transformers_twin import twin

from banel_jax.models.language import huggingface, responses
from banel_jax.models.language.decoder import Decoder

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("safetensors")

LLAMA3 = dict(
    rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
    original_max_position_embeddings=60,
)  # fmt: skip
CASES = {
    "llama": ("Llama", {}),
    "llama tied, all biases": (
        "Llama", dict(tie_word_embeddings=True, attention_bias=True, mlp_bias=True),
    ),
    "llama, own heads": ("Llama", dict(head_dim=10, hidden_act="gelu")),
    "llama3": ("Llama", dict(rope=LLAMA3)),
    "linear": ("Llama", dict(rope=dict(rope_type="linear", factor=3.0))),
    "mistral": ("Mistral", {}),
    "qwen2": ("Qwen2", {}),
    "qwen3": ("Qwen3", {}),
    "qwen3 tied, biases": ("Qwen3", dict(tie_word_embeddings=True, attention_bias=True)),
    "gpt2": ("GPT2", {}),
    "gpt2 untied": ("GPT2", dict(n_inner=24, tie_word_embeddings=False)),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_family_is_that_of_transformers(tmp_path, name):
    family, settings = CASES[name]
    model = twin(family=family, **settings)
    model.save_pretrained(tmp_path / "theirs")
    config, params = huggingface.load(tmp_path / "theirs")
    tokens = np.random.default_rng(1).integers(0, config.vocab_size, 120)
    with torch.inference_mode():
        expected = model(torch.tensor(tokens)[None]).logits[0].numpy()
        prompt = torch.tensor(tokens[None, :9])
        mask = torch.ones_like(prompt)
        likeliest = model.generate(
            prompt, attention_mask=mask, do_sample=False, max_new_tokens=64, pad_token_id=0
        )
    found = jax.jit(Decoder(config).apply)({"params": params}, jnp.asarray(tokens))
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert np.abs(expected).max() > 0.5
    padded = jax.tree.map(lambda x: x[0], responses.pad_prompts([tokens[:9]], 11))
    response = responses.ResponseConfig(64)
    greedy = jax.jit(lambda params: responses.complete_greedily(config, response, params, padded))
    np.testing.assert_array_equal(greedy(params).tokens, likeliest[0, 9:])

    huggingface.save(tmp_path / "ours", config, params, like=tmp_path / "theirs")
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "ours")
    assert type(again) is type(model)
    theirs, ours = model.state_dict(), again.state_dict()
    assert theirs.keys() == ours.keys()
    for each in theirs:
        np.testing.assert_array_equal(ours[each], theirs[each], err_msg=each)
    with torch.inference_mode():
        written = again.eval()(torch.tensor(tokens)[None]).logits[0].numpy()
    np.testing.assert_allclose(written, expected, atol=1e-5)
    assert huggingface.load(tmp_path / "ours")[0] == config
    assert json.loads((tmp_path / "ours" / "config.json").read_text())["model_type"] == (
        family.lower()
    )


def bare(names, family):
    """The names as a folder has them that was saved without the head."""
    return {
        name: name.removeprefix("transformer." if family == "GPT2" else "model.") for name in names
    }


@pytest.mark.parametrize("family", ["GPT2", "Llama"])
@pytest.mark.parametrize("form", ["bin", "old bin", "shards of bin", "safetensors"])
def test_older_folders_are_read(tmp_path, family, form):
    """Weights of PyTorch's own, names without a prefix, buffers that are no weights."""
    model = twin(family=family, tie_word_embeddings=True)
    model.save_pretrained(tmp_path / "new")
    config, params = huggingface.load(tmp_path / "new")
    folder = tmp_path / "old"
    folder.mkdir()
    (folder / "config.json").write_text((tmp_path / "new" / "config.json").read_text())
    state = {name: x.detach().clone() for name, x in model.state_dict().items()}
    if form != "bin":
        renamed = bare(state, family)
        state = {renamed[name]: x for name, x in state.items()}
    first = next(name for name in state if "0." in name).partition("0.")[0]
    if family == "GPT2":
        masks = torch.ones(3, 1, 1, 9, 9, dtype=torch.bool)
        state |= {f"{first}{i}.attn.bias": masks[i].clone() for i in range(3)}
        state |= {f"{first}{i}.attn.masked_bias": torch.tensor(-1e4) for i in range(3)}
    else:
        turns = {f"{first}{i}.self_attn.rotary_emb.inv_freq": torch.ones(4) for i in range(3)}
        state |= turns | {first.replace("layers.", "rotary_emb.inv_freq"): torch.ones(4)}
    if form == "safetensors":
        importlib.import_module("safetensors.torch").save_file(state, folder / "model.safetensors")
    elif form == "shards of bin":
        names = [f"pytorch_model-0000{i}-of-00002.bin" for i in (1, 2)]
        halves = [dict(list(state.items())[i::2]) for i in range(2)]
        for name, half in zip(names, halves, strict=True):
            torch.save(half, folder / name)
        index = {key: name for name, half in zip(names, halves, strict=True) for key in half}
        path = folder / "pytorch_model.bin.index.json"
        path.write_text(json.dumps({"weight_map": index}))
    else:
        torch.save(
            state, folder / "pytorch_model.bin", _use_new_zipfile_serialization=form == "bin"
        )
    assert_same(huggingface.load(folder), (config, params))
    if form == "shards of bin":
        (folder / names[1]).unlink()
        with pytest.raises(FileNotFoundError, match=names[1]):
            huggingface.load(folder)


def assert_same(found, expected):
    assert found[0] == expected[0]
    jax.tree.map(np.testing.assert_array_equal, found[1], expected[1])


def test_types_of_pytorchs_files_are_kept(tmp_path):
    model = twin(family="GPT2").to(torch.bfloat16)
    model.config.save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    _, half = huggingface.load(tmp_path, param_dtype=jnp.bfloat16)
    table = model.transformer.wte.weight.detach()
    assert half["embedding"].dtype == jnp.bfloat16
    np.testing.assert_array_equal(half["embedding"].astype(jnp.float32), table.float())


class Evil:
    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize(
    "content,expected",
    [
        (b"", "cannot be read as PyTorch"),
        (b"PK\x03\x04 cut", "cannot be read as PyTorch"),
        (lambda path: {"evil": Evil()}, "more than tensors, which is never unpickled"),
        (lambda path: {"model": {"a": torch.ones(2)}}, "something else than tensors by name"),
        (lambda path: [torch.ones(2)], "something else than tensors by name"),
        (lambda path: {"lm_head.weight": torch.ones(2, dtype=torch.int8)}, "of type int8"),
    ],
)
def test_a_file_of_pytorch_that_is_none_is_refused_in_one_line(tmp_path, content, expected):
    twin(family="GPT2").config.save_pretrained(tmp_path)
    path, Evil.path = tmp_path / "pytorch_model.bin", tmp_path / "ran"
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content(path), path)
    with pytest.raises(ValueError, match=f"pytorch_model.bin .*{expected}") as error:
        huggingface.load(tmp_path)
    assert "\n" not in str(error.value) and "weights_only" not in str(error.value)
    assert not Evil.path.exists()
