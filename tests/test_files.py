"""Files: whole or not at all, UTF-8, modes of the umask."""

import errno
import os
import re
import sqlite3

import pytest
import synced

from banel_jax import files


def test_the_mode_follows_the_umask_and_nothing_else_is_left(tmp_path):
    for mask, mode in ((0o022, 0o644), (0o002, 0o664), (0o077, 0o600)):
        before = os.umask(mask)
        try:
            files.write_atomically(tmp_path / f"{mask}.json", "é")
        finally:
            os.umask(before)
        assert (tmp_path / f"{mask}.json").stat().st_mode & 0o777 == mode
        assert (tmp_path / f"{mask}.json").read_bytes() == b"\xc3\xa9"
    assert len(list(tmp_path.iterdir())) == 3


def test_what_was_there_stays_where_writing_fails(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    files.write_atomically(path, "old")

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"a\.json") as caught:
        files.write_atomically(path, "new")
    assert files.is_full(caught.value)
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
    with pytest.raises(OSError, match=r"b\.json"):
        files.write_atomically(tmp_path / "no" / "b.json", "new")


def test_a_file_is_synced_before_it_has_its_name_and_the_folder_after(tmp_path, monkeypatch):
    told = synced.watched(monkeypatch)
    files.write_atomically(tmp_path / "a", "text")
    assert told == ["text", "name", "folder"]


def test_folders_that_cannot_be_synced_are_written_all_the_same(tmp_path, monkeypatch):
    sync = os.fsync

    def no_folders(descriptor):
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            raise OSError(errno.EINVAL, "Invalid argument")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", no_folders)
    files.write_atomically(tmp_path / "a", "text")
    assert (tmp_path / "a").read_text() == "text"


def test_a_folder_to_write_into_is_made_and_tried(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert files.writable_folder("~/a/b") == tmp_path / "a" / "b"
    assert list((tmp_path / "a" / "b").iterdir()) == []
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "a", "/proc/none", " ", ""):
        with pytest.raises(ValueError, match=re.escape(str(path)) or "no folder") as caught:
            files.writable_folder(path)
        assert "\n" not in str(caught.value)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(type(tmp_path), "write_bytes", full)
    with pytest.raises(ValueError, match=f"the folder {tmp_path}: No space left on device"):
        files.writable_folder(tmp_path)


def test_a_full_disk_is_known_however_it_is_told():
    assert files.is_full(OSError(errno.ENOSPC, "x")) and files.is_full(OSError(errno.EDQUOT, "x"))
    assert files.is_full(sqlite3.OperationalError("database or disk is full"))
    assert files.is_full(ValueError("Failed to write: x [os_error_code='28']"))
    assert not files.is_full(OSError(errno.EIO, "disk is fullish"))
    assert not files.is_full(ValueError("x [os_error_code='27']"))


def test_json_is_read_as_text_is(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b'\xef\xbb\xbf{"a":\r\n 1}\r\n\r\n')
    assert files.read_json(path) == {"a": 1}
    for text in ("", "{", "[" * 100_000):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"a\.json is no JSON"):
            files.read_json(path)
    path.write_text("[1]")
    with pytest.raises(ValueError, match=r"a\.json holds a list in place of .*; look again$"):
        files.read_object(path, "look again")


def test_text_is_read_with_a_mark_and_with_either_line_end(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbfone\r\ntwo \xc3\xa9\n")
    assert files.read_text(path) == "one\ntwo é\n"
    path.write_bytes(b"\xff\xfeo\x00")
    with pytest.raises(ValueError, match=r"a\.txt is not text in UTF-8"):
        files.read_text(path)
