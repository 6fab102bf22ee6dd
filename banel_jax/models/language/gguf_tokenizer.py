"""The tokenizer in a GGUF file's metadata, written as `transformers` reads it.

A file says how its vocabulary was learned by two names: `tokenizer.ggml.model`, the kind of
byte-pair encoding, and `tokenizer.ggml.pre`, how text is cut beforehand. llama.cpp knows what is
meant by the second, and its table is repeated here as far as our families go.
"""

import logging
from pathlib import Path

from banel_jax import files
from banel_jax.checks import one_line
from banel_jax.models.language.gguf_file import AGAIN, GgufFile
from banel_jax.models.language.model_files import errors_of, write_json
from banel_jax.models.language.optional import optional

logger = logging.getLogger(__name__)
KEY = "tokenizer.ggml."
NORMAL, UNKNOWN, CONTROL, USER_DEFINED = 1, 2, 3, 4  # kinds of tokens
SPECIAL = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}
SPACE = "\u2581"  # of SentencePiece

DIGIT = r"\p{N}"
WORDS, PUNCTUATION = r"[^\r\n\p{L}\p{N}]?\p{L}+", r" ?[^\s\p{L}\p{N}]+[\r\n]*"
SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"
ENDINGS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
START = r"[^\r\n\p{L}\p{N}]?"
LLAMA3 = rf"{ENDINGS}|{WORDS}|\p{{N}}{{1,3}}|{PUNCTUATION}|{SPACES}"
QWEN2 = rf"{ENDINGS}|{WORDS}|{DIGIT}|{PUNCTUATION}|{SPACES}"
TEKKEN = (
    rf"{START}{UPPER}*{LOWER}+|{START}{UPPER}+{LOWER}*|{DIGIT}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*"
    rf"|{SPACES}"
)
# What cuts text; None for GPT-2's own, which always comes last.
CUTS: dict[str, tuple[str | None, ...]] = {
    **dict.fromkeys(("gpt-2", "mpt", "olmo", "jais", "phi-2"), (None,)),
    **dict.fromkeys(("smollm", "starcoder", "refact", "codeshell", "command-r"), (DIGIT, None)),
    **dict.fromkeys(("llama-bpe", "llama3", "llama-v3", "falcon3", "pixtral"), (LLAMA3,)),
    **dict.fromkeys(("dbrx", "smaug-bpe"), (LLAMA3,)),
    **dict.fromkeys(("qwen2", "deepseek-r1-qwen", "megrez", "stablelm2"), (QWEN2,)),
    "tekken": (TEKKEN,),
}
WHOLE = ("llama-bpe", "llama3", "llama-v3", "falcon3", "pixtral", "tekken")  # words of the
# vocabulary are taken as they are, whatever their merges
BY_ARCHITECTURE = {"qwen2": "qwen2", "qwen3": "qwen2", "gpt2": "gpt-2"}  # for files that name none


def write(folder: Path, file: GgufFile, rows: int) -> None:
    """Writes `tokenizer.json` and `tokenizer_config.json`; nothing where there is no tokenizer.

    Args:
      folder: to write them to.
      file: of GGUF.
      rows: of the model's embedding.

    Raises:
      ValueError: for a tokenizer of another kind, or one that is damaged or not of this model.
    """
    path, metadata = file.path, file.metadata
    kind = file.text(KEY + "model", "no_vocab")
    if kind in ("no_vocab", "none"):
        logger.warning("%s has no tokenizer, and so the folder will have none", path)
        return
    if kind not in ("gpt2", "llama"):
        raise ValueError(
            f"{path}: {KEY}model={one_line(kind)} is not supported, only 'gpt2' and 'llama' are; "
            "give a model of another tokenizer"
        )
    tokens = metadata.get(KEY + "tokens")
    if not isinstance(tokens, list) or not 0 < len(tokens) <= rows:
        number = len(tokens) if isinstance(tokens, list) else "no"
        raise ValueError(
            f"{path}: {KEY}tokens has {number} tokens, and the embedding {rows} rows; {AGAIN}"
        )
    cut = _cut(file) if kind == "gpt2" else ""
    with errors_of(path, f"has a tokenizer that cannot be built from {KEY}*", AGAIN):
        build = _byte_level if kind == "gpt2" else _sentencepiece
        found = build(metadata, tokens, cut)
        special = {
            name: tokens[_index(metadata[f"{KEY}{key}_token_id"], tokens)]
            for name, key in SPECIAL.items()
            if f"{KEY}{key}_token_id" in metadata
        }
        _add_whole_tokens(found, metadata, tokens)
        if "bos" in special and metadata.get(KEY + "add_bos_token", kind == "llama"):
            found.post_processor = optional("tokenizers").processors.TemplateProcessing(
                single=f"{special['bos']} $A",
                pair=f"{special['bos']} $A {special['bos']} $B:1",
                special_tokens=[(special["bos"], tokens.index(special["bos"]))],
            )
        text = found.to_str(pretty=True)
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    # None goes before the defaults of a class, which might be tokens of no model here.
    config |= {f"{name}_token": special.get(name) for name in SPECIAL}
    if template := file.text("tokenizer.chat_template"):
        config["chat_template"] = template
    files.write_atomically(folder / "tokenizer.json", text)
    write_json(folder / "tokenizer_config.json", config)


def _cut(file):
    """How text is cut, by its name in CUTS."""
    default = BY_ARCHITECTURE.get(file.text("general.architecture"))
    name = file.text(KEY + "pre", default or "gpt-2")
    if KEY + "pre" not in file.metadata and default is None:
        logger.warning("%s does not say how text is cut (%spre); as GPT-2 does it", file.path, KEY)
    if name not in CUTS:
        raise ValueError(
            f"{file.path}: {KEY}pre={one_line(name)} is not supported, only {', '.join(CUTS)} are; "
            "give a model of another tokenizer"
        )
    return name


def _index(number, tokens):
    if not 0 <= number < len(tokens):
        raise ValueError(f"there is no token {number}")
    return number


def _byte_level(metadata, tokens, cut):
    package = optional("tokenizers")
    pre = package.pre_tokenizers
    merges = [tuple(merge.split(" ")) for merge in metadata[KEY + "merges"]]
    found = package.Tokenizer(
        package.models.BPE(
            {token: i for i, token in enumerate(tokens)}, merges, ignore_merges=cut in WHOLE
        )
    )
    if CUTS[cut] == (QWEN2,):
        found.normalizer = package.normalizers.NFC()
    parts = [pre.Split(package.Regex(form), "isolated") for form in CUTS[cut] if form]
    last = pre.ByteLevel(add_prefix_space=False, use_regex=None in CUTS[cut])
    found.pre_tokenizer = pre.Sequence([*parts, last])
    found.decoder = package.decoders.ByteLevel()
    return found


def _sentencepiece(metadata, tokens, cut):
    package = optional("tokenizers")
    decoders, normalizers = package.decoders, package.normalizers
    unknown = tokens[_index(metadata.get(KEY + "unknown_token_id", 0), tokens)]
    vocabulary = {token: i for i, token in enumerate(tokens)}
    found = package.Tokenizer(
        package.models.BPE(
            vocabulary, _merges(metadata, tokens), unk_token=unknown, fuse_unk=True,
            byte_fallback=True,
        )
    )  # fmt: skip
    begins = metadata.get(KEY + "add_space_prefix", True)
    prepend = [normalizers.Prepend(SPACE)] if begins else []
    found.normalizer = normalizers.Sequence([*prepend, normalizers.Replace(" ", SPACE)])
    strip = [decoders.Strip(" ", 1, 0)] if begins else []
    found.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), *strip]
    )
    return found


def _merges(metadata, tokens):
    """The pairs that make a token, the token of the highest score first."""
    if KEY + "merges" in metadata:
        return [tuple(merge.split(" ")) for merge in metadata[KEY + "merges"]]
    kinds = metadata.get(KEY + "token_type", [NORMAL] * len(tokens))
    rank = {
        token: (-score, i)
        for i, (token, score, kind) in enumerate(
            zip(tokens, metadata[KEY + "scores"], kinds, strict=True)
        )
        if kind == NORMAL
    }
    pairs = [
        (place, rank[token[:i]][1], rank[token[i:]][1], token[:i], token[i:])
        for token, place in rank.items()
        for i in range(1, len(token))
        if token[:i] in rank and token[i:] in rank
    ]
    return [(left, right) for *_, left, right in sorted(pairs)]


def _add_whole_tokens(tokenizer, metadata, tokens):
    """Tokens that text is never cut within; the special ones are left out of what is decoded."""
    added = optional("tokenizers").AddedToken
    kinds = metadata.get(KEY + "token_type", [NORMAL] * len(tokens))
    of = lambda *wanted: [
        added(token, normalized=False, special=USER_DEFINED not in wanted)
        for token, kind in zip(tokens, kinds, strict=True)
        if kind in wanted
    ]
    tokenizer.add_special_tokens(of(UNKNOWN, CONTROL))
    tokenizer.add_tokens(of(USER_DEFINED))
