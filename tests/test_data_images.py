"""Sets of images: every place they are looked for, and files that are not what they should be."""

import gzip
import hashlib
import http.server
import multiprocessing
import os
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tinygrad_bn import data, files
from tinygrad_bn.data import idx, images
from tinygrad_bn.errors import DataNotFoundError, FileError

RNG = np.random.default_rng(0)
SMALL = {
    "x_train": RNG.integers(0, 256, (6, 28, 28), np.uint8),
    "y_train": RNG.integers(0, 10, 6).astype(np.uint8),
    "x_test": RNG.integers(0, 256, (3, 28, 28), np.uint8),
    "y_test": RNG.integers(0, 10, 3).astype(np.uint8),
}
DEBIAN = Path("/usr/share/datasets/fashion-mnist")


@pytest.fixture
def empty(tmp_path, monkeypatch):
    """A machine without data, on which the small set passes for Fashion-MNIST."""
    for name in ("TINYGRAD_BN_DATA", "KERAS_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    digests = {p: hashlib.sha256(idx.encoded(a)).hexdigest() for p, a in SMALL.items()}
    small = replace(images.FASHION_MNIST, digests=digests, package="", mirrors=())
    monkeypatch.setattr(images, "FASHION_MNIST", small)
    return tmp_path


def put(folder, *, packed=False, arrays=SMALL):
    folder.mkdir(parents=True, exist_ok=True)
    for part, name in images.PARTS.items():
        content = idx.encoded(arrays[part])
        if packed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (folder / name).write_bytes(content)


def same(splits):
    np.testing.assert_array_equal(splits.train.x, SMALL["x_train"])
    np.testing.assert_array_equal(splits.test.x, SMALL["x_test"])
    np.testing.assert_array_equal(splits.train.labels, SMALL["y_train"])
    np.testing.assert_array_equal(splits.test.labels, SMALL["y_test"])
    assert splits.train.x.dtype == np.uint8
    assert splits.train.labels.dtype == splits.test.labels.dtype == np.int64
    return True


PLACES = [
    ("work/data/FashionMNIST/raw", None),
    ("home/data/FashionMNIST/raw", None),
    ("home/.torch/datasets/FashionMNIST/raw", None),
    ("home/.keras/datasets/fashion-mnist", None),
    ("keras/datasets/fashion-mnist", ("KERAS_HOME", "keras")),
    ("own", ("TINYGRAD_BN_DATA", "own")),
    ("own/FashionMNIST/raw", ("TINYGRAD_BN_DATA", "own")),
    ("own/fashion-mnist", ("TINYGRAD_BN_DATA", "own")),
    ("home/.cache/tinygrad_bn/fashion-mnist", None),
    ("cache/tinygrad_bn/fashion-mnist", ("XDG_CACHE_HOME", "cache")),
]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("place", "setting"), PLACES, ids=str)
def test_a_set_is_found_in_each_of_its_places(empty, monkeypatch, place, setting, packed):
    with pytest.raises(DataNotFoundError):
        data.load_fashion_mnist()
    put(empty / place, packed=packed)
    if setting:
        monkeypatch.setenv(setting[0], str(empty / setting[1]))
    assert same(data.load_fashion_mnist())


def test_the_package_of_debian_is_a_place(empty, monkeypatch):
    monkeypatch.setattr(images, "FASHION_MNIST", replace(images.FASHION_MNIST, package="dataset-x"))
    assert Path("/usr/share/datasets/x") in list(images._places(images.FASHION_MNIST))


def test_a_path_is_the_only_place(empty):
    put(empty / "work/data/FashionMNIST/raw")
    put(empty / "here", packed=True)
    assert same(data.load_fashion_mnist(empty / "here"))
    with pytest.raises(DataNotFoundError) as caught:
        data.load_fashion_mnist(str(empty / "there"))
    assert caught.value.what == (
        f"Fashion-MNIST is not in {empty / 'there'}: the files train-images-idx3-ubyte, "
        "train-labels-idx1-ubyte, t10k-images-idx3-ubyte, t10k-labels-idx1-ubyte are needed."
    )
    assert caught.value.fix == "Name the folder that holds them, as they are or as .gz."


def test_a_path_may_be_the_root_of_torchvision(empty):
    put(empty / "root/FashionMNIST/raw")
    assert same(data.load_fashion_mnist(empty / "root"))


def test_arrays_of_keras_of_another_type_are_refused(empty):
    path = empty / "wide.npz"
    np.savez(path, **SMALL | {"y_test": SMALL["y_test"].astype(np.int64) + 256})
    with pytest.raises(FileError) as caught:
        data.load_fashion_mnist(path)
    assert caught.value.what == f"{path}: y_test holds int64, not unsigned bytes."


def test_the_setting_goes_before_the_usual_places(empty, monkeypatch):
    put(empty / "work/data/FashionMNIST/raw", arrays=SMALL | {"y_test": SMALL["y_test"][::-1]})
    put(empty / "own")
    monkeypatch.setenv("TINYGRAD_BN_DATA", str(empty / "own"))
    assert same(data.load_fashion_mnist())


def test_the_file_of_keras_is_read_without_pickle(empty):
    folder = empty / "home/.keras/datasets"
    folder.mkdir(parents=True)
    np.savez(folder / "fashion-mnist.npz", **SMALL)
    assert same(data.load_fashion_mnist())
    assert same(data.load_fashion_mnist(folder / "fashion-mnist.npz"))
    np.savez(folder / "objects.npz", **SMALL | {"y_test": np.array([{}], object)})
    with pytest.raises(FileError, match="does not hold the arrays x_train"):
        data.load_fashion_mnist(folder / "objects.npz")
    np.savez(folder / "other.npz", x=np.ones(3))
    with pytest.raises(FileError, match="does not hold the arrays x_train"):
        data.load_fashion_mnist(folder / "other.npz")
    whole = (folder / "fashion-mnist.npz").read_bytes()
    (folder / "cut.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FileError, match=r"cut\.npz does not hold"):
        data.load_fashion_mnist(folder / "cut.npz")


def test_a_set_that_is_nowhere_says_where_it_was_looked_for_and_how_to_get_it(empty, monkeypatch):
    with_package = replace(images.FASHION_MNIST, package="dataset-none")
    monkeypatch.setattr(images, "FASHION_MNIST", with_package)
    monkeypatch.setenv("TINYGRAD_BN_DATA", str(empty / "own"))
    with pytest.raises(FileNotFoundError) as caught:
        data.load_fashion_mnist()
    looked = ", ".join(str(place) for place in images._places(with_package))
    assert caught.value.what == f"Fashion-MNIST was not found. Looked in: {looked}."
    assert caught.value.fix == (
        "apt-get install dataset-none (Debian, Ubuntu); tg.data.load_fashion_mnist(download=True); "
        "or set TINYGRAD_BN_DATA to a folder that holds the files train-images-idx3-ubyte, "
        "train-labels-idx1-ubyte, t10k-images-idx3-ubyte, t10k-labels-idx1-ubyte (or their .gz), "
        "torchvision's FashionMNIST/raw or Keras' fashion-mnist.npz."
    )


def test_a_file_cut_short_is_named(empty):
    put(empty / "here", packed=True)
    path = empty / "here" / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(FileError) as caught:
        data.load_fashion_mnist(empty / "here")
    assert caught.value.what.startswith(f"{path} cannot be decompressed: ")
    assert caught.value.fix == "Remove the file, and get it again."


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "is no IDX file of unsigned bytes."),
        (b"<html>", "is no IDX file of unsigned bytes."),
        (b"\0\0\x08\x02\0\0", "is no IDX file of unsigned bytes."),
        (b"\0\0\x0d\x01\0\0\0\1abcd", "is no IDX file of unsigned bytes."),
        (b"\0\0\x08\x01\0\0\0\x05ab", "holds 2 elements, and its header says shape (5,)."),
    ],
)
def test_a_file_of_another_kind_is_named(empty, content, what):
    put(empty / "here")
    path = empty / "here" / "train-labels-idx1-ubyte"
    path.write_bytes(content)
    with pytest.raises(FileError) as caught:
        data.load_fashion_mnist(empty / "here")
    assert caught.value.what == f"{path} {what}"


def test_other_bytes_of_the_right_form_are_refused(empty):
    other = SMALL["x_train"].copy()
    other[0, 0, 0] ^= 1
    put(empty / "here", arrays=SMALL | {"x_train": other})
    with pytest.raises(FileError) as caught:
        data.load_fashion_mnist(empty / "here")
    assert "train-images-idx3-ubyte is not that of Fashion-MNIST (SHA-256 " in caught.value.what
    assert images.FASHION_MNIST.digests["x_train"] in caught.value.what
    assert caught.value.fix == (
        "If it should be, get it again; a folder of another set is not for this function."
    )


@pytest.mark.parametrize("which", [images.MNIST, images.FASHION_MNIST], ids=lambda s: s.name)
def test_mirrors_are_reached_over_a_connection_that_nobody_can_change(which):
    assert len(which.mirrors) >= 2
    assert all(mirror.startswith("https://") and mirror.endswith("/") for mirror in which.mirrors)


# the network --------------------------------------------------------------------------------------


@pytest.fixture
def mirror(empty, monkeypatch):
    """Serve the small set on this machine, as one of two mirrors; the first has only rubbish."""
    put(empty / "served/good", packed=True)
    (empty / "served/bad").mkdir()
    (empty / "served/bad/train-images-idx3-ubyte.gz").write_bytes(b"<html>")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(empty / "served"))

        def send_header(self, name, value):
            more = name == "Content-Length" and "/cut/" in self.path
            super().send_header(name, "1000000" if more else value)

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    root = f"http://127.0.0.1:{server.server_port}/"
    mirrors = (f"{root}bad/", f"{root}good/")
    monkeypatch.setattr(images, "FASHION_MNIST", replace(images.FASHION_MNIST, mirrors=mirrors))
    yield root
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_download_is_kept_and_checked(mirror, empty):
    assert same(data.load_fashion_mnist(download=True))
    kept = empty / "home/.cache/tinygrad_bn/fashion-mnist"
    assert sorted(p.name for p in kept.iterdir()) == sorted(images.PARTS.values())
    (empty / "served/good/t10k-labels-idx1-ubyte.gz").unlink()
    assert same(data.load_fashion_mnist())
    (kept / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DataNotFoundError) as caught:
        data.load_fashion_mnist(download=True)
    assert caught.value.what.startswith("Fashion-MNIST could not be downloaded. ")
    assert f"{mirror}good/t10k-labels-idx1-ubyte.gz: HTTP Error 404" in caught.value.what
    assert not (kept / "t10k-labels-idx1-ubyte").exists()


def test_nothing_is_downloaded_unless_asked_for(mirror):
    with pytest.raises(DataNotFoundError):
        data.load_fashion_mnist()


def test_a_connection_that_breaks_off_is_one_more_mirror_that_failed(mirror, empty, monkeypatch):
    put(empty / "served/cut", packed=True)
    broken = replace(images.FASHION_MNIST, mirrors=(f"{mirror}cut/", f"{mirror}good/"))
    monkeypatch.setattr(images, "FASHION_MNIST", broken)
    assert same(data.load_fashion_mnist(download=True))
    monkeypatch.setattr(images, "FASHION_MNIST", replace(broken, mirrors=broken.mirrors[:1]))
    monkeypatch.setenv("XDG_CACHE_HOME", str(empty / "other"))
    with pytest.raises(DataNotFoundError, match=r"cut/train-images\S*: IncompleteRead"):
        data.load_fashion_mnist(download=True)
    assert not (empty / "other").exists()


def test_wrong_bytes_are_not_kept(mirror, empty):
    wrong = gzip.compress(idx.encoded(SMALL["y_test"][::-1]))
    (empty / "served/good/t10k-labels-idx1-ubyte.gz").write_bytes(wrong)
    with pytest.raises(DataNotFoundError, match="is not that of Fashion-MNIST"):
        data.load_fashion_mnist(download=True)
    kept = empty / "home/.cache/tinygrad_bn/fashion-mnist"
    assert "t10k-labels-idx1-ubyte" not in {p.name for p in kept.iterdir()}


def test_a_write_that_fails_leaves_nothing(mirror, empty, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        data.load_fashion_mnist(download=True)
    assert list((empty / "home").rglob("*ubyte*")) == []


def download():
    same(data.load_fashion_mnist(download=True))


def test_a_download_that_is_killed_leaves_no_half_file(mirror, empty, monkeypatch):
    """It is killed while the third file waits for the disk, and goes on where it was."""
    arrived = multiprocessing.get_context("fork").Event()
    cache, third = empty / "home/.cache/tinygrad_bn/fashion-mnist", "t10k-images-idx3-ubyte"
    sync = files._sync

    def wait(path):
        if path.name.startswith(f".{third}"):
            arrived.set()
            time.sleep(60)
        sync(path)

    monkeypatch.setattr(files, "_sync", wait)
    process = multiprocessing.get_context("fork").Process(target=download)
    process.start()
    assert arrived.wait(30)
    process.kill()
    process.join()
    assert not (cache / third).exists()
    whole = [name for name in images.PARTS.values() if (cache / name).exists()]
    assert whole == list(images.PARTS.values())[:2]
    monkeypatch.setattr(files, "_sync", sync)
    (empty / "served/good/train-images-idx3-ubyte.gz").unlink()  # it is there already
    assert same(data.load_fashion_mnist(download=True))
    assert sorted(p.name for p in cache.iterdir()) == sorted(images.PARTS.values())


def test_two_processes_may_download_at_once(mirror):
    fork = multiprocessing.get_context("fork")
    both = [fork.Process(target=download) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0]


# the real one -------------------------------------------------------------------------------------


@pytest.mark.skipif(
    not DEBIAN.is_dir() and not os.environ.get("CI"), reason="dataset-fashion-mnist is not there"
)
def test_fashion_mnist_is_what_its_authors_say():
    (x, labels), (x_test, labels_test) = data.load_fashion_mnist(DEBIAN)
    assert x.shape == (60000, 28, 28)
    assert x_test.shape == (10000, 28, 28)
    assert np.bincount(labels).tolist() == [6000] * 10
    assert np.bincount(labels_test).tolist() == [1000] * 10
    assert (x.min(), x.max()) == (0, 255)
