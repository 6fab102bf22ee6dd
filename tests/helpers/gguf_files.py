"""Tiny GGUF files, written by the `gguf` package, of models whose weights are known."""

import json

import numpy as np
import pytest

gguf = pytest.importorskip("gguf")

KEY = "tokenizer.ggml."
CORPUS = [
    "the cat sat on the mat, 12 times",
    "that's the hat; don't sit  on it",
    "üben 1 2 3\n",
] * 3
SPECIAL = ["<unk>", "<s>", "</s>"]
TYPES = gguf.GGMLQuantizationType
SIZES = dict(layers=2, width=32, heads=4, kv_heads=2, head=8, mlp=64, rows=40, context=48)
HALF, K_BLOCK = 32, 256  # values of a block of the plain kinds, and of the K kinds


def metadata(name, **changes):
    """What a file of the architecture says of its sizes; a change to None leaves a key out."""
    s = SIZES
    values = {
        "block_count": s["layers"],
        "context_length": s["context"],
        "embedding_length": s["width"],
        "feed_forward_length": s["mlp"],
        "attention.head_count": s["heads"],
    }
    if name == "gpt2":
        values["attention.layer_norm_epsilon"] = 1e-5
    else:
        values["attention.layer_norm_rms_epsilon"] = 1e-5
        values |= {"attention.head_count_kv": s["kv_heads"], "rope.freq_base": 5000.0}
    if name == "qwen3":
        values |= {"attention.key_length": 16, "attention.value_length": 16}
    values |= changes
    return {f"{name}.{key}": value for key, value in values.items() if value is not None}


def weights(name, seed=0):
    """Of a folder of `transformers`, by their names there."""
    s, rng = SIZES, np.random.default_rng(seed)
    head = 16 if name == "qwen3" else s["head"]
    q, kv = s["heads"] * head, s["kv_heads"] * head
    if name == "gpt2":
        shapes = {"transformer.wte.weight": (s["rows"], s["width"])}
        shapes |= {"transformer.wpe.weight": (s["context"], s["width"])}
        layer = {
            "ln_1.weight": (s["width"],), "ln_1.bias": (s["width"],),
            "attn.c_attn.weight": (s["width"], 3 * s["width"]),
            "attn.c_attn.bias": (3 * s["width"],),
            "attn.c_proj.weight": (s["width"], s["width"]), "attn.c_proj.bias": (s["width"],),
            "ln_2.weight": (s["width"],), "ln_2.bias": (s["width"],),
            "mlp.c_fc.weight": (s["width"], s["mlp"]), "mlp.c_fc.bias": (s["mlp"],),
            "mlp.c_proj.weight": (s["mlp"], s["width"]), "mlp.c_proj.bias": (s["width"],),
        }  # fmt: skip
        last = {"transformer.ln_f.weight": (s["width"],), "transformer.ln_f.bias": (s["width"],)}
        prefix = "transformer.h."
    else:
        shapes = {"model.embed_tokens.weight": (s["rows"], s["width"])}
        layer = {
            "input_layernorm.weight": (s["width"],),
            "self_attn.q_proj.weight": (q, s["width"]), "self_attn.k_proj.weight": (kv, s["width"]),
            "self_attn.v_proj.weight": (kv, s["width"]), "self_attn.o_proj.weight": (s["width"], q),
            "post_attention_layernorm.weight": (s["width"],),
            "mlp.gate_proj.weight": (s["mlp"], s["width"]),
            "mlp.up_proj.weight": (s["mlp"], s["width"]),
            "mlp.down_proj.weight": (s["width"], s["mlp"]),
        }  # fmt: skip
        if name == "qwen2":
            layer |= {f"self_attn.{x}_proj.bias": (q if x == "q" else kv,) for x in "qkv"}
        if name == "qwen3":
            layer |= {f"self_attn.{x}_norm.weight": (head,) for x in "qk"}
        last = {"model.norm.weight": (s["width"],)}
        prefix = "model.layers."
    for i in range(s["layers"]):
        shapes |= {f"{prefix}{i}.{key}": shape for key, shape in layer.items()}
    return {
        key: rng.normal(0, 0.3, shape).astype(np.float32) for key, shape in (shapes | last).items()
    }


def in_gguf(name, folder):
    """Weights of a folder as llama.cpp's own conversion writes them, by the package's names."""
    kinds = {value: key for key, value in gguf.MODEL_ARCH_NAMES.items()}
    names = gguf.get_tensor_name_map(kinds[name], SIZES["layers"])
    found = {}
    for key, value in folder.items():
        stem, ending = key.rsplit(".", 1)
        if name == "llama" and stem.endswith(("q_proj", "k_proj")):
            heads = SIZES["heads" if stem.endswith("q_proj") else "kv_heads"]
            halves = value.reshape(heads, 2, -1, *value.shape[1:])
            value = halves.swapaxes(1, 2).reshape(value.shape)
        if name == "gpt2" and ".c_" in key and value.ndim == 2:
            value = value.T
        found[f"{names.get_name(stem)}.{ending}"] = np.ascontiguousarray(value)
    return found


def write(path, name, values, tensors, kinds=None, raw=()):
    """A file.

    Args:
      path: of it.
      name: of the architecture; None for none.
      values: of the metadata.
      tensors: by name: arrays of float32, or bytes where `raw` names their kind.
      kinds: as which each is stored; F32 by default.
      raw: kinds of tensors that are bytes already, by name.
    """
    writer = gguf.GGUFWriter(path, name or "llama")
    if name is None:
        del writer.kv_data[0]["general.architecture"]
    for key, value in values.items():
        if isinstance(value, bool):
            writer.add_bool(key, value)
        elif isinstance(value, str):
            writer.add_string(key, value)
        elif isinstance(value, int):
            writer.add_uint32(key, value)
        elif isinstance(value, float):
            writer.add_float32(key, value)
        else:
            writer.add_array(key, list(map(int, value)) if isinstance(value, np.ndarray) else value)
    for key, tensor in tensors.items():
        kind = dict(raw).get(key) or (kinds or {}).get(key, TYPES.F32)
        if key not in dict(raw):
            tensor = gguf.quants.quantize(tensor, kind)
        writer.add_tensor(key, tensor, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def model(path, name, more=None, **changes):
    """A file of a model with random weights, and these as a folder has them."""
    folder = weights(name)
    values = metadata(name, **changes) | (more or {})
    return write(path, name, values, in_gguf(name, folder)), folder


def byte_level(pre="gpt-2", **more):
    """Metadata of a byte-pair encoding that was learned from CORPUS, and the encoding itself."""
    tokenizers = pytest.importorskip("tokenizers")
    learned = tokenizers.Tokenizer(tokenizers.models.BPE())
    learned.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=330, special_tokens=SPECIAL, initial_alphabet=sorted(alphabet)
    )
    learned.train_from_iterator(CORPUS, trainer)
    model = json.loads(learned.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    kinds = [3 if token in SPECIAL else 1 for token in tokens]
    values = {
        "model": "gpt2", "pre": pre, "tokens": tokens, "token_type": np.array(kinds),
        "merges": [" ".join(pair) for pair in model["merges"]],
        "bos_token_id": 1, "eos_token_id": 2, "unknown_token_id": 0,
    }  # fmt: skip
    values |= more
    return {KEY + key: value for key, value in values.items() if value is not None}, learned
