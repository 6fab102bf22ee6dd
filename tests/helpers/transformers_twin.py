"""Models of `transformers` with random weights, of every family that is read."""

import numpy as np
import pytest

ROTARY = dict(
    vocab_size=61, hidden_size=32, intermediate_size=44, num_hidden_layers=3,
    num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=300,
    eos_token_id=None, bos_token_id=None, pad_token_id=None,
)  # fmt: skip
TINY = {
    "Qwen2": ROTARY,
    "Llama": ROTARY,
    "Mistral": ROTARY | dict(sliding_window=None),
    "Qwen3": ROTARY | dict(head_dim=12),
    "GPT2": dict(
        vocab_size=61, n_embd=32, n_layer=3, n_head=4, n_positions=300,
        eos_token_id=None, bos_token_id=None,
    ),
}  # fmt: skip


def twin(seed=0, theta=5e3, family="Qwen2", **settings):
    """All weights of a size that shows: non-zero biases, norms that are not 1."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    rope = {} if family == "GPT2" else {"rope_theta": theta, "rope_type": "default"}
    rope |= settings.pop("rope", {})
    values = TINY[family] | ({"rope_parameters": rope} if rope else {}) | settings
    head = "LMHeadModel" if family == "GPT2" else "ForCausalLM"
    config = getattr(transformers, f"{family}Config")(**values)
    model = getattr(transformers, family + head)(config).eval()
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            noise = rng.standard_normal(weight.shape).astype(np.float32)
            is_norm = name.endswith(("norm.weight", "ln_1.weight", "ln_2.weight", "ln_f.weight"))
            scale = 0.2 if is_norm or name.endswith("bias") else weight.shape[-1] ** -0.5
            weight.copy_(torch.tensor(noise * scale + is_norm))
    return model
