"""The tokenizer of a model's folder, and prompts as its model reads them.

A question to a model with a chat template is a chat; to any other, text to be continued.
"""

import contextlib
import itertools
import os
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from banel_jax.checks import one_line
from banel_jax.models.language.huggingface_config import CODE, family_of, vocab_size
from banel_jax.models.language.model_files import errors_of, existing_folder, read_json
from banel_jax.models.language.optional import optional

FILES = ("tokenizer.json", "vocab.json")  # a tokenizer has one of them at the least
SENTENCEPIECE = "tokenizer.model"
CONVERT = (  # reads it with what no extra installs
    "from transformers import AutoTokenizer as A; "
    f"A.from_pretrained('.').backend_tokenizer.save('{FILES[0]}')"
)
CONFIG, TEMPLATE = "tokenizer_config.json", "chat_template.jinja"
OTHERS = (CONFIG, "special_tokens_map.json", "added_tokens.json", "generation_config.json")
START, END = "<|im_start|>", "<|im_end|>"
SYSTEM = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
CHAT = (  # ChatML, without a system message of its own
    "{% for message in messages %}"
    f"{START}{{{{ message['role'] }}}}\n{{{{ message['content'] }}}}{END}\n"
    "{% endfor %}"
    f"{{% if add_generation_prompt %}}{START}assistant\n{{% endif %}}"
)
CHATML = (  # Qwen2.5's form of a chat, for its folders that define none
    f"{{% if messages[0]['role'] != 'system' %}}{START}system\n{SYSTEM}{END}\n{{% endif %}}{CHAT}"
)
AGAIN = "download them anew"
QUESTION, ANSWER = "What is 1+1?", "It is 2."  # that any template must show


def tokenizer(folder: str | Path) -> Any:
    """The tokenizer of a model's folder; also of a folder without a model.

    Code that a folder brings along is never run, and nothing is looked for beyond the folder.

    Returns:
      The tokenizer of `transformers`, with what ends a response, `eos_tokens`, as `response_ends`.
      Its `chat_template` is the folder's, or Qwen's for a folder of Qwen2 that has none but has
      its marks; without one, prompts are continued as they are.

    Raises:
      FileNotFoundError: without a tokenizer's files.
      ValueError: where a file cannot be read or names code of the folder's own, or the tokenizer
        has ids beyond the rows of the model's embedding, or a chat template that does not work.
    """
    # Said at import, and of no use here: that there is no PyTorch.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    transformers = optional("transformers")
    folder = existing_folder(folder)
    _check_there_is_one(folder)
    has_model = (folder / "config.json").exists()
    _check_json(folder)
    names = [n for n in (*FILES, CONFIG, TEMPLATE) if (folder / n).exists()]
    problem = f"{' or '.join(['', *names[1:]])} cannot be read by transformers".strip()
    with errors_of(folder / names[0], problem, AGAIN):
        found = transformers.AutoTokenizer.from_pretrained(
            str(folder),
            config=_config(transformers, folder) if has_model else None,
            local_files_only=True,
            trust_remote_code=False,
        )
        vocabulary = found.get_vocab()
        largest = max(vocabulary.values())
    if has_model and largest >= (rows := vocab_size(folder)):
        raise ValueError(
            f"{folder}: the tokenizer has token id {largest}, and the model's embedding {rows} "
            "rows; give the tokenizer of this model"
        )
    is_qwen = not has_model or family_of(folder).model_type == "qwen2"
    if not found.chat_template and is_qwen and {START, END} <= vocabulary.keys():
        found.chat_template = CHATML
    question = [_message("user", QUESTION)]
    if found.chat_template and QUESTION not in _rendered(
        found, question, add_generation_prompt=True
    ):
        raise ValueError(f"{_template_file(found)}: its chat template leaves out the question")
    response_text(found, prompt_ids(found, QUESTION))
    ends = (*_named_ends(folder), *_turn_ends(found))
    found.response_ends = tuple(dict.fromkeys(ends))
    return found


def _check_there_is_one(folder):
    if any((folder / name).exists() for name in FILES):
        return
    mend = "complete the folder"
    if (folder / SENTENCEPIECE).exists():
        mend = (
            f"make it of {SENTENCEPIECE}: python -m pip install sentencepiece && "
            f'cd {shlex.quote(str(folder))} && python -c "{CONVERT}"'
        )
    raise FileNotFoundError(f"{folder} has no {' or '.join(FILES)}; {mend}")


def _config(transformers, folder):
    """The family's own, which says of what kind the tokenizer is where no file of its own does."""
    kind = read_json(folder / "config.json").get("tokenizer_class")
    family = transformers.CONFIG_MAPPING[family_of(folder).model_type]
    return family(tokenizer_class=kind if isinstance(kind, str) else None)


def _check_json(folder):
    for name in (*FILES, *OTHERS):
        values = read_json(folder / name) if (folder / name).exists() else {}
        if name == CONFIG and values.get(CODE):
            raise ValueError(
                f"{folder / name}: {CODE} names code of the folder's own, which is never run; "
                f"remove {CODE} if {FILES[0]} is all that is needed"
            )


def _encoded(tokenizer, text, **settings):
    settings = dict(add_special_tokens=False) | settings
    with errors_of(Path(tokenizer.name_or_path) / CONFIG, f"or {FILES[0]} encodes nothing", AGAIN):
        return list(tokenizer(text, verbose=False, **settings)["input_ids"])


def _begun(tokenizer, text):
    """The text's tokens after those that the tokenizer begins with, such as a mark of the start."""
    ids, whole = _encoded(tokenizer, text), _encoded(tokenizer, text, add_special_tokens=True)
    start = next((i for i in range(len(whole)) if whole[i : i + len(ids)] == ids), None)
    found = ids if start is None else whole[: start + len(ids)]  # without a mark of the end
    return found or [i for i in (tokenizer.bos_token_id,) if i is not None]


def _message(role, content):
    return {"role": role, "content": content}


def _template_file(tokenizer):
    folder = Path(tokenizer.name_or_path)
    return folder / (TEMPLATE if (folder / TEMPLATE).exists() else CONFIG)


def _rendered(tokenizer, chat, **settings):
    """A chat as text; ValueError where the template fails."""
    optional("jinja2")
    problem = "has a chat template that fails"
    with errors_of(_template_file(tokenizer), problem, "mend the template or download it anew"):
        return tokenizer.apply_chat_template(chat, tokenize=False, **settings)


def prompt_ids(
    tokenizer: Any, question_text: str, examples: Iterable[tuple[str, str]] = ()
) -> list[int]:
    """A question as the tokens after which the answer begins.

    Without a chat template they are those of the text as it is, after the mark of a start if the
    tokenizer begins every text with one (or if there is no text), and the response continues it.

    Args:
      tokenizer: as `tokenizer` makes it.
      question_text: what is asked.
      examples: questions and their answers, which stand before it: turns of the chat, or parts
        of the text with a blank line after each.

    Raises:
      ValueError: where the chat template fails.
    """
    if not tokenizer.chat_template:
        before = "".join(f"{question}\n{answer}\n\n" for question, answer in examples)
        return _begun(tokenizer, before + question_text)
    turns = [(_message("user", q), _message("assistant", a)) for q, a in examples]
    chat = [*itertools.chain(*turns), _message("user", question_text)]
    return _encoded(tokenizer, _rendered(tokenizer, chat, add_generation_prompt=True))


def response_text(tokenizer: Any, tokens: Iterable[int]) -> str:
    """The text of a response's tokens up to the first that ends it, what follows being no part."""
    ends = getattr(tokenizer, "response_ends", (tokenizer.eos_token_id,))
    kept = itertools.takewhile(lambda token: token not in ends, map(int, tokens))
    with errors_of(Path(tokenizer.name_or_path) / CONFIG, f"or {FILES[0]} decodes nothing", AGAIN):
        return tokenizer.decode(list(kept), skip_special_tokens=True)


def eos_tokens(folder: str | Path) -> tuple[int, ...]:
    """The ids that end a response: all that the folder knows of, whichever file names them.

    They are those of `generation_config.json` and `config.json` and, where there is a tokenizer,
    its own and the one that ends a turn of its chats: a chat model whose configuration names the
    end of a document alone would run on past its turn.

    Raises:
      ValueError: for what is no id of the model's, and as `tokenizer` does.
    """
    folder = existing_folder(folder)
    if any((folder / name).exists() for name in FILES):
        return tokenizer(folder).response_ends
    return _named_ends(folder)


def _named_ends(folder):
    """What the configurations name."""
    ends: dict[int, None] = {}
    rows = vocab_size(folder) if (folder / "config.json").exists() else float("inf")
    for path in (folder / "generation_config.json", folder / "config.json"):
        ids = read_json(path).get("eos_token_id") if path.exists() else None
        for i in ids if isinstance(ids, list) else [] if ids is None else [ids]:
            if not isinstance(i, int) or isinstance(i, bool) or not 0 <= i < rows:
                raise ValueError(
                    f"{path}: eos_token_id={one_line(ids)} must be ids of tokens, from 0 and "
                    f"below the vocabulary of {rows}"
                )
            ends[i] = None
    return tuple(ends)


def _turn_ends(tokenizer):
    """The tokenizer's own end, and the first of its added tokens after an answer in a chat."""
    if tokenizer.eos_token_id is not None:
        yield tokenizer.eos_token_id
    if not tokenizer.chat_template:
        return
    chat = [_message("user", QUESTION), _message("assistant", ANSWER)]
    with contextlib.suppress(ValueError):  # a template may be for questions alone
        _, answer, rest = _rendered(tokenizer, chat).rpartition(ANSWER)
        added = {*tokenizer.added_tokens_decoder, *tokenizer.all_special_ids}
        ids = _encoded(tokenizer, rest) if answer else []
        yield from [i for i in ids if i in added][:1]
