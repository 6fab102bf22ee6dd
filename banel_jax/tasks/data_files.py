"""Files of a dataset in a folder that the user names, plain or gzip."""

import gzip
import os
import zlib
from pathlib import Path

DATA_DIR_VARIABLE = "BANEL_DATA_DIR"


def find(folder: Path, dataset: str, *names: str) -> Path | None:
    """The file, under any of its names, in the folder or its `dataset`, plain rather than gzip;
    None without one.

    Some archives unpack each file into a folder of its name, where it is found as well.
    """
    places = (
        place / (name + end)
        for part in (folder, folder / dataset)
        for name in names
        for place in (part, part / name)
        for end in ("", ".gz")
    )
    return next(filter(os.path.isfile, places), None)


def read(file: Path) -> bytes:
    """What a file holds, decompressed; ValueError says what is wrong with it, as a predicate."""
    try:
        content = file.read_bytes()
        return gzip.decompress(content) if file.suffix == ".gz" else content
    except EOFError as error:
        raise ValueError("is truncated") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"is damaged ({error})") from error
    except OSError as error:
        raise ValueError(f"cannot be read ({error.strerror})") from error
