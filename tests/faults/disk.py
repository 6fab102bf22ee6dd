"""A power cut: of a folder stays what was synced, and of what was not as much as chance leaves.

SQLite syncs in C, where nobody sees it: what it commits is durable when the commit returns (WAL,
synchronous=FULL), so its files are copied then. Of checkpoints, which other code writes, any file
may come out empty.
"""

import os
import shutil
import sqlite3
from pathlib import Path

DATABASE = "oracle.sqlite"


class Disk:
    """Follows what of a folder is durable, in a folder beside it, from `watch` on.

    Args:
      folder: of the run.
      image: where what is durable is kept: contents by inode, names by folder.
      at: the number of the operation at which `cut` is called.
      cut: ends the process.
    """

    def __init__(self, folder: Path, image: Path, at: int, cut):
        self.folder, self.image, self.at, self.cut, self.count = folder, image, at, cut, 0
        shutil.rmtree(image, ignore_errors=True)
        image.mkdir()
        if folder.exists():
            for path in folder.iterdir():
                if path.is_file():
                    shutil.copyfile(path, image / path.name)

    def step(self):
        self.count += 1
        if self.count == self.at:
            self.cut()

    def watch(self, patch):
        sync, connect, replace = os.fsync, sqlite3.connect, os.replace
        contents: dict[int, bytes] = {}

        def fsync(descriptor):
            self.step()
            sync(descriptor)
            path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
            if path == self.folder:
                self._names(contents)
            elif path.parent == self.folder:
                contents[os.fstat(descriptor).st_ino] = path.read_bytes()
                if (self.image / path.name).exists():  # the name is durable already
                    self._names(contents, [path.name])
            self.step()

        def take_place(*names):
            self.step()
            replace(*names)
            self.step()

        patch.setattr(os, "fsync", fsync)
        patch.setattr(os, "replace", take_place)
        patch.setattr(sqlite3, "connect", lambda *a, **k: _Connection(connect(*a, **k), self))

    def _names(self, contents, only=None):
        there = {path.name: path for path in self.folder.iterdir() if path.is_file()}
        for name in only or (there.keys() | {path.name for path in self.image.iterdir()}):
            if name.startswith(DATABASE) and not name.endswith((".mark", ".jsonl")):
                continue
            if name not in there:
                (self.image / name).unlink(missing_ok=True)
            elif (inode := there[name].stat().st_ino) in contents:
                (self.image / name).write_bytes(contents[inode])

    def committed(self):
        for name in (DATABASE, f"{DATABASE}-wal"):
            if (self.folder / name).exists():
                shutil.copyfile(self.folder / name, self.image / name)
            else:
                (self.image / name).unlink(missing_ok=True)


class _Connection:
    def __init__(self, connection, disk):
        self.connection, self.disk = connection, disk

    def __getattr__(self, name):
        return getattr(self.connection, name)

    def execute(self, *arguments):
        self.disk.step()
        return self.connection.execute(*arguments)

    def __enter__(self):
        return self.connection.__enter__()

    def __exit__(self, *error):
        self.disk.step()
        self.connection.__exit__(*error)
        self.disk.committed()
        self.disk.step()

    def close(self):
        self.connection.close()
        self.disk.committed()


def after_the_cut(folder: Path, image: Path, rng) -> None:
    """Makes the folder what it is when power is back."""
    (folder / f"{DATABASE}-shm").unlink(missing_ok=True)
    for path in [p for p in folder.iterdir() if p.is_file()]:
        durable = image / path.name
        if durable.exists():
            now, then = path.read_bytes(), durable.read_bytes()
            if path.name.endswith("-wal"):  # part of what was being written
                now = then + bytes(now[len(then) :][: rng.randrange(5000)])
                path.write_bytes(now)
            elif path.name.endswith(".mark"):
                path.write_bytes(rng.choice([now, then]))
            elif path.name.endswith(".jsonl") and now.startswith(then):
                more = now[len(then) :]
                some = more[: rng.randint(0, len(more))]
                path.write_bytes(then + rng.choice([some, bytes(len(some))]))
            else:
                path.write_bytes(then)
        elif path.name.startswith(DATABASE):
            path.unlink()
        else:
            how = rng.choice(["gone", "empty", "there"])
            path.unlink() if how == "gone" else how == "there" or path.write_bytes(b"")
    for durable in image.iterdir():
        if not (folder / durable.name).exists():
            shutil.copyfile(durable, folder / durable.name)
    for step in (folder / "checkpoints").glob("*"):
        if step.is_dir() and rng.random() < 0.4:
            tear(step, rng)


def tear(step: Path, rng) -> None:
    for path in sorted(step.rglob("*")):
        if path.is_file() and rng.random() < 0.3:
            path.write_bytes(path.read_bytes()[: rng.choice([0, 10])])
