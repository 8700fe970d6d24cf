"""Real data sets."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tinygrad_bn.errors import OptionalDependencyError


class Dataset(NamedTuple):
    """Samples, (N, features) or (N, height, width), and their labels (N,)."""

    x: npt.NDArray[Any]
    labels: npt.NDArray[Any]


def load_digits() -> Dataset:
    """Load 1797 handwritten digits of 8 x 8 pixels, which come with scikit-learn.

    ``x``: (1797, 64), float64 from 0 to 16; ``labels``: int64 from 0 to 9. Needs no network.
    Raises OptionalDependencyError without scikit-learn. Source: the test set of Alpaydin & Kaynak
    (1998), Optical Recognition of Handwritten Digits, UCI.

    >>> x, labels = load_digits()
    >>> x.shape, labels[:5].tolist()
    ((1797, 64), [0, 1, 2, 3, 4])
    """
    try:
        from sklearn import datasets  # noqa: PLC0415  (optional)
    except ImportError as error:
        raise OptionalDependencyError(
            "load_digits needs scikit-learn, whose digits they are.",
            'Install the extra "demos": pip install "tinygrad_bn[demos]".',
        ) from error
    x, labels = datasets.load_digits(return_X_y=True)
    return Dataset(np.asarray(x, np.float64), np.asarray(labels, np.int64))
