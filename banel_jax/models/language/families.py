"""The families of models that are read and written: what their files call the decoder's parts.

Names and defaults are those of `transformers`, whose configuration of a family says what a key
that is missing stands for.
"""

import re
from dataclasses import dataclass, field
from typing import Any

HEAD = "lm_head.weight"  # of a tied model it may be there, and is then the embedding


@dataclass(frozen=True)
class Family:
    """One family.

    Attributes:
      model_type, architecture: what config.json calls it, and the class with a head for tokens.
      fields: a key of config.json -> the fields of DecoderConfig that have its value.
      defaults: what a missing key stands for.
      fixed: fields of DecoderConfig that are the same in all models of the family.
      only: keys that change the numbers, and the one value that is supported.
      prefix: of the names of all tensors but the head's; files without a head may lack it.
      tensors: a tensor's name after the prefix, or the head's -> its place in the parameters, or
        several that it holds side by side. {} is a layer's number, whose place is within it.
      turned: whether linear weights are [out, in] in a file, and not [in, out] as in a `kernel`.
      ignored: a pattern of the tensors that are no weights.
    """

    model_type: str
    architecture: str
    fields: dict[str, tuple[str, ...]]
    defaults: dict[str, Any]
    fixed: dict[str, Any]
    tensors: dict[str, tuple[str, ...]]
    only: dict[str, Any] = field(default_factory=dict)
    prefix: str = "model."
    turned: bool = True
    ignored: str = r"(.*\.)?rotary_emb\.inv_freq"

    def key(self, name: str) -> str:
        """What config.json calls a field of DecoderConfig."""
        return next((key for key, names in self.fields.items() if name in names), name)


def _linear(tensor: str, place: str) -> dict[str, tuple[str, ...]]:
    return {f"{tensor}.weight": (f"{place}/kernel",), f"{tensor}.bias": (f"{place}/bias",)}


LAYER = "layers.{}."
ROTARY_FIELDS: dict[str, tuple[str, ...]] = {  # shared by all families with rotary positions
    "vocab_size": ("vocab_size",),
    "hidden_size": ("width",),
    "num_hidden_layers": ("num_layers",),
    "num_attention_heads": ("num_heads",),
    "num_key_value_heads": ("num_kv_heads",),
    "head_dim": ("head_dim",),
    "intermediate_size": ("mlp_width",),
    "hidden_act": ("activation",),
    "rms_norm_eps": ("norm_eps",),
    "max_position_embeddings": ("context",),
    "tie_word_embeddings": ("tied",),
}
ROTARY_DEFAULTS: dict[str, Any] = {
    "head_dim": None,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-6,
    "max_position_embeddings": 32768,
    "tie_word_embeddings": False,
}
ROTARY = dict(norm="rms", positions="rotary", gated=True)
ROTARY_TENSORS: dict[str, tuple[str, ...]] = {
    "embed_tokens.weight": ("embedding",),
    LAYER + "input_layernorm.weight": ("attention_norm/scale",),
    **_linear(LAYER + "self_attn.q_proj", "q"),
    **_linear(LAYER + "self_attn.k_proj", "k"),
    **_linear(LAYER + "self_attn.v_proj", "v"),
    LAYER + "self_attn.q_norm.weight": ("q_norm/scale",),
    LAYER + "self_attn.k_norm.weight": ("k_norm/scale",),
    **_linear(LAYER + "self_attn.o_proj", "attention_out"),
    LAYER + "post_attention_layernorm.weight": ("mlp_norm/scale",),
    **_linear(LAYER + "mlp.gate_proj", "gate"),
    **_linear(LAYER + "mlp.up_proj", "up"),
    **_linear(LAYER + "mlp.down_proj", "down"),
    "norm.weight": ("final_norm/scale",),
    HEAD: ("head",),
}
ATTENTION_BIAS = {"attention_bias": ("qkv_bias", "out_bias")}
QWEN2 = Family(
    model_type="qwen2",
    architecture="Qwen2ForCausalLM",
    fields=ROTARY_FIELDS,
    defaults=ROTARY_DEFAULTS,
    fixed=ROTARY | dict(qkv_bias=True, out_bias=False, mlp_bias=False, qk_norm=False),
    only={"attention_bias": True, "mlp_bias": False, "use_sliding_window": False},
    tensors=ROTARY_TENSORS,
)
LLAMA = Family(
    model_type="llama",
    architecture="LlamaForCausalLM",
    fields=ROTARY_FIELDS | ATTENTION_BIAS | {"mlp_bias": ("mlp_bias",)},
    defaults=ROTARY_DEFAULTS
    | {"max_position_embeddings": 2048, "attention_bias": False, "mlp_bias": False},
    fixed=ROTARY | dict(qk_norm=False),
    tensors=ROTARY_TENSORS,
)
MISTRAL = Family(
    model_type="mistral",
    architecture="MistralForCausalLM",
    fields=ROTARY_FIELDS,
    defaults=ROTARY_DEFAULTS | {"max_position_embeddings": 131072, "sliding_window": 4096},
    fixed=ROTARY | dict(qkv_bias=False, out_bias=False, mlp_bias=False, qk_norm=False),
    only={"attention_bias": False, "mlp_bias": False},
    tensors=ROTARY_TENSORS,
)
QWEN3 = Family(
    model_type="qwen3",
    architecture="Qwen3ForCausalLM",
    fields=ROTARY_FIELDS | ATTENTION_BIAS,
    defaults=ROTARY_DEFAULTS | {"head_dim": 128, "attention_bias": False},
    fixed=ROTARY | dict(mlp_bias=False, qk_norm=True),
    only={"mlp_bias": False, "use_sliding_window": False},
    tensors=ROTARY_TENSORS,
)


def _norm(tensor: str, place: str) -> dict[str, tuple[str, ...]]:
    return {f"{tensor}.weight": (f"{place}/scale",), f"{tensor}.bias": (f"{place}/bias",)}


BLOCK = "h.{}."
GPT2 = Family(
    model_type="gpt2",
    architecture="GPT2LMHeadModel",
    fields={
        "vocab_size": ("vocab_size",),
        "n_embd": ("width",),
        "n_layer": ("num_layers",),
        "n_head": ("num_heads", "num_kv_heads"),
        "n_inner": ("mlp_width",),
        "activation_function": ("activation",),
        "layer_norm_epsilon": ("norm_eps",),
        "n_positions": ("context",),
        "tie_word_embeddings": ("tied",),
    },
    defaults={
        "activation_function": "gelu_new",
        "layer_norm_epsilon": 1e-5,
        "n_positions": 1024,
        "tie_word_embeddings": True,
    },
    fixed=dict(
        norm="layer", positions="learned", rope_scaling=None, head_dim=None, gated=False,
        qkv_bias=True, out_bias=True, mlp_bias=True, qk_norm=False,
    ),
    only={"scale_attn_weights": True, "scale_attn_by_inverse_layer_idx": False},
    prefix="transformer.",
    tensors={
        "wte.weight": ("embedding",),
        "wpe.weight": ("position_table",),
        **_norm(BLOCK + "ln_1", "attention_norm"),
        BLOCK + "attn.c_attn.weight": ("q/kernel", "k/kernel", "v/kernel"),
        BLOCK + "attn.c_attn.bias": ("q/bias", "k/bias", "v/bias"),
        **_linear(BLOCK + "attn.c_proj", "attention_out"),
        **_norm(BLOCK + "ln_2", "mlp_norm"),
        **_linear(BLOCK + "mlp.c_fc", "up"),
        **_linear(BLOCK + "mlp.c_proj", "down"),
        **_norm("ln_f", "final_norm"),
        HEAD: ("head",),
    },
    turned=False,
    ignored=r".*\.attn\.(masked_)?bias",
)  # fmt: skip
FAMILIES = {family.model_type: family for family in (QWEN2, LLAMA, MISTRAL, QWEN3, GPT2)}
ACTIVATIONS = {  # of config.json, and of DecoderConfig; the first of several is written
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
}
# What changes the numbers of some models, and the value that is as good as none.
SUPPORTED: dict[str, Any] = {
    "qk_norm": False,
    "use_qk_norm": False,
    "is_causal": True,
    "is_encoder_decoder": False,
    "add_cross_attention": False,
    "partial_rotary_factor": 1.0,
    "rope_interleaved": False,
    "use_mrope": False,
    "use_sliding_window": False,
    "pruned_heads": {},
    "per_layer_config": None,
    "quantization_config": None,
    "compression_config": None,
}
# Token ids and labels, how a model was trained (dropout included), how its weights are held, how
# it is sampled from, what other heads it might have.
CHANGES_NOTHING = re.compile(
    r"_.*|.*_token_id|(torch_)?dtype|transformers_version|unsloth_.*|name_or_path|model_name"
    r"|use_cache|initializer_range|max_window_layers|attn_implementation|transformers\.js_config"
    r"|id2label|label2id|num_labels|problem_type|finetuning_task|task_specific_params|prefix"
    r"|output_(attentions|hidden_states|scores|past)|return_dict(_in_generate)?|torchscript"
    r"|chunk_size_feed_forward|gradient_checkpointing|pretraining_tp|tokenizer_class|is_decoder"
    r"|tie_(last_hidden_states|encoder_decoder)|use_bfloat16|tf_legacy_loss|xla_device"
    r"|(min|max)_length|do_sample|early_stopping|num_beams|num_beam_groups|temperature|top_[kp]"
    r"|typical_p|repetition_penalty|(exponential_decay_)?length_penalty|diversity_penalty"
    r"|(encoder_)?no_repeat_ngram_size|num_return_sequences|remove_invalid_values|bad_words_ids"
    r"|(begin_)?suppress_tokens|(attention|hidden|resid|embd|attn)_(dropout|pdrop)|summary_.*"
    r"|n_ctx|max_sequence_length|n_special|predict_special_tokens|reorder_and_upcast_attn|is_llama_config"
    r"|cross_attention_hidden_size"
)
