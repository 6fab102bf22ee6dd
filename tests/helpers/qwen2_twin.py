"""A Qwen2 of `transformers` with random weights, and the folder it writes."""

import numpy as np
import pytest

TINY = dict(
    vocab_size=61, hidden_size=32, intermediate_size=44, num_hidden_layers=3,
    num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=300,
    eos_token_id=None, bos_token_id=None, pad_token_id=None,
)  # fmt: skip


def twin(seed=0, theta=5e3, **settings):
    """All weights of a size that shows: non-zero biases, norms that are not 1."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    config = transformers.Qwen2Config(
        **(TINY | dict(rope_parameters={"rope_theta": theta, "rope_type": "default"}) | settings)
    )
    model = transformers.Qwen2ForCausalLM(config).eval()
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            noise = rng.standard_normal(weight.shape).astype(np.float32)
            scale = 0.2 if name.endswith(("norm.weight", "bias")) else weight.shape[-1] ** -0.5
            weight.copy_(torch.tensor(noise * scale + name.endswith("norm.weight")))
    return model
