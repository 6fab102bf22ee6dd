"""GGUF files that make no folder: what is amiss is one line that names the file."""

import json
import sys

import forked
import numpy as np
import pytest
from gguf_files import in_gguf, metadata, model, weights, write

from banel_jax.commands import priors
from banel_jax.commands.settings import What
from banel_jax.models.language import gguf, huggingface
from experiments.gsm8k import model as gsm8k_model

LLAMA = {
    "vocab_size": 40, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
    "intermediate_size": 64,
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("llama", {"block_count": None}, "no llama.block_count in its metadata"),
        ("llama", {"attention.head_count": None}, "no llama.attention.head_count"),
        ("qwen2", {"attention.layer_norm_rms_epsilon": None}, "layer_norm_rms_epsilon"),
        ("gpt2", {"context_length": None}, "no gpt2.context_length"),
        ("llama", {"block_count": "two"}, "llama.block_count='two' must be a number"),
        ("llama", {"block_count": 3}, "blk|layers.2"),
        ("llama", {"block_count": 10**6}, "too few|missing"),
        ("llama", {"embedding_length": 64}, "do not fit"),
        ("llama", {"attention.head_count": 0}, "num_attention_heads|head_count"),
        ("llama", {"attention.head_count": 5}, "heads|head_count"),
        ("llama", {"attention.head_count": [4, 2]}, "not the same in all layers"),
        ("llama", {"expert_count": 8}, "llama.expert_count is not supported"),
        ("llama", {"attention.causal": False}, "llama.attention.causal is not supported"),
        ("llama", {"attention.sliding_window": 16}, "llama.attention.sliding_window not known"),
        ("llama", {"logit_scale": 0.5}, "llama.logit_scale not known here"),
        ("llama", {"rope.dimension_count": 4}, "llama.rope.dimension_count=4 is not supported"),
        ("qwen3", {"attention.value_length": 8}, "value_length=8 is not supported"),
        ("llama", {"rope.scaling.type": "yarn"}, "scaling.type='yarn' is not supported"),
        ("llama", {"rope.scaling.type": 3}, "must be a text"),
        ("llama", {"rope.scaling.factor": "x"}, "must be a number"),
        ("gpt2", {"rope.freq_base": 3.0}, "gpt2.rope.freq_base not known"),
    ],
)
def test_what_is_not_supported_is_one_line_that_names_it(tmp_path, name, changes, said):
    path = model(tmp_path / "a.gguf", name, **changes)[0]
    with pytest.raises(ValueError, match=said) as error:
        gguf.convert(path, tmp_path / "it")
    assert "a.gguf" in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "it").exists() or not list((tmp_path / "it").iterdir())


@pytest.mark.parametrize(
    ("name", "more", "said"),
    [
        (
            "gemma3",
            {},
            "the architecture 'gemma3' is not supported, only llama, qwen2, qwen3, gpt2",
        ),
        (None, {}, "no general.architecture"),
        ("llama", {"general.type": "adapter"}, "is of type 'adapter'"),
    ],
)
def test_what_is_no_model_of_ours_is_named(tmp_path, name, more, said):
    values = metadata("llama") | more
    path = write(tmp_path / "a.gguf", name, values, in_gguf("llama", weights("llama")))
    with pytest.raises(ValueError, match=said):
        gguf.convert(path, tmp_path / "it")


def test_tensors_that_are_missing_or_too_many_are_named(tmp_path):
    values, held = metadata("llama"), in_gguf("llama", weights("llama"))
    for dropped, added, said in (
        ("blk.1.ffn_up.weight", None, "layers.1.mlp.up_proj.weight is missing"),
        ("token_embd.weight", None, "no tensor token_embd.weight"),
        (None, "blk.0.attn_sinks.weight", "blk.0.attn_sinks.weight is not of this model"),
        (None, "blk.7.attn_q.weight", "layers.7.self_attn.q_proj.weight is not of this model"),
    ):
        some = {key: value for key, value in held.items() if key != dropped}
        some |= {added: np.ones((2, 2), np.float32)} if added else {}
        path = write(tmp_path / "a.gguf", "llama", values, some)
        with pytest.raises(ValueError, match=said):
            gguf.convert(path, tmp_path / "it")


def test_a_weight_that_is_not_finite_is_named_and_leaves_nothing_behind(tmp_path):
    values, held = metadata("llama"), in_gguf("llama", weights("llama"))
    held["blk.1.ffn_up.weight"][3, 3] = np.nan
    path = write(tmp_path / "a.gguf", "llama", values, held)
    with pytest.raises(ValueError, match=r"blk\.1\.ffn_up\.weight in .*a\.gguf holds NaN"):
        gguf.convert(path, tmp_path / "it")
    assert not list((tmp_path / "it").iterdir())


def test_a_file_of_gguf_in_place_of_a_folder_is_to_be_converted(tmp_path):
    path = model(tmp_path / "a.gguf", "llama")[0]
    converted = "make a folder of it: python -m experiments.convert FILE FOLDER"
    with pytest.raises(NotADirectoryError, match=rf"a\.gguf is a file; {converted}"):
        huggingface.load(path)
    with pytest.raises(NotADirectoryError, match=converted):
        gsm8k_model.load(str(path), 8)
    with pytest.raises(ValueError, match=rf"--prior=.*a\.gguf is a file of GGUF; {converted}"):
        priors.prior(What(prior=str(path)))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"} | LLAMA))
    with pytest.raises(FileNotFoundError, match=converted):
        huggingface.load(tmp_path)


def test_without_the_package_the_extra_is_named(tmp_path, monkeypatch):
    path = model(tmp_path / "a.gguf", "llama")[0]
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(ValueError, match=r"this needs gguf: pip install 'banel_jax\[gguf\]'"):
        gguf.convert(path, tmp_path / "it")


def test_the_program_converts_and_tells_mistakes_in_one_line(tmp_path):
    path = str(model(tmp_path / "a.gguf", "llama")[0])
    to = str(tmp_path / "it")
    good, full, *bad = forked.ends(
        "import runpy; runpy.run_module('experiments.convert', run_name='__main__')",
        [[path, to], [path, to], [path], [], [path, to, "x"], [to + ".gguf", to + "2"]],
    )
    assert good[0] == 0 and good[1].startswith(f"written: {to} (")
    assert huggingface.load(to)[0].num_layers == 2
    said = (
        "give the file and the folder",
        "give the file",
        "unknown argument 'x'",
        "there is no file",
    )
    for (code, out, err), line in zip([full, *bad], ("holds a model already", *said), strict=True):
        assert code == 1 and not out and line in err
        assert err.startswith("error: ") and err.count("\n") == 1
