"""GGUF files that are damaged, or something else: one line each, which names the file."""

import struct

import numpy as np
import pytest
from gguf_files import TYPES, gguf, model, write

from banel_jax.models.language import gguf_file


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    values = {"general.name": "it", "a.list": [1, 2, 3], "a.texts": ["one", "two"], "a.real": 0.5}
    return model(folder / "model.gguf", "llama", values)[0]


def changed(tmp_path, raw):
    path = tmp_path / "model.gguf"
    path.write_bytes(raw)
    return path


def line_of(path):
    with pytest.raises((ValueError, OSError)) as error:
        gguf_file.read(path)
    text = str(error.value)
    assert str(path) in text and "\n" not in text and len(text) < 600
    return text


def test_header_and_tensors_are_those_that_the_package_reads(whole):
    file, theirs = gguf_file.read(whole), gguf.GGUFReader(whole)
    fields = {k: v.contents() for k, v in theirs.fields.items() if not k.startswith("GGUF.")}
    assert fields.keys() == file.metadata.keys() and len(fields) > 10
    assert all(np.array_equal(value, file.metadata[key]) for key, value in fields.items())
    assert [tensor.name for tensor in theirs.tensors] == list(file.tensors)
    for tensor in theirs.tensors:
        np.testing.assert_array_equal(file.read(tensor.name), tensor.data)


def test_a_file_that_is_cut_short_anywhere_is_refused(tmp_path, whole):
    raw = whole.read_bytes()
    end = gguf.GGUFReader(whole).data_offset
    for length in [*range(8, end, 97), end, len(raw) - 4000, len(raw) - 1]:
        text = line_of(changed(tmp_path, raw[:length]))
        assert "cut short; download it anew" in text, length


def test_what_is_no_gguf_is_said_to_be_none(tmp_path):
    for raw in (b"", b"GGU", b"ggml" + bytes(100), b"\x08\x00\x00\x00\x00\x00\x00\x00{}"):
        assert "is no GGUF" in line_of(changed(tmp_path, raw))
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
    assert "git lfs pull" in line_of(changed(tmp_path, pointer))
    assert "name the file" in line_of(tmp_path)
    assert "there is no file" in line_of(tmp_path / "absent.gguf")


def test_other_versions_and_the_other_byte_order_are_named(tmp_path, whole):
    raw = whole.read_bytes()
    for version, said in ((1, "version 1"), (4, "version 4"), (3 << 24, "big-endian")):
        assert said in line_of(changed(tmp_path, raw[:4] + struct.pack("<I", version) + raw[8:]))


def test_sizes_that_a_file_cannot_have_cost_no_memory(tmp_path):
    start = b"GGUF" + struct.pack("<I", 3)
    text = lambda x: struct.pack("<Q", len(x)) + x
    lies = (
        struct.pack("<QQ", 0, 2**63),  # numbers of values, of tensors
        struct.pack("<QQ", 2**63, 0),
        struct.pack("<QQ", 0, 1) + struct.pack("<Q", 2**62),  # a key's length
        struct.pack("<QQ", 0, 1) + text(b"k") + struct.pack("<IIQ", 9, 4, 2**61),  # an array's
        struct.pack("<QQ", 0, 1) + text(b"k") + struct.pack("<IIQ", 9, 8, 2**61),
        struct.pack("<QQ", 0, 1) + text(b"k") + struct.pack("<IIQ", 9, 9, 1),  # arrays of arrays
        struct.pack("<QQ", 0, 1) + text(b"k") + struct.pack("<I", 77),  # a kind of value
        struct.pack("<QQ", 0, 1) + text(b"\xff") + struct.pack("<IB", 0, 1),  # no UTF-8
        struct.pack("<QQ", 1, 0) + text(b"t") + struct.pack("<I", 2**31),  # dimensions
        struct.pack("<QQ", 1, 0) + text(b"t") + struct.pack("<IQQIQ", 2, 2**62, 2**62, 0, 0),
        struct.pack("<QQ", 1, 0) + text(b"t") + struct.pack("<IQIQ", 1, 4, 0, 2**64 - 32),
        struct.pack("<QQ", 1, 0) + text(b"t") + struct.pack("<IIQ", 0, 0, 0),  # no dimensions
        struct.pack("<QQ", 1, 0) + text(b"t") + struct.pack("<IQIQ", 1, 0, 0, 0),
        struct.pack("<QQ", 1, 0) + text(b"t") + struct.pack("<IQIQ", 1, 33, 8, 0),  # of Q8_0
        struct.pack("<QQ", 0, 2) + 2 * (text(b"k") + struct.pack("<IB", 0, 1)),  # twice
        struct.pack("<QQ", 0, 1) + text(b"general.alignment") + struct.pack("<II", 4, 0),
    )
    for lie in lies:
        assert "download it anew" in line_of(changed(tmp_path, start + lie + bytes(64)))


def test_a_type_beyond_all_that_are_known_is_named(tmp_path):
    raw = b"GGUF" + struct.pack("<IQQ", 3, 1, 0) + struct.pack("<Q", 1) + b"t"
    raw += struct.pack("<IQIQ", 1, 4, 999, 0) + bytes(64)
    assert "t is of a type that is not known (type 999)" in line_of(changed(tmp_path, raw))


def test_one_of_several_parts_is_refused_with_what_joins_them(tmp_path):
    path = write(tmp_path / "a.gguf", "llama", {"split.count": 3}, {})
    assert "llama-gguf-split --merge" in line_of(path)


def test_tensors_begin_where_the_file_aligns_them(tmp_path):
    values = {"x": np.arange(3, dtype=np.float32), "y": np.arange(5, dtype=np.float32)}
    writer = gguf.GGUFWriter(tmp_path / "a.gguf", "llama")
    writer.add_custom_alignment(128)
    for key, value in values.items():
        writer.add_tensor(key, value, raw_dtype=TYPES.F32)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    file = gguf_file.read(tmp_path / "a.gguf")
    for key, value in values.items():
        np.testing.assert_array_equal(file.read(key), value)
