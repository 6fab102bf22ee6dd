"""Model folders: weights and logits against `transformers`, round trips, what is refused."""

import dataclasses
import importlib
import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from transformers_twin import twin

from banel_jax import files
from banel_jax.models.language import huggingface, weight_files
from banel_jax.models.language.decoder import Decoder
from banel_jax.models.language.decoder_config import DecoderConfig

pytest.importorskip("safetensors")
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

CONFIG = DecoderConfig(7, 8, 2, 2, 1, 6, rope_theta=50.0, context=40, tied=False)


def random_params(config, dtype=jnp.float32):
    shapes = jax.eval_shape(Decoder(config).init, jax.random.key(0), jnp.zeros(1, jnp.int32))
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape), dtype), shapes["params"])


def written(folder, config=CONFIG, **changes):
    """A folder of the configuration, with changes to its config.json."""
    huggingface.save(folder, config, random_params(config))
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return folder


def assert_same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("shard", ["1GB", "20KB"])
@pytest.mark.parametrize("tied", [True, False])
def test_every_weight_of_transformers_arrives(tmp_path, tied, shard):
    model = twin(tie_word_embeddings=tied)
    model.save_pretrained(tmp_path, max_shard_size=shard)
    assert (len(list(tmp_path.glob("*.safetensors"))) > 1) == (shard == "20KB")
    config, params = huggingface.load(tmp_path)
    assert config == DecoderConfig(61, 32, 3, 4, 2, 44, 5e3, 1e-6, tied, 300)
    state = {name: x.detach().numpy() for name, x in model.state_dict().items()}
    layers = [jax.tree.map(lambda x, i=i: x[i], params["layers"]) for i in range(3)]
    for i, layer in enumerate(layers):
        prefix = f"model.layers.{i}."
        attention, mlp = prefix + "self_attn.", prefix + "mlp."
        for letter in "qkv":
            weight, bias = (state[f"{attention}{letter}_proj.{x}"] for x in ("weight", "bias"))
            np.testing.assert_array_equal(layer[letter]["kernel"], weight.T)
            np.testing.assert_array_equal(layer[letter]["bias"], bias)
        out = state[attention + "o_proj.weight"]
        np.testing.assert_array_equal(layer["attention_out"]["kernel"], out.T)
        for name in ("gate", "up", "down"):
            weight = state[f"{mlp}{name}_proj.weight"]
            np.testing.assert_array_equal(layer[name]["kernel"], weight.T)
        norms = state[prefix + "input_layernorm.weight"], layer["attention_norm"]["scale"]
        np.testing.assert_array_equal(*norms)
        norms = state[prefix + "post_attention_layernorm.weight"], layer["mlp_norm"]["scale"]
        np.testing.assert_array_equal(*norms)
    np.testing.assert_array_equal(params["embedding"], state["model.embed_tokens.weight"])
    np.testing.assert_array_equal(params["final_norm"]["scale"], state["model.norm.weight"])
    assert ("head" in params) != tied
    if not tied:
        np.testing.assert_array_equal(params["head"], state["lm_head.weight"])
    read = sum(x.size for x in jax.tree.leaves(params))
    assert read == sum(x.numel() for x in model.parameters())


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("shard_bytes", [10**9, 500])
def test_transformers_reads_what_is_written(tmp_path, tied, shard_bytes):
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    config = dataclasses.replace(CONFIG, tied=tied)
    params = random_params(config)
    huggingface.save(tmp_path, config, params, shard_bytes=shard_bytes)
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    tokens = np.arange(20) * 3 % 7
    with torch.inference_mode():
        expected = model(torch.tensor(tokens)[None]).logits[0].numpy()
    found = jax.jit(Decoder(config).apply)({"params": params}, jnp.asarray(tokens))
    np.testing.assert_allclose(found, expected, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("shard_bytes,files", [(10**9, 1), (1500, None)])
def test_round_trip(tmp_path, dtype, tied, shard_bytes, files):
    config = dataclasses.replace(CONFIG, tied=tied, param_dtype=dtype, dtype=jnp.bfloat16)
    params = random_params(config, dtype)
    huggingface.save(tmp_path, config, params, shard_bytes=shard_bytes)
    found = list(tmp_path.glob("*.safetensors"))
    assert len(found) == files if files else len(found) > 1
    # Names, shapes and type are the files' own, whatever the reader makes of them.
    tensors = {name: x for path in found for name, x in load_file(path).items()}
    assert tensors["model.layers.1.mlp.down_proj.weight"].shape == (8, 6)
    assert {x.dtype.name for x in tensors.values()} == {jnp.dtype(dtype).name}
    again, read = huggingface.load(tmp_path, param_dtype=dtype, dtype=jnp.bfloat16)
    assert again == config
    assert_same(read, params)


def test_weights_are_converted_as_they_are_read(tmp_path):
    params = random_params(CONFIG, jnp.bfloat16)
    huggingface.save(tmp_path, CONFIG, params)
    _, wide = huggingface.load(tmp_path)
    assert_same(wide, jax.tree.map(lambda x: x.astype(jnp.float32), params))


def test_shards_without_an_index_are_all_read(tmp_path):
    params = random_params(CONFIG)
    huggingface.save(tmp_path, CONFIG, params, shard_bytes=500)
    (tmp_path / weight_files.INDEX).unlink()
    assert_same(huggingface.load(tmp_path)[1], params)


def test_the_head_of_a_tied_model_may_be_there_if_it_is_the_embedding(tmp_path):
    config = dataclasses.replace(CONFIG, tied=True)
    path = written(tmp_path, config) / "model.safetensors"
    tensors = load_file(path)
    head = {"lm_head.weight": tensors["model.embed_tokens.weight"]}
    save_file(tensors | head, path)
    assert_same(huggingface.load(tmp_path)[1], random_params(config))
    save_file(tensors | {"lm_head.weight": head["lm_head.weight"] + 1}, path)
    with pytest.raises(ValueError, match=r"lm_head\.weight in"):
        huggingface.load(tmp_path)


def test_one_error_lists_all_tensors_that_do_not_fit(tmp_path):
    path = written(tmp_path) / "model.safetensors"
    tensors = load_file(path)
    del tensors["model.norm.weight"], tensors["lm_head.weight"]
    tensors["model.layers.2.mlp.up_proj.weight"] = np.zeros((6, 8), np.float32)
    turned = tensors["model.layers.0.mlp.up_proj.weight"].T
    tensors["model.layers.0.mlp.up_proj.weight"] = np.ascontiguousarray(turned)
    save_file(tensors, path)
    with pytest.raises(ValueError) as error:
        huggingface.load(tmp_path)
    for line in (
        "4 tensors",
        "model.norm.weight is missing",
        "lm_head.weight is missing",
        "model.layers.2.mlp.up_proj.weight is not of this model",
        "model.layers.0.mlp.up_proj.weight is [8, 6], not [6, 8]",
    ):
        assert line in str(error.value)


def test_a_folder_that_lacks_files_is_refused(tmp_path):
    huggingface.save(tmp_path, CONFIG, random_params(CONFIG), shard_bytes=500)
    lost = sorted(tmp_path.glob("*.safetensors"))[1]
    lost.unlink()
    with pytest.raises(FileNotFoundError, match=lost.name):
        huggingface.load(tmp_path)
    for path in (*tmp_path.glob("*.safetensors"), tmp_path / weight_files.INDEX):
        path.unlink()
    with pytest.raises(FileNotFoundError, match="safetensors"):
        huggingface.load(tmp_path)
    (tmp_path / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"has no config\.json; complete the folder"):
        huggingface.load(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        dict(model_type="gemma"),
        dict(hidden_act="relu"),
        dict(use_sliding_window=True),
        dict(rope_scaling={"type": "yarn", "factor": 4.0}),
        dict(rope_parameters={"rope_type": "yarn", "rope_theta": 1e6, "factor": 4.0}),
        dict(attention_bias=False),
    ],
)
def test_other_architectures_are_refused(tmp_path, change):
    written(tmp_path, **change)
    name = next(iter(change))
    with pytest.raises(ValueError, match=f"config.json: {name}=.* not supported"):
        huggingface.load(tmp_path)


def test_only_parameters_of_the_configuration_are_written(tmp_path):
    params = random_params(CONFIG)
    with pytest.raises(ValueError, match=r"k_proj.weight is \[4, 8\], not \[8, 8\]"):
        huggingface.save(tmp_path, dataclasses.replace(CONFIG, num_kv_heads=2), params)
    with pytest.raises(ValueError, match=r"lm_head\.weight is missing"):
        huggingface.save(tmp_path, CONFIG, {k: v for k, v in params.items() if k != "head"})
    with pytest.raises(ValueError, match="more is not of this model"):
        huggingface.save(tmp_path, CONFIG, params | {"more": jnp.zeros(3)})
    assert not list(tmp_path.iterdir())
    huggingface.save(tmp_path, CONFIG, params)
    with pytest.raises(FileExistsError, match="another folder"):
        huggingface.save(tmp_path, CONFIG, params)


@pytest.mark.parametrize("umask,mode", [(0o022, 0o644), (0o007, 0o660)])
def test_modes_follow_the_umask(tmp_path, umask, mode):
    (tmp_path / "like").mkdir()
    (tmp_path / "like" / "tokenizer.json").write_text("{}")
    (tmp_path / "like" / "tokenizer.json").chmod(0o600)
    before = os.umask(umask)
    try:
        save(tmp_path / "new", like=tmp_path / "like")
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "new").iterdir()}
    assert len(modes) > 4 and set(modes.values()) == {mode}


def save(folder, params=None, **settings):
    params = random_params(CONFIG) if params is None else params
    huggingface.save(folder, CONFIG, params, shard_bytes=500, **settings)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("failing", ["os.replace", "safetensors.numpy.save_file"])
def test_a_save_that_fails_anywhere_leaves_nothing_and_can_be_repeated(
    tmp_path, monkeypatch, failing, error
):
    module, name = failing.rsplit(".", 1)
    module = importlib.import_module(module)
    whole, calls = getattr(module, name), []

    def counted(*args, **kwargs):
        calls.append(args)
        if len(calls) == limit:
            raise error
        return whole(*args, **kwargs)

    monkeypatch.setattr(module, name, counted)
    limit = 0
    save(tmp_path / "whole")
    assert len(calls) > 3
    for place in (1, 2, len(calls)):
        limit = place
        calls.clear()
        with pytest.raises(type(error)):
            save(tmp_path / "new")
        assert not any(
            x.name.endswith(("safetensors", "index.json")) or x.is_dir()
            for x in (tmp_path / "new").iterdir()
        )
    save(tmp_path / "new")
    assert_same(huggingface.load(tmp_path / "new")[1], random_params(CONFIG))


def test_a_killed_save_can_be_repeated(tmp_path, monkeypatch):
    replace, calls = os.replace, []

    def counted(*args):
        calls.append(args)
        if len(calls) == limit:
            raise KeyboardInterrupt
        return replace(*args)

    limit = 0
    monkeypatch.setattr("os.replace", counted)
    save(tmp_path / "whole")
    last = len(calls)
    for place in (2, last - 2, last):
        limit, folder = place, tmp_path / str(place)
        calls.clear()
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            folder.mkdir()
            patch.setattr(weight_files, "_clear", lambda folder: None)  # as nothing is, by a kill
            save(folder)
        assert any(folder.iterdir())
        with pytest.raises(FileNotFoundError):
            huggingface.load(folder)
        weight_files.check_free(folder)
        huggingface.save(folder, CONFIG, random_params(CONFIG), shard_bytes=900)
        assert_same(huggingface.load(folder)[1], random_params(CONFIG))
        assert not [path for path in folder.iterdir() if path.name.startswith(".")]


def test_a_full_disk_is_named(tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("safetensors.numpy.save_file", full)
    with pytest.raises(OSError, match=r"model-00001-of-.*\.safetensors") as error:
        save(tmp_path / "new")
    assert files.is_full(error.value)


def test_a_model_is_not_saved_onto_what_it_is_read_from(tmp_path, monkeypatch):
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "tokenizer.json").write_text("{}")
    (tmp_path / "link").symlink_to(tmp_path / "m")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for name in (tmp_path / "m", tmp_path / "link", "~/m", "m", "m/../link/"):
        for args in ((name, tmp_path / "m"), (tmp_path / "m", name)):
            with pytest.raises(ValueError, match="is the model that is read"):
                save(args[0], like=args[1])
    (tmp_path / "file").write_text("")
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    for name in ("file", "nowhere"):
        with pytest.raises(NotADirectoryError, match=f"folder=.*{name} is no folder"):
            save(tmp_path / name)
    save("~/new", like="~/m")
    assert_same(huggingface.load("~/new")[1], random_params(CONFIG))
    assert (tmp_path / "new" / "tokenizer.json").exists()


def test_what_diverged_is_not_saved(tmp_path):
    params = random_params(CONFIG)
    of = params["layers"]["k"]
    of["bias"] = of["bias"].at[1, 2].set(jnp.nan)
    with pytest.raises(ValueError, match=r"layers.1.self_attn.k_proj.bias of .* NaN"):
        save(tmp_path / "new", params)
    assert not (tmp_path / "new").exists()


def test_no_infinity_comes_of_a_type_that_is_too_small(tmp_path):
    params = jax.tree.map(lambda x: 1e6 * x, random_params(CONFIG))
    save(tmp_path, params)
    with pytest.raises(ValueError, match=r"infinity \(as float16\)"):
        huggingface.load(tmp_path, param_dtype=jnp.float16)
    with pytest.raises(ValueError, match="param_dtype='float33' must be a type of floats"):
        huggingface.load(tmp_path, param_dtype="float33")


def test_a_copy_keeps_the_tokenizer_and_token_ids(tmp_path):
    first = written(tmp_path / "first", eos_token_id=[5, 6])
    (first / "tokenizer.json").write_text("{}")
    huggingface.save(tmp_path / "second", CONFIG, random_params(CONFIG), like=first)
    second = tmp_path / "second"
    assert (second / "tokenizer.json").read_text() == "{}"
    assert json.loads((second / "config.json").read_text())["eos_token_id"] == [5, 6]


WITHOUT = """
import sys
for name in ("safetensors", "transformers", "torch"):
    sys.modules[name] = None
from banel_jax.models.language import huggingface, responses, tokenizer
for call in (lambda: huggingface.load(sys.argv[1]), lambda: tokenizer.tokenizer(sys.argv[1])):
    try:
        call()
    except ValueError as error:
        assert "banel_jax[gsm8k]" in str(error), error
    else:
        raise AssertionError("nothing was missing")
"""


def test_what_is_not_installed_is_missed_only_where_it_is_needed(tmp_path):
    written(tmp_path)
    subprocess.run([sys.executable, "-c", WITHOUT, str(tmp_path)], check=True, timeout=120)
