"""Strings out of files as people have them."""

import csv
import gzip
import json
import random
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from banel_jax.oracle import tables
from banel_jax.strings.reading import check_characters, read_strings


def packed(content):
    return gzip.compress(content, mtime=0)  # the same in every process


HOSTILE = [
    "a\0b 'q' \"d\" \u2028x\x85\x1c\x0b\x0c \r y😀e\u0301\t", " ", "it's", "\\n", "ﬀ\u200d",
    "".join(random.Random(0).choices("ab,;\"'\0\u0301", k=1_000_000)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "content", "strings", "lines"),
    [
        ("lf.txt", b"ab\ncd\n", ["ab", "cd"], [1, 2]),
        ("no_end.txt", b"ab\n\ncd", ["ab", "cd"], [1, 3]),
        ("crlf.smi", b"ab \r\n\r\n cd\r\n", ["ab ", " cd"], [1, 3]),
        ("bom", b"\xef\xbb\xbfab\ncd", ["ab", "cd"], [1, 2]),
        ("packed.txt.gz", packed(b"ab\r\ncd"), ["ab", "cd"], [1, 2]),
        ("packed_unnamed.txt", packed(b"ab\ncd"), ["ab", "cd"], [1, 2]),
        ("a.fasta", b"; c\n>x 1\nMKV\nLL A\n\n>y\n>z\r\n mk*\r\n", ["MKVLLA", "mk*"], [2, 7]),
        ("b.FA.gz", packed(b"\xef\xbb\xbf>x\nAC"), ["AC"], [1]),
        ("one.csv", b"name\nab\ncd\n", ["ab", "cd"], [2, 3]),
        ("usual.csv", b"\xef\xbb\xbfid;SMILES\r\n1;C;\r\n".replace(b";\r", b"\r"), ["C"], [2]),
        ("tabs.tsv", b"id\ttext\n1\tab\n2\t\n3\tcd\n", ["ab", "cd"], [2, 4]),
        ("quoted.csv.gz", packed(b'text\n"a""b\nc"\ncd\n'), ['a"b\nc', "cd"], [2, 4]),
        ("x.jsonl", b'{"text":"ab"}\n{"text":null}\n{"text":"c\\u0000"}', ["ab", "c\0"], [1, 3]),
        ("some.ndjson", b'\xef\xbb\xbf{"a":"ab"}\r\n\r\n{"a":""}\r\n', ["ab"], [1]),
    ],
)  # fmt: skip
def test_files_by_hand(tmp_path, name, content, strings, lines):
    (tmp_path / name).write_bytes(content)
    found = read_strings(tmp_path / name)
    assert (list(found), found.lines) == (strings, lines)
    assert found.place(0) == f"line {lines[0]} of {tmp_path / name}"


def test_hostile_strings_come_back(tmp_path):
    lines, table, objects = (tmp_path / name for name in ("a.txt", "a.csv", "a.jsonl"))
    lines.write_text("\n".join(HOSTILE), encoding="utf-8", newline="")
    with open(table, "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["i", "x"], *enumerate(HOSTILE)])
    objects.write_text("\n".join(json.dumps({"x": one, "y": 0}) for one in HOSTILE))
    tables.write(tmp_path / "b.csv", {"x": HOSTILE})
    assert list(read_strings(lines)) == HOSTILE
    assert list(read_strings(table, "x")) == HOSTILE
    assert list(read_strings(objects, "x")) == HOSTILE
    assert list(read_strings(tmp_path / "b.csv")) == HOSTILE


def test_an_apostrophe_before_a_formula_is_the_table_s(tmp_path):
    (tmp_path / "a.csv").write_text("text\n'=CC\n=CC\n'CC\n")
    assert list(read_strings(tmp_path / "a.csv")) == ["=CC", "=CC", "'CC"]
    (tmp_path / "a.txt").write_text("'=CC\n")
    assert list(read_strings(tmp_path / "a.txt")) == ["'=CC"]


@pytest.mark.parametrize("kind", [".csv", ".jsonl"])
@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=5))
def test_any_table_that_a_run_writes_is_read(tmp_path_factory, kind, strings):
    path = tmp_path_factory.mktemp("tables") / f"a{kind}"
    tables.write(path, {"text": strings, "reward": [0] * len(strings)})
    assert list(read_strings(path)) == strings


@pytest.mark.parametrize(
    ("name", "content", "column", "message"),
    [
        ("a.txt", b"", "", r"a\.txt holds no string; give a file with one in a line"),
        ("a.txt", b"\xef\xbb\xbf\r\n\n", "", "holds no string"),
        ("a.csv", b"text\n\n", "", "holds no string"),
        ("a.txt", b"ab\ncd\nx\xffy", "", r"^line 3 of .*a\.txt is not text in UTF-8 \(invalid"),
        ("a.txt", "ab\ncd".encode("utf-16"), "", "^line 1 of .* is not text in UTF-8"),
        ("a.gz", packed(b"ab\ncd\n")[:-5], "", "is damaged or cut short"),
        ("a.gz", b"\x1f\x8bnothing", "", "is damaged or cut short"),
        ("a.txt", b"ab", "x", "is no table with a column 'x'; name it .csv or .jsonl"),
        ("a.faa", b"MKV\n>x\nMK\n", "", "^line 1 of .* stands under no header"),
        ("a.csv", b"a,b\n1,2\n", "", "has the columns 'a', 'b'; say which with"),
        ("a.csv", b"a,b\n1,2\n", "c", r"no row has 'c' \(the first: line 2\); there is 'a', 'b'"),
        ("a.csv", b'a\n"b\n', "", "is no CSV"),
        ("a.csv", b"a\nb,c\n", "", "line 2 of .* has 2 cells, and 1 columns have names"),
        ("a.jsonl", b'{"a":"x"}\n{"b":"x"}\n', "a", r"1 of 2 rows have no 'a' \(the first: line 2"),
        ("a.jsonl", b'{"a":12}', "", "line 1 of .* has 12 in 'a', which is no string"),
        ("a.jsonl", b'{"a":"x"', "", "line 1 of .* is no JSON"),
        ("a.jsonl", b'\n{"a":"x\\ud83d"}', "", r"line 2 of .* has '\\ud83d', half of a character"),
    ],
)  # fmt: skip
def test_what_is_refused(tmp_path, name, content, column, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        read_strings(tmp_path / name, column)
    assert "\n" not in str(caught.value) and name in str(caught.value)


def test_what_is_no_file_or_no_string_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"nowhere\.txt cannot be read: No such file"):
        read_strings(tmp_path / "nowhere.txt")
    with pytest.raises(ValueError, match="read: Is a directory"):
        read_strings(tmp_path)
    with pytest.raises(ValueError, match=r"^string 2 is a int; give strings"):
        check_characters(["a", 3])


def written_parquet(path, columns, **settings):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.table(columns), path, **settings)
    return path


def test_a_column_of_parquet_by_hand(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    told = [None, "ab", "", "c\0\u2028d"]
    columns = {
        "i": [1, 2, 3, 4], "SMILES": told, "other": list("wxyz"), "a.b": ["1", "2", "3", "4"],
        "large": pyarrow.array(told, pyarrow.large_string()),
        "repeated": pyarrow.array(["b", "a", "b", "b"]).dictionary_encode(),
    }  # fmt: skip
    path = written_parquet(tmp_path / "a.parquet", columns, row_group_size=2)
    found = read_strings(path)
    assert (list(found), found.lines) == (["ab", "c\0\u2028d"], [2, 4])
    assert found.place(1) == f"row 4 of {path}"
    assert list(read_strings(path, "large")) == list(found)
    assert list(read_strings(path, "repeated")) == list("babb")
    assert list(read_strings(path, "a.b")) == list("1234")
    (tmp_path / "b.PARQUET.gz").write_bytes(packed(path.read_bytes()))
    assert list(read_strings(tmp_path / "b.PARQUET.gz", "other")) == list("wxyz")


def test_what_is_no_column_of_text_in_parquet_is_refused(tmp_path):
    columns = {"a": [1, 2], "b": [b"x", b"y"], "c": [["x"], []], "d": ["x" * 9, "y" * 9]}
    path = written_parquet(tmp_path / "a.parquet", columns)
    damaged = tmp_path / "damaged.parquet"
    content = path.read_bytes()
    end = len(content) - 8 - int.from_bytes(content[-8:-4], "little")  # of what is no description
    damaged.write_bytes(content[:4] + b"\xff" * (end - 4) + content[end:])
    short, lines = tmp_path / "short.parquet", tmp_path / "lines.parquet"
    short.write_bytes(path.read_bytes()[:-9])
    lines.write_text("ab\ncd\n")
    empty = written_parquet(tmp_path / "empty.parquet", {"text": ["", None]})
    for file, column, message in (
        (path, "", r"has the columns 'a', 'b', 'c', 'd'; say which with column="),
        (path, "e", r"has no column 'e'; there is 'a', 'b', 'c', 'd'"),
        (path, "a", r"has int64 in 'a', which is no text; name another column"),
        (path, "b", r"has binary in 'b', which is no text"),
        (path, "c", r"has list<.*> in 'c', which is no text"),
        (damaged, "d", r"is no Parquet \(.*\); mend it"),
        (short, "", r"is no Parquet \(.*\); mend it"),
        (lines, "", r"is no Parquet \(.*\); mend it"),
        (empty, "", "holds no string"),
    ):
        with pytest.raises(ValueError, match=message) as caught:
            read_strings(file, column)
        assert "\n" not in str(caught.value) and file.name in str(caught.value)


def test_parquet_without_pyarrow_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match=r"a\.parquet: Parquet needs pyarrow.*pip install pyarrow"):
        read_strings(tmp_path / "a.parquet")
