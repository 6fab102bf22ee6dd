"""A small tokenizer of Qwen's kind, trained on given texts: byte-level BPE, one token a digit.

It is saved as Hugging Face lays a tokenizer out, so `transformers.AutoTokenizer` loads it and
what reads it here reads Qwen's own `tokenizer.json` just as well.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from banel_jax import checks, files
from banel_jax.models.language.model_files import write_json
from banel_jax.models.language.optional import optional
from banel_jax.models.language.tokenizer import CHAT, END, START

END_OF_TEXT = "<|endoftext|>"
SPECIAL_TOKENS = (END_OF_TEXT, START, END)
NUM_BYTES = 256


@dataclass(frozen=True)
class TokenizerConfig:
    """Settings of the tokenizer.

    Attributes:
      vocab_size: tokens at most, the 256 bytes and 3 special tokens included; texts that hold
        fewer pairs to merge give fewer.
      min_frequency: a pair that occurs less often is not merged.
    """

    vocab_size: int = 4096
    min_frequency: int = 2

    def __post_init__(self):
        least = NUM_BYTES + len(SPECIAL_TOKENS)
        checks.integers(self, "vocab_size", at_least=least, below=2**31)
        checks.integers(self, "min_frequency", at_least=1)


def train_tokenizer(
    texts: Iterable[str], folder: str | Path, config: TokenizerConfig | None = None
) -> Path:
    """Trains a tokenizer and saves it; the same texts and settings give the same files.

    The special tokens are the first three ids, `<|endoftext|>`, the padding, being 0.

    Args:
      texts: what to learn the merges from.
      folder: to save `tokenizer.json`, `tokenizer_config.json` and `generation_config.json` in;
        made where it is missing.
      config: settings; None for the defaults.

    Returns:
      The folder.

    Raises:
      ValueError: if the library `tokenizers` is not installed.
    """
    tokenizers = optional("tokenizers")
    config = config or TokenizerConfig()
    pieces, levels = tokenizers.pre_tokenizers, tokenizers.decoders
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.normalizer = tokenizers.normalizers.NFC()
    # A digit is a piece of its own, so no merge joins it to anything.
    tokenizer.pre_tokenizer = pieces.Sequence(
        [pieces.Digits(individual_digits=True), pieces.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = levels.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=config.vocab_size,
        min_frequency=config.min_frequency,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pieces.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    folder = files.expand(folder)
    folder.mkdir(parents=True, exist_ok=True)
    files.write_atomically(folder / "tokenizer.json", tokenizer.to_str(pretty=True))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": END,
        "pad_token": END_OF_TEXT,
        "additional_special_tokens": [START, END],
        "chat_template": CHAT,
        "clean_up_tokenization_spaces": False,
        "model_max_length": 32768,
    }
    # What a model with this tokenizer is sampled with: nothing but its own probabilities.
    ends = {"eos_token_id": SPECIAL_TOKENS.index(END), "pad_token_id": 0}
    generation = {**ends, "do_sample": True, "temperature": 1.0, "top_p": 1.0, "top_k": 0}
    for name, values in (("tokenizer", settings), ("generation", generation)):
        write_json(folder / f"{name}_config.json", values)
    return folder
