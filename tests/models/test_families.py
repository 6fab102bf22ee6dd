"""Families of models against `transformers`: every weight, the logits, and what is likeliest."""

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
