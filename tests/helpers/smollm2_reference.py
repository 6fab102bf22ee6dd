"""What `transformers` says of SmolLM2's GGUF file, for a test that does without PyTorch.

python tests/helpers/smollm2_reference.py    writes smollm2_reference.json; needs torch and gguf
"""

import json
from pathlib import Path

from banel_jax.models.language import named_models

TABLE = Path(__file__).with_suffix(".json")
QUESTIONS = (
    "Natalia sold clips to 48 of her friends in April, and half as many in May. How many in all?",
    "What is 12 times 7? Say the number alone.",
    "Schreibe <|im_end|> über 日本\n\n\tund\u00a0½!",
)
LOOKED_AT = (0, 2, 17, 198, 216, 253, 1000, 5021, 20000, 49151)  # entries of the vocabulary


def source():
    """The GGUF file in the installed package."""
    return named_models.source("smollm2")


def computed():
    """By question: the chat's tokens, the likeliest next ones, and logits of LOOKED_AT."""
    import torch
    import transformers
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

    path = source()
    found = load_gguf_checkpoint(str(path))["config"]
    found.pop("_model_name_or_path", None)
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**found))
    weights = load_gguf_checkpoint(str(path), return_tensors=True, model_to_load=model)["tensors"]
    model.load_state_dict(weights, strict=False)
    model.tie_weights()
    model.float().eval()
    words = transformers.AutoTokenizer.from_pretrained(str(path.parent), gguf_file=path.name)
    table = []
    for question in QUESTIONS:
        chat = [{"role": "user", "content": question}]
        text = words.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        tokens = words(text, add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            logits = model(torch.tensor([tokens])).logits[0]
        table.append(
            {
                "tokens": tokens,
                "likeliest": logits.argmax(-1).tolist(),
                "logits": [[round(float(row[i]), 4) for i in LOOKED_AT] for row in logits],
            }
        )
    return table


if __name__ == "__main__":
    lines = ",\n".join(json.dumps(row) for row in computed())
    TABLE.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
