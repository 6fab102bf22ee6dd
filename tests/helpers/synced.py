"""What a power cut cannot take: the order in which files, names and folders are synced."""

import os
from pathlib import Path


def watched(monkeypatch) -> list[str]:
    """A list that grows from now on: a file's text when it is synced, `folder` when one is, and
    `name` when a file takes another's place."""
    told: list[str] = []
    sync, replace = os.fsync, os.replace

    def fsync(descriptor):
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        told.append("folder" if path.is_dir() else path.read_text())
        sync(descriptor)

    def take_place(*names):
        told.append("name")
        replace(*names)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", take_place)
    return told
