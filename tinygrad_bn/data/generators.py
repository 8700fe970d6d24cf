"""Made-up data in the plane, for demonstrations: each returns (x, labels), shuffled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from tinygrad_bn.data.loading import Dataset
from tinygrad_bn.errors import ShapeError

NDArray: TypeAlias = npt.NDArray[Any]
Randomness: TypeAlias = np.random.Generator | int | None


def moons(n: int = 200, *, noise: float = 0.1, rng: Randomness = None) -> Dataset:
    """Two half circles that interlock; ``noise`` is the standard deviation of each coordinate.

    >>> x, labels = moons(100, rng=0)
    >>> x.shape, labels.sum().item()
    ((100, 2), 50)
    """
    _check("moons", n, 2, noise)
    outer, inner = (np.linspace(0, np.pi, size) for size in _shares(n, 2))
    first = np.stack([np.cos(outer), np.sin(outer)], 1)
    second = np.stack([1 - np.cos(inner), 0.5 - np.sin(inner)], 1)
    return _mixed([first, second], noise, rng)


def blobs(
    n: int = 300,
    *,
    classes: int = 3,
    features: int = 2,
    noise: float = 1.0,
    rng: Randomness = None,
) -> Dataset:
    """Clouds of normal points around centres drawn uniformly from -10 to 10."""
    _check("blobs", n, classes, noise)
    source = np.random.default_rng(rng)
    centres = source.uniform(-10, 10, (classes, features))
    parts = [np.tile(c, (s, 1)) for c, s in zip(centres, _shares(n, classes), strict=True)]
    return _mixed(parts, noise, source)


def spirals(
    n: int = 300,
    *,
    classes: int = 3,
    turns: float = 0.75,
    noise: float = 0.02,
    rng: Randomness = None,
) -> Dataset:
    """Arms that wind out from the centre to radius 1, ``turns`` times around."""
    _check("spirals", n, classes, noise)
    parts = []
    for arm, size in enumerate(_shares(n, classes)):
        radius = np.linspace(0.05, 1, size)
        angle = 2 * np.pi * (turns * radius + arm / classes)
        parts.append(np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1))
    return _mixed(parts, noise, rng)


def _check(what: str, n: int, classes: int, noise: float) -> None:
    if classes < 1 or n < classes or not noise >= 0:
        raise ShapeError(
            f"{what}: n={n}, classes={classes}, noise={noise}.",
            "Use at least one point for each class, and noise that is not negative.",
        )


def _shares(n: int, classes: int) -> list[int]:
    """Divide points among classes, the first ones getting what is left over."""
    return [n // classes + (i < n % classes) for i in range(classes)]


def _mixed(parts: Sequence[NDArray], noise: float, rng: Randomness) -> Dataset:
    """Add noise, label by part, shuffle."""
    source = np.random.default_rng(rng)
    x = np.concatenate(parts)
    labels = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    order = source.permutation(len(x))
    return Dataset((x + source.normal(0.0, noise, x.shape))[order], labels[order].astype(np.int64))
