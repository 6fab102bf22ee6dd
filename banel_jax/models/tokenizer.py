"""The tokenizer of a model's folder, and questions as a chat model is asked them."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from banel_jax.models.huggingface_config import read_config, read_json
from banel_jax.models.optional import optional

FILES = ("tokenizer.json", "vocab.json")  # a tokenizer has one of them at the least
START, END = "<|im_start|>", "<|im_end|>"
SYSTEM = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
CHAT = (  # ChatML, without a system message of its own
    "{% for message in messages %}"
    f"{START}{{{{ message['role'] }}}}\n{{{{ message['content'] }}}}{END}\n"
    "{% endfor %}"
    f"{{% if add_generation_prompt %}}{START}assistant\n{{% endif %}}"
)
CHATML = (  # Qwen2.5's form of a chat, for folders that define none
    f"{{% if messages[0]['role'] != 'system' %}}{START}system\n{SYSTEM}{END}\n{{% endif %}}{CHAT}"
)


def tokenizer(folder: str | Path) -> Any:
    """The tokenizer of a model's folder, with a chat template; also of a folder without a model.

    Raises:
      FileNotFoundError: without a tokenizer's files.
      ValueError: where they cannot be read, or it has ids beyond the rows of the model's
        embedding, or neither a chat template nor the tokens of Qwen's.
    """
    # Said at import, and of no use here: that there is no PyTorch.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    transformers = optional("transformers")
    if not any((Path(folder) / name).exists() for name in FILES):
        raise FileNotFoundError(f"{folder} has no {' or '.join(FILES)}; complete the folder")
    try:
        # Nothing is looked for beyond the folder.
        found = transformers.AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    except Exception as error:  # what it raises depends on what is amiss
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"{folder}: transformers cannot read its tokenizer: {reason}") from error
    vocabulary = found.get_vocab()
    has_model, largest = (Path(folder) / "config.json").exists(), max(vocabulary.values())
    if has_model and largest >= (rows := read_config(folder).vocab_size):
        raise ValueError(
            f"{folder}: the tokenizer has token id {largest}, and the model's embedding {rows} "
            "rows; give the tokenizer of this model"
        )
    if not found.chat_template:
        if not {START, END} <= vocabulary.keys():
            raise ValueError(
                f"{folder}: the tokenizer has no chat template, nor {START} and {END} for Qwen's; "
                "add a chat template"
            )
        found.chat_template = CHATML
    return found


def prompt_ids(tokenizer: Any, question_text: str) -> list[int]:
    """A question as the tokens after which the answer begins."""
    chat = [{"role": "user", "content": question_text}]
    optional("jinja2")
    text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def response_text(tokenizer: Any, tokens: Iterable[int]) -> str:
    """The text of a response's tokens, without the one that ends it."""
    return tokenizer.decode(list(map(int, tokens)), skip_special_tokens=True)


def eos_tokens(folder: str | Path) -> tuple[int, ...]:
    """The ids that end a response, as `generation_config.json` has them, or else `config.json`."""
    for name in ("generation_config.json", "config.json"):
        path = Path(folder) / name
        ids = read_json(path).get("eos_token_id") if path.exists() else None
        if ids is not None:
            return tuple(ids) if isinstance(ids, list) else (ids,)
    return ()
