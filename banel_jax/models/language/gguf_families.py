"""Architectures of GGUF files in Hugging Face's terms: `config.json`'s values, and tensors' names.

Of an architecture's metadata every key is known: it is a field of the model, is held to the value
that is supported, or changes nothing. One that is not may change the numbers, and is refused.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from banel_jax.checks import one_line
from banel_jax.models.language.gguf_file import ANEW, GgufFile
from banel_jax.models.language.gguf_rope import FACTORS, rope_scaling

SIZES = {  # keys of the metadata, and of config.json
    "block_count": "num_hidden_layers",
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
}
ROTARY = (  # keys of what has rotary positions, beside those
    "attention.head_count_kv", "attention.key_length", "attention.value_length", "rope.freq_base",
    "rope.dimension_count", "rope.scaling.type", "rope.scaling.factor", "rope.scale_linear",
)  # fmt: skip
LAYER, BLOCK = "model.layers.{}.", "blk.{}."
TENSORS = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    BLOCK + "attn_norm": LAYER + "input_layernorm",
    BLOCK + "attn_q": LAYER + "self_attn.q_proj",
    BLOCK + "attn_k": LAYER + "self_attn.k_proj",
    BLOCK + "attn_v": LAYER + "self_attn.v_proj",
    BLOCK + "attn_q_norm": LAYER + "self_attn.q_norm",
    BLOCK + "attn_k_norm": LAYER + "self_attn.k_norm",
    BLOCK + "attn_output": LAYER + "self_attn.o_proj",
    BLOCK + "ffn_norm": LAYER + "post_attention_layernorm",
    BLOCK + "ffn_gate": LAYER + "mlp.gate_proj",
    BLOCK + "ffn_up": LAYER + "mlp.up_proj",
    BLOCK + "ffn_down": LAYER + "mlp.down_proj",
}
GPT2_LAYER = "transformer.h.{}."
GPT2_TENSORS = {
    "token_embd": "transformer.wte",
    "position_embd": "transformer.wpe",
    "output_norm": "transformer.ln_f",
    "output": "lm_head",
    BLOCK + "attn_norm": GPT2_LAYER + "ln_1",
    BLOCK + "attn_qkv": GPT2_LAYER + "attn.c_attn",
    BLOCK + "attn_output": GPT2_LAYER + "attn.c_proj",
    BLOCK + "ffn_norm": GPT2_LAYER + "ln_2",
    BLOCK + "ffn_up": GPT2_LAYER + "mlp.c_fc",
    BLOCK + "ffn_down": GPT2_LAYER + "mlp.c_proj",
}


HEADS = {BLOCK + "attn_q": "num_attention_heads", BLOCK + "attn_k": "num_key_value_heads"}


class Source(NamedTuple):
    """A tensor of a folder, in the file.

    Attributes:
      name: there.
      stored: its shape there.
      heads: whose halves, which are turned together, are interleaved there; 0 for none.
      transposed: whether it is.
    """

    name: str
    stored: tuple[int, ...]
    heads: int
    transposed: bool

    @property
    def shape(self) -> tuple[int, ...]:
        """In the folder."""
        return self.stored[::-1] if self.transposed else self.stored

    def turned(self, values: np.ndarray) -> np.ndarray:
        """From the file's form to the folder's."""
        if self.transposed:
            return values.T
        if not self.heads:
            return values
        pairs = values.reshape(self.heads, -1, 2, *values.shape[1:])
        return pairs.swapaxes(1, 2).reshape(values.shape)


class Architecture(NamedTuple):
    """What a value of `general.architecture` means.

    Attributes:
      model: the class of `transformers`.
      sizes: keys of the metadata that must be there, and of config.json.
      tensors: names in a GGUF file, and in a folder.
      settings: of config.json, the same for all its models.
      interleaved: whether q and k hold the two halves that are turned together one by one.
      transposed: whether a folder has matrices as [in, out].
    """

    model: str
    sizes: dict[str, str] = SIZES
    tensors: dict[str, str] = TENSORS
    settings: Mapping[str, Any] = MappingProxyType({"hidden_act": "silu"})
    interleaved: bool = False
    transposed: bool = False


ARCHITECTURES = {
    "llama": Architecture("LlamaForCausalLM", interleaved=True),
    "qwen2": Architecture("Qwen2ForCausalLM"),
    "qwen3": Architecture("Qwen3ForCausalLM"),
    "gpt2": Architecture(
        "GPT2LMHeadModel",
        {
            "block_count": "n_layer",
            "context_length": "n_positions",
            "embedding_length": "n_embd",
            "feed_forward_length": "n_inner",
            "attention.head_count": "n_head",
            "attention.layer_norm_epsilon": "layer_norm_epsilon",
        },
        GPT2_TENSORS,
        {"activation_function": "gelu_new"},
        transposed=True,
    ),
}
CHANGES_NOTHING = re.compile(
    r"vocab_size|tensor_data_layout|rope\.scaling\.(finetuned|original_context_length)"
    r"|expert_used_count"
)
SUPPORTED = {"attention.causal": True, "expert_count": 0}


def architecture(file: GgufFile) -> Architecture:
    """Of a file.

    Raises:
      ValueError: for one that is not supported, and for what is no model.
    """
    kind, name = file.text("general.type", "model"), _name(file)
    if kind != "model":
        raise ValueError(f"{file.path} is of type {one_line(kind)!r}; name the file of a model")
    if name not in ARCHITECTURES:
        raise ValueError(
            f"{file.path}: the architecture {one_line(name)!r} is not supported, only "
            f"{', '.join(ARCHITECTURES)} are; name a model of one of them"
        )
    return ARCHITECTURES[name]


def _name(file):
    if "general.architecture" not in file.metadata:
        raise ValueError(f"{file.path} has no general.architecture in its metadata; {ANEW}")
    return file.text("general.architecture")


def config(file: GgufFile) -> dict[str, Any]:
    """The values of config.json that say what is computed.

    Raises:
      ValueError: where one is missing, or not supported.
    """
    of, name = architecture(file), _name(file)
    get = lambda key, default=None: file.number(f"{name}.{key}", default)
    values = {theirs: get(key) for key, theirs in of.sizes.items()}
    known = {*of.sizes, *SUPPORTED}
    for key, value in SUPPORTED.items():
        if file.metadata.get(f"{name}.{key}", value) != value:
            raise ValueError(f"{file.path}: {name}.{key} is not supported, only {value!r} is")
    values |= {"model_type": name, "architectures": [of.model], **of.settings}
    values["vocab_size"] = _shape(file, "token_embd.weight")[0]
    values["tie_word_embeddings"] = "output.weight" not in file.tensors
    if of.sizes is SIZES:
        heads = values["num_attention_heads"]
        values["num_key_value_heads"] = get("attention.head_count_kv", heads)
        width = get("attention.key_length", values["hidden_size"] // max(heads, 1))
        for key in ("attention.value_length", "rope.dimension_count"):
            if get(key, width) != width:
                raise ValueError(
                    f"{file.path}: {name}.{key}={get(key)} is not supported, only a head's "
                    f"width, {width}, is"
                )
        values |= {"head_dim": width, "rope_theta": get("rope.freq_base", 10000.0)}
        values["rope_scaling"] = rope_scaling(file, name, width, values["rope_theta"])
        known |= {*ROTARY}
    if of.interleaved:
        values["attention_bias"] = "blk.0.attn_q.bias" in file.tensors
        values["mlp_bias"] = "blk.0.ffn_up.bias" in file.tensors
    own = [key.removeprefix(f"{name}.") for key in file.metadata if key.startswith(f"{name}.")]
    unknown = [key for key in own if key not in known and not CHANGES_NOTHING.fullmatch(key)]
    if unknown:
        listed = one_line(", ".join(f"{name}.{key}" for key in unknown))
        raise ValueError(
            f"{file.path}: {listed} not known here, and may change what is computed; give a model "
            "without"
        )
    return values


def _shape(file, name):
    if name not in file.tensors:
        raise ValueError(f"{file.path} has no tensor {name}; {ANEW}")
    return file.tensors[name].shape


def sources(file: GgufFile, values: dict[str, Any]) -> dict[str, Source]:
    """Where each tensor of a folder comes from; one that is not known keeps its name.

    Args:
      file: of a model.
      values: its `config`.
    """
    of, found = architecture(file), {}
    for name, tensor in file.tensors.items():
        if name == FACTORS:
            continue
        number = re.match(r"blk\.(\d+)\.", name)
        form, _, ending = re.sub(r"^blk\.\d+\.", BLOCK, name).rpartition(".")
        theirs = of.tensors.get(form) if ending in ("weight", "bias") else None
        heads = 0
        if of.interleaved and form in HEADS:
            heads = values[HEADS[form]]
        matrix = form.startswith(BLOCK) and len(tensor.shape) == 2
        layer = number[1] if number else ""
        theirs = f"{theirs.format(layer)}.{ending}" if theirs else name
        found[theirs] = Source(name, tensor.shape, heads, of.transposed and matrix)
    return found
