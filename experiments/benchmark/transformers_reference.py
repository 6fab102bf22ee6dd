"""Qwen2 in Hugging Face `transformers`, sampling and scoring responses to one prompt.

As its users do it: a model folder, fused attention, `generate` with its cache, and scores from
the logits of whole rows. Letters: B rows of a chunk, P tokens of the prompt, L of a response.
"""

import tempfile

import torch
import transformers

from banel_jax.models.language import huggingface
from banel_jax.models.language.decoder_config import DecoderConfig
from banel_jax.types import Params


def load(config: DecoderConfig, params: Params, device: str):
    """The model with these weights, in the type that they have."""
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    with tempfile.TemporaryDirectory() as folder:
        huggingface.save(folder, config, params)
        model = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype="auto", attn_implementation="sdpa"
        )
    return model.to(device).eval()  # type: ignore[arg-type]


@torch.inference_mode()
def sample(model, prompt, n: int, length: int, chunk_size: int, cache: str | None = None):
    """Responses [n, L] to a prompt [P]; `cache` is a `cache_implementation` of `generate`."""
    chunks = []
    for start in range(0, n, chunk_size):
        rows = prompt.expand(min(chunk_size, n - start), -1)
        drawn = model.generate(
            input_ids=rows,
            attention_mask=torch.ones_like(rows),
            do_sample=True,
            top_k=0,
            use_cache=True,
            max_new_tokens=length,
            **({"cache_implementation": cache} if cache else {}),
        )
        chunks.append(drawn[:, len(prompt) :])
    return torch.cat(chunks)


@torch.inference_mode()
def score(model, prompt, responses, chunk_size: int):
    """log p(response | prompt) in nats of responses [n, L], [n]."""
    scores = []
    for chunk in responses.split(chunk_size):
        rows = torch.cat([prompt.expand(len(chunk), -1), chunk], dim=1)
        kept = chunk.shape[1] + 1  # no logits for the prompt, but for what its last token predicts
        logits = model(input_ids=rows, use_cache=False, logits_to_keep=kept).logits[:, :-1]
        log_probs = logits.float().log_softmax(-1)
        scores.append(log_probs.gather(2, chunk[:, :, None])[:, :, 0].sum(1))
    return torch.cat(scores)
