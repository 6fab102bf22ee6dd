"""Families by their published configurations and by tensors written by hand, without PyTorch."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from banel_jax.models.language import huggingface, stacking
from banel_jax.models.language.decoder import Decoder
from banel_jax.models.language.decoder_config import QWEN2_5_0_5B, DecoderConfig, RopeScaling
from banel_jax.models.language.huggingface_config import read_config, write_config

pytest.importorskip("safetensors")
from safetensors.numpy import load_file, save_file

CONFIG = DecoderConfig(7, 8, 2, 2, 1, 6, rope_theta=50.0, context=40, tied=False)


def random_params(config):
    shapes = jax.eval_shape(Decoder(config).init, jax.random.key(0), jnp.zeros(1, jnp.int32))
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape), "f4"), shapes["params"])


SHARED = dict(
    attention_dropout=0.0, hidden_act="silu", initializer_range=0.02, torch_dtype="bfloat16",
    transformers_version="4.44.0", use_cache=True, bos_token_id=1, eos_token_id=2,
)  # fmt: skip
PUBLISHED = {  # as their folders have it, and how many parameters they have
    "Qwen2.5-0.5B": (494_032_768, SHARED | dict(
        architectures=["Qwen2ForCausalLM"], model_type="qwen2", hidden_size=896,
        intermediate_size=4864, max_position_embeddings=32768, max_window_layers=24,
        num_attention_heads=14, num_hidden_layers=24, num_key_value_heads=2, rms_norm_eps=1e-06,
        rope_theta=1000000.0, sliding_window=32768, tie_word_embeddings=True,
        use_sliding_window=False, vocab_size=151936,
    )),
    "SmolLM2-135M": (134_515_008, SHARED | dict(
        architectures=["LlamaForCausalLM"], model_type="llama", attention_bias=False,
        hidden_size=576, intermediate_size=1536, is_llama_config=True,
        max_position_embeddings=8192, mlp_bias=False, num_attention_heads=9, num_hidden_layers=30,
        num_key_value_heads=3, pretraining_tp=1, rms_norm_eps=1e-05, rope_interleaved=False,
        rope_scaling=None, rope_theta=100000, tie_word_embeddings=True, vocab_size=49152,
    )),
    "TinyLlama-1.1B": (1_100_048_384, SHARED | dict(
        architectures=["LlamaForCausalLM"], model_type="llama", hidden_size=2048,
        intermediate_size=5632, max_position_embeddings=2048, num_attention_heads=32,
        num_hidden_layers=22, num_key_value_heads=4, pretraining_tp=1, rms_norm_eps=1e-05,
        rope_scaling=None, tie_word_embeddings=False, vocab_size=32000,
    )),
    "Llama-3.2-1B": (1_235_814_400, SHARED | dict(
        architectures=["LlamaForCausalLM"], model_type="llama", head_dim=64, hidden_size=2048,
        intermediate_size=8192, max_position_embeddings=131072, num_attention_heads=32,
        num_hidden_layers=16, num_key_value_heads=8, rms_norm_eps=1e-05, rope_theta=500000.0,
        rope_scaling=dict(
            factor=32.0, high_freq_factor=4.0, low_freq_factor=1.0,
            original_max_position_embeddings=8192, rope_type="llama3",
        ),
        tie_word_embeddings=True, vocab_size=128256, attention_bias=False, mlp_bias=False,
    )),
    "Mistral-7B-v0.3": (7_248_023_552, SHARED | dict(
        architectures=["MistralForCausalLM"], model_type="mistral", hidden_size=4096,
        intermediate_size=14336, max_position_embeddings=32768, num_attention_heads=32,
        num_hidden_layers=32, num_key_value_heads=8, rms_norm_eps=1e-05, rope_theta=1000000.0,
        sliding_window=None, tie_word_embeddings=False, vocab_size=32768,
    )),
    "Qwen3-0.6B": (596_049_920, SHARED | dict(
        architectures=["Qwen3ForCausalLM"], model_type="qwen3", attention_bias=False, head_dim=128,
        hidden_size=1024, intermediate_size=3072, max_position_embeddings=40960,
        max_window_layers=28, num_attention_heads=16, num_hidden_layers=28, num_key_value_heads=8,
        rms_norm_eps=1e-06, rope_scaling=None, rope_theta=1000000, sliding_window=None,
        tie_word_embeddings=True, use_sliding_window=False, vocab_size=151936,
    )),
    "distilgpt2": (81_912_576, dict(
        _num_labels=1, activation_function="gelu_new", architectures=["GPT2LMHeadModel"],
        attn_pdrop=0.1, bos_token_id=50256, embd_pdrop=0.1, eos_token_id=50256,
        id2label={"0": "LABEL_0"}, initializer_range=0.02, label2id={"LABEL_0": 0},
        layer_norm_epsilon=1e-05, model_type="gpt2", n_ctx=1024, n_embd=768, n_head=12, n_layer=6,
        n_positions=1024, resid_pdrop=0.1, summary_activation=None, summary_first_dropout=0.1,
        summary_proj_to_labels=True, summary_type="cls_index", summary_use_proj=True,
        task_specific_params={"text-generation": {"do_sample": True}}, vocab_size=50257,
    )),
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_configurations_are_read_and_written(tmp_path, name):
    size, values = PUBLISHED[name]
    (tmp_path / "config.json").write_text(json.dumps(values))
    config = read_config(tmp_path)
    if name.startswith("Qwen2"):
        assert config == QWEN2_5_0_5B
    count = jax.eval_shape(Decoder(config).init, jax.random.key(0), jnp.zeros(1, jnp.int32))
    assert sum(x.size for x in jax.tree.leaves(count)) == size
    write_config(tmp_path, config, "bfloat16", values)
    assert read_config(tmp_path) == config
    written = json.loads((tmp_path / "config.json").read_text())
    assert {key: written[key] for key in values if key in written and key != "rope_scaling"} == {
        key: values[key] for key in values if key in written and key != "rope_scaling"
    }
    assert written["model_type"] == values["model_type"] and "eos_token_id" in written


def test_a_window_that_hides_nothing_is_no_matter_and_any_other_is_refused(tmp_path):
    values = PUBLISHED["Mistral-7B-v0.3"][1]
    expected = None
    for window in (None, 32768, 100_000, 4096, 32767, True, "missing"):
        given = values | {"sliding_window": window}
        if window == "missing":
            del given["sliding_window"]  # which stands for 4096
        (tmp_path / "config.json").write_text(json.dumps(given))
        if window in (None, 32768, 100_000):
            expected = expected or read_config(tmp_path)
            assert read_config(tmp_path) == expected
        else:
            with pytest.raises(ValueError, match=r"sliding_window=(4096|32767|True) is not supp"):
                read_config(tmp_path)


def test_a_model_that_no_family_has_is_not_written(tmp_path):
    config = dataclasses.replace(CONFIG, norm="layer")
    with pytest.raises(ValueError, match="no family of models"):
        huggingface.save(tmp_path, config, random_params(config))
    assert not list(tmp_path.iterdir())


def test_the_values_of_another_familys_folder_are_not_taken_over(tmp_path):
    like = tmp_path / "like"
    like.mkdir()
    values = PUBLISHED["distilgpt2"][1]
    (like / "config.json").write_text(json.dumps(values))
    huggingface.save(tmp_path / "new", CONFIG, random_params(CONFIG), like=like)
    written = json.loads((tmp_path / "new" / "config.json").read_text())
    assert written["eos_token_id"] == 50256 and not {"n_embd", "activation_function"} & set(written)
    assert huggingface.load(tmp_path / "new")[0] == CONFIG


LLAMA3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0)
OTHERWISE = {  # keys and values that change the numbers of a family, or might
    "Qwen2.5-0.5B": [
        dict(use_sliding_window=True), dict(attention_bias=False), dict(mlp_bias=True),
        dict(layer_types=["full_attention", "sliding_attention"]), dict(n_embd=896),
        dict(rope_scaling=LLAMA3 | dict(rope_type="yarn")), dict(final_logit_softcapping=30.0),
    ],
    "SmolLM2-135M": [
        dict(rope_interleaved=True), dict(hidden_act="relu2"), dict(qk_norm=True),
        dict(rope_scaling={"type": "dynamic", "factor": 2.0}), dict(partial_rotary_factor=0.5),
        dict(rope_parameters={"rope_type": "longrope"}), dict(attention_bias="yes"),
        dict(quantization_config={"bits": 4}), dict(embedding_multiplier=2.0),
        dict(sliding_attention={}), dict(head_dim=7), dict(mlp_bias=1),
    ],
    "Mistral-7B-v0.3": [dict(attention_bias=True), dict(num_local_experts=8)],
    "Qwen3-0.6B": [dict(use_sliding_window=True), dict(mlp_bias=True), dict(head_dim=True)],
    "distilgpt2": [
        dict(scale_attn_weights=False), dict(scale_attn_by_inverse_layer_idx=True),
        dict(activation_function="relu"), dict(add_cross_attention=True), dict(n_head=7),
        dict(rope_scaling=LLAMA3), dict(hidden_size=64), dict(num_key_value_heads=4),
        dict(layer_norm_epsilon=0), dict(n_inner=0), dict(is_encoder_decoder=True),
        dict(pruned_heads={"0": [1]}), dict(rope_theta=1e4),
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    "name,changes", [(name, each) for name, rows in OTHERWISE.items() for each in rows]
)
def test_what_would_change_the_numbers_is_refused_by_name(tmp_path, name, changes):
    (tmp_path / "config.json").write_text(json.dumps(PUBLISHED[name][1] | changes))
    with pytest.raises(ValueError, match=rf"config\.json: .*{next(iter(changes))}\b") as error:
        read_config(tmp_path)
    assert "\n" not in str(error.value)


def test_llama3_is_of_the_context_where_no_other_length_is_named(tmp_path):
    """In the order of `transformers`: beside the others, with the scaling, the context."""
    name, length = "SmolLM2-135M", "original_max_position_embeddings"
    for place in ("rope_scaling", "rope_parameters"):
        for inner, outer, expected in ((None, None, 8192), (64, None, 64), (64, 32, 32)):
            values = PUBLISHED[name][1] | {place: LLAMA3 | {length: inner}, length: outer}
            (tmp_path / "config.json").write_text(json.dumps(values))
            expected_scaling = RopeScaling("llama3", 8.0, 1.0, 4.0, expected)
            found = read_config(tmp_path)
            assert (found.rope_scaling, found.rope_theta) == (expected_scaling, 1e5)


@pytest.mark.parametrize("name", ["Qwen2", "Llama", "Mistral", "Qwen3", "GPT2"])
def test_every_key_that_transformers_writes_is_known(tmp_path, name):
    transformers = pytest.importorskip("transformers")
    settings = dict(sliding_window=None) if name == "Mistral" else {}
    values = getattr(transformers, f"{name}Config")(**settings).to_json_string(use_diff=False)
    (tmp_path / "config.json").write_text(values)
    assert read_config(tmp_path).vocab_size == json.loads(values)["vocab_size"]


@pytest.mark.parametrize("prefix", ["transformer.", ""])
def test_a_folder_of_gpt2_tensor_by_tensor(tmp_path, prefix):
    """Written here by hand: the three of attention side by side, [in, out], with buffers."""
    rng = np.random.default_rng(0)
    made = lambda *shape: rng.normal(size=shape).astype(np.float32)
    tensors = {"wte.weight": made(7, 4), "wpe.weight": made(5, 4)}
    layer = {
        "ln_1.weight": made(4), "ln_1.bias": made(4), "attn.c_attn.weight": made(4, 12),
        "attn.c_attn.bias": made(12), "attn.c_proj.weight": made(4, 4), "attn.c_proj.bias": made(4),
        "ln_2.weight": made(4), "ln_2.bias": made(4), "mlp.c_fc.weight": made(4, 16),
        "mlp.c_fc.bias": made(16), "mlp.c_proj.weight": made(16, 4), "mlp.c_proj.bias": made(4),
    }  # fmt: skip
    tensors |= {f"h.0.{name}": x for name, x in layer.items()}
    tensors |= {"ln_f.weight": made(4), "ln_f.bias": made(4)}
    buffers = {"h.0.attn.bias": np.ones((1, 1, 5, 5), bool), "h.0.attn.masked_bias": np.float32(-1)}
    every = {prefix + name: np.asarray(x) for name, x in (tensors | buffers).items()}
    save_file(every, tmp_path / "model.safetensors")
    values = dict(model_type="gpt2", vocab_size=7, n_embd=4, n_head=2, n_layer=1, n_positions=5)
    (tmp_path / "config.json").write_text(json.dumps(values))
    config, params = huggingface.load(tmp_path)
    flat = jax.tree.map(np.asarray, stacking.by_layer(params))
    for i, letter in enumerate("qkv"):
        own = np.s_[..., 4 * i : 4 * i + 4]
        kernel, bias = (layer[f"attn.c_attn.{x}"][own] for x in ("weight", "bias"))
        np.testing.assert_array_equal(flat[f"layer_0/{letter}/kernel"], kernel)
        np.testing.assert_array_equal(flat[f"layer_0/{letter}/bias"], bias)
    np.testing.assert_array_equal(flat["layer_0/up/kernel"], layer["mlp.c_fc.weight"])
    np.testing.assert_array_equal(flat["layer_0/down/kernel"], layer["mlp.c_proj.weight"])
    np.testing.assert_array_equal(flat["layer_0/attention_norm/bias"], layer["ln_1.bias"])
    np.testing.assert_array_equal(flat["position_table"], tensors["wpe.weight"])
    assert sum(x.size for x in flat.values()) == sum(x.size for x in tensors.values())
    huggingface.save(tmp_path / "again", config, params)
    again = load_file(tmp_path / "again" / "model.safetensors")
    assert again.keys() == {f"transformer.{name}" for name in tensors}
    for name, x in tensors.items():
        np.testing.assert_array_equal(again[f"transformer.{name}"], x)
