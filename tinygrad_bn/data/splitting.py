"""Splitting samples into training and test sets, and into batches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from tinygrad_bn.errors import ShapeError

NDArray: TypeAlias = npt.NDArray[Any]
Randomness: TypeAlias = np.random.Generator | int | None


def train_test_split(
    *arrays: Any,
    test_size: float | int = 0.25,
    rng: Randomness = None,
    stratify: Any = None,
) -> list[NDArray]:
    """Split arrays of equal length at random: ``[a_train, a_test, b_train, b_test, ...]``.

    ``test_size``: a share (a float between 0 and 1, rounded up) or a number of samples (an int).
    ``stratify``: labels whose proportions both sets keep, as nearly as whole samples allow; every
    class is then in both. Raises ShapeError for unequal lengths, for a set without samples, and
    where a class cannot be in both.

    >>> x = np.arange(8.0)
    >>> [part.size for part in train_test_split(x, -x, test_size=0.25, rng=0)]
    [6, 2, 6, 2]
    """
    data, n = _aligned("train_test_split", arrays)
    source = np.random.default_rng(rng)
    count = _test_count(n, test_size)
    if stratify is None:
        test = np.zeros(n, bool)
        test[source.permutation(n)[:count]] = True
    else:
        test = _stratified(np.asarray(stratify), n, count, source)
    order = source.permutation(n)
    rows = (order[~test[order]], order[test[order]])
    return [array[chosen] for array in data for chosen in rows]


def batches(
    *arrays: Any,
    size: int,
    rng: Randomness = None,
    shuffle: bool = True,
    drop_last: bool = False,
) -> Iterator[tuple[NDArray, ...]]:
    """Give all samples in tuples of batches, in a new random order unless ``shuffle=False``.

    The last batch may be smaller; batch norm refuses one of a single sample, and ``drop_last=True``
    leaves a smaller one out. Raises ShapeError, at the call, for unequal lengths and a bad size.

    >>> [x.tolist() for (x,) in batches([1, 2, 3, 4, 5], size=2, shuffle=False)]
    [[1, 2], [3, 4], [5]]
    """
    data, n = _aligned("batches", arrays)
    if size < 1 or (drop_last and size > n):
        raise ShapeError(
            f"batches of {n} samples: size={size}.", "Use a size from 1 to their number."
        )
    order = np.random.default_rng(rng).permutation(n) if shuffle else np.arange(n)
    stop = n - n % size if drop_last else n
    return (tuple(a[order[i : i + size]] for a in data) for i in range(0, stop, size))


def _aligned(what: str, arrays: tuple[Any, ...]) -> tuple[list[NDArray], int]:
    """Return arrays of equal length, and that length."""
    data = [np.asarray(array) for array in arrays]
    if not data or any(a.ndim == 0 or len(a) != len(data[0]) for a in data) or not len(data[0]):
        raise ShapeError(
            f"{what} of arrays of shapes {', '.join(str(a.shape) for a in data) or '()'}.",
            "Pass arrays whose first axes count the same samples, at least one.",
        )
    return data, len(data[0])


def _test_count(n: int, test_size: float | int) -> int:
    share = not isinstance(test_size, int | np.integer)
    count = int(np.ceil(test_size * n)) if share else int(test_size)
    if (share and not 0 < test_size < 1) or not 0 < count < n:
        raise ShapeError(
            f"train_test_split of {n} samples: test_size={test_size}.",
            "Use a share between 0 and 1, or a number, that leaves samples on both sides.",
        )
    return count


def _stratified(labels: NDArray, n: int, count: int, source: np.random.Generator) -> NDArray:
    """Choose test samples class by class."""
    if labels.shape != (n,):
        raise ShapeError(
            f"train_test_split of {n} samples: stratify has shape {labels.shape}.",
            "Pass one label for each sample.",
        )
    classes, which = np.unique(labels, return_inverse=True)
    sizes = np.bincount(which)
    if sizes.min() < 2 or not len(classes) <= count <= n - len(classes):
        raise ShapeError(
            f"train_test_split: {len(classes)} classes, the smallest of {sizes.min()} samples, "
            f"cannot all be in {count} test and {n - count} training samples.",
            "Use another test_size, or join rare classes.",
        )
    test = np.zeros(n, bool)
    for c, chosen in enumerate(_apportioned(sizes, count)):
        test[source.permutation(np.flatnonzero(which == c))[:chosen]] = True
    return test


def _apportioned(sizes: NDArray, count: int) -> NDArray:
    """Share a count among classes by largest remainders: of each at least one, and never all."""
    exact = sizes * count / sizes.sum()
    shares: NDArray = np.clip(np.floor(exact).astype(np.int64), 1, sizes - 1)
    while shares.sum() != count:
        gap = exact - shares
        if shares.sum() < count:
            shares[np.argmax(np.where(shares < sizes - 1, gap, -np.inf))] += 1
        else:
            shares[np.argmin(np.where(shares > 1, gap, np.inf))] -= 1
    return shares
