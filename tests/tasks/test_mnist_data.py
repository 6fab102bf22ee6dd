import gzip
import hashlib
import io
import os
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from banel_jax.tasks.mnist import data as mnist_data
from banel_jax.tasks.mnist.data import IDX_FILES, load_mnist

# Where the environment names no folder, a data folder shared by checkouts that lie beside it.
DATA = Path(
    os.environ.get("BANEL_DATA_DIR") or Path(__file__).parents[3].joinpath("shared", "data")
)
NAMES = [name for name, *_ in IDX_FILES.values()]
SOURCES = [
    next((file for part in (".", "mnist") for file in DATA.glob(f"{part}/{name}*")), None)
    for name in NAMES
]
DOWNLOADED = mnist_data._downloaded
EVERY = 200  # of the images, one is taken into the small data sets


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """Neither the environment's data nor the network's."""

    def offline(*_):
        raise OSError("no network\nat all")

    monkeypatch.delenv("BANEL_DATA_DIR", raising=False)
    monkeypatch.setattr(mnist_data, "_downloaded", offline)


@pytest.fixture(scope="module")
def files():
    if None in SOURCES:
        pytest.skip(f"MNIST's IDX files are not in {DATA}; BANEL_DATA_DIR may name another folder")
    return dict(zip(NAMES, SOURCES, strict=True))


@pytest.fixture(scope="module")
def data(files):
    return load_mnist(DATA, "idx")


@pytest.fixture(scope="module")
def contents(files):
    """The files' unpacked bytes by name."""
    unpack = lambda file: gzip.decompress if file.suffix == ".gz" else bytes
    return {name: unpack(file)(file.read_bytes()) for name, file in files.items()}


@pytest.fixture
def folder(tmp_path, contents):
    """A folder of the four files, plain."""
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


@pytest.fixture(scope="module")
def tfds():
    return pytest.importorskip("tensorflow_datasets")


@pytest.fixture(scope="module")
def small(data):
    """Every 200th row of each split, in order."""
    return mnist_data.Mnist(*(array[::EVERY] for array in data))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, tfds, small):
    """The small data set as tensorflow-datasets writes MNIST, in its own shuffled order."""
    image = pytest.importorskip("PIL.Image")

    class Small(tfds.builder_cls("mnist"), skip_registration=True):
        name = "mnist"

        def _split_generators(self, dl_manager):
            return {
                "train": self._generate_examples(small.train_images, small.train_labels),
                "test": self._generate_examples(small.test_images, small.test_labels),
            }

        def _generate_examples(self, images, labels):
            for i, (pixels, label) in enumerate(zip(images, labels, strict=True)):
                # A Pillow image: TensorFlow would have to encode an array.
                yield i, {"image": image.fromarray(pixels), "label": int(label)}

    folder = tmp_path_factory.mktemp("tfds")
    Small(data_dir=folder).download_and_prepare(file_format="array_record")
    return folder


@pytest.fixture
def small_checksums(monkeypatch, small):
    md5 = lambda *arrays: hashlib.md5(b"".join(a.tobytes() for a in arrays)).hexdigest()
    sums = {"train": md5(*small[:2]), "test": md5(*small[2:])}
    monkeypatch.setattr(mnist_data, "MD5_IN_ORDER", sums)


@pytest.fixture
def no_default(monkeypatch, tmp_path, tfds):
    """tensorflow-datasets' own folder, empty."""
    monkeypatch.setattr(tfds.core.constants, "DATA_DIR", str(tmp_path / "default"))
    return tmp_path / "default"


def message(*args):
    with pytest.raises(ValueError) as caught:
        load_mnist(*args)
    text = str(caught.value)
    assert "\n" not in text and "BANEL_DATA_DIR" in text
    return text


def assert_same(left, right):
    for a, b in zip(left, right, strict=True):
        assert a.dtype == b.dtype == np.uint8
        np.testing.assert_array_equal(a, b)


def test_shapes_and_counts_by_label(data):
    assert [array.shape for array in data] == [(60000, 28, 28), (60000,), (10000, 28, 28), (10000,)]
    assert {array.dtype for array in data} == {np.dtype(np.uint8)}
    counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(data.train_labels).tolist() == counts
    counts = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert np.bincount(data.test_labels).tolist() == counts


def test_every_image_keeps_its_label_and_rows_are_in_order(data, contents):
    for split, prefix in (("train", "train"), ("test", "t10k")):
        pixels = contents[f"{prefix}-images-idx3-ubyte"][16:]
        labels = contents[f"{prefix}-labels-idx1-ubyte"][8:]
        expected = sorted(
            (label, pixels[784 * i : 784 * (i + 1)]) for i, label in enumerate(labels)
        )
        images = getattr(data, f"{split}_images")
        found = zip(getattr(data, f"{split}_labels").tolist(), map(bytes, images), strict=True)
        assert list(found) == expected


def test_plain_and_gzip_files_in_the_folder_or_in_mnist_are_equal(data, folder, contents):
    assert_same(load_mnist(folder), data)
    name = "t10k-labels-idx1-ubyte"
    (folder / "mnist").mkdir()
    (folder / "mnist" / f"{name}.gz").write_bytes(gzip.compress(contents[name]))
    (folder / name).unlink()
    assert_same(load_mnist(folder), data)


def test_the_names_of_other_mirrors_are_known(data, folder, contents):
    for name in NAMES[:2]:
        (folder / name).rename(folder / name.replace("-idx", ".idx"))
    (folder / f"{NAMES[2].replace('-idx', '.idx')}.gz").write_bytes(
        gzip.compress(contents[NAMES[2]])
    )
    (folder / NAMES[2]).unlink()
    (folder / NAMES[3]).rename(folder / "labels")  # as an archive that has a folder for each
    (folder / NAMES[3]).mkdir()
    (folder / "labels").rename(folder / NAMES[3] / NAMES[3])
    assert_same(load_mnist(folder), data)


def test_what_seems_to_be_mnist_is_not_passed_over(monkeypatch, tmp_path):
    asked = lambda *_: pytest.fail("tensorflow-datasets was asked")
    monkeypatch.setattr(mnist_data, "_from_tfds", asked)
    assert f"there is no folder {tmp_path / 'typo'}" in message(tmp_path / "typo")
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / "my-train-images-idx3-ubyte (1).gz").write_bytes(b"")
    assert f"there is no {NAMES[0]}" in message(tmp_path)


def test_the_environment_names_the_folder_unless_the_argument_does(
    monkeypatch, data, folder, tmp_path_factory
):
    monkeypatch.setenv("BANEL_DATA_DIR", str(folder))
    assert_same(load_mnist(source="idx"), data)
    empty = tmp_path_factory.mktemp("empty")
    assert str(empty) in message(empty, "idx")


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    text = message(folder)  # the folder holds three, so it is those that are meant
    assert f"there is no {name}" in text and str(folder) in text and "download it" in text


@pytest.mark.parametrize("name", NAMES)
def test_one_changed_byte_is_noticed(folder, contents, name):
    changed = bytearray(contents[name])
    changed[-100] ^= 1
    (folder / name).write_bytes(changed)
    text = message(folder)
    assert f"{folder / name} has the wrong checksum" in text and "download it" in text


def test_damaged_files_are_named(folder, contents):
    name = "t10k-labels-idx1-ubyte"
    content, packed = contents[name], gzip.compress(contents[name])

    def found(content, end=""):
        for old in folder.glob(f"{name}*"):
            old.unlink()
        (folder / (name + end)).write_bytes(content)
        text = message(folder)
        assert str(folder / (name + end)) in text
        return text

    assert "is truncated" in found(packed[:-2000], ".gz")
    assert "is truncated" in found(packed[:-4], ".gz")
    assert "magic number" in found(b"", ".gz")
    flipped = bytearray(packed)
    flipped[len(packed) // 2] ^= 0xFF
    assert "is damaged" in found(bytes(flipped), ".gz")
    assert "is damaged" in found(content, ".gz")
    assert "is truncated (10007 bytes in place of 10008)" in found(content[:-1])
    assert "is too long" in found(content + b"\0")
    assert "magic number" in found(contents["t10k-images-idx3-ubyte"])
    assert "not of the shape [10000]" in found(contents["train-labels-idx1-ubyte"])


def test_idx_needs_a_folder_and_sources_have_names():
    assert "no folder" in message(None, "idx")
    with pytest.raises(ValueError, match="must be auto, idx or tfds"):
        load_mnist(DATA, "mnist")


def test_tensorflow_datasets_gives_the_same_rows_without_tensorflow(
    monkeypatch, prepared, small, small_checksums
):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    assert_same(load_mnist(prepared, "tfds"), small)
    assert_same(load_mnist(prepared), small)  # there are no IDX files


def test_tensorflow_datasets_own_folder_is_looked_in(
    monkeypatch, tfds, tmp_path, prepared, small, small_checksums
):
    monkeypatch.setattr(tfds.core.constants, "DATA_DIR", str(prepared))
    assert_same(load_mnist(source="tfds"), small)
    assert_same(load_mnist(tmp_path, "tfds"), small)


def test_another_data_set_under_the_name_is_noticed(prepared):
    text = message(prepared, "tfds")
    assert "the train split" in text and "is not MNIST's" in text and str(prepared) in text


def test_idx_files_come_before_tensorflow_datasets(folder, prepared, data, small_checksums):
    shutil.copytree(prepared / "mnist", folder / "mnist")
    assert len(load_mnist(folder, "tfds").train_labels) == 60000 // EVERY
    assert_same(load_mnist(folder), data)


def test_what_is_not_prepared_is_downloaded(monkeypatch, tfds, folder, tmp_path, no_default, data):
    asked = []

    def download(self, urls):
        asked.append((Path(self._download_dir), sorted(urls.values())))
        return {
            field: folder / url.rsplit("/")[-1].removesuffix(".gz") for field, url in urls.items()
        }

    monkeypatch.setattr(mnist_data, "_downloaded", DOWNLOADED)
    monkeypatch.setattr(tfds.download.DownloadManager, "download", download)
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: io.BytesIO())
    assert_same(load_mnist(tmp_path / "other", "tfds"), data)
    assert_same(load_mnist(source="tfds"), data)
    urls = sorted(f"{tfds.builder_cls('mnist').URL}{name}.gz" for name in NAMES)
    assert asked == [(tmp_path / "other" / "downloads", urls), (no_default / "downloads", urls)]
    (folder / NAMES[0]).write_bytes(b"")
    assert f"{folder / NAMES[0]} is no IDX file" in message(tmp_path / "other", "tfds")


def test_without_a_network_the_answer_comes_before_the_downloader_tries(
    monkeypatch, tfds, tmp_path, no_default
):
    monkeypatch.setattr(mnist_data, "_downloaded", DOWNLOADED)
    monkeypatch.setattr(mnist_data, "MIRROR", "http://127.0.0.1:9/")
    tried = lambda *_: pytest.fail("the downloader was asked")
    monkeypatch.setattr(tfds.download.DownloadManager, "download", tried)
    text = message(tmp_path)
    assert "refused" in text and "four IDX files" in text


def test_tfrecords_are_not_read_but_downloaded_anew(
    tmp_path, prepared, no_default, small_checksums
):
    shutil.copytree(prepared / "mnist", tmp_path / "mnist")
    info = next(tmp_path.rglob("dataset_info.json"))
    text = info.read_text()
    assert "array_record" in text
    info.write_text(text.replace("array_record", "tfrecord"))
    assert "no network" in message(tmp_path, "tfds")


def test_a_failed_download_is_one_line_that_names_the_files(tmp_path, no_default):
    text = message(tmp_path)
    assert "(no network)" in text and "four IDX files" in text and "--data_dir" in text


def test_without_tensorflow_datasets_the_error_names_both_ways(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    text = message(tmp_path)
    assert "extra `data`" in text and "four IDX files" in text


def test_importing_the_module_imports_no_data_library():
    code = (
        "import sys, banel_jax.tasks.mnist.data\n"
        "assert not {'tensorflow', 'tensorflow_datasets', 'PIL'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
