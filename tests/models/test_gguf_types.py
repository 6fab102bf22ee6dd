"""The types of tensors in GGUF files, each held to its definition, value by value."""

import numpy as np
import pytest
from gguf_files import HALF, K_BLOCK, TYPES, gguf, write

from banel_jax.models.language import gguf_file


def half(raw, at):
    return float(np.frombuffer(raw[at : at + 2].tobytes(), "<f2")[0])


def nibble(raw, j):
    """The j-th of 32 halves of 16 bytes: the low ones first."""
    return raw[j] & 15 if j < 16 else raw[j - 16] >> 4


def q4_0(raw):
    return [half(raw, 0) * (int(nibble(raw[2:], j)) - 8) for j in range(HALF)]


def q4_1(raw):
    return [half(raw, 0) * int(nibble(raw[4:], j)) + half(raw, 2) for j in range(HALF)]


def q8_0(raw):
    return [half(raw, 0) * int(q) for q in raw[2:].view(np.int8)]


def scale_and_floor(raw, j):
    """Six bits each, of the j-th of 8 groups of 32, packed in 12 bytes."""
    x = [int(byte) for byte in raw]
    if j < 4:
        return x[j] & 63, x[j + 4] & 63
    scale = x[j + 4] & 15 | x[j - 4] >> 6 << 4
    return scale, x[j + 4] >> 4 | x[j] >> 6 << 4


def of_groups(raw, quants, high):
    """d * scale * q - dmin * floor, of 8 groups, each two of which share 32 bytes."""
    values = []
    for j in range(8):
        scale, floor = scale_and_floor(raw[4:16], j)
        for k in range(32):
            byte = int(quants[j // 2 * 32 + k])
            q = (byte >> 4 if j % 2 else byte & 15) + 16 * high(j, k)
            values.append(half(raw, 0) * scale * q - half(raw, 2) * floor)
    return values


def q4_k(raw):
    return of_groups(raw, raw[16:], lambda j, k: 0)


def q5_k(raw):
    return of_groups(raw, raw[48:], lambda j, k: int(raw[16 + k]) >> j & 1)


def q6_k(raw):
    low, high, scales, d = raw[:128], raw[128:192], raw[192:208].view(np.int8), half(raw, 208)
    values = np.zeros(K_BLOCK)
    for n in range(2):
        for k in range(32):
            for part in range(4):
                byte = int(low[64 * n + k + 32 * (part % 2)])
                four = byte & 15 if part < 2 else byte >> 4
                q = (four | (int(high[32 * n + k]) >> 2 * part & 3) << 4) - 32
                scale = int(scales[8 * n + k // 16 + 2 * part])
                values[128 * n + 32 * part + k] = d * scale * q
    return list(values)


BLOCKS = {  # bytes of a block, where its float16s are, and what it means
    "Q8_0": (34, (0,), q8_0),
    "Q4_0": (18, (0,), q4_0),
    "Q4_1": (20, (0, 2), q4_1),
    "Q4_K": (144, (0, 2), q4_k),
    "Q5_K": (176, (0, 2), q5_k),
    "Q6_K": (210, (208,), q6_k),
}


@pytest.mark.parametrize("name", BLOCKS)
def test_a_quantised_type_is_what_its_definition_says(tmp_path, name):
    size, halves, expected = BLOCKS[name]
    rng = np.random.default_rng(0)
    raw = rng.integers(0, 256, (3, 2 * size), np.uint8)  # 3 rows of 2 blocks
    blocks = raw.reshape(6, size)
    for at in halves:
        scales = rng.normal(0, 0.1, 6).astype("<f2")
        blocks[:, at : at + 2] = scales.view(np.uint8).reshape(6, 2)
    path = write(tmp_path / "a.gguf", "llama", {}, {"x": raw}, raw={"x": TYPES[name]})
    file = gguf_file.read(path)
    by_hand = np.array([expected(block) for block in blocks]).reshape(3, -1)
    assert file.tensors["x"].shape == by_hand.shape
    found = file.read("x")
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, by_hand, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["F32", "F16", "BF16"])
def test_floats_are_as_they_are(tmp_path, name):
    values = np.random.default_rng(0).normal(size=(5, 32)).astype(np.float32)
    values = (values.view(np.uint32) & 0xFFFF0000).view(np.float32)  # that bfloat16 holds
    if name == "F16":
        values = values.astype(np.float16).astype(np.float32)
    kinds = {"x": TYPES[name]}
    found = gguf_file.read(write(tmp_path / "a.gguf", "llama", {}, {"x": values}, kinds)).read("x")
    assert found.dtype.name == {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}[name]
    np.testing.assert_array_equal(found.astype(np.float32), values)


@pytest.mark.parametrize("name", ["Q5_0", "Q5_1", "Q2_K", "Q3_K", "IQ4_NL", "TQ2_0", "MXFP4"])
def test_whatever_the_package_dequantises_is_read(tmp_path, name):
    block, size = gguf.GGML_QUANT_SIZES[TYPES[name]]
    raw = np.random.default_rng(0).integers(0, 60, (2, size), np.uint8)
    path = write(tmp_path / "a.gguf", "llama", {}, {"x": raw}, raw={"x": TYPES[name]})
    found = gguf_file.read(path).read("x")
    assert found.shape == (2, block)
    np.testing.assert_array_equal(found, gguf.dequantize(raw, TYPES[name]))


@pytest.mark.parametrize("name", ["I32", "F64", "Q8_K"])
def test_a_type_that_is_not_known_is_named(tmp_path, name):
    size = gguf.GGML_QUANT_SIZES[TYPES[name]][1]
    raw = np.zeros((2, size), np.uint8)
    path = write(tmp_path / "a.gguf", "llama", {}, {"it": raw}, raw={"it": TYPES[name]})
    with pytest.raises(ValueError, match=r"a\.gguf: it is of a type that is not known .*Q4_K$"):
        gguf_file.read(path)
