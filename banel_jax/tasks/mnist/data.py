"""MNIST in memory, from its four IDX files or through tensorflow-datasets.

Both sources give the same arrays: the rows stand in one order, by label and then by the
image's bytes, for tensorflow-datasets shuffles its examples and an experiment must not depend
on where its data came from. TensorFlow itself is not needed.
"""

import hashlib
import math
import os
import urllib.request
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from banel_jax import checks, files
from banel_jax.tasks import data_files
from banel_jax.tasks.data_files import DATA_DIR_VARIABLE

MIRROR = "https://storage.googleapis.com/cvdf-datasets/mnist/"
IDX_FILES = {  # fields of Mnist: the file's name, the array's shape and the md5 unpacked
    "train_images": (
        "train-images-idx3-ubyte",
        (60_000, 28, 28),
        "6bbc9ace898e44ae57da46a324031adb",
    ),
    "train_labels": ("train-labels-idx1-ubyte", (60_000,), "a25bea736e30d166cdddb491f175f624"),
    "test_images": ("t10k-images-idx3-ubyte", (10_000, 28, 28), "2646ac647ad5339dbf082846283269ea"),
    "test_labels": ("t10k-labels-idx1-ubyte", (10_000,), "27ae3e4e09519cfbb04c329615203637"),
}
MD5_IN_ORDER = {  # of a split's images and then its labels, in the order of Mnist
    "train": "620a910cf809f0e01580a76716a5fa0c",
    "test": "7a7bfff90abcd2ee6b31e3c11d53452b",
}


class Mnist(NamedTuple):
    """The data set: images in 0..255 and labels in 0..9, sorted by label and image.

    Being sorted, a part of the rows is no random part of the data: shuffle before splitting.
    """

    train_images: np.ndarray  # uint8 [60000, 28, 28]
    train_labels: np.ndarray  # uint8 [60000]
    test_images: np.ndarray  # uint8 [10000, 28, 28]
    test_labels: np.ndarray  # uint8 [10000]


def load_mnist(
    data_dir: str | os.PathLike | None = None, source: Literal["auto", "idx", "tfds"] = "auto"
) -> Mnist:
    """MNIST, from whichever source; the arrays are the same.

    Args:
      data_dir: the folder of the data, by default that of the environment variable
        BANEL_DATA_DIR. IDX files, gzip or plain, are found in it or in its folder `mnist`.
      source: `idx`, the four IDX files; `tfds`, the data set that tensorflow-datasets prepared
        (as array_record or Parquet) in the folder or in its own default, or else downloads;
        `auto`, the IDX files where the folder holds any of them, else `tfds`.

    Raises:
      ValueError: if the data are not there and cannot be downloaded, or are not MNIST's.
    """
    data_dir = data_dir or os.environ.get(DATA_DIR_VARIABLE)
    folder = files.expand(data_dir) if data_dir else None
    if source == "auto":
        source = "idx" if _holds_idx(folder) else "tfds"
    if source == "idx":
        return _from_idx(folder)
    if source == "tfds":
        return _from_tfds(folder)
    raise ValueError(f"source={source!r} must be auto, idx or tfds")


def _from_idx(folder):
    if folder is None:
        raise ValueError(
            "no folder of the MNIST files is given; point --data_dir or "
            f"{DATA_DIR_VARIABLE} at one that holds {', '.join(n for n, *_ in IDX_FILES.values())}"
        )
    found = {field: _find(folder, name) for field, (name, *_) in IDX_FILES.items()}
    try:
        for field, (name, *_) in IDX_FILES.items():
            if found[field] is None:
                raise ValueError(
                    f"there is no {name} or {name}.gz in {folder} or {folder / 'mnist'}"
                )
        return _read_files(found)
    except ValueError as error:
        raise ValueError(
            f"{error}; download it anew from {MIRROR}, or point --data_dir or "
            f"{DATA_DIR_VARIABLE} at a good copy"
        ) from error


def _find(folder, name):
    # Some mirrors, and those that unpack with 7-zip, have train-images.idx3-ubyte.
    return folder and data_files.find(folder, "mnist", name, name.replace("-idx", ".idx"))


def _holds_idx(folder):
    """Whether it is the IDX files that a folder is meant to hold."""
    if folder is None:
        return False
    if not folder.is_dir():
        raise ValueError(
            f"there is no folder {folder}; point --data_dir or {DATA_DIR_VARIABLE} at one that "
            "holds MNIST, or make it to have MNIST downloaded into it"
        )
    return any((*folder.glob("*-ubyte*"), *folder.glob("mnist/*-ubyte*")))


def _read_files(found):
    arrays = {}
    for field, (_, shape, md5) in IDX_FILES.items():
        try:
            arrays[field] = _read_idx(Path(found[field]), shape, md5)
        except ValueError as error:
            raise ValueError(f"the MNIST file {found[field]} {error}") from error
    return _in_order(**arrays)


def _read_idx(file, shape, md5):
    """The array of an IDX file; ValueError says what is wrong with it, as a predicate."""
    content = data_files.read(file)
    # Two zero bytes, 8 for uint8, the number of dimensions, and each as a big-endian integer.
    magic = bytes([0, 0, 8, len(shape)])
    header = magic + np.array(shape, ">i4").tobytes()
    if content[:4] != magic:
        raise ValueError(f"is no IDX file of {len(shape)} dimensions (its magic number is wrong)")
    if content[: len(header)] != header:
        raise ValueError(f"is not of the shape {list(shape)}")
    size = len(header) + math.prod(shape)
    if len(content) != size:
        state = "is truncated" if len(content) < size else "is too long"
        raise ValueError(f"{state} ({len(content)} bytes in place of {size})")
    if _md5(content) != md5:
        raise ValueError("has the wrong checksum")
    return np.frombuffer(content, np.uint8, offset=len(header)).reshape(shape)


def _from_tfds(folder):
    mend = (
        f"download the four IDX files from {MIRROR} and point --data_dir or "
        f"{DATA_DIR_VARIABLE} at their folder"
    )
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise ValueError(
            f"tensorflow-datasets cannot be imported to get MNIST ({error}); install it (the "
            f"extra `data`), or {mend}"
        ) from error
    try:
        places = dict.fromkeys([folder, None])  # None is tensorflow-datasets' default
        builders = [tfds.builder("mnist", data_dir=place) for place in places]
        prepared = (_prepared(builder) for builder in builders)
        return next(filter(None, prepared), None) or _downloaded(tfds, builders[0])
    except Exception as error:  # of whatever kind: of the network, of the files, of the formats
        reason = checks.first_line(error)
        raise ValueError(f"tensorflow-datasets cannot provide MNIST ({reason}); {mend}") from error


def _prepared(builder):
    """The data set as tensorflow-datasets keeps it; None where it is not, or in TFRecords."""
    if not builder.is_prepared():
        return None
    try:
        sources = builder.as_data_source()
    except NotImplementedError:  # TFRecords, which it takes TensorFlow to read
        return None
    arrays = {}
    for split in MD5_IN_ORDER:
        examples = list(sources[split])
        arrays[f"{split}_images"] = np.stack([example["image"][..., 0] for example in examples])
        arrays[f"{split}_labels"] = np.array([example["label"] for example in examples], np.uint8)
    data = _in_order(**arrays)
    for split, md5 in MD5_IN_ORDER.items():
        content = getattr(data, f"{split}_images").tobytes()
        content += getattr(data, f"{split}_labels").tobytes()
        if _md5(content) != md5:
            raise ValueError(f"the {split} split in {builder.data_dir} is not MNIST's")
    return data


def _downloaded(tfds, builder):
    """The IDX files by way of the download cache of tensorflow-datasets.

    Its `download_and_prepare` would have TensorFlow unpack the files and encode the images.
    """
    folder = builder.data_dir_root / "downloads"
    urls = {field: f"{MIRROR}{name}.gz" for field, (name, *_) in IDX_FILES.items()}
    if not folder.exists():  # without a network, tensorflow-datasets would try for minutes
        request = urllib.request.Request(urls["test_labels"], method="HEAD")
        urllib.request.urlopen(request, timeout=20).close()
    manager = tfds.download.DownloadManager(download_dir=folder, dataset_name="mnist")
    return _read_files(manager.download(urls))


def _in_order(train_images, train_labels, test_images, test_labels):
    return Mnist(*_sorted(train_images, train_labels), *_sorted(test_images, test_labels))


def _sorted(images, labels):
    rows = np.column_stack([labels, images.reshape(len(images), -1)])
    order = np.argsort(rows.view(f"V{rows.shape[1]}")[:, 0])  # compared byte by byte
    return images[order], labels[order]


def _md5(content):
    return hashlib.md5(content, usedforsecurity=False).hexdigest()
