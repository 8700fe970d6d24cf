"""MNIST and Fashion-MNIST: where they are looked for, and how they are known to be whole."""

from __future__ import annotations

import hashlib
import os
import urllib.request
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from tinygrad_bn import files
from tinygrad_bn.data.idx import AGAIN, decoded, encoded, unpacked
from tinygrad_bn.data.loading import Dataset
from tinygrad_bn.errors import DataNotFoundError, FileError

Arrays: TypeAlias = dict[str, npt.NDArray[np.uint8]]

PARTS = {
    "x_train": "train-images-idx3-ubyte",
    "y_train": "train-labels-idx1-ubyte",
    "x_test": "t10k-images-idx3-ubyte",
    "y_test": "t10k-labels-idx1-ubyte",
}
"""The four arrays under Keras' names, and the file that holds each."""


class Splits(NamedTuple):
    """Training and test set of one source."""

    train: Dataset
    test: Dataset


@dataclass(frozen=True)
class _Set:
    """A set of images: its names, SHA-256 of the bytes of its IDX files, and who offers them."""

    name: str
    folder: str
    keras: str
    digests: Mapping[str, str]
    mirrors: tuple[str, ...]
    package: str = ""


MNIST = _Set(
    name="MNIST",
    folder="MNIST",
    keras="mnist",
    digests={
        "x_train": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "y_train": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "x_test": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "y_test": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    },
    mirrors=(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
)
FASHION_MNIST = _Set(
    name="Fashion-MNIST",
    folder="FashionMNIST",
    keras="fashion-mnist",
    digests={
        "x_train": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "y_train": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "x_test": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "y_test": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    },
    mirrors=(
        "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    ),
    package="dataset-fashion-mnist",
)


def load_fashion_mnist(path: str | Path | None = None, *, download: bool = False) -> Splits:
    """Load Fashion-MNIST: 60,000 and 10,000 grey pictures of clothes in ten classes.

    ``x``: (N, 28, 28), uint8 from 0 to 255; ``labels``: int64 from 0 to 9. Both training and test
    set are a ``Dataset``. The four IDX files (or their ``.gz``) are looked for in

    - ``path``, a folder (or torchvision's root, with ``FashionMNIST/raw`` in it) or an ``.npz``
      file of Keras, and then nowhere else;
    - ``$TINYGRAD_BN_DATA``, and in it torchvision's ``FashionMNIST/raw``;
    - torchvision's ``FashionMNIST/raw`` in ``data``, ``~/data`` and ``~/.torch/datasets``;
    - Keras' ``~/.keras/datasets`` (``$KERAS_HOME/datasets``);
    - ``/usr/share/datasets/fashion-mnist``, from Debian's package ``dataset-fashion-mnist``;
    - the cache of this package, into which ``download=True`` fetches them over the network.

    Wherever they come from, SHA-256 of their decompressed bytes is compared. Raises
    DataNotFoundError, which names these places and ways, and FileError for a file that is cut
    short or holds something else: another set of the same form too (Kuzushiji-MNIST, say), since
    results on it would pass for results on this one. Source: Xiao, Rasul & Vollgraf (2017).

    >>> (x, labels), (x_test, labels_test) = load_fashion_mnist()  # doctest: +SKIP
    >>> x.shape, x_test.shape  # doctest: +SKIP
    ((60000, 28, 28), (10000, 28, 28))
    """
    return _load(FASHION_MNIST, path, download=download)


def load_mnist(path: str | Path | None = None, *, download: bool = False) -> Splits:
    """Load MNIST: 60,000 and 10,000 grey pictures of handwritten digits.

    Shapes, dtypes, places, checks and errors are those of ``load_fashion_mnist``; torchvision's
    folder is ``MNIST/raw``, Keras' file ``mnist.npz``, and Debian has no package of it. Source:
    LeCun, Bottou, Bengio & Haffner (1998).
    """
    return _load(MNIST, path, download=download)


def _load(which: _Set, path: str | Path | None, *, download: bool) -> Splits:
    places = list(_places(which)) if path is None else list(_given(which, Path(path).expanduser()))
    for place in places:
        if read := _reader(place):
            return _splits(_checked(which, place, read()))
    if download and path is None:
        return _splits(_fetched(which, _cache(which)))
    raise _nowhere(which, places, given=path is not None)


# where -------------------------------------------------------------------------------------------


def _given(which: _Set, path: Path) -> Iterator[Path]:
    """Give the places that a path can mean."""
    yield from (path, path / which.folder / "raw")


def _places(which: _Set) -> Iterator[Path]:
    """Give the places where a set may be, in the order in which they are tried."""
    home = Path.home()
    if own := os.environ.get("TINYGRAD_BN_DATA"):
        root = Path(own).expanduser()
        yield from (root, root / which.folder / "raw", root / which.keras)
        yield root / f"{which.keras}.npz"
    for root in (Path("data"), home / "data", home / ".torch" / "datasets"):
        yield root / which.folder / "raw"
    keras = Path(os.environ.get("KERAS_HOME") or home / ".keras").expanduser() / "datasets"
    yield from (keras / f"{which.keras}.npz", keras / which.keras)
    if which.package:
        yield Path("/usr/share/datasets") / which.package.removeprefix("dataset-")
    yield _cache(which)


def _cache(which: _Set) -> Path:
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").expanduser()
    return root / "tinygrad_bn" / which.keras


def _file(folder: Path, name: str) -> Path | None:
    """Return a file in a folder, as it is or compressed."""
    return next((f for f in (folder / name, folder / f"{name}.gz") if f.is_file()), None)


def _reader(place: Path) -> Callable[[], Arrays] | None:
    """Return what reads the four arrays at a place; None if they are not all there."""
    if place.suffix == ".npz" and place.is_file():
        return lambda: _read_keras(place)
    found = {part: _file(place, name) for part, name in PARTS.items()}
    if None in found.values():
        return None
    return lambda: {part: decoded(unpacked(f), str(f)) for part, f in found.items() if f}


def _read_keras(path: Path) -> Arrays:
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            arrays = {part: np.asarray(file[part]) for part in PARTS}
    except (BadZipFile, KeyError, TypeError, ValueError, EOFError, zlib.error) as error:
        raise FileError(
            f"{path} does not hold the arrays {', '.join(PARTS)}: {error}.", AGAIN
        ) from error
    for part, array in arrays.items():
        if array.dtype != np.uint8:
            raise FileError(f"{path}: {part} holds {array.dtype}, not unsigned bytes.", AGAIN)
    return arrays


# whether it is whole ------------------------------------------------------------------------------


def _checked(which: _Set, place: Path, arrays: Arrays) -> Arrays:
    for part, array in arrays.items():
        _compare(which, part, encoded(array), str(place))
    return arrays


def _compare(which: _Set, part: str, content: bytes, source: str) -> None:
    digest = hashlib.sha256(content).hexdigest()
    if digest != which.digests[part]:
        raise FileError(
            f"{source}: {PARTS[part]} is not that of {which.name} (SHA-256 {digest}, not "
            f"{which.digests[part]}).",
            "If it should be, get it again; a folder of another set is not for this function.",
        )


def _splits(arrays: Arrays) -> Splits:
    labels = {part: arrays[part].astype(np.int64) for part in ("y_train", "y_test")}
    return Splits(
        Dataset(arrays["x_train"], labels["y_train"]), Dataset(arrays["x_test"], labels["y_test"])
    )


def _nowhere(which: _Set, places: list[Path], *, given: bool) -> DataNotFoundError:
    looked = ", ".join(str(place) for place in places)
    if given:
        what = (
            f"{which.name} is not in {places[0]}: the files {', '.join(PARTS.values())} are needed."
        )
        return DataNotFoundError(what, "Name the folder that holds them, as they are or as .gz.")
    package = f"apt-get install {which.package} (Debian, Ubuntu); " if which.package else ""
    loader = "load_" + which.keras.replace("-", "_")
    return DataNotFoundError(
        f"{which.name} was not found. Looked in: {looked}.",
        f"{package}tg.data.{loader}(download=True); or set TINYGRAD_BN_DATA to a folder that holds "
        f"the files {', '.join(PARTS.values())} (or their .gz), torchvision's {which.folder}/raw "
        f"or Keras' {which.keras}.npz.",
    )


# the network --------------------------------------------------------------------------------------


def _fetched(which: _Set, cache: Path) -> Arrays:
    """Fetch what the cache lacks; a file is put there whole and checked, or not at all."""
    arrays: dict[str, Any] = {}
    for part, name in PARTS.items():
        have = _file(cache, name)
        content = unpacked(have) if have else _download(which, part, f"{name}.gz")
        _compare(which, part, content, str(have or which.mirrors))
        if not have:
            files.replace(cache / name, content, durable=True)
            files.remove_leftovers(cache / name)
        arrays[part] = decoded(content, name)
    return arrays


def _download(which: _Set, part: str, name: str) -> bytes:
    """Return the decompressed bytes of a file from the first mirror that gives the right ones."""
    failures = []
    for mirror in which.mirrors:
        try:
            with urllib.request.urlopen(mirror + name, timeout=30) as answer:  # noqa: S310  (ours)
                content = zlib.decompress(answer.read(), wbits=31)
            _compare(which, part, content, mirror + name)
        except (OSError, HTTPException, zlib.error, FileError) as error:
            failures.append(f"{mirror}{name}: {error}".split("\n")[0])
        else:
            return content
    raise DataNotFoundError(
        f"{which.name} could not be downloaded. " + "; ".join(failures) + ".",
        "Try again with a connection, or get the files in another way and name their folder.",
    )
