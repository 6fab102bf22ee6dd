"""A tokenizer whose tokens are the bytes, for folders of language models made up here."""

import tokenizers
import transformers


def written(folder, special, template=None, eos_token=None):
    """Its files in a folder: ids 0 to 255 are the bytes, and the special tokens come after them."""
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    plain = tokenizers.Tokenizer(
        tokenizers.models.BPE({letter: i for i, letter in enumerate(alphabet)}, [])
    )
    plain.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    plain.decoder = tokenizers.decoders.ByteLevel()
    plain.add_special_tokens(special)
    whole = transformers.PreTrainedTokenizerFast(tokenizer_object=plain, eos_token=eos_token)
    whole.chat_template = template
    whole.save_pretrained(folder)
    return folder
